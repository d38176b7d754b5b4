# SPDX-License-Identifier: Apache-2.0
"""Either side changes its mind, at any moment."""

import asyncio
import os
import random

import pytest
from baton_kv import Cancel, Cause, Outcome, Proof, Scope
from pair import BLOCK_BYTES, WAIT_MS, WAYS, Pair, content, read

SEED = int(os.environ.get("BATON_SEED", "1"))
STORM_HANDOFFS = 300  # of each way
STORM_AT_ONCE = 24
YIELDS_MAX = 40


def test_cancel_says_what_it_found(pair):
    offer, fetch = pair.half()
    assert fetch.cancel() is Cancel.REQUESTED
    result = fetch.outcome.wait(WAIT_MS)

    assert (result.outcome, result.cause) == (Outcome.CANCELLED, Cause.CANCEL)
    assert fetch.cancel() is Cancel.ALREADY_DECIDED
    assert offer.outcome.wait(WAIT_MS).outcome is Outcome.PEER_CANCELLED
    pair.retire(offer, fetch)
    assert fetch.cancel() is Cancel.ALREADY_DECIDED


def test_another_fetch_follows_a_cancelled_attempt(pair):
    offer, fetch = pair.half()
    fetch.cancel(Scope.ATTEMPT)
    pair.retire(fetch)
    again = pair.fetch(offer)
    offer.advance()

    while again.outcome.wait(WAIT_MS).cause is Cause.BUSY:  # the source has not heard of it yet
        pair.retire(again)
        again = pair.fetch(offer)
    assert again.outcome.value.completed
    assert read(pair.to_pool, again.blocks) == content(1, 2)
    pair.retire(offer, again)


def test_an_offer_is_revoked(pair):
    offer, fetch = pair.half()
    assert offer.cancel() is Cancel.REQUESTED
    assert fetch.outcome.wait(WAIT_MS).outcome is Outcome.PEER_CANCELLED
    result = offer.outcome.wait(WAIT_MS)
    assert result.outcome is Outcome.CANCELLED and result.slots[0].cause is Cause.CANCEL
    pair.retire(offer, fetch)


def test_an_offer_that_nobody_read_was_never_exposed(pair):
    offer = pair.offer(1)
    offer.cancel()
    assert offer.quiet.wait(WAIT_MS).proof is Proof.NEVER_EXPOSED
    pair.retire(offer)


def test_a_clock_cancels(pair):
    offer = pair.offer(1, reader_timeout_ms=1)
    result = offer.outcome.wait(WAIT_MS)
    assert (result.outcome, result.cause) == (Outcome.TIMED_OUT, Cause.CLOCK_READER)
    pair.retire(offer)


def test_with_cancels_and_gives_the_blocks_back(pair):
    offer = pair.offer(1, watermark_bytes=0)
    with offer, pair.fetch(offer) as fetch:
        pass
    assert fetch.quiet.wait(WAIT_MS) and offer.quiet.wait(WAIT_MS)
    assert pair.from_pool.stats().lent_blocks == pair.to_pool.stats().lent_blocks == 0


def test_a_cancelled_task_cancels_its_fetch(pair):
    async def request(offer, started):
        async with pair.fetch(offer) as fetch:
            started.set_result(fetch)
            await fetch.outcome

    async def main():
        offer = pair.offer(2, watermark_bytes=BLOCK_BYTES)
        started = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(request(offer, started))
        fetch = await started
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # `async with` has waited: it is quiet, and its blocks are ours.
        assert fetch.outcome.value.outcome is Outcome.CANCELLED
        pair.to_pool.free(fetch.blocks)
        assert pair.to_pool.stats().free_blocks == 64
        await offer.quiet

    asyncio.run(main())


class Storm:
    """Handoffs at once, each with a fate that its own number draws."""

    def __init__(self, pair, way):
        self.pair, self.way = pair, way
        self.outcomes = []

    async def yields(self, dice):
        """A random moment, without a clock."""
        for _ in range(dice.randrange(YIELDS_MAX)):
            await asyncio.sleep(0)

    async def request(self, number):
        dice = random.Random(f"{SEED} {self.way} {number}")
        count = dice.randint(1, 6)
        there = dice.choice([0, count * BLOCK_BYTES // 2, count * BLOCK_BYTES])
        offer = self.pair.offer(count, seed=number, watermark_bytes=there)
        async with offer:
            await self.yields(dice)
            fetch = self.pair.fetch(offer, self.way)
            try:
                async with fetch:
                    await self.fate(dice, offer, fetch)
            finally:
                self.end(number, fetch)

    async def fate(self, dice, offer, fetch):
        victim = dice.choice([offer, fetch, fetch, None, "task"])
        if victim is not None and dice.random() < 0.5:
            await self.yields(dice)
        if victim == "task":
            asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)
            await self.yields(dice)
        elif victim is not None:
            victim.cancel(dice.choice(list(Scope)))
            await self.yields(dice)
        offer.advance()
        await fetch.outcome

    def end(self, number, fetch):
        """After its `async with`: quiet, whatever happened."""
        result, receipt = fetch.outcome.value, fetch.quiet.value
        assert result is not None and receipt is not None
        if result.completed:
            assert read(self.pair.to_pool, fetch.blocks) == content(number, len(fetch.blocks))
        self.outcomes.append(result.outcome)
        self.pair.to_pool.free(fetch.blocks)

    async def run(self):
        at_once = asyncio.Semaphore(STORM_AT_ONCE)

        async def guarded(number):
            async with at_once:
                try:
                    await self.request(number)
                except asyncio.CancelledError:
                    pass  # its fate

        await asyncio.gather(*(guarded(number) for number in range(STORM_HANDOFFS)))


@pytest.mark.parametrize("way", WAYS)
def test_storm(way):
    """Everything ends, every receipt arrives, every block comes back: again with BATON_SEED."""
    pair = Pair(blocks=STORM_AT_ONCE * 6)
    storm = Storm(pair, way)
    asyncio.run(asyncio.wait_for(storm.run(), WAIT_MS / 1000))

    assert len(storm.outcomes) == STORM_HANDOFFS
    assert {Outcome.COMPLETED, Outcome.CANCELLED} <= set(storm.outcomes)
    # The last offers' receipts may still be on their way to be used.
    pair.source.close()
    pair.source.drain(WAIT_MS)
    pair.source.collect(1000)
    for pool in (pair.from_pool, pair.to_pool):
        assert pool.stats().free_blocks == pool.stats().blocks
    pair.end()
