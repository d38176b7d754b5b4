# SPDX-License-Identifier: Apache-2.0
"""Evidence that the blocks of a handoff are quiet."""

import dataclasses
from typing import Any

from baton_kv._library import ffi, text
from baton_kv.word import Word


class Proof(Word):
    """The evidence of quiet.  See docs/DESIGN.md, section 4."""

    NONE = 0
    NEVER_EXPOSED = 1  # nobody could ever touch the blocks
    LOCAL_DRAIN = 2  # only this process's own code moved the bytes, and it has stopped
    REVOKED = 3  # nothing that may still be read from the blocks can ever be committed
    PEER_DRAIN = 4  # every peer that could touch the blocks said that it has stopped
    PEER_EXITED = 5  # the process that wrote into the blocks has ended
    LINK_FENCED = 6  # this side's end of the link, all that could store, was destroyed
    HELPER_EXITED = 7  # the same, by the end of this side's helper process


@dataclasses.dataclass(frozen=True)
class Receipt:
    """Evidence that the blocks of one handoff are quiet.

    A value: copy it, log it, use it once in Handoff.retire().
    """

    handoff_id: int
    nonce: int = dataclasses.field(repr=False)  # binds the receipt to its handoff
    incarnation: bytes = dataclasses.field(repr=False)  # of this engine
    peer: bytes = dataclasses.field(repr=False)  # of the other engine; zero: there was none
    proof: Proof
    transport: str  # "shm", "tcp", "nixl" or "none"; of several kinds of readers "mixed"
    attempts: int  # how many leases it covers: all that the handoff ever had
    last_attempt: int  # the source's number of the last of them; 0: there was none
    bytes_landed: int
    time_ns: int  # CLOCK_MONOTONIC, as time.monotonic_ns()


def receipt_of(c: Any) -> Receipt:
    """The receipt that a struct baton_receipt is."""
    return Receipt(
        handoff_id=c.handoff_id,
        nonce=c.nonce,
        incarnation=bytes(ffi.buffer(c.incarnation)),
        peer=bytes(ffi.buffer(c.peer)),
        proof=Proof(c.proof),
        transport=text(c.transport),
        attempts=c.attempts,
        last_attempt=c.last_attempt,
        bytes_landed=c.bytes_landed,
        time_ns=c.time_ns,
    )


def receipt_to_c(receipt: Receipt) -> Any:
    """And back, for baton_retire(), which does not read the transport."""
    fields = dataclasses.asdict(receipt)
    del fields["transport"]
    return ffi.new("struct baton_receipt *", fields)



@dataclasses.dataclass(frozen=True)
class Abandoned:
    """What an abandoned engine keeps until the process ends."""

    bytes: int  # of pools that still hold blocks without a receipt
    pools: int  # how many pools those are
    handoffs: int  # that had not ended, or whose receipt was not used
