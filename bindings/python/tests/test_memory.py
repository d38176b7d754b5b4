# SPDX-License-Identifier: Apache-2.0
"""Memory of the user's, and how long it lives."""

import ctypes
import gc
import mmap
import weakref

import numpy
import pytest
from baton_kv import BusyError, InvalidError, Memory, Scope
from pair import BLOCK_BYTES, WAIT_MS, Pair, content, read

COUNT = 8


class Tensor:
    """What baton_kv asks of a torch tensor, without torch."""

    is_cuda = False

    def __init__(self, array):
        self.array = array
        self.nbytes = array.nbytes

    def data_ptr(self):
        return self.array.ctypes.data

    def element_size(self):
        return self.array.itemsize

    def is_contiguous(self):
        return self.array.flags.c_contiguous


def pointer():
    owner = (ctypes.c_char * (COUNT * BLOCK_BYTES))()
    return Memory(ctypes.addressof(owner), len(owner), owner)


def array():
    return numpy.zeros((COUNT, 2, BLOCK_BYTES // 8), dtype=numpy.float32)


MADE = {
    "pointer": pointer,
    "bytearray": lambda: bytearray(COUNT * BLOCK_BYTES),
    "mmap": lambda: mmap.mmap(-1, COUNT * BLOCK_BYTES),
    "numpy": array,
    "tensor": lambda: Tensor(array()),
}


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("transport", ["shm", "tcp"])
def test_a_fetch_into_wrapped_memory(pair, name, transport):
    memory = MADE[name]()
    pool = pair.sink.wrap(memory, BLOCK_BYTES)
    assert pool.wrapped and pool.block_count == COUNT
    offer = pair.offer(3)
    fetch = pair.sink.fetch(offer.ticket(), pool, [6, 0, 3], transport=transport)

    assert fetch.outcome.wait(WAIT_MS).completed
    assert sorted(fetch.retire(fetch.quiet.wait(WAIT_MS))) == [0, 3, 6]
    assert read(pool, fetch.blocks) == content(1, 3)
    pair.retire(offer)


@pytest.mark.parametrize("transport", ["shm", "tcp"])
def test_an_offer_of_wrapped_memory(pair, transport):
    memory = array()
    memory[:] = numpy.arange(memory.size, dtype=numpy.float32).reshape(memory.shape)
    pool = pair.source.wrap(memory, BLOCK_BYTES)
    offer = pair.source.offer(pool, [2, 5], watermark_bytes=2 * BLOCK_BYTES)
    fetch = pair.fetch(offer, (transport, 0))

    assert fetch.outcome.wait(WAIT_MS).completed
    assert read(pair.to_pool, fetch.blocks) == memory[[2, 5]].tobytes()
    pair.retire(offer, fetch)


def test_only_the_last_receipt_of_a_shared_block_frees_it(pair):
    pool = pair.source.wrap(bytearray(COUNT * BLOCK_BYTES), BLOCK_BYTES)
    first, second = pair.source.offer(pool, [0, 1]), pair.source.offer(pool, [1, 2])
    first.cancel()
    assert first.retire(first.quiet.wait(WAIT_MS)) == [0]
    second.cancel()
    assert sorted(second.retire(second.quiet.wait(WAIT_MS))) == [1, 2]


def test_memory_lives_until_its_receipts_exist(pair):
    memory = array()
    alive = weakref.ref(memory)
    pool = pair.sink.wrap(memory, BLOCK_BYTES)
    offer = pair.offer(2, watermark_bytes=0)
    fetch = pair.sink.fetch(offer.ticket(), pool, [0, 1])
    del memory, pool
    gc.collect()
    assert alive() is not None

    fetch.cancel(Scope.ATTEMPT)
    receipt = fetch.quiet.wait(WAIT_MS)
    gc.collect()
    assert alive() is not None
    fetch.retire(receipt)
    del fetch
    gc.collect()
    pair.sink.collect()  # any call sees to what was dropped
    assert alive() is None
    offer.cancel()
    pair.retire(offer)


def test_abandoned_memory_lives_for_good():
    pair = Pair()
    memory = array()
    alive = weakref.ref(memory)
    pool = pair.sink.wrap(memory, BLOCK_BYTES)
    pair.sink.fetch(pair.offer(2, watermark_bytes=0).ticket(), pool, [0, 1])
    del memory, pool
    kept = pair.sink.abandon()
    pair.source.end(WAIT_MS)
    del pair
    gc.collect()
    assert kept.pools == 1 and kept.handoffs == 1 and kept.bytes == COUNT * BLOCK_BYTES
    assert alive() is not None


def test_a_buffer_can_not_be_resized_meanwhile(pair):
    memory = bytearray(COUNT * BLOCK_BYTES)
    pool = pair.sink.wrap(memory, BLOCK_BYTES)
    with pytest.raises(BufferError):
        memory.clear()
    pool.destroy()
    memory.clear()


def test_a_view_keeps_its_pool(pair):
    pool = pair.sink.pool(BLOCK_BYTES, 2)
    view = pool.block(1)
    with pytest.raises(BusyError, match="view"):
        pool.destroy()
    del pool
    gc.collect()
    pair.sink.collect()
    view[:] = bytes(BLOCK_BYTES)  # its memory is there
    assert len(pair.sink.stats()["pools"]) == 2
    del view
    pair.sink.collect()
    assert len(pair.sink.stats()["pools"]) == 1


@pytest.mark.parametrize("memory", [
    bytes(BLOCK_BYTES),  # read-only
    numpy.zeros((4, BLOCK_BYTES), dtype=numpy.uint8)[:, ::2],  # in pieces
    Tensor(numpy.zeros((4, BLOCK_BYTES), dtype=numpy.uint8)[:, ::2]),
    bytearray(BLOCK_BYTES + 8),  # no whole blocks
    bytearray(0),
    Memory(0, BLOCK_BYTES),
])
def test_memory_that_can_not_be_wrapped(pair, memory):
    with pytest.raises(InvalidError):
        pair.sink.wrap(memory, BLOCK_BYTES)


def test_what_is_no_memory(pair):
    with pytest.raises(TypeError):
        pair.sink.wrap(object(), BLOCK_BYTES)
