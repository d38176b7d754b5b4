# SPDX-License-Identifier: Apache-2.0
"""Engines: listeners, links and the state of all handoffs of one process."""

import asyncio
import json
import logging
import warnings
from collections.abc import Sequence
from typing import Any

from baton_kv import ticket as tickets
from baton_kv._library import ffi, lib, text
from baton_kv._life import BATCH, Life
from baton_kv._log import log_callback
from baton_kv._wait import wait_until
from baton_kv.choice import Host, LinkKind, Mode, OnDoubt, Progress
from baton_kv.completion import Completion
from baton_kv.errors import InvalidError, check, error_new
from baton_kv.handoff import Fetch, Offer
from baton_kv.memory import memory_of
from baton_kv.pool import Layout, Pool
from baton_kv.receipt import Abandoned

END_TIMEOUT_MS = 5000


class Engine:
    """Source and sink of handoffs; one for a process is enough.  Any thread may use it.

    All options are those of struct baton_engine_options in baton.h, with its defaults: 0, None and
    () mean the default.  `logger` gets what the engine logs, from Baton's own thread.

    Completions are collected by awaiting (an asyncio loop does it, from its first await on), by
    Moment.wait(), and by poll() and collect(); each goes to one of these, and whoever it is, the
    handoff's `outcome` and `quiet` know.

    `with` and `async with` end it; see end().  In the child of a fork every call raises ForkedError
    and touches nothing.

    Errors: InvalidError, AddressError, NoMemoryError, SystemCallError; nothing was left behind.
    """

    def __init__(
        self,
        *,
        listen: Sequence[str] = (),
        advertise: Sequence[str] = (),
        allow_wildcard: bool = False,
        progress: Progress = Progress.THREAD,
        link: LinkKind = LinkKind.AUTO,
        transports: Sequence[str] = (),
        movers: int = 0,
        offers_max: int = 0,
        fetches_max: int = 0,
        links_max: int = 0,
        window_bytes: int = 0,
        slice_bytes: int = 0,
        inflight_bytes_max: int = 0,
        attempts_max: int = 0,
        link_timeout_ms: int = 0,
        doubt_ms: int = 0,
        spin_us: int = 0,
        stats_path: str | None = None,
        host: Host = Host.AUTO,
        helpers_max: int = 0,
        helper_path: str | None = None,
        on_doubt: OnDoubt = OnDoubt.WAIT,
        on_doubt_ms: int = 0,
        quarantine_bytes_max: int = 0,
        quarantine_percent_max: int = 0,
        logger: logging.Logger | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "logger")}
        options, kept = _options_to_c(given)
        log = log_callback(logger) if logger else None
        options.on_log = log or ffi.NULL
        ret_engine, error = ffi.new("baton_engine **"), error_new()
        check(lib.baton_engine_create(options, ret_engine, error), error)
        del kept
        try:
            self._life = Life(ret_engine[0], progress is Progress.CALLER, log)
        except BaseException:
            lib.baton_engine_close(ret_engine[0])
            check(lib.baton_engine_destroy(ret_engine[0], error), error)
            raise

    # ---- pools ----

    def pool(self, block_bytes: int, block_count: int, *, layout: Layout | None = None,
             check: bool = False, huge: bool = False) -> Pool:
        """Make a pool of Baton's own memory, which peers on this host can map.

        `block_bytes` is a multiple of 8.  `check` fills free blocks with a pattern and looks
        whether late bytes changed it; `huge` asks for huge pages.
        Errors: InvalidError, LimitError, NoMemoryError, ClosedError, SystemCallError.
        """
        flags = (lib.BATON_POOL_CHECK if check else 0) | (lib.BATON_POOL_HUGE if huge else 0)
        return Pool(self._life, block_bytes, block_count, flags, layout, None)

    def wrap(self, memory: Any, block_bytes: int, *, layout: Layout | None = None) -> Pool:
        """Make a pool of the user's memory: a Memory, a torch tensor, a numpy array, a buffer.

        Ownership: `memory` is held until the pool has gone, and so until every receipt of its
        blocks exists; of an abandoned engine, until the process ends.  Its free list is the
        user's, who rewrites only blocks that Handoff.retire() returned.
        Errors: as pool(); InvalidError too where the bytes are not whole blocks in one piece.
        """
        wrapped = memory_of(memory)
        if not wrapped.address:
            raise InvalidError("there is no memory at address 0")
        if block_bytes <= 0 or wrapped.length_bytes % block_bytes:
            raise InvalidError(f"{wrapped.length_bytes} bytes are no whole blocks of {block_bytes}")
        flags = 0 if wrapped.cuda_device is None else lib.BATON_POOL_CUDA
        return Pool(self._life, block_bytes, wrapped.length_bytes // block_bytes, flags, layout,
                    wrapped)

    # ---- handoffs ----

    def offer(self, pool: Pool, blocks: Sequence[int], *, watermark_bytes: int = 0,
              readers: int = 1, reader_timeout_ms: int = 0, lease_timeout_ms: int = 0,
              whole_timeout_ms: int = 0) -> Offer:
        """Offer blocks to the readers that will hold its tickets, perhaps before a byte is there.

        Ownership: the blocks are lent until the receipt is used; they may be freed before, and
        shared with other offers.  Clocks: 0 means never.
        Errors: InvalidError, LimitError (offers_max), BusyError (a block is lent to a fetch),
        ClosedError, NoMemoryError; nothing was started.
        """
        offer = Offer(self._life, pool, tuple(blocks))
        array = ffi.new("uint32_t[]", offer.blocks)
        args = ffi.new("struct baton_offer_args *", {
            "size": ffi.sizeof("struct baton_offer_args"),
            "blocks": array,
            "block_count": len(array),
            "watermark_bytes": watermark_bytes,
            "readers": readers,
            "reader_timeout_ms": reader_timeout_ms,
            "lease_timeout_ms": lease_timeout_ms,
            "whole_timeout_ms": whole_timeout_ms,
        })
        self._life.start(offer, lib.baton_offer, args)
        return offer

    def fetch(self, ticket: bytes | str, pool: Pool, blocks: Sequence[int], *,
              first_block: int = 0, transport: str | None = None, mode: Mode = Mode.PULL,
              opening_timeout_ms: int = 0, bytes_timeout_ms: int = 0,
              progress_timeout_ms: int = 0, commit_timeout_ms: int = 0,
              whole_timeout_ms: int = 0) -> Fetch:
        """Fetch an offer's blocks into `blocks`.  One fetch is one attempt; it never blocks on the
        network.

        `first_block` skips so many blocks of the offer, a prefix that is here already.
        Ownership: the blocks are lent until the receipt is used; nobody may touch them before.
        Clocks: 0 means never.
        Errors: TicketError, InvalidError, BusyError (a block is in another handoff), LimitError,
        ClosedError, NoMemoryError, SystemCallError; nothing was started.
        """
        raw = tickets.from_text(ticket) if isinstance(ticket, str) else ticket
        fetch = Fetch(self._life, pool, tuple(blocks))
        array, ticket_bytes = ffi.new("uint32_t[]", fetch.blocks), ffi.from_buffer(raw)
        name = ffi.new("char[]", transport.encode()) if transport else ffi.NULL
        args = ffi.new("struct baton_fetch_args *", {
            "size": ffi.sizeof("struct baton_fetch_args"),
            "ticket": ticket_bytes,
            "ticket_length": len(ticket_bytes),
            "blocks": array,
            "block_count": len(array),
            "first_block": first_block,
            "transport": name,
            "mode": mode,
            "opening_timeout_ms": opening_timeout_ms,
            "bytes_timeout_ms": bytes_timeout_ms,
            "progress_timeout_ms": progress_timeout_ms,
            "commit_timeout_ms": commit_timeout_ms,
            "whole_timeout_ms": whole_timeout_ms,
        })
        self._life.start(fetch, lib.baton_fetch, args)
        return fetch

    # ---- completions ----

    def collect(self, limit: int = BATCH) -> list[Completion]:
        """Collect up to `limit` completions, oldest first; never blocks.  Drives the engine where
        the caller does (Progress.CALLER)."""
        return self._life.pump(limit)

    def poll(self, timeout_ms: int | None = None, limit: int = BATCH) -> list[Completion]:
        """As collect(), and wait up to `timeout_ms` for the first (None: without limit).

        RuntimeError where an asyncio loop runs on this thread: that one collects, by awaiting.
        """
        heard: list[Completion] = []

        def is_done() -> bool:
            heard.extend(self._life.pump(limit))
            return bool(heard)

        wait_until(self._life, is_done, timeout_ms)
        return heard

    def fileno(self) -> int:
        """A descriptor to poll, and not to read: it is readable while completions wait; where the
        caller drives the engine, while that has something to do: then collect() until it is empty.
        """
        with self._life:
            return self._life.descriptors[-1].fd

    # ---- looking ----

    @property
    def incarnation(self) -> bytes:
        """The random identity, 16 bytes, of this engine's life."""
        ret_incarnation = ffi.new("uint8_t[16]")
        with self._life:
            lib.baton_engine_incarnation(self._life.engine, ret_incarnation)
        return bytes(ret_incarnation)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The addresses that the listeners got, such as "tcp:127.0.0.1:40123"."""
        found: list[str] = []
        ret_endpoint = ffi.new("char[]", lib.BATON_ENDPOINT_BYTES_MAX)
        with self._life:
            while lib.baton_engine_endpoint(self._life.engine, len(found), ret_endpoint):
                found.append(text(ret_endpoint))
        return tuple(found)

    def stats(self) -> dict[str, Any]:
        """The engine's counters; docs/METRICS.md names them."""
        size = 1 << 16
        while True:
            ret_text = ffi.new("char[]", size)
            with self._life:
                length = lib.baton_engine_stats_json(self._life.engine, ret_text, size)
            if length < size:
                stats: dict[str, Any] = json.loads(text(ret_text))
                return stats
            size = length + size

    # ---- the end ----

    def close(self) -> None:
        """Take no new work from now on, and cancel every handoff with Cause.CLOSING.  Returns at
        once; may be repeated."""
        if not self._life.is_forked():
            self._life.close()

    def drain(self, timeout_ms: int | None = None) -> None:
        """Wait until every handoff has ended and is quiet; collects nothing.

        Errors: TimedOutError after `timeout_ms` (None: no limit), and then nothing has changed.
        """
        self._life.drain(timeout_ms)

    def destroy(self) -> None:
        """Destroy a closed engine and its pools; twice is once.

        Errors: BusyError, a receipt was not used, a completion not collected, or a view of a pool
        is in use: nothing was destroyed.
        """
        if not self._life.ended:
            self._life.destroy()

    def abandon(self) -> Abandoned | None:
        """Give up an engine that can not be destroyed: its links are closed, its threads stopped,
        and what could still be touched stays until the process ends.  None: it has ended."""
        return None if self._life.ended else self._life.abandon()

    def end(self, timeout_ms: int | None = END_TIMEOUT_MS) -> Abandoned | None:
        """Close, wait until all is quiet, use every receipt that was not used, and destroy.

        Where quiet is not proven within `timeout_ms` the engine is abandoned: the answer, and a
        warning, say what stays.  While a view of a pool's memory exists the engine is closed, and
        destroyed with the last of them.  Twice is once; of no effect in the child of a fork.
        """
        if self._life.is_forked() or self._life.ended:
            return None
        kept = self._life.end(timeout_ms)
        if kept is not None:
            warnings.warn(
                f"{kept.handoffs} handoffs had no receipt after {timeout_ms} ms: {kept.bytes} "
                f"bytes of {kept.pools} pools stay until the process ends",
                RuntimeWarning, stacklevel=2)
        return kept

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    async def __aenter__(self) -> "Engine":
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.end)


def _options_to_c(given: dict[str, Any]) -> tuple[Any, list[Any]]:
    """A struct baton_engine_options, and the strings that it borrows."""
    options = ffi.new("struct baton_engine_options *")
    options.size = ffi.sizeof("struct baton_engine_options")
    kept: list[Any] = []
    for name, value in given.items():
        if isinstance(value, str):
            kept.append(ffi.new("char[]", value.encode()))
            setattr(options, name, kept[-1])
        elif isinstance(value, Sequence):
            strings = [ffi.new("char[]", item.encode()) for item in value]
            array = ffi.new("char *[]", strings)
            kept += [strings, array]
            setattr(options, name, ffi.cast("const char *const *", array))
            setattr(options, name + "_count", len(strings))
        elif value is not None:
            setattr(options, name, value)
    return options, kept
