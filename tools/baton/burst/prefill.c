/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The burst's prefill process: offers each request's blocks before a byte is computed, computes,
 * and gives the blocks to the next request as soon as the receipt is there.
 */
#include "burst/prefill.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "burst/compute.h"
#include "burst/role.h"
#include "payload.h"

struct prefill {
    struct role role; /* first: the callbacks get this */
    struct compute compute;
    uint64_t content_id; /* the last one given */
    bool urgent;         /* blocks were just taken from a reader: rewrite them first */
};

static struct prefill *prefill_of(struct role *role)
{
    return (struct prefill *)role;
}

/* -------------------------------------------------------------------------------------------
 * offers */

static void send_offered(struct role *role, struct record *record)
{
    struct message message = {.kind = MESSAGE_OFFERED, .slot = record->slot, .id = record->id};
    size_t length = 0;

    if (baton_offer_ticket(record->handoff, 0, message.ticket.bytes, &length)) {
        role_trouble(role, true, "baton_offer_ticket failed");
        return;
    }
    message.ticket.length = (uint32_t)length;
    channel_send(&role->channel, &message);
}

/* The request can not be offered: its blocks go back, and it ends as failed. */
static void offer_failed(struct role *role, struct record *record, const char *why)
{
    role_trouble(role, false, "request %" PRIu64 ": baton_offer: %s", record->id, why);
    record->result.outcome = BATON_FAILED;
    if (baton_pool_free(role->pool, record->blocks, record->block_count, NULL)) {
        role->stats.api_errors++;
    }
    role_ended(role, record);
}

static void offer(struct role *role, struct record *record)
{
    struct prefill *prefill = prefill_of(role);
    struct baton_error error = {0};
    baton_handoff *handoff = NULL;
    struct baton_offer_args args = {
        .size = sizeof(args),
        .pool = role->pool,
        .blocks = record->blocks,
        .block_count = record->block_count,
        .reader_timeout_ms = record->plan.prefill_reader_ms,
        .whole_timeout_ms = record->plan.prefill_whole_ms,
        .notices = role_notices(record),
    };

    if (baton_offer(role->engine, &args, &handoff, &error)) {
        offer_failed(role, record, error.text);
        return;
    }
    role_handoff_started(record, handoff);
    record->content_id = ++prefill->content_id;
    record->seed = payload_seed(role->incarnation, record->content_id);
    if (record->plan.stop_bytes > 0) {
        compute_submit(&prefill->compute, record, prefill->urgent);
    }
    send_offered(role, record);
}

static void admit(struct role *role)
{
    struct record *record;

    while ((record = role_queue_admit(role))) {
        offer(role, record);
    }
}

/* A reader may still be copying blocks of an offer that was revoked under it: whoever rewrites them
 * says when. */
static bool note_owners(struct prefill *prefill, const struct record *record)
{
    bool revoked = record->receipt.attempts && record->result.slot_stage[0] == BATON_STAGE_REVOKED;

    for (uint32_t i = 0; i < record->block_count; i++) {
        prefill->compute.owners[record->blocks[i]] =
            (struct block_owner){.request_id = record->id, .revoked = revoked};
    }
    return revoked;
}

static void finish(struct role *role, struct record *record)
{
    struct prefill *prefill = prefill_of(role);
    struct baton_error error = {0};

    prefill->urgent = note_owners(prefill, record);
    if (role_retire(role, record) && !record->freed &&
        baton_pool_free(role->pool, record->blocks, record->block_count, &error)) {
        role->stats.api_errors++;
        role_trouble(role, false, "request %" PRIu64 ": baton_pool_free: %s", record->id,
                     error.text);
    }
    admit(role);
    prefill->urgent = false;
    role_ended(role, record);
}

/* --------------------------------------------------------------------------------------- callbacks
 */

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

    if (message->kind == MESSAGE_REQUEST && (record = role_record_new(role, message))) {
        role_queue_add(role, record);
        admit(role);
    } else if (message->kind == MESSAGE_CANCEL && (record = role_record_find(role, message))) {
        on_request_cancel(role, record);
    }
}

/* Blocks may be let go while they are still offered; a share of the requests does so. */
static void let_go_early(struct role *role, struct record *record)
{
    struct baton_error error = {0};

    if (!record->plan.callbacks || record->state != RECORD_RUNNING ||
        atomic_load(&record->ready) < record->bytes) {
        return;
    }
    /* Once they are free another request may get them: it must find this one as their last owner.
     */
    note_owners(prefill_of(role), record);
    record->freed = !baton_pool_free(role->pool, record->blocks, record->block_count, &error);
    if (!record->freed) {
        role->stats.api_errors++;
        role_trouble(role, false, "baton_pool_free of offered blocks: %s", error.text);
    }
}

static void on_letter(struct role *role, const struct letter *letter)
{
    struct record *record = letter->record;

    if (letter->kind == LETTER_REUSED) {
        struct message message = {
            .kind = MESSAGE_REUSED, .id = letter->id, .reused = letter->reused};
        channel_send(&role->channel, &message);
        return;
    }
    if (letter->kind == LETTER_DUE) {
        if (record->plan.delay_us) {
            role_timer_add(role, record, record->plan.delay_us);
        } else {
            on_request_cancel(role, record);
        }
        return;
    }
    if (letter->kind == LETTER_PARKED) {
        let_go_early(role, record);
        if (record->plan.fetch_when == FETCH_AT_PARK && record->state == RECORD_RUNNING) {
            role_send(role, MESSAGE_PARKED, record);
        }
    }
    if (record->state == RECORD_QUIET) {
        finish(role, record);
    }
}

static void on_timer(struct role *role, struct record *record)
{
    on_request_cancel(role, record);
}

static void on_outcome(struct role *role, struct record *record)
{
    compute_leave(&prefill_of(role)->compute, record);
    if (record->plan.cause == BURST_GONE_AFTER_COMPLETION) {
        role_cancel(role, record, BATON_CANCEL_OFFER);
    }
}

static void on_quiet(struct role *role, struct record *record)
{
    if (compute_leave(&prefill_of(role)->compute, record)) {
        finish(role, record);
    }
}

/* The engine's thread.  BURST_PREFILL_READING: a reader has come; the compute thread asks the same
 * once it has written enough. */
static void on_trace(void *arg, const struct baton_trace *trace)
{
    struct role *role = arg;
    struct record *record = trace->arg;

    if (record->plan.cause != BURST_PREFILL_READING || trace->to != BATON_STAGE_LEASED) {
        return;
    }
    atomic_store(&record->leased, true);
    if (atomic_load(&record->ready) < record->plan.trigger_bytes ||
        atomic_exchange(&record->fired, true)) {
        return;
    }
    if (record->plan.by_caller) {
        struct letter letter = {.kind = LETTER_DUE, .record = record, .id = record->id};
        role_post(role, &letter);
    } else {
        (void)baton_handoff_cancel(trace->handoff, BATON_CANCEL_OFFER);
    }
}

static bool on_start(struct role *role)
{
    if (!compute_start(&prefill_of(role)->compute, role)) {
        role_trouble(role, true, "the computing thread can not be started");
        return false;
    }
    return true;
}

static void on_stop(struct role *role)
{
    compute_stop(&prefill_of(role)->compute);
}

int burst_prefill(int fd, int board_fd)
{
    static const struct role_ops ops = {
        .name = "prefill",
        .start = on_start,
        .stop = on_stop,
        .message = on_message,
        .letter = on_letter,
        .timer = on_timer,
        .outcome = on_outcome,
        .quiet = on_quiet,
        .trace = on_trace,
    };
    static struct prefill prefill;

    return role_run(&prefill.role, &ops, fd, board_fd);
}
