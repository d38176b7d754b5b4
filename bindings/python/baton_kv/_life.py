# SPDX-License-Identifier: Apache-2.0
"""The life of one C engine: what it owns, in what order that may go, and who is told what.

Engines, pools, handoffs and views of memory hold their Life; a Life holds handoffs only until they
are quiet.  So whatever is dropped, and in whatever order, the C engine outlives all that points
into it, and ends when nothing does.

Finalizers run at any time, on any thread, perhaps while that thread is in here.  So those of pools
and handoffs only put a number on a list (`dropped_...`), which the next call works off.
"""

import asyncio
import atexit
import collections
import contextlib
import ctypes
import itertools
import os
import threading
import warnings
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from baton_kv._descriptor import Bell, Descriptor
from baton_kv._library import ffi, lib
from baton_kv._reader import LoopReader
from baton_kv.choice import Notice
from baton_kv.completion import Completion
from baton_kv.errors import (
    BusyError,
    ClosedError,
    ForkedError,
    InvalidError,
    ReceiptError,
    TimedOutError,
    check,
    error_new,
)
from baton_kv.outcome import Cause, result_of
from baton_kv.receipt import Abandoned, Receipt, receipt_of, receipt_to_c

if TYPE_CHECKING:
    from baton_kv.handoff import Handoff

BATCH = 64  # completions that are collected at once
DRAIN_SLICE_MS = 50  # between two looks for signals of Python
UNSEEN_DRAIN_MS = 100  # of an engine that is ended by the garbage collector, or at exit
EXIT_LOCK_S = 1.0


class PoolEntry:
    """A C pool, and what it needs in Python."""

    def __init__(self, pointer: Any, owner: Any) -> None:
        self.pointer = pointer
        self.owner = owner  # of wrapped memory
        self.view: weakref.ref[Any] | None = None  # the buffer that all views of it share

    def is_viewed(self) -> bool:
        return self.view is not None and self.view() is not None


class Life:
    """One C engine.  `with life:` is a call into it: one at a time, and none after its end."""

    def __init__(self, engine: Any, is_driven_by_caller: bool, log: Any) -> None:
        self.engine = engine
        self.pid = os.getpid()
        self.ended = True  # until it is whole
        self.log = log  # the callback that the C engine may call
        # Protects all below.  No call under it waits for a peer.
        self.lock = threading.RLock()
        self.serial = itertools.count(1)
        self.underway: dict[int, Handoff] = {}  # by the serial number; until quiet
        self.references: dict[int, Any] = {}  # to C handoffs, one each; until retired
        self.receipts: dict[int, Receipt] = {}  # of handoffs that are quiet and not retired
        self.pools: dict[int, PoolEntry] = {}  # by the serial number, too
        self.released: set[int] = set()  # handoffs that are retired when they are quiet
        self.dropped_handoffs: collections.deque[int] = collections.deque()
        self.dropped_pools: collections.deque[int] = collections.deque()
        self.drains = 0  # threads that are in C without the lock
        self.drained = threading.Condition(self.lock)
        self.is_pumping = False
        self.batch = ffi.new("struct baton_completion[]", BATCH + 1)  # the last stays empty
        self.batch_next = 0
        self.heard = 0  # completions, ever, also those that nobody is told of
        self.bells: set[Bell] = set()
        self.readers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopReader] = (
            weakref.WeakKeyDictionary())
        self.is_driven_by_caller = is_driven_by_caller
        self.descriptors = [Descriptor(lib.baton_engine_completion_fd(engine))]
        if is_driven_by_caller:
            self.descriptors.append(Descriptor(lib.baton_engine_fd(engine)))
        self.ended = False
        alive.add(self)

    # ---- calls ----

    def __enter__(self) -> None:
        # First: in a forked child the lock may be held for ever.
        if self.is_forked():
            raise ForkedError("the engine belongs to the parent process")
        self.lock.acquire()
        if self.ended:
            self.lock.release()
            raise ClosedError("the engine has ended")
        if self.dropped_handoffs or self.dropped_pools:
            try:
                self._sweep()
            except BaseException:
                self.lock.release()
                raise

    def __exit__(self, *_: object) -> None:
        self.lock.release()

    def is_forked(self) -> bool:
        return os.getpid() != self.pid

    def _sweep(self) -> None:
        while self.dropped_handoffs:
            self.settle(self.dropped_handoffs.popleft())
        for _ in range(len(self.dropped_pools)):
            serial = self.dropped_pools.popleft()
            try:
                self.destroy_pool(serial)
            except BusyError:
                self.dropped_pools.append(serial)

    # ---- handoffs ----

    def start(self, handoff: "Handoff", call: Any, args: Any) -> None:
        """Start a handoff by baton_offer() or baton_fetch()."""
        ret_handoff, error = ffi.new("baton_handoff **"), error_new()
        serial = handoff.serial
        if handoff.pool.life is not self:
            raise InvalidError("the pool is another engine's")
        with self:
            args.pool = handoff.pool.pointer()
            args.notices.arg = ffi.cast("void *", serial)
            self.underway[serial] = handoff
            try:
                check(call(self.engine, args, ret_handoff, error), error)
            except BaseException:
                del self.underway[serial]
                raise
            self.references[serial] = ret_handoff[0]
            handoff.id = int(lib.baton_handoff_id(ret_handoff[0]))

    @contextlib.contextmanager
    def reference(self, serial: int) -> Iterator[Any]:
        """A call with a handoff's reference; None, once it was retired or the engine has ended."""
        if self.is_forked():
            yield None
            return
        with self.lock:
            yield None if self.ended else self.references.get(serial)

    def retire(self, serial: int, receipt: Receipt, count: int = 0) -> list[int]:
        """Use a receipt, and drop the reference.  Returns the last of `count` blocks."""
        last, last_count = ffi.new("uint32_t[]", count), ffi.new("size_t *")
        reference, error = self.references[serial], error_new()
        check(lib.baton_retire(reference, receipt_to_c(receipt), last if count else ffi.NULL,
                               last_count, error), error)
        self._forget(serial)
        return list(last[0:last_count[0]]) if count else []

    def _forget(self, serial: int) -> None:
        self.receipts.pop(serial, None)
        self.released.discard(serial)
        lib.baton_handoff_unref(self.references.pop(serial))

    def settle(self, serial: int) -> None:
        """Retire a handoff that is quiet in the place of who could have."""
        if serial in self.receipts:
            try:
                self.retire(serial, self.receipts[serial])
            except ReceiptError:  # a signal's exception came between its use and _forget()
                self._forget(serial)

    def release(self, serial: int) -> None:
        if serial in self.underway:
            self.released.add(serial)
        self.settle(serial)

    # ---- pools ----

    def destroy_pool(self, serial: int) -> None:
        entry, error = self.pools.get(serial), error_new()
        if entry is None:
            return
        if entry.is_viewed():
            raise BusyError("a view of the pool's memory is still in use")
        check(lib.baton_pool_destroy(entry.pointer, error), error)
        entry.owner = None
        del self.pools[serial]

    # ---- completions ----

    def pump(self, limit: int = BATCH) -> list[Completion]:
        """Drive the engine, where the caller does, and collect; tells everybody who waits.

        The handler of a signal may be here in the middle of its own thread's call: it gets none.
        """
        heard: list[Completion] = []
        with self:
            if self.is_pumping:
                return heard
            self.is_pumping = True
            try:
                if self.is_driven_by_caller:
                    check(lib.baton_engine_step(self.engine, 0))
                for _ in range(limit):
                    if not self._collect(limit):
                        break
                    heard += self._hear_next()
            finally:
                self.is_pumping = False
        return heard

    def _collect(self, limit: int) -> bool:
        """Whether the batch has a completion.  Those that were heard have no notice any more, so
        what the exception of a signal left there is found."""
        if not self.batch[self.batch_next].notice:
            self.batch_next = 0
            lib.baton_engine_collect(self.engine, self.batch, min(limit, BATCH))
        return bool(self.batch[self.batch_next].notice)

    def _hear_next(self) -> list[Completion]:
        c = self.batch[self.batch_next]
        completions = self._hear(c)
        self.heard += 1
        c.notice = 0
        self.batch_next += 1
        lib.baton_handoff_unref(c.handoff)
        self._ring()
        return completions

    def _hear(self, c: Any) -> list[Completion]:
        """Returns what the caller is to be told: nothing of a handoff that was released.

        Twice is once: the exception of a signal may come between any two of its lines.
        """
        serial = int(ffi.cast("uintptr_t", c.arg))
        handoff = self.underway.get(serial)
        if handoff is None:
            return []
        notice, result = Notice(c.notice), result_of(c.result)
        is_released = serial in self.released
        receipt = None
        if notice is Notice.OUTCOME:
            handoff.outcome.happen(result)
        elif notice is Notice.DOUBT:
            handoff.doubt = Cause(c.result.cause)
        else:
            receipt = receipt_of(c.receipt)
            if serial in self.references:
                self.receipts[serial] = receipt
            handoff.doubt = None
            handoff.quiet.happen(receipt)
            if is_released:
                self.settle(serial)
            del self.underway[serial]
        return [] if is_released else [Completion(notice, handoff, result, receipt)]

    def _ring(self) -> None:
        for bell in self.bells:
            bell.ring()

    def read_by(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let `loop`, the one that runs, collect completions from now on."""
        if loop not in self.readers:
            self.readers[loop] = LoopReader(self, loop)

    # ---- the end ----

    def close(self) -> None:
        with self.lock:
            if not self.ended:
                lib.baton_engine_close(self.engine)

    def drain(self, timeout_ms: int | None) -> None:
        """baton_engine_drain(), in slices: an exception of a signal gets through."""
        left_ms = timeout_ms
        with self:
            self.drains += 1
        try:
            while True:
                slice_ms = DRAIN_SLICE_MS if left_ms is None else min(left_ms, DRAIN_SLICE_MS)
                err = self._drain_slice(slice_ms)
                left_ms = None if left_ms is None else left_ms - slice_ms
                if self.ended:
                    raise ClosedError("the engine was abandoned before it was quiet")
                if err != lib.BATON_ETIMEOUT or left_ms == 0:
                    check(err)
                    return
        finally:
            with self.lock:
                self.drains -= 1
                self.drained.notify_all()

    def _drain_slice(self, slice_ms: int) -> int:
        if not self.is_driven_by_caller:
            # Without the lock, so that others go on; destroy() refuses meanwhile.
            return int(lib.baton_engine_drain(self.engine, slice_ms))
        with self:
            return int(lib.baton_engine_drain(self.engine, slice_ms))

    def destroy(self) -> None:
        error = error_new()
        with self:
            if self.drains > 0:
                raise BusyError("another thread is draining the engine")
            if self.is_viewed():
                raise BusyError("a view of a pool's memory is still in use")
            check(lib.baton_engine_destroy(self.engine, error), error)
            self._over()
            for entry in self.pools.values():
                entry.owner = None
            self.pools.clear()

    def abandon(self) -> Abandoned:
        kept = ffi.new("struct baton_abandoned *")
        with self:
            lib.baton_engine_abandon(self.engine, kept)
            self._over()
            # Something may still reach that memory: it stays, also while the interpreter ends.
            for thing in (self.log, *(entry.owner for entry in self.pools.values())):
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
        return Abandoned(bytes=kept.bytes, pools=kept.pools, handoffs=kept.handoffs)

    def is_viewed(self) -> bool:
        return any(entry.is_viewed() for entry in self.pools.values())

    def _over(self) -> None:
        self.ended = True
        alive.discard(self)
        for handoff in self.underway.values():
            handoff.outcome.fail()
            handoff.quiet.fail()
        self.underway.clear()
        self._ring()
        for reader in list(self.readers.values()):
            reader.stop()

    def end(self, timeout_ms: int | None) -> Abandoned | None:
        """Close, drain, use every receipt, destroy; abandon where quiet is not proven in time."""
        self.close()
        try:
            self.drain(timeout_ms)
            with self:
                before = -1
                while before != self.heard:
                    before = self.heard
                    self.pump()
                for serial in list(self.receipts):
                    self.settle(serial)
                while self.drains > 0:  # others see at once that there is nothing to wait for
                    self.drained.wait()
                if not self.is_viewed():  # the last view's end is then the engine's
                    self.destroy()
        except (TimedOutError, BusyError):  # busy: the exception of a signal lost a reference
            return self.abandon()
        except ClosedError:
            pass  # another thread was faster
        return None

    def end_at_exit(self) -> None:
        """Tell the peers, and keep the memory: threads and views may still use it."""
        if not self.ended:
            self.close()
            with contextlib.suppress(TimedOutError):
                self.drain(UNSEEN_DRAIN_MS)
            self.abandon()

    def __del__(self) -> None:
        if self.ended or self.is_forked():
            return
        warnings.warn("an engine was dropped and not ended: Engine.end()", ResourceWarning)
        self.end(UNSEEN_DRAIN_MS)


alive: weakref.WeakSet[Life] = weakref.WeakSet()


@atexit.register
def end_all() -> None:
    """No thread of an engine may run, nor memory go, while the interpreter ends."""
    for life in list(alive):
        # A thread that holds the lock for long is stuck: the process ends without it.
        if not life.is_forked() and life.lock.acquire(timeout=EXIT_LOCK_S):
            try:
                life.end_at_exit()
            finally:
                life.lock.release()
