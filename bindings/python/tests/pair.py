# SPDX-License-Identifier: Apache-2.0
"""A source and a sink in one process, and blocks that know what they should contain."""

import random
import time

import baton_kv
from baton_kv import Engine, Mode

BLOCK_BYTES = 16384
WAIT_MS = 20000  # longer than anything takes; a test that waits so long has failed

# Every way that bytes move: (transport, mode).
WAYS = [("shm", Mode.PULL), ("shm", Mode.PUSH), ("tcp", Mode.PULL), ("tcp", Mode.PUSH)]


def content(seed, count):
    return random.Random(seed).randbytes(count * BLOCK_BYTES)


def write(pool, blocks, data):
    for i, block in enumerate(blocks):
        pool.block(block)[:] = data[i * BLOCK_BYTES : (i + 1) * BLOCK_BYTES]


def read(pool, blocks):
    return b"".join(bytes(pool.block(block)) for block in blocks)


def until(is_true):
    """For what no descriptor tells."""
    end = time.monotonic() + WAIT_MS / 1000
    while not is_true():
        assert time.monotonic() < end


class Pair:
    """Two engines, each with a pool of `blocks` blocks."""

    def __init__(self, blocks=64, **options):
        self.source, self.sink = Engine(**options), Engine(**options)
        self.from_pool = self.source.pool(BLOCK_BYTES, blocks, check=True)
        self.to_pool = self.sink.pool(BLOCK_BYTES, blocks, check=True)

    def offer(self, count, seed=1, **args):
        """An offer of `count` blocks of the content of `seed`, which are then let go of."""
        blocks = self.from_pool.alloc(count)
        write(self.from_pool, blocks, content(seed, count))
        args.setdefault("watermark_bytes", baton_kv.WATERMARK_END)
        offer = self.source.offer(self.from_pool, blocks, **args)
        self.from_pool.free(blocks)
        return offer

    def fetch(self, offer, way=(None, Mode.PULL), **args):
        blocks = self.to_pool.alloc(len(offer.blocks) - args.get("first_block", 0))
        return self.sink.fetch(offer.ticket(), self.to_pool, blocks, transport=way[0], mode=way[1],
                               **args)

    def half(self, count=2, way=(None, Mode.PULL)):
        """A transfer that has begun and can not complete: half of its bytes are not there."""
        leases = self.source.stats()["counters"]["leases"]
        offer = self.offer(count, watermark_bytes=count * BLOCK_BYTES // 2)
        fetch = self.fetch(offer, way)
        until(lambda: self.source.stats()["counters"]["leases"] > leases)
        return offer, fetch

    def retire(self, *handoffs):
        """Wait for their receipts and use them.  What was fetched into is let go of."""
        for handoff in handoffs:
            handoff.retire(handoff.quiet.wait(WAIT_MS))
            if isinstance(handoff, baton_kv.Fetch):
                self.to_pool.free(handoff.blocks)

    def end(self):
        """Both engines end, and nobody wrote where he should not."""
        for engine, pool in ((self.sink, self.to_pool), (self.source, self.from_pool)):
            engine.close()
            engine.drain(WAIT_MS)
            pool.verify()
            assert pool.stats().late_bytes == 0
            assert engine.end(WAIT_MS) is None
