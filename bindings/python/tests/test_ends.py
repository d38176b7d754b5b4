# SPDX-License-Identifier: Apache-2.0
"""How an engine ends: destroyed, abandoned, or with the last view of its memory."""

import asyncio
import gc
import os

import pytest
from baton_kv import BusyError, Cause, ClosedError, Engine, Outcome, Progress, _life
from pair import BLOCK_BYTES, WAIT_MS, Pair


def test_close_drain_destroy():
    """The steps that end() takes."""
    pair = Pair()
    offer, fetch = pair.half()
    pair.sink.close()
    pair.sink.drain(WAIT_MS)
    with pytest.raises(BusyError, match="receipts were not"):
        pair.sink.destroy()
    assert fetch.outcome.wait(WAIT_MS).cause is Cause.CLOSING
    offer.cancel()
    pair.retire(fetch, offer)
    pair.sink.destroy()
    pair.sink.destroy()
    assert pair.sink.end() is None and pair.sink.abandon() is None
    assert pair.source.end() is None


def test_end_uses_every_receipt():
    pair = Pair()
    offer, fetch = pair.half()
    assert pair.sink.end() is None and pair.source.end() is None
    assert fetch.outcome.value.outcome is Outcome.CANCELLED
    assert fetch.quiet.value is not None and offer.quiet.value is not None
    fetch.cancel()
    fetch.release()
    with pytest.raises(ClosedError):
        fetch.retire(fetch.quiet.value)


def test_end_uses_the_receipts_of_released_handoffs():
    """More of them than are collected at once, and nobody is told of any."""
    engine = Engine()
    pool = engine.pool(64, 300)
    for block in pool.alloc(300):
        engine.offer(pool, [block]).release()
    assert engine.end() is None


def test_async_with():
    async def main():
        async with Engine() as source, Engine() as sink:
            pools = [engine.pool(64, 1) for engine in (source, sink)]
            offer = source.offer(pools[0], pools[0].alloc(1), watermark_bytes=64)
            fetch = sink.fetch(offer.ticket(), pools[1], pools[1].alloc(1))
            assert (await fetch.outcome).completed
        assert fetch.quiet.happened and offer.quiet.happened

    asyncio.run(main())


def test_a_loop_forgets_an_engine_that_has_ended():
    async def main():
        pair = Pair()
        offer = pair.offer(1)
        offer.cancel()
        await offer.quiet
        del offer
        await asyncio.to_thread(pair.end)

    async def several():
        await main()  # makes the thread, too
        await asyncio.sleep(0)
        descriptors = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            await main()
            await asyncio.sleep(0)
            gc.collect()
        assert len(os.listdir("/proc/self/fd")) <= descriptors

    asyncio.run(several())


def test_an_abandoned_engine_tells_who_waits():
    pair = Pair()
    _, fetch = pair.half()

    async def main():
        waiting = asyncio.ensure_future(fetch.quiet._wait())
        await asyncio.sleep(0)
        kept = pair.sink.abandon()
        assert kept.handoffs == 1 and kept.bytes == 64 * BLOCK_BYTES
        with pytest.raises(ClosedError):
            await waiting

    asyncio.run(main())
    pair.source.end()


def test_no_proof_in_time_no_destroy():
    """Nobody drives it, so nothing becomes quiet: its memory stays, and end() says so."""
    engine = Engine(progress=Progress.CALLER)
    pool = engine.pool(64, 2)
    offer = engine.offer(pool, pool.alloc(1))
    with pytest.warns(RuntimeWarning, match="1 handoffs had no receipt after 0 ms: 128 bytes"):
        kept = engine.end(0)
    assert (kept.bytes, kept.pools, kept.handoffs) == (128, 1, 1)
    with pytest.raises(ClosedError, match="before this was known"):
        offer.quiet.wait(WAIT_MS)


def test_a_view_outlives_its_engine():
    engine = Engine()
    pool = engine.pool(64, 2)
    view = pool.block(1)
    assert engine.end() is None
    with pytest.raises(ClosedError):
        engine.pool(64, 2)
    view[:] = b"x" * 64  # its memory is there
    assert list(_life.alive) != []
    del view
    assert engine.end() is None
    assert list(_life.alive) == []
    del engine, pool
    gc.collect()
