# SPDX-License-Identifier: Apache-2.0
"""Any thread may do anything; what would block the wrong one is an error."""

import asyncio
import contextlib
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import baton_kv
import pytest
from baton_kv import Cancel, ClosedError, Engine, Outcome, Progress
from pair import WAIT_MS, Pair, content, read, until

THREADS = 8


def test_waiting_would_block_the_loop(pair):
    offer, fetch = pair.half()

    async def main():
        for wait in (fetch.outcome.wait, pair.sink.poll):
            with pytest.raises(RuntimeError, match="await instead"):
                wait(WAIT_MS)
        assert pair.sink.poll(0) == []  # does not block
        fetch.cancel()
        assert (await fetch.outcome).outcome is Outcome.CANCELLED

    asyncio.run(main())
    pair.retire(offer, fetch)


def test_an_await_ends_by_another_thread(pair):
    """Other threads cancel and collect; two loops, each on its thread, wait."""
    offer, fetch = pair.half()

    async def wait():
        return (await fetch.outcome, await fetch.quiet)

    with ThreadPoolExecutor(THREADS) as threads:
        waiting = [threads.submit(asyncio.run, wait()) for _ in range(2)]
        waiting += [threads.submit(lambda: (fetch.outcome.wait(WAIT_MS), fetch.quiet.wait(WAIT_MS)))
                    for _ in range(2)]
        found = [threads.submit(fetch.cancel) for _ in range(3)]
        results = {repr(future.result(WAIT_MS)) for future in waiting}
        assert len(results) == 1
        assert Cancel.REQUESTED in [future.result() for future in found]
    pair.retire(offer, fetch)


def test_each_completion_goes_to_one_thread():
    pair = Pair()
    offers = [pair.offer(1, watermark_bytes=0) for _ in range(32)]
    heard, lock = [], threading.Lock()

    def collect():
        while True:
            try:
                found = pair.source.poll(WAIT_MS, limit=3)
            except ClosedError:
                return
            with lock:
                heard.extend((c.handoff.id, c.notice) for c in found)

    with ThreadPoolExecutor(THREADS) as threads:
        collecting = [threads.submit(collect) for _ in range(4)]
        list(threads.map(lambda offer: offer.cancel(), offers))
        for offer in offers:
            offer.retire(offer.quiet.wait(WAIT_MS))
        # Who polls an engine that ends is woken, and told so.
        assert pair.source.end(WAIT_MS) is None
        for future in collecting:
            future.result(WAIT_MS)
    pair.sink.end()
    assert len(heard) == len(set(heard)) <= 64


def test_who_polls_an_idle_engine_is_woken_by_its_end():
    engine = Engine()
    with ThreadPoolExecutor(2) as threads:
        polling = [threads.submit(engine.poll, WAIT_MS) for _ in range(2)]
        until(lambda: len(engine._life.bells) == 2)
        begin = time.monotonic()
        engine.end()
        for future in polling:
            with pytest.raises(ClosedError):
                future.result()
    assert time.monotonic() - begin < WAIT_MS / 2000


def test_any_thread_drives():
    """Progress.CALLER, and several callers: one at a time has its turn."""
    pair = Pair(progress=Progress.CALLER, movers=-1)
    offers = [pair.offer(2, seed=i) for i in range(8)]
    fetches = [pair.fetch(offer) for offer in offers]

    def drive(engine):
        while not all(h.quiet.happened for h in offers + fetches):
            engine.poll(1)

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(drive, [pair.source, pair.sink] * 3))
    for seed, fetch in enumerate(fetches):
        assert read(pair.to_pool, fetch.blocks) == content(seed, 2)
    pair.retire(*offers, *fetches)
    pair.end()


def test_calls_race_with_the_end():
    """Whatever other threads call meanwhile: an answer or a ClosedError, never a crash."""
    for _ in range(20):
        engine = Engine()
        pool = engine.pool(64, 64)
        start = threading.Barrier(THREADS)

        def call(number):
            start.wait()
            try:
                while True:
                    blocks = pool.alloc(1)
                    with engine.offer(pool, blocks) as offer:
                        pool.free(blocks)
                        offer.advance()
                    engine.stats()
                    engine.collect()
            except (ClosedError, baton_kv.FullError):
                return number

        with ThreadPoolExecutor(THREADS) as threads:
            calling = [threads.submit(call, i) for i in range(THREADS - 1)]
            start.wait()
            assert engine.end(WAIT_MS) is None
            assert sorted(future.result(WAIT_MS) for future in calling) == list(range(THREADS - 1))


def test_others_run_while_a_thread_waits(pair):
    """The GIL is let go of: a thread that waits without limit holds up nobody."""
    offer, fetch = pair.half()
    waiter = threading.Thread(target=fetch.quiet.wait)
    waiter.start()
    drainer = threading.Thread(target=pair.sink.drain)
    drainer.start()
    fetch.cancel()
    waiter.join(WAIT_MS / 1000)
    drainer.join(WAIT_MS / 1000)
    assert not waiter.is_alive() and not drainer.is_alive()
    pair.retire(offer, fetch)


def test_several_threads_end_an_engine():
    for _ in range(10):
        pair = Pair()
        pair.half()
        with ThreadPoolExecutor(THREADS) as threads:
            ends = [threads.submit(pair.sink.end) for _ in range(THREADS)]
            assert {end.result(WAIT_MS) for end in ends} == {None}
        pair.source.end()


def test_an_abandoned_engine_is_not_drained_for_ever():
    pair = Pair()
    pair.half()
    with ThreadPoolExecutor(1) as threads:
        draining = threads.submit(pair.sink.drain)
        until(lambda: pair.sink._life.drains == 1)
        pair.sink.abandon()
        with contextlib.suppress(ClosedError):  # or it has drained by that
            draining.result(WAIT_MS)
    pair.source.end()


def test_signal_handlers_call(pair):
    """They run on the main thread, also in the middle of a call of its own."""
    calls = []

    def handler(*_):
        calls.append(pair.sink.collect())
        pair.to_pool.stats()

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    try:
        for seed in range(100):
            offer = pair.offer(1, seed=seed)
            fetch = pair.fetch(offer)
            assert fetch.outcome.wait(WAIT_MS).completed
            pair.retire(offer, fetch)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(calls) > 10


def test_an_interrupt_loses_nothing():
    """KeyboardInterrupt, at any moment of many calls: every handoff goes on to its receipt."""
    pair = Pair()
    interrupts = 0
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for seed in range(150):
            offer = pair.offer(1, seed=seed)
            fetch = pair.fetch(offer)
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.00002 * (seed % 30 + 1))
                while not (fetch.quiet.happened and offer.quiet.happened):
                    pair.sink.poll(1)
                    pair.source.poll(1)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupts += 1
            pair.retire(offer, fetch)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupts > 10
    pair.end()


def test_another_engines_pool(pair):
    with pytest.raises(baton_kv.InvalidError, match="another engine"):
        pair.sink.offer(pair.from_pool, [0])
