/* SPDX-License-Identifier: Apache-2.0 */
/* Plans of the burst's requests: see burst_plan.h. */
#include "burst/plan.h"

#include <stddef.h>

#include "dice.h"

enum {
    CHUNK_BYTES_MAX = 256 << 10,
    CHUNK_ALIGN = 64,
    CHUNKS = 8, /* of a request, at least */
    DECODE_US_PER_TOKEN = 20,
    CLOCK_MS_MIN = 2,
    CLOCK_MS_SPREAD = 20,
    COPY_BYTES_PER_US = 4000, /* about what one core copies */
};

/* `weight`: shares of the requests that end early or, for those that complete, of the few that are
 * cancelled in vain. */
static const struct cause_conf {
    const char *name;
    unsigned weight;
    bool ends;
} causes[BURST_CAUSES] = {
    [BURST_PLAIN] = {"plain", 0, false},
    [BURST_GONE_BEFORE_PREFILL] = {"client_gone_before_prefill", 7, true},
    [BURST_GONE_WAITING] = {"client_gone_waiting", 8, true},
    [BURST_GONE_OPENING] = {"client_gone_opening", 7, true},
    [BURST_GONE_READING] = {"client_gone_reading", 32, true},
    [BURST_GONE_COMMITTING] = {"client_gone_committing", 7, true},
    [BURST_GONE_AFTER_COMPLETION] = {"client_gone_after_completion", 50, false},
    [BURST_PREFILL_READING] = {"prefill_cancel_reading", 14, true},
    [BURST_PREFILL_DEADLINE] = {"prefill_deadline", 7, true},
    [BURST_DECODE_DEADLINE] = {"decode_deadline", 7, true},
    [BURST_BOTH_SIDES] = {"both_sides", 6, true},
    [BURST_TWICE] = {"cancelled_twice", 5, true},
    [BURST_ATTEMPT_REFETCHED] = {"attempt_refetched", 50, false},
};

const char *burst_cause_name(enum burst_cause cause)
{
    return cause < BURST_CAUSES ? causes[cause].name : "unknown";
}

bool burst_cause_ends(enum burst_cause cause)
{
    return causes[cause].ends;
}

uint64_t burst_chunk_bytes(uint64_t bytes)
{
    uint64_t chunk = (bytes / CHUNKS + CHUNK_ALIGN - 1) / CHUNK_ALIGN * CHUNK_ALIGN;

    if (chunk > CHUNK_BYTES_MAX) {
        return CHUNK_BYTES_MAX;
    }
    return chunk ? chunk : CHUNK_ALIGN;
}

static enum burst_cause draw_cause(struct dice *dice, bool ends)
{
    unsigned total = 0;

    for (unsigned i = 0; i < BURST_CAUSES; i++) {
        total += causes[i].ends == ends ? causes[i].weight : 0;
    }
    uint64_t place = dice_below(dice, total);
    for (unsigned i = 0; i < BURST_CAUSES; i++) {
        unsigned weight = causes[i].ends == ends ? causes[i].weight : 0;
        if (place < weight) {
            return i;
        }
        place -= weight;
    }
    return BURST_PLAIN;
}

/* A place to stop computing at: after `share` of the chunks, at least one, and before the last. */
static uint64_t stop_at(uint64_t bytes, double share)
{
    uint64_t chunk = burst_chunk_bytes(bytes);
    uint64_t chunks = (bytes + chunk - 1) / chunk;
    uint64_t stop = (uint64_t)((double)chunks * share);

    stop = stop + 1 > chunks ? chunks - 1 : stop;
    return (stop ? stop : 1) * chunk;
}

static uint32_t clock_ms(struct dice *dice)
{
    return CLOCK_MS_MIN + (uint32_t)dice_below(dice, CLOCK_MS_SPREAD);
}

/* A cancel while bytes land: with all of them computed, while they are, or when prefill got stuck.
 */
static void plan_reading(struct request_plan *plan, struct dice *dice, uint64_t bytes)
{
    uint64_t kind = dice_below(dice, 3);

    plan->trigger_bytes = 1 + (uint64_t)((double)bytes * 0.6 * dice_fraction(dice));
    if (kind == 0) {
        plan->fetch_when = FETCH_AT_OFFER;
    } else if (kind == 1 && bytes > CHUNK_BYTES_MAX * 2) {
        plan->fetch_when = FETCH_AT_PARK;
    } else {
        plan->stop_bytes = stop_at(bytes, 0.3 + 0.6 * dice_fraction(dice));
        plan->trigger_bytes = 1 + dice_below(dice, plan->stop_bytes);
        plan->by_caller = true;
    }
}

static void plan_prefill_reading(struct request_plan *plan, struct dice *dice, uint64_t bytes)
{
    plan->by_caller = dice_chance(dice, 0.9);
    plan->stop_bytes = stop_at(bytes, 0.9);
    plan->trigger_bytes = plan->stop_bytes;
    if (dice_chance(dice, 0.75)) {
        /* The reader finds much or all to read, and is in the middle of it when the cancel comes.
         */
        bool all = dice_chance(dice, 0.5);

        plan->fetch_when = FETCH_AT_PARK;
        plan->stop_bytes = all ? BURST_NEVER : plan->stop_bytes;
        plan->trigger_bytes = all ? bytes : plan->stop_bytes;
        plan->delay_us = (uint32_t)(dice_fraction(dice) * (all ? 0.5 : 1.0) *
                                    (double)plan->trigger_bytes / COPY_BYTES_PER_US);
    } else {
        plan->fetch_when = FETCH_AT_OFFER;
        plan->trigger_bytes = stop_at(bytes, 0.5);
    }
}

static void plan_prefill_deadline(struct request_plan *plan, struct dice *dice, uint64_t bytes)
{
    if (dice_chance(dice, 0.7)) {
        plan->stop_bytes = stop_at(bytes, 0.9 * dice_fraction(dice));
        plan->prefill_whole_ms = clock_ms(dice);
        plan->fetch_when = FETCH_AT_OFFER;
    } else {
        plan->prefill_reader_ms = clock_ms(dice);
        plan->fetch_when = FETCH_NEVER;
    }
}

static void plan_decode_deadline(struct request_plan *plan, struct dice *dice, uint64_t bytes)
{
    plan->stop_bytes = stop_at(bytes, 0.9 * dice_fraction(dice));
    plan->fetch_when = FETCH_AT_OFFER;
    if (dice_chance(dice, 0.5)) {
        plan->decode_whole_ms = clock_ms(dice);
    } else {
        plan->decode_bytes_ms = clock_ms(dice);
    }
}

static void plan_waiting(struct request_plan *plan, struct dice *dice)
{
    plan->fetch_when = FETCH_AT_OFFER;
    plan->stop_bytes = 0;
    plan->at_once = dice_chance(dice, 0.25);
    plan->by_caller = dice_chance(dice, 0.7);
    plan->delay_us = (uint32_t)dice_below(dice, 2000);
}

static void plan_details(struct request_plan *plan, struct dice *dice, uint64_t bytes)
{
    switch ((enum burst_cause)plan->cause) {
    case BURST_GONE_BEFORE_PREFILL:
        plan->fetch_when = FETCH_NEVER;
        plan->stop_bytes = 0;
        break;
    case BURST_GONE_WAITING:
        plan_waiting(plan, dice);
        break;
    case BURST_GONE_OPENING:
        plan->by_caller = dice_chance(dice, 0.5);
        break;
    case BURST_GONE_READING:
    case BURST_TWICE:
        plan_reading(plan, dice, bytes);
        break;
    case BURST_ATTEMPT_REFETCHED:
        plan->trigger_bytes = 1 + (uint64_t)((double)bytes * 0.5 * dice_fraction(dice));
        break;
    case BURST_PREFILL_READING:
        plan_prefill_reading(plan, dice, bytes);
        break;
    case BURST_PREFILL_DEADLINE:
        plan_prefill_deadline(plan, dice, bytes);
        break;
    case BURST_DECODE_DEADLINE:
        plan_decode_deadline(plan, dice, bytes);
        break;
    case BURST_BOTH_SIDES:
        plan->stop_bytes = stop_at(bytes, 0.2 + 0.7 * dice_fraction(dice));
        plan->trigger_bytes = 1 + dice_below(dice, plan->stop_bytes);
        plan->fetch_when = FETCH_AT_OFFER;
        break;
    case BURST_GONE_AFTER_COMPLETION:
    case BURST_GONE_COMMITTING:
    case BURST_PLAIN:
    case BURST_CAUSES:
        break;
    }
}

struct request_plan burst_plan(uint64_t seed, uint64_t index, uint64_t bytes,
                               uint32_t output_tokens, double cancel_rate)
{
    /* Another stream than the one that the lengths are drawn from. */
    struct dice dice = dice_of(~seed, index);
    struct request_plan plan = {
        .stop_bytes = BURST_NEVER,
        .fetch_when = dice_chance(&dice, 0.6) ? FETCH_AT_OFFER : FETCH_AT_PARK,
        .decode_us = output_tokens * DECODE_US_PER_TOKEN,
    };

    if (dice_chance(&dice, cancel_rate)) {
        plan.cause = (uint8_t)draw_cause(&dice, true);
    } else if (dice_chance(&dice, cancel_rate * 0.1)) {
        plan.cause = (uint8_t)draw_cause(&dice, false);
    }
    plan.callbacks = dice_chance(&dice, 0.25);
    plan_details(&plan, &dice, bytes);
    /* A cancel that the caller times ends with the receipt that it collects itself. */
    plan.callbacks = plan.callbacks && !plan.by_caller;
    return plan;
}
