# SPDX-License-Identifier: Apache-2.0
"""What an engine, a fetch and a cancel can be asked for, and what a cancel answers."""

from baton_kv.word import Word


class Progress(Word):
    """Who drives an engine."""

    THREAD = 0  # Baton's own thread
    CALLER = 1  # the caller, by Engine.poll() or by awaiting


class LinkKind(Word):
    """Over what links are made."""

    AUTO = 0  # shared memory where the peer's Unix socket can be reached, else TCP
    TCP = 1  # TCP, as between hosts, also on one host
    SOCKET = 2  # as AUTO, but through the Unix socket itself


class Host(Word):
    """Where a library transport (nixl) runs."""

    AUTO = 0  # in a helper where it can be, else in this process
    IN_PROCESS = 1  # in a thread of this process; a crash of the library ends it
    HELPER = 2  # in a helper process of its own for each link, or not at all


class OnDoubt(Word):
    """What is done about a peer that may still write into blocks whose handoff has ended."""

    WAIT = 0  # nothing: the blocks stay in quarantine until a proof comes
    FENCE = 1  # close the link, with all that goes on over it
    KILL_LOCAL_PEER = 2  # the same, and end the peer's process (SIGKILL) if it is on this host


class Mode(Word):
    """Who moves a fetch's bytes."""

    PULL = 0  # the sink reads them from the source, or asks for them
    PUSH = 1  # the sink grants its windows, and the source sends each


class Scope(Word):
    """What a cancel of a fetch ends; of an offer it has no meaning."""

    OFFER = 0  # the request is over: every open slot of its offer is revoked too
    ATTEMPT = 1  # this fetch is over: another may fetch the offer


class Cancel(Word):
    """What a cancel found.  Whether it won is told by the outcome only."""

    REQUESTED = 0
    ALREADY_DECIDED = 1


class Notice(Word):
    """What a completion tells of a handoff."""

    OUTCOME = 1
    DOUBT = 2
    QUIET = 3
