# SPDX-License-Identifier: Apache-2.0
"""Bytes arrive, in every way that they can move, within one process."""

import asyncio

import baton_kv
import pytest
from baton_kv import Cause, Engine, Mode, Notice, Outcome, Progress, Proof, Stage, ticket
from pair import BLOCK_BYTES, WAIT_MS, WAYS, Pair, content, read


@pytest.mark.parametrize("way", WAYS)
def test_bytes_are_equal(pair, way):
    offer = pair.offer(5, seed=7)
    fetch = pair.fetch(offer, way)
    result = fetch.outcome.wait(WAIT_MS)
    receipt = fetch.quiet.wait(WAIT_MS)

    assert (result.outcome, result.cause, result.stage) == (
        Outcome.COMPLETED, Cause.NONE, Stage.COMMITTING)
    assert result.completed and result.bytes_landed == result.bytes_total == 5 * BLOCK_BYTES
    assert receipt.transport == way[0] and receipt.bytes_landed == 5 * BLOCK_BYTES
    assert receipt.proof is (Proof.PEER_DRAIN if way == ("shm", Mode.PUSH) else Proof.LOCAL_DRAIN)
    assert receipt.handoff_id == fetch.id and receipt.peer == pair.source.incarnation
    assert read(pair.to_pool, fetch.blocks) == content(7, 5)
    pair.retire(offer, fetch)
    assert pair.from_pool.stats().free_blocks == pair.to_pool.stats().free_blocks == 64


@pytest.mark.parametrize("way", WAYS)
def test_bytes_are_equal_with_asyncio(pair, way):
    async def hand_over():
        async with pair.offer(5, seed=8) as offer, pair.fetch(offer, way) as fetch:
            result = await fetch.outcome
            assert result.completed and (await fetch.quiet).transport == way[0]
            assert (await offer.outcome).slots[0].stage is Stage.COMMITTED
            assert read(pair.to_pool, fetch.blocks) == content(8, 5)
        pair.to_pool.free(fetch.blocks)

    asyncio.run(hand_over())
    assert pair.from_pool.stats().free_blocks == pair.to_pool.stats().free_blocks == 64


def test_bytes_follow_the_watermark(pair):
    offer, fetch = pair.half(4)
    with pytest.raises(baton_kv.TimedOutError):
        fetch.outcome.wait(0)
    offer.set_aux(b"first token")
    offer.advance(3 * BLOCK_BYTES)
    offer.advance(BLOCK_BYTES)  # back: inert
    offer.advance()

    assert fetch.outcome.wait(WAIT_MS).aux == b"first token"
    assert read(pair.to_pool, fetch.blocks) == content(1, 4)
    pair.retire(offer, fetch)


def test_a_prefix_is_skipped(pair):
    offer = pair.offer(4)
    fetch = pair.fetch(offer, first_block=3)

    assert fetch.outcome.wait(WAIT_MS).bytes_landed == BLOCK_BYTES
    assert read(pair.to_pool, fetch.blocks) == content(1, 4)[3 * BLOCK_BYTES :]
    pair.retire(offer, fetch)


def test_two_readers_have_a_slot_each(pair):
    offer = pair.offer(2, readers=2)
    fetches = []
    for slot in (0, 1):
        text = ticket.to_text(offer.ticket(slot))
        assert ticket.from_text(text) == offer.ticket(slot)
        assert ticket.inspect(offer.ticket(slot)).slot == slot
        fetches.append(pair.sink.fetch(text, pair.to_pool, pair.to_pool.alloc(2)))

    assert all(fetch.outcome.wait(WAIT_MS).completed for fetch in fetches)
    assert len(offer.outcome.wait(WAIT_MS).slots) == 2
    pair.retire(offer, *fetches)


def test_a_scheduler_polls(pair):
    """Without asyncio: each completion once, in the order of the contract."""
    offer, fetch = pair.offer(1), None
    fetch = pair.fetch(offer)
    heard = {pair.source: [], pair.sink: []}
    for engine, notices in heard.items():
        while len(notices) < 2:
            notices += engine.poll(WAIT_MS, limit=1)
        assert [c.notice for c in notices] == [Notice.OUTCOME, Notice.QUIET]
        assert engine.collect() == [] and notices[1].receipt == notices[1].handoff.quiet.value
    assert heard[pair.sink][0].handoff is fetch and heard[pair.source][0].handoff is offer
    pair.retire(offer, fetch)


@pytest.mark.parametrize("with_asyncio", [False, True])
def test_the_caller_drives(with_asyncio):
    """No thread of Baton's: waiting for one engine drives that one, so each has its turn."""
    pair = Pair(progress=Progress.CALLER, movers=-1)
    offer = pair.offer(3)
    fetch = pair.fetch(offer)

    async def both():
        await asyncio.gather(fetch.quiet, offer.quiet)

    if with_asyncio:
        asyncio.run(both())
    while not (fetch.quiet.happened and offer.quiet.happened):
        pair.source.poll(1)
        pair.sink.poll(1)
    assert fetch.outcome.value.completed
    assert read(pair.to_pool, fetch.blocks) == content(1, 3)
    pair.retire(offer, fetch)
    pair.end()


def test_one_engine_is_source_and_sink():
    with Engine() as engine:
        pool = engine.pool(64, 2)
        pool.block(0)[:5] = b"hello"
        there, here = pool.alloc(1), pool.alloc(1)
        fetch = engine.fetch(engine.offer(pool, there, watermark_bytes=64).ticket(), pool, here)
        assert fetch.outcome.wait(WAIT_MS).completed
        assert bytes(pool.block(here[0])[:5]) == b"hello"
