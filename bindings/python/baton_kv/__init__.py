# SPDX-License-Identifier: Apache-2.0
"""Baton hands the KV cache of an LLM request from a prefill server to a decode server.

Either side can cancel at any moment, and a receipt proves when memory is quiet.  No receipt, no
reuse.  A prefill engine makes an *offer* of pool blocks and gets a *ticket*; the ticket travels
with the request; a decode engine *fetches* it into blocks of its own.  Each end ends once, in an
*outcome*; when nothing can touch its blocks any more there is a *receipt*.
"""

from baton_kv._library import WATERMARK_END, version
from baton_kv.choice import Cancel, Host, LinkKind, Mode, Notice, OnDoubt, Progress, Scope
from baton_kv.completion import Completion
from baton_kv.engine import Engine
from baton_kv.errors import (
    AddressError,
    BatonError,
    BusyError,
    ClosedError,
    ForkedError,
    FullError,
    InvalidError,
    LimitError,
    NoMemoryError,
    ReceiptError,
    SystemCallError,
    TicketError,
    TimedOutError,
)
from baton_kv.handoff import Fetch, Handoff, Offer
from baton_kv.memory import Memory
from baton_kv.moment import Moment
from baton_kv.outcome import Cause, Outcome, Result, Slot, Stage
from baton_kv.pool import Layout, Pool, PoolStats
from baton_kv.receipt import Abandoned, Proof, Receipt

__version__ = version()

__all__ = [
    "Abandoned", "AddressError", "BatonError", "BusyError", "Cancel", "Cause", "ClosedError",
    "Completion", "Engine", "Fetch", "ForkedError", "FullError", "Handoff", "Host", "InvalidError",
    "Layout", "LimitError", "LinkKind", "Memory", "Mode", "Moment", "NoMemoryError", "Notice",
    "Offer", "OnDoubt", "Outcome", "Pool", "PoolStats", "Progress", "Proof", "Receipt",
    "ReceiptError", "Result", "Scope", "Slot", "Stage", "SystemCallError", "TicketError",
    "TimedOutError", "WATERMARK_END",
]
