# SPDX-License-Identifier: Apache-2.0
"""An asyncio loop that collects an engine's completions."""

import asyncio
import contextlib
import weakref
from typing import TYPE_CHECKING

from baton_kv.errors import ClosedError

if TYPE_CHECKING:
    from baton_kv._life import Life


class LoopReader:
    """Collects when the engine's descriptors are readable, from the first await until the engine
    or the loop ends.  Made on the loop's thread; keeps neither the engine nor the loop alive."""

    def __init__(self, life: "Life", loop: asyncio.AbstractEventLoop) -> None:
        self._life = weakref.ref(life)
        self._loop = weakref.ref(loop)
        self._descriptors = life.descriptors  # the loop polls them until _remove()
        for descriptor in self._descriptors:
            loop.add_reader(descriptor.fd, self._collect)

    def _collect(self) -> None:
        life = self._life()
        if life is not None and not life.is_forked():
            with contextlib.suppress(ClosedError):  # it has just ended: stop() is on its way
                life.pump()

    def stop(self) -> None:
        """Any thread."""
        loop = self._loop()
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed: it reads nothing
                loop.call_soon_threadsafe(self._remove, loop)

    def _remove(self, loop: asyncio.AbstractEventLoop) -> None:
        for descriptor in self._descriptors:
            loop.remove_reader(descriptor.fd)
