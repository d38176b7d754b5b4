/* SPDX-License-Identifier: Apache-2.0 */
/* Names and sentences for the enums of baton.h. */
#include "baton.h"

#define TEXT(number) #number
#define DOTTED(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)

#define NAME_OF(names, value)                                                                      \
    ((unsigned)(value) < sizeof(names) / sizeof((names)[0]) ? (names)[value] : "unknown")

const char *baton_version(void)
{
    return DOTTED(BATON_VERSION_MAJOR, BATON_VERSION_MINOR, BATON_VERSION_PATCH);
}

const char *baton_strerror(baton_err err)
{
    static const char *const names[] = {
        [BATON_OK] = "no error",
        [BATON_EINVAL] = "an argument is wrong",
        [BATON_ENOMEM] = "memory or another resource of the system ran out",
        [BATON_ELIMIT] = "a limit of this engine is reached",
        [BATON_ECLOSED] = "the engine is closing",
        [BATON_EBUSY] = "blocks are in use, or lack a receipt",
        [BATON_EFULL] = "the pool has too few free blocks",
        [BATON_ETICKET] = "this is not a valid ticket",
        [BATON_EADDRESS] = "the address is malformed, forbidden or in use",
        [BATON_ERECEIPT] = "the receipt is not valid for this handoff",
        [BATON_ETIMEOUT] = "the time passed first",
        [BATON_EFORKED] = "the engine belongs to the parent process",
        [BATON_ESYSTEM] = "the operating system refused",
    };

    return NAME_OF(names, err);
}

const char *baton_outcome_name(baton_outcome outcome)
{
    static const char *const names[] = {
        [BATON_UNDECIDED] = "undecided", [BATON_COMPLETED] = "completed",
        [BATON_CANCELLED] = "cancelled", [BATON_PEER_CANCELLED] = "peer_cancelled",
        [BATON_TIMED_OUT] = "timed_out", [BATON_LINK_LOST] = "link_lost",
        [BATON_REFUSED] = "refused",     [BATON_FAILED] = "failed",
    };

    return NAME_OF(names, outcome);
}

const char *baton_cause_name(baton_cause cause)
{
    static const char *const names[] = {
        [BATON_CAUSE_NONE] = "none",
        [BATON_CAUSE_CANCEL] = "cancel",
        [BATON_CAUSE_CLOSING] = "closing",
        [BATON_CAUSE_CLOCK_READER] = "clock_reader",
        [BATON_CAUSE_CLOCK_LEASE] = "clock_lease",
        [BATON_CAUSE_CLOCK_WHOLE] = "clock_whole",
        [BATON_CAUSE_CLOCK_OPENING] = "clock_opening",
        [BATON_CAUSE_CLOCK_BYTES] = "clock_bytes",
        [BATON_CAUSE_CLOCK_PROGRESS] = "clock_progress",
        [BATON_CAUSE_CLOCK_COMMIT] = "clock_commit",
        [BATON_CAUSE_BUSY] = "busy",
        [BATON_CAUSE_GONE] = "gone",
        [BATON_CAUSE_COMMITTED] = "committed",
        [BATON_CAUSE_ATTEMPTS] = "attempts",
        [BATON_CAUSE_INCARNATION] = "incarnation",
        [BATON_CAUSE_SECRET] = "secret",
        [BATON_CAUSE_LAYOUT] = "layout",
        [BATON_CAUSE_EARLY] = "early",
        [BATON_CAUSE_READ] = "read",
        [BATON_CAUSE_TRANSPORT] = "transport",
        [BATON_CAUSE_UNREACHABLE] = "unreachable",
        [BATON_CAUSE_PEER_DIED] = "peer_died",
        [BATON_CAUSE_LINK_CLOSED] = "link_closed",
        [BATON_CAUSE_LINK_SILENT] = "link_silent",
        [BATON_CAUSE_PROTOCOL] = "protocol",
        [BATON_CAUSE_FENCED] = "fenced",
    };

    return NAME_OF(names, cause);
}

const char *baton_proof_name(baton_proof proof)
{
    static const char *const names[] = {
        [BATON_PROOF_NONE] = "none",
        [BATON_PROOF_NEVER_EXPOSED] = "never_exposed",
        [BATON_PROOF_LOCAL_DRAIN] = "local_drain",
        [BATON_PROOF_REVOKED] = "revoked",
        [BATON_PROOF_PEER_DRAIN] = "peer_drain",
        [BATON_PROOF_PEER_EXITED] = "peer_exited",
        [BATON_PROOF_LINK_FENCED] = "link_fenced",
        [BATON_PROOF_HELPER_EXITED] = "helper_exited",
    };

    return NAME_OF(names, proof);
}

const char *baton_stage_name(baton_stage stage)
{
    static const char *const names[] = {
        [BATON_STAGE_NONE] = "none",           [BATON_STAGE_OPENING] = "opening",
        [BATON_STAGE_READING] = "reading",     [BATON_STAGE_COMMITTING] = "committing",
        [BATON_STAGE_DRAINING] = "draining",   [BATON_STAGE_QUIET] = "quiet",
        [BATON_STAGE_OFFERED] = "offered",     [BATON_STAGE_LEASED] = "leased",
        [BATON_STAGE_COMMITTED] = "committed", [BATON_STAGE_REVOKED] = "revoked",
    };

    return NAME_OF(names, stage);
}
