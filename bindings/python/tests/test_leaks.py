# SPDX-License-Identifier: Apache-2.0
"""Many handoffs leave nothing behind: neither memory nor descriptors."""

import asyncio
import gc
import os
import tracemalloc

from pair import WAIT_MS, WAYS

ROUNDS = 300
LEFT_BYTES_MAX = 16384  # a byte left by each handoff would be little, an object of each not


def hand_over(pair, number):
    """One of each kind: awaited, polled, cancelled, released, dropped."""
    offer = pair.offer(1)
    fetch = pair.fetch(offer, WAYS[number % len(WAYS)])
    kind = number % 5
    if kind == 0:
        async def wait():
            await asyncio.gather(fetch.quiet, offer.quiet)
        asyncio.run(wait())
    elif kind == 2:
        fetch.cancel()
    offer.quiet.wait(WAIT_MS)
    fetch.quiet.wait(WAIT_MS)
    blocks = fetch.blocks
    if kind in (0, 1, 2):
        pair.retire(offer, fetch)
        return
    if kind == 3:
        offer.release()
        fetch.release()
    del offer, fetch
    pair.to_pool.free(blocks)
    pair.source.collect()


def test_no_memory_is_left(pair):
    for number in range(40):
        hand_over(pair, number)
    gc.collect()
    fds = len(os.listdir("/proc/self/fd"))
    tracemalloc.start()
    before = tracemalloc.take_snapshot()
    for number in range(ROUNDS):
        hand_over(pair, number)
    gc.collect()
    after = tracemalloc.take_snapshot()
    tracemalloc.stop()

    own = tracemalloc.Filter(True, "*/baton_kv/*")
    growth = after.filter_traces([own]).compare_to(before.filter_traces([own]), "lineno")
    assert sum(line.size_diff for line in growth) < LEFT_BYTES_MAX, growth[:5]
    assert len(os.listdir("/proc/self/fd")) == fds
    assert pair.source.stats()["gauges"]["offers"] == 0
