# SPDX-License-Identifier: Apache-2.0
"""File descriptors with an owner."""

import contextlib
import os


class Descriptor:
    """A copy of a C engine's descriptor, open until nobody has it any more.

    So a thread or a loop that still polls it when the engine ends does not poll another file.
    """

    def __init__(self, fd: int) -> None:
        self.fd = os.dup(fd)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # there was none to be had
            os.close(self.fd)


class Bell:
    """Wakes one thread that polls it."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def ring(self) -> None:
        os.eventfd_write(self.fd, 1)

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fd)

    def close(self) -> None:
        os.close(self.fd)
