# SPDX-License-Identifier: Apache-2.0
"""Pools: memory in equal blocks, of Baton's making or the user's."""

import dataclasses
import weakref
from collections.abc import Sequence
from typing import Any

from baton_kv._library import ffi, lib
from baton_kv._life import Life, PoolEntry
from baton_kv.errors import ClosedError, InvalidError, check, error_new
from baton_kv.memory import Memory


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a rank's KV cache lies within one block.

    block_bytes = layers x kv_parts x block_tokens x heads x head_size x dtype_bytes, and both
    sides must agree in every number.
    """

    layers: int
    kv_parts: int  # 2 for K and V, 1 where they are one (MLA)
    block_tokens: int
    heads: int  # KV heads of this rank
    head_size: int  # elements
    dtype_bytes: int  # bytes an element


@dataclasses.dataclass(frozen=True)
class PoolStats:
    """How many blocks of a pool are where."""

    blocks: int
    free_blocks: int  # not held and not lent; of wrapped memory: not lent
    held_blocks: int  # held by the caller and not lent
    lent_blocks: int  # in a handoff whose receipt was not used yet
    quarantine_blocks: int  # of those: the outcome is decided, quiet is not proven
    quarantine_oldest_us: int  # age of the oldest of them
    late_bytes: int  # check=True: bytes found changed in free blocks, ever
    late_blocks: int  # check=True: blocks that they were in


class Pool:
    """Memory in equal blocks, numbered from 0.  Made by Engine.pool() and Engine.wrap().

    Any thread may use it.  The pool goes, and lets go of the memory that it wraps, when nobody has
    it, a view of it, or a handoff of its blocks any more, or earlier by destroy().
    """

    def __init__(self, life: Life, block_bytes: int, block_count: int, flags: int,
                 layout: Layout | None, wrapped: Memory | None) -> None:
        self.life = life
        self._serial = next(life.serial)
        self.block_bytes = block_bytes
        self.block_count = block_count
        self.wrapped = wrapped is not None
        self._on_gpu = bool(flags & lib.BATON_POOL_CUDA)
        options = ffi.new("struct baton_pool_options *", {
            "size": ffi.sizeof("struct baton_pool_options"),
            "block_bytes": block_bytes,
            "block_count": block_count,
            "layout": dataclasses.asdict(layout) if layout else {},
            "flags": flags,
            "memory": ffi.cast("void *", wrapped.address if wrapped else 0),
            "device": (wrapped.cuda_device if wrapped else None) or 0,
        })
        ret_pool, error = ffi.new("baton_pool **"), error_new()
        with life:
            check(lib.baton_pool_create(life.engine, options, ret_pool, error), error)
            self._entry = PoolEntry(ret_pool[0], wrapped)
            life.pools[self._serial] = self._entry

    def pointer(self) -> Any:
        """The C pool.  For calls under its engine's lock."""
        if self._serial not in self.life.pools:
            raise ClosedError("the pool was destroyed")
        return self._entry.pointer

    def alloc(self, count: int) -> list[int]:
        """Take `count` free blocks of a pool that Baton made: the caller holds them and may write
        to them.

        Errors: FullError, fewer are free; InvalidError for wrapped memory.
        """
        if count > self.block_count:
            raise InvalidError(f"{count} blocks are wanted, and the pool has {self.block_count}")
        blocks, error = ffi.new("uint32_t[]", count), error_new()
        with self.life:
            check(lib.baton_pool_alloc(self.pointer(), count, blocks, error), error)
        return list(blocks)

    def free(self, blocks: Sequence[int]) -> None:
        """Let go of blocks that the caller holds, also while they are still offered: a block is
        free once nobody holds it and no handoff refers to it.

        Errors, nothing is changed: InvalidError, one is not held, or named twice; BusyError, one
        is of a fetch whose receipt was not used yet.
        """
        array, error = ffi.new("uint32_t[]", blocks), error_new()
        with self.life:
            check(lib.baton_pool_free(self.pointer(), array, len(array), error), error)

    def address(self, block: int) -> int:
        """Where block `block` lies."""
        with self.life:
            at = lib.baton_pool_block(self.pointer(), block)
        if not at:
            raise InvalidError(f"there is no block {block}: the pool has {self.block_count}")
        return int(ffi.cast("uintptr_t", at))

    def block(self, block: int) -> memoryview:
        """A view of block `block`, to read and to write.

        It keeps the pool and its engine: while one exists, they are not destroyed.  What it shows
        follows from Baton's contract, not from the view: between a fetch's start and its receipt
        nobody may touch the blocks.  In the child of a fork it must not be touched at all.
        """
        offset = self.address(block) - self.address(0)
        return memoryview(self._view())[offset : offset + self.block_bytes]

    def _view(self) -> Any:
        """The buffer that all views share; while it exists the memory must."""
        if self._on_gpu:
            raise InvalidError("the pool's memory is a GPU's: this process's CPU does not touch it")
        with self.life:
            pointer = self.pointer()
            buffer = self._entry.view() if self._entry.view else None
            if buffer is None:
                at = lib.baton_pool_block(pointer, 0)
                # Frees nothing: a buffer holds what it is of, and that holds this function's pool.
                held = ffi.gc(at, lambda _, pool=self: None)
                buffer = ffi.buffer(held, self.block_bytes * self.block_count)
                self._entry.view = weakref.ref(buffer)
        return buffer

    def stats(self) -> PoolStats:
        """How many blocks are where, at this moment."""
        c = ffi.new("struct baton_pool_stats *")
        with self.life:
            lib.baton_pool_inspect(self.pointer(), c)
        return PoolStats(**{f.name: getattr(c, f.name) for f in dataclasses.fields(PoolStats)})

    def verify(self) -> int:
        """check=True: look for late writes in every free block now; the counts are in stats().
        Returns how many blocks were looked at."""
        with self.life:
            return int(lib.baton_pool_verify(self.pointer()))

    def destroy(self) -> None:
        """Destroy the pool now; twice is once.

        Errors: BusyError, a block is lent or held, or a view of one exists: nothing was destroyed.
        """
        with self.life:
            self.life.destroy_pool(self._serial)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        if not self.life.is_forked():
            self.destroy()

    def __del__(self) -> None:
        self.life.dropped_pools.append(self._serial)
