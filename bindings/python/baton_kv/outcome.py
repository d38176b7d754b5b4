# SPDX-License-Identifier: Apache-2.0
"""How one end of a handoff ended.  Whether its memory is quiet is another question, with another
answer: baton_kv.receipt."""

import dataclasses
from typing import Any

from baton_kv._library import ffi
from baton_kv.word import Word


class Outcome(Word):
    """How one end of a handoff ended.  Decided once; the first decision wins."""

    UNDECIDED = 0
    COMPLETED = 1  # fetch: all bytes are there and committed.  offer: every slot was committed
    CANCELLED = 2  # by this side
    PEER_CANCELLED = 3  # cancelled, revoked or ended by the other side
    TIMED_OUT = 4  # a clock of this side ran out; the cause says which
    LINK_LOST = 5  # the peer died, or the link to it broke or could not be made
    REFUSED = 6  # by the source; the cause says whether a retry makes sense
    FAILED = 7  # a request that can not work: wrong secret or layout, or reading failed


class Cause(Word):
    """Why.  include/baton.h has a sentence for each."""

    NONE = 0
    CANCEL = 1
    CLOSING = 2
    CLOCK_READER = 3
    CLOCK_LEASE = 4
    CLOCK_WHOLE = 5
    CLOCK_OPENING = 6
    CLOCK_BYTES = 7
    CLOCK_PROGRESS = 8
    CLOCK_COMMIT = 9
    BUSY = 10
    GONE = 11
    COMMITTED = 12
    ATTEMPTS = 13
    INCARNATION = 14
    SECRET = 15
    LAYOUT = 16
    EARLY = 17
    READ = 18
    TRANSPORT = 19
    UNREACHABLE = 20
    PEER_DIED = 21
    LINK_CLOSED = 22
    LINK_SILENT = 23
    PROTOCOL = 24
    FENCED = 25


class Stage(Word):
    """Where a fetch or a reader slot stands, or stood when its outcome was decided."""

    NONE = 0
    OPENING = 1
    READING = 2
    COMMITTING = 3
    DRAINING = 4
    QUIET = 5
    OFFERED = 6
    LEASED = 7
    COMMITTED = 8
    REVOKED = 9


@dataclasses.dataclass(frozen=True)
class Slot:
    """How a reader slot of an offer ended: COMMITTED, or REVOKED and why."""

    stage: Stage
    cause: Cause


@dataclasses.dataclass(frozen=True)
class Result:
    """How one end of a handoff ended, with what one may want to know of it."""

    outcome: Outcome
    cause: Cause
    stage: Stage  # fetch: where it stood when the outcome was decided
    bytes_landed: int  # fetch: bytes copied into the blocks, useful or not.  offer: 0
    bytes_total: int  # bytes of the whole handoff
    aux: bytes | None  # fetch, COMPLETED only: the source's aux bytes; else None
    slots: tuple[Slot, ...]  # offer: its reader slots.  fetch: none

    @property
    def completed(self) -> bool:
        """Whether the outcome is COMPLETED."""
        return self.outcome is Outcome.COMPLETED


def result_of(c: Any) -> Result:
    """The result that a struct baton_result says."""
    completed_fetch = c.outcome == Outcome.COMPLETED and c.slots == 0
    return Result(
        outcome=Outcome(c.outcome),
        cause=Cause(c.cause),
        stage=Stage(c.stage),
        bytes_landed=c.bytes_landed,
        bytes_total=c.bytes_total,
        aux=bytes(ffi.buffer(c.aux, c.aux_bytes)) if completed_fetch and c.aux else
        b"" if completed_fetch else None,
        slots=tuple(Slot(Stage(c.slot_stage[i]), Cause(c.slot_cause[i])) for i in range(c.slots)),
    )
