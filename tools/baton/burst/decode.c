/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The burst's decode process: fetches, checks every byte of what completed, keeps it for a moment
 * as if it generated tokens, and gives the blocks back.
 */
#include "burst/decode.h"

#include <inttypes.h>
#include <string.h>

#include "burst/role.h"
#include "burst/verify.h"
#include "burst/wakeup.h"

struct decode {
    struct role role; /* first: the callbacks get this */
    struct verify verify;
    struct wakeup wakeup;
};

static struct decode *decode_of(struct role *role)
{
    return (struct decode *)role;
}

/* ------------------------------------------------------------------------------------------
 * fetches */

static void give_back(struct role *role, struct record *record)
{
    struct baton_error error = {0};

    if (baton_pool_free(role->pool, record->blocks, record->block_count, &error)) {
        role->stats.api_errors++;
        role_trouble(role, false, "request %" PRIu64 ": baton_pool_free: %s", record->id,
                     error.text);
    }
}

/* True: there is a handoff. */
static bool fetch(struct role *role, struct record *record)
{
    struct baton_error error = {0};
    baton_handoff *handoff = NULL;
    struct baton_fetch_args args = {
        .size = sizeof(args),
        .ticket = record->ticket,
        .ticket_length = record->ticket_bytes,
        .pool = role->pool,
        .blocks = record->blocks,
        .block_count = record->block_count,
        .mode = role->config.push ? BATON_PUSH : BATON_PULL,
        .bytes_timeout_ms = record->plan.decode_bytes_ms,
        .whole_timeout_ms = record->plan.decode_whole_ms,
        .notices = role_notices(record),
    };

    baton_err err = baton_fetch(role->engine, &args, &handoff, &error);
    if (err == BATON_ELIMIT && role->config.fault) {
        /* The peer that was hit by a fault holds too much in quarantine. */
        record->limited = true;
        return false;
    }
    if (err) {
        role_trouble(role, false, "request %" PRIu64 ": baton_fetch: %s", record->id, error.text);
        return false;
    }
    role_handoff_started(record, handoff);
    return true;
}

static void start(struct role *role, struct record *record)
{
    bool cancel_now = record->plan.cause == BURST_GONE_OPENING && record->plan.by_caller;

    atomic_store(&record->fired, cancel_now);
    if (!fetch(role, record)) {
        record->result.outcome = record->limited ? BATON_REFUSED : BATON_FAILED;
        give_back(role, record);
        role_ended(role, record);
        return;
    }
    if (cancel_now) {
        role_cancel(role, record, BATON_CANCEL_OFFER);
    }
}

static void admit(struct role *role)
{
    struct record *record;

    while ((record = role_queue_admit(role))) {
        start(role, record);
    }
}

static void finish(struct role *role, struct record *record, bool retired)
{
    if (retired) {
        give_back(role, record);
    }
    role_ended(role, record);
    admit(role);
}

/* BURST_ATTEMPT_REFETCHED: the attempt is over, and the same blocks are used for the next one.  Not
 * when the cancel came after the COMMIT had been sent: then prefill may have committed, for good.
 */
static bool refetch(struct role *role, struct record *record)
{
    if (record->plan.cause != BURST_ATTEMPT_REFETCHED || record->refetched ||
        record->result.outcome != BATON_CANCELLED ||
        record->result.stage == BATON_STAGE_COMMITTING) {
        return false;
    }
    record->refetched = true;
    record->bytes_wasted = record->result.bytes_landed;
    return fetch(role, record);
}

/* --------------------------------------------------------------------------------------- callbacks
 */

static void on_outcome(struct role *role, struct record *record)
{
    record->labelled = record->result.aux && record->result.aux_bytes == sizeof(record->label);
    if (record->labelled) {
        memcpy(&record->label, record->result.aux, sizeof(record->label));
    }
    record->result.aux = NULL;
    if (record->plan.cause == BURST_GONE_AFTER_COMPLETION) {
        role_cancel(role, record, BATON_CANCEL_OFFER);
    }
}

static void on_quiet(struct role *role, struct record *record)
{
    if (record->plan.cause == BURST_TWICE) {
        role_cancel(role, record, BATON_CANCEL_OFFER);
    }
    bool retired = role_retire(role, record);
    if (record->result.outcome == BATON_COMPLETED && retired) {
        verify_submit(&decode_of(role)->verify, record);
    } else if (!retired || !refetch(role, record)) {
        finish(role, record, retired);
    }
}

static void on_request_cancel(struct role *role, struct record *record)
{
    if (record->state == RECORD_QUEUED) {
        role_queue_remove(role, record);
        record->cancels++;
        record->result.outcome = BATON_CANCELLED;
        role_ended(role, record);
        admit(role);
    } else if (record->state == RECORD_RUNNING) {
        role_cancel(role, record, BATON_CANCEL_OFFER);
    }
}

static void on_message(struct role *role, const struct message *message)
{
    struct record *record;

    if (message->kind == MESSAGE_FETCH && (record = role_record_new(role, message))) {
        role_queue_add(role, record);
        admit(role);
    } else if (message->kind == MESSAGE_CANCEL && (record = role_record_find(role, message))) {
        on_request_cancel(role, record);
    }
}

static void on_letter(struct role *role, const struct letter *letter)
{
    struct record *record = letter->record;

    if (letter->kind == LETTER_VERIFIED) {
        record->state = RECORD_DECODING;
        role_timer_add(role, record, record->plan.decode_us);
    } else if (letter->kind == LETTER_DUE && record->plan.cause == BURST_BOTH_SIDES) {
        role_send(role, MESSAGE_REACHED, record);
    } else if (letter->kind == LETTER_DUE && record->plan.delay_us) {
        role_timer_add(role, record, record->plan.delay_us);
    } else if (letter->kind == LETTER_DUE) {
        on_request_cancel(role, record);
    }
}

/* The generated tokens are out, or a delayed cancel is due. */
static void on_timer(struct role *role, struct record *record)
{
    if (record->state == RECORD_DECODING) {
        finish(role, record, true);
    } else {
        on_request_cancel(role, record);
    }
}

static void on_tick(struct role *role)
{
    struct message message = {.kind = MESSAGE_WAKEUP};

    message.wakeup_ns = wakeup_round_trip(&decode_of(role)->wakeup);
    if (message.wakeup_ns) {
        channel_send(&role->channel, &message);
    }
}

/* The engine's thread: is this the point in the fetch's life that the plan wants? */
static bool reached(const struct record *record, const struct baton_trace *trace)
{
    switch ((enum burst_cause)record->plan.cause) {
    case BURST_GONE_WAITING:
        return trace->to == BATON_STAGE_READING && !record->plan.at_once;
    case BURST_GONE_OPENING:
        return trace->to == BATON_STAGE_OPENING;
    case BURST_GONE_READING:
    case BURST_TWICE:
    case BURST_BOTH_SIDES:
    case BURST_ATTEMPT_REFETCHED:
        return trace->to == BATON_STAGE_READING && trace->bytes_landed < trace->bytes_total &&
               trace->bytes_landed >= record->plan.trigger_bytes;
    case BURST_GONE_COMMITTING:
        return trace->to == BATON_STAGE_COMMITTING;
    default:
        return false;
    }
}

/* The engine's thread. */
static void show_place(struct role *role, struct record *record, const struct baton_trace *trace)
{
    enum board_place place = BOARD_AWAY;

    if (trace->to == BATON_STAGE_READING && trace->bytes_landed > 0 &&
        trace->bytes_landed < trace->bytes_total) {
        place = BOARD_MOVING;
    } else if (trace->to == BATON_STAGE_OPENING || trace->to == BATON_STAGE_READING ||
               trace->to == BATON_STAGE_COMMITTING) {
        place = BOARD_WAITING;
    }
    board_move(role->board, record->place, place);
    record->place = place;
}

/* The engine's thread. */
static void on_trace(void *arg, const struct baton_trace *trace)
{
    struct role *role = arg;
    struct record *record = trace->arg;
    bool attempt = record->plan.cause == BURST_ATTEMPT_REFETCHED;

    show_place(role, record, trace);
    if (!reached(record, trace) || atomic_exchange(&record->fired, true)) {
        return;
    }
    if (record->plan.by_caller || record->plan.cause == BURST_BOTH_SIDES) {
        struct letter letter = {.kind = LETTER_DUE, .record = record, .id = record->id};
        role_post(role, &letter);
        return;
    }
    (void)baton_handoff_cancel(trace->handoff, attempt ? BATON_CANCEL_ATTEMPT : BATON_CANCEL_OFFER);
    if (record->plan.cause == BURST_TWICE) {
        (void)baton_handoff_cancel(trace->handoff, BATON_CANCEL_ATTEMPT);
    }
}

static bool on_start(struct role *role)
{
    struct decode *decode = decode_of(role);

    if (!verify_start(&decode->verify, role) || !wakeup_start(&decode->wakeup)) {
        role_trouble(role, true, "the threads of the decode process can not be started");
        return false;
    }
    return true;
}

static void on_stop(struct role *role)
{
    verify_stop(&decode_of(role)->verify);
    wakeup_stop(&decode_of(role)->wakeup);
}

int burst_decode(int fd, int board_fd)
{
    static const struct role_ops ops = {
        .name = "decode",
        .start = on_start,
        .stop = on_stop,
        .message = on_message,
        .letter = on_letter,
        .timer = on_timer,
        .outcome = on_outcome,
        .quiet = on_quiet,
        .tick = on_tick,
        .trace = on_trace,
    };
    static struct decode decode;

    return role_run(&decode.role, &ops, fd, board_fd);
}
