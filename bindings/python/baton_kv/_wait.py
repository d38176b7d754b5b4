# SPDX-License-Identifier: Apache-2.0
"""Waiting without asyncio, on any thread, with the GIL let go of."""

import asyncio
import select
import time
from collections.abc import Callable

from baton_kv._descriptor import Bell
from baton_kv._life import Life


def wait_until(life: Life, is_done: Callable[[], bool], timeout_ms: int | None) -> bool:
    """Wait until `is_done`, which collects what there is; returns whether it came to be.

    `timeout_ms` None: without limit.  RuntimeError on a thread whose asyncio loop this would stop.
    """
    if is_done():
        return True
    if timeout_ms == 0:
        return False
    if _has_running_loop():
        raise RuntimeError("this would block the asyncio loop of this thread: await instead")
    with life:
        if life.is_pumping:  # by this thread: the lock is its own
            raise RuntimeError("a signal's handler can not wait: its thread is collecting")
    end_s = None if timeout_ms is None else time.monotonic() + timeout_ms / 1000
    bell = Bell()
    # Others may collect what this thread waits for: they ring.
    with life:
        life.bells.add(bell)
    try:
        return _poll(life, is_done, end_s, bell)
    finally:
        with life.lock:
            life.bells.discard(bell)
        bell.close()


def _has_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _poll(life: Life, is_done: Callable[[], bool], end_s: float | None, bell: Bell) -> bool:
    poller = select.poll()
    for fd in (bell.fd, *(descriptor.fd for descriptor in life.descriptors)):
        poller.register(fd, select.POLLIN)
    while not is_done():
        left_s = None if end_s is None else end_s - time.monotonic()
        if left_s is not None and left_s <= 0:
            return False
        poller.poll(None if left_s is None else left_s * 1000)
        bell.clear()
    return True
