# SPDX-License-Identifier: Apache-2.0
"""What an engine tells to who collects it."""

import dataclasses
from typing import TYPE_CHECKING

from baton_kv.choice import Notice
from baton_kv.outcome import Result
from baton_kv.receipt import Receipt

if TYPE_CHECKING:
    from baton_kv.handoff import Handoff


@dataclasses.dataclass(frozen=True)
class Completion:
    """One notice of a handoff.  Of each handoff in this order: OUTCOME once; DOUBT at most once,
    when quiet is not proven soon after the outcome; QUIET once, with the receipt."""

    notice: Notice
    handoff: "Handoff"
    result: Result  # of every notice
    receipt: Receipt | None  # QUIET only
