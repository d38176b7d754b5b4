# SPDX-License-Identifier: Apache-2.0
"""Objects are dropped in every order, one after the other or at once, in cycles too."""

import gc
import itertools
import os
import warnings

import pytest
from baton_kv import Engine, _life
from pair import BLOCK_BYTES, WAIT_MS, Pair

STATES = ["under way", "cancelled", "completed", "released"]


@pytest.fixture(autouse=True)
def dropped_engines_are_no_surprise():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield


def open_things():
    """Threads and descriptors of this process."""
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


def bring_to(state, handoff):
    if state == "cancelled":
        handoff.cancel()
        handoff.quiet.wait(WAIT_MS)
    elif state == "released":
        handoff.release()


def source_things(peer, state):
    engine = Engine()
    pool = engine.pool(BLOCK_BYTES, 2)
    offer = engine.offer(pool, pool.alloc(2), watermark_bytes=2 * BLOCK_BYTES)
    if state == "completed":
        fetch = peer.sink.fetch(offer.ticket(), peer.to_pool, peer.to_pool.alloc(2))
        peer.retire(fetch)
    bring_to(state, offer)
    return [engine, pool, offer, pool.block(0), offer.quiet]


def sink_things(peer, state):
    engine = Engine()
    pool = engine.wrap(bytearray(2 * BLOCK_BYTES), BLOCK_BYTES)
    offer = peer.offer(2, watermark_bytes=BLOCK_BYTES)
    fetch = engine.fetch(offer.ticket(), pool, [0, 1])
    if state == "completed":
        offer.advance()
        assert fetch.outcome.wait(WAIT_MS).completed
    bring_to(state, fetch)
    offer.release()
    offer.cancel()
    return [engine, pool, fetch, pool.block(0), fetch.quiet]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("things_of", [source_things, sink_things])
def test_every_order(things_of, state):
    peer = Pair()
    before = None
    for order in itertools.permutations(range(5)):
        things = things_of(peer, state)
        for i in order:
            things[i] = None
        gc.collect(0)
        peer.source.collect()
        if order[0] == 0 and before is None:
            gc.collect()
            before = open_things()
    gc.collect()
    assert len(_life.alive) == 2
    peer.end()
    del things
    gc.collect()
    threads, descriptors = open_things()
    assert threads <= before[0] and descriptors <= before[1]


@pytest.mark.parametrize("state", STATES)
def test_a_cycle(state):
    """All of it is garbage at once: the collector chooses the order."""
    for _ in range(8):
        peer = Pair()
        things = [*source_things(peer, state), *sink_things(peer, state), peer]
        things.append(things)
        peer.things = things
        del peer, things
        gc.collect()
    assert list(_life.alive) == []


def test_dropped_handoffs_give_their_blocks_back(pair):
    for _ in range(50):
        offer = pair.offer(4)
        fetch = pair.fetch(offer)
        fetch.quiet.wait(WAIT_MS)
        pair.source.drain(WAIT_MS)
        pair.source.collect()
        blocks = fetch.blocks
        del offer, fetch  # neither was retired
        pair.to_pool.free(blocks)
        pair.source.collect()
    assert pair.from_pool.stats().free_blocks == pair.to_pool.stats().free_blocks == 64
