# SPDX-License-Identifier: Apache-2.0
"""Something that happens once to a handoff, and can be waited for: its outcome, its quiet."""

import asyncio
import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from baton_kv._wait import wait_until
from baton_kv.errors import ClosedError, TimedOutError

if TYPE_CHECKING:
    from baton_kv._life import Life

T = TypeVar("T")


class Moment(Generic[T]):
    """Await it, on any loop and as often as wanted, or wait() for it; either gives its value.

    That an await is cancelled or a wait times out changes nothing about the handoff.
    """

    def __init__(self, life: "Life") -> None:
        self._life = life
        self._value: T | None = None
        self._happened = False
        self._failed = False
        self._futures: list[asyncio.Future[None]] = []

    @property
    def happened(self) -> bool:
        """Whether it has happened, and somebody has collected its completion."""
        return self._happened

    @property
    def value(self) -> T | None:
        """What it brought; None before."""
        return self._value

    def wait(self, timeout_ms: int | None = None) -> T:
        """Block this thread, and no other, until it happens; collects completions meanwhile.

        Errors: TimedOutError, `timeout_ms` has passed (None: no limit); ClosedError, the engine
        ended first; RuntimeError, an asyncio loop runs on this thread.
        """
        if not wait_until(self._life, self._looked, timeout_ms):
            raise TimedOutError(f"it did not happen within {timeout_ms} ms")
        return self._result()

    def __await__(self) -> Generator[Any, None, T]:
        return self._wait().__await__()

    async def _wait(self) -> T:
        if not self._is_over():
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()
            with self._life:
                self._life.read_by(loop)
                # It can have happened since, on another thread.
                if self._is_over():
                    future.set_result(None)
                else:
                    self._futures.append(future)
            try:
                await future
            finally:
                with contextlib.suppress(ValueError), self._life.lock:
                    self._futures.remove(future)
        return self._result()

    def _is_over(self) -> bool:
        return self._happened or self._failed

    def _looked(self) -> bool:
        if not self._is_over():
            self._life.pump()
        return self._is_over()

    def _result(self) -> T:
        if self._failed:
            raise ClosedError("the engine ended before this was known of the handoff")
        return cast(T, self._value)

    # ---- for the engine, under its lock ----

    def happen(self, value: T) -> None:
        self._value = value
        self._happened = True
        self._wake()

    def fail(self) -> None:
        """It will never be known."""
        self._failed = not self._happened
        self._wake()

    def _wake(self) -> None:
        futures, self._futures = self._futures, []
        for future in futures:
            with contextlib.suppress(RuntimeError):  # its loop is closed: nobody waits
                future.get_loop().call_soon_threadsafe(_finish, future)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
