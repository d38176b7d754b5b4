# SPDX-License-Identifier: Apache-2.0
"""A source in another process."""

import asyncio

import pytest
from baton_kv import Cause, Engine, Outcome, Proof
from pair import BLOCK_BYTES, WAIT_MS, WAYS, content, read
from processes import Source


@pytest.fixture
def source():
    made = Source()
    yield made
    made.kill()


@pytest.mark.parametrize("way", WAYS)
def test_bytes_are_equal(source, way):
    async def hand_over(engine):
        pool = engine.pool(BLOCK_BYTES, 16)
        tickets = [source.offer(8, seed) for seed in (1, 2)]
        fetches = [engine.fetch(ticket, pool, pool.alloc(8), transport=way[0], mode=way[1])
                   for ticket in tickets]
        for seed, fetch in enumerate(fetches, 1):
            async with fetch:
                assert (await fetch.outcome).completed
            assert read(pool, fetch.blocks) == content(seed, 8)
            assert fetch.quiet.value.transport == way[0]

    with Engine() as engine:
        asyncio.run(hand_over(engine))
    assert source.free_blocks() == 64


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("who", ["source", "sink"])
def test_a_cancel_reaches_the_other_process(source, way, who):
    with Engine() as engine:
        pool = engine.pool(BLOCK_BYTES, 8)
        ticket = source.offer(4, 1, watermark_bytes=2 * BLOCK_BYTES)
        fetch = engine.fetch(ticket, pool, pool.alloc(4), transport=way[0], mode=way[1])
        if who == "source":
            source.ask(cancel=True)
        else:
            fetch.cancel()
        assert fetch.outcome.wait(WAIT_MS).outcome in (
            (Outcome.PEER_CANCELLED, Outcome.REFUSED) if who == "source" else (Outcome.CANCELLED,))
        fetch.retire(fetch.quiet.wait(WAIT_MS))
        if who == "sink":
            source.ask(cancel=True)  # the fetch may have ended before it ever reached the source
        assert source.free_blocks() == 64


@pytest.mark.parametrize("way", WAYS)
def test_a_source_is_killed(source, way):
    with Engine() as engine:
        pool = engine.pool(BLOCK_BYTES, 8)
        ticket = source.offer(4, 1, watermark_bytes=2 * BLOCK_BYTES)
        fetch = engine.fetch(ticket, pool, pool.alloc(4), transport=way[0], mode=way[1])
        source.kill()

        result, receipt = fetch.outcome.wait(WAIT_MS), fetch.quiet.wait(WAIT_MS)
        assert result.outcome is Outcome.LINK_LOST
        assert result.cause in (Cause.PEER_DIED, Cause.LINK_CLOSED, Cause.UNREACHABLE)
        assert receipt.proof in (Proof.LOCAL_DRAIN, Proof.NEVER_EXPOSED, Proof.PEER_EXITED)
        fetch.retire(receipt)
