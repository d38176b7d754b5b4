# SPDX-License-Identifier: Apache-2.0
"""Tickets: opaque bytes that travel with the request and let a decode server fetch.

A ticket is a bearer secret: who has it can read what is offered.
"""

import dataclasses
from typing import Any

from baton_kv._library import ffi, lib, text
from baton_kv.errors import check, error_new


@dataclasses.dataclass(frozen=True)
class TicketView:
    """What a ticket says, without its secret."""

    incarnation: bytes  # of the source's engine
    offer_id: int
    slot: int
    bytes_total: int
    block_bytes: int
    block_count: int
    endpoints: tuple[str, ...]


def to_text(ticket: bytes) -> str:
    """The ticket as URL-safe text.  Raises TicketError where it is none."""
    ret_text = ffi.new("char[]", lib.BATON_TICKET_TEXT_BYTES_MAX)
    check(lib.baton_ticket_to_text(ticket, len(ticket), ret_text))
    return text(ret_text)


def from_text(ticket_text: str) -> bytes:
    """And back.  Raises TicketError."""
    ret_ticket = ffi.new("uint8_t[]", lib.BATON_TICKET_BYTES_MAX)
    ret_length, error = ffi.new("size_t *"), error_new()
    encoded = ticket_text.encode(errors="replace")
    check(lib.baton_ticket_from_text(encoded, ret_ticket, ret_length, error), error)
    return bytes(ffi.buffer(ret_ticket, ret_length[0]))


def inspect(ticket: bytes) -> TicketView:
    """Read a ticket, wherever it comes from.  Raises TicketError, which says what is wrong."""
    view, error = ffi.new("struct baton_ticket_view *"), error_new()
    check(lib.baton_ticket_inspect(ticket, len(ticket), view, error), error)
    return _view_of(view)


def _view_of(c: Any) -> TicketView:
    return TicketView(
        incarnation=bytes(ffi.buffer(c.incarnation)),
        offer_id=c.offer_id,
        slot=c.slot,
        bytes_total=c.bytes_total,
        block_bytes=c.block_bytes,
        block_count=c.block_count,
        endpoints=tuple(text(c.endpoint[i]) for i in range(c.endpoints)),
    )
