# SPDX-License-Identifier: Apache-2.0
"""What can go wrong: one class for each code of baton_err.

A call that raises one of these has changed nothing.  How a handoff ended is no error: that is its
outcome (baton_kv.outcome).
"""

from typing import Any, ClassVar

from baton_kv._library import ffi, lib, text


class BatonError(Exception):
    """An error that the library reports; str() names the values that clash and what to do."""

    code: ClassVar[int]  # of baton_err


class InvalidError(BatonError, ValueError):
    """An argument is wrong; the message says which and why."""

    code = lib.BATON_EINVAL


class NoMemoryError(BatonError, MemoryError):
    """Memory, a descriptor or another resource of the system ran out."""

    code = lib.BATON_ENOMEM


class LimitError(BatonError):
    """A stated limit of this engine is reached; try again later or raise the option."""

    code = lib.BATON_ELIMIT


class ClosedError(BatonError):
    """The engine is closing, or has ended: no new work."""

    code = lib.BATON_ECLOSED


class BusyError(BatonError):
    """Blocks still lack a receipt, or are lent or viewed in a way that excludes this call."""

    code = lib.BATON_EBUSY


class FullError(BatonError):
    """The pool has too few free blocks."""

    code = lib.BATON_EFULL


class TicketError(BatonError, ValueError):
    """Not a ticket, or one of an unknown version."""

    code = lib.BATON_ETICKET


class AddressError(BatonError, ValueError):
    """An endpoint is malformed, forbidden, or in use."""

    code = lib.BATON_EADDRESS


class ReceiptError(BatonError):
    """The receipt was used before, belongs to another handoff, or is no receipt."""

    code = lib.BATON_ERECEIPT


class TimedOutError(BatonError, TimeoutError):
    """The given time passed first."""

    code = lib.BATON_ETIMEOUT


class ForkedError(BatonError):
    """The engine was made in another process; in the child of a fork it is dead."""

    code = lib.BATON_EFORKED


class SystemCallError(BatonError):
    """The operating system refused; the message names the call and its error."""

    code = lib.BATON_ESYSTEM


CLASSES: dict[int, type[BatonError]] = {
    c.code: c
    for c in (InvalidError, NoMemoryError, LimitError, ClosedError, BusyError, FullError,
              TicketError, AddressError, ReceiptError, TimedOutError, ForkedError, SystemCallError)
}


def error_new() -> Any:
    """A struct baton_error to give to a call, for check()."""
    return ffi.new("struct baton_error *")


def check(err: int, error: Any = None) -> None:
    """Raise what `err` says, with the message of `error` or else the library's sentence."""
    if err:
        message = text(error.text) if error is not None else ""
        raise CLASSES[err](message or text(lib.baton_strerror(err)))
