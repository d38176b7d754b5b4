/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is going to happen to one request of the burst: who cancels it, at which point of its life,
 * or which clock it is given.  Decided before it starts, by its seed.  Pure.
 */
#ifndef BATON_TOOLS_BURST_PLAN_H
#define BATON_TOOLS_BURST_PLAN_H

#include <stdbool.h>
#include <stdint.h>

enum burst_cause {
    BURST_PLAIN = 0, /* nobody interferes */
    BURST_GONE_BEFORE_PREFILL,
    BURST_GONE_WAITING,
    BURST_GONE_OPENING,
    BURST_GONE_READING,
    BURST_GONE_COMMITTING,
    BURST_GONE_AFTER_COMPLETION, /* too late: completes */
    BURST_PREFILL_READING,       /* prefill cancels while decode reads */
    BURST_PREFILL_DEADLINE,
    BURST_DECODE_DEADLINE,
    BURST_BOTH_SIDES,
    BURST_TWICE,             /* the same handoff cancelled twice, and once more when it is over */
    BURST_ATTEMPT_REFETCHED, /* one attempt cancelled, fetched again: completes */
    BURST_CAUSES,
};

/* When decode is told to fetch. */
enum fetch_when {
    FETCH_AT_OFFER = 0, /* as soon as there is a ticket: before a byte is computed */
    FETCH_AT_PARK,      /* when prefill has computed all that it is going to */
    FETCH_NEVER,
};

#define BURST_NEVER UINT64_MAX

struct request_plan {
    uint8_t cause;      /* enum burst_cause */
    uint8_t fetch_when; /* enum fetch_when */
    bool by_caller; /* cancelled by the process's main thread, and timed; else within the engine's
                       trace callback */
    bool callbacks; /* notices by callback; else by the completion queue */
    bool at_once;   /* GONE_WAITING: told to decode together with the fetch */
    uint64_t stop_bytes;    /* prefill computes no further; BURST_NEVER: all */
    uint64_t trigger_bytes; /* act once so many bytes landed (decode) or are computed (prefill) */
    uint32_t delay_us;      /* from the trigger to a cancel by the caller */
    uint32_t prefill_whole_ms, prefill_reader_ms;
    uint32_t decode_whole_ms, decode_bytes_ms;
    uint32_t decode_us; /* how long decode keeps the blocks afterwards */
};

/* The key of a cause in the report. */
const char *burst_cause_name(enum burst_cause cause);

/* Does a request of this cause end other than completed, when all goes to plan? */
bool burst_cause_ends(enum burst_cause cause);

/* Bytes that prefill computes between two watermarks: an eighth of the request, at most 256 KiB. */
uint64_t burst_chunk_bytes(uint64_t bytes);

/*
 * The plan of request `index` of `bytes` bytes and `output_tokens`.  Of all requests, `cancel_rate`
 * end by a cancel or a clock, and a tenth of that many more are cancelled without being ended.
 */
struct request_plan burst_plan(uint64_t seed, uint64_t index, uint64_t bytes,
                               uint32_t output_tokens, double cancel_rate);

#endif
