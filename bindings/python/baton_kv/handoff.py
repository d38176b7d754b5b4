# SPDX-License-Identifier: Apache-2.0
"""The two ends of a handoff: an offer at the source, a fetch at the sink."""

from typing import TypeVar

from baton_kv._library import WATERMARK_END, ffi, lib
from baton_kv._life import Life
from baton_kv.choice import Cancel, Scope
from baton_kv.errors import InvalidError, ReceiptError, check
from baton_kv.moment import Moment
from baton_kv.outcome import Cause, Result
from baton_kv.pool import Pool
from baton_kv.receipt import Receipt

H = TypeVar("H", bound="Handoff")


class Handoff:
    """One end of a handoff.  Made by Engine.offer() and Engine.fetch(); any thread may use it.

    Ownership: its blocks are lent until its receipt is used, by retire().  An end that nobody can
    retire any more, because it was released or dropped, is retired by its engine, after quiet.

    `with` cancels it, if it is not decided by then, and releases it, and does not wait.
    `async with` cancels it likewise, waits until it is quiet, and retires it.
    """

    outcome: Moment[Result]  # how it ended
    quiet: Moment[Receipt]  # nothing can touch its blocks any more on its behalf
    doubt: Cause | None  # quiet was not proven soon after the outcome: why; None before and after

    def __init__(self, life: Life, pool: Pool, blocks: tuple[int, ...]) -> None:
        self._life = life
        self.serial = next(life.serial)
        self.pool = pool
        self.blocks = blocks
        self.outcome = Moment(life)
        self.quiet = Moment(life)
        self.doubt = None
        self.id = 0  # as logs and receipts name it

    def cancel(self, scope: Scope = Scope.OFFER) -> Cancel:
        """Ask for its end: never waits for anything, never fails; also twice, also after the end.

        Of several calls the first one's scope counts; for an offer it has no meaning.  Whether the
        cancel won is told by the outcome only.
        """
        with self._life.reference(self.serial) as reference:
            if reference is None:
                return Cancel.ALREADY_DECIDED
            return Cancel(lib.baton_handoff_cancel(reference, scope))

    def retire(self, receipt: Receipt) -> list[int]:
        """Use its receipt: the blocks are lent no more.

        Returns those to which no other handoff refers and that nobody holds: the user of wrapped
        memory may rewrite these, and only these.  Blocks that the caller held when they were lent
        are held by the caller again, unless freed meanwhile.

        Errors: ReceiptError, used before, of another handoff, or none; nothing was changed.
        """
        with self._life:
            if self.serial not in self._life.references:
                raise ReceiptError("the receipt of this handoff was used before")
            return self._life.retire(self.serial, receipt, len(self.blocks))

    def release(self) -> None:
        """Have no more to do with it: it goes on to its end, and then the engine uses its receipt.
        No completion of it is collected any more.  Twice is once; of no effect after retire()."""
        with self._life.reference(self.serial) as reference:
            if reference is not None:
                self._life.release(self.serial)

    def __enter__(self: H) -> H:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()
        self.release()

    async def __aenter__(self: H) -> H:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()
        try:
            await self.quiet
        finally:
            # Also when this task is cancelled once more: then the engine sees to the rest.
            self.release()

    def __repr__(self) -> str:
        result = self.outcome.value
        how = str(result.outcome) if result else "open"
        quiet = ", quiet" if self.quiet.happened else ""
        return f"<{type(self).__name__} {self.id:#x}: {how}{quiet}>"

    def __del__(self) -> None:
        self._life.dropped_handoffs.append(self.serial)


class Offer(Handoff):
    """Blocks that are offered to the readers that will hold its tickets.

    Until its receipt is used the bytes below the watermark must not be written; those above it may.
    """

    def ticket(self, slot: int = 0) -> bytes:
        """The ticket of reader slot `slot`: a bearer secret.  InvalidError: there is no such slot,
        or the offer has been retired."""
        ret_ticket = ffi.new("uint8_t[]", lib.BATON_TICKET_BYTES_MAX)
        ret_length = ffi.new("size_t *")
        with self._life:
            reference = self._life.references.get(self.serial)
            if reference is None:
                raise InvalidError("the offer has been retired: it has no tickets")
            check(lib.baton_offer_ticket(reference, slot, ret_ticket, ret_length))
        return bytes(ffi.buffer(ret_ticket, ret_length[0]))

    def advance(self, watermark_bytes: int = WATERMARK_END) -> None:
        """Say that the bytes below `watermark_bytes`, in the order of the blocks, are written and
        will not change.  A lower value than before, and an offer that has ended, are inert."""
        with self._life.reference(self.serial) as reference:
            if reference is not None:
                lib.baton_offer_advance(reference, watermark_bytes)

    def set_aux(self, aux: bytes) -> None:
        """Set the aux bytes (first token, logprobs, ...), which reach the reader with its
        COMPLETED only.  InvalidError: more than 65536, or the watermark is already at the end."""
        with self._life:
            reference = self._life.references.get(self.serial)
            if reference is None:
                raise InvalidError("the offer has been retired: nobody reads its aux bytes")
            check(lib.baton_offer_aux(reference, aux, len(aux)))


class Fetch(Handoff):
    """An offer's blocks on their way into blocks of this side.

    After COMPLETED these hold the offer's bytes, and `result.aux` what the source added; after any
    other outcome they hold garbage.
    """
