/* SPDX-License-Identifier: Apache-2.0 */
/* The common part of the burst's prefill and decode process: records, handoffs, timed cancels,
 * receipts.  The loop that drives it is in burst_loop.c. */
#include "burst/role.h"

#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SABOTAGE_EVERY = 20, /* retires between two of our own sabotages */
    SABOTAGES_MAX = 3,   /* so that the pools do not run dry */
    CANCEL_WAIT_MS = 1000,
    CANCEL_WAIT_FAULT_MS = 5, /* a receipt may have to wait for a peer that is stopped */
    COLLECT = 64,
};

uint64_t role_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void role_send(struct role *role, enum message_kind kind, const struct record *record)
{
    struct message message = {.kind = kind, .slot = record->slot, .id = record->id};

    channel_send(&role->channel, &message);
}

void role_trouble(struct role *role, bool fatal, const char *format, ...)
{
    struct message message = {.kind = MESSAGE_TROUBLE, .trouble.fatal = fatal};
    va_list args;

    va_start(args, format);
    vsnprintf(message.trouble.text, sizeof(message.trouble.text), format, args);
    va_end(args);
    channel_send(&role->channel, &message);
}

/* ---------------------------------------------------------------------------- records, the queue
 */

struct record *role_record_new(struct role *role, const struct message *message)
{
    const struct message_request *request = &message->request;
    struct record *record =
        message->slot < role->record_count ? &role->records[message->slot] : NULL;

    if (!record || record->state != RECORD_UNUSED) {
        role_trouble(role, true, "slot %" PRIu32 " is not free", message->slot);
        return NULL;
    }
    memset(record, 0, sizeof(*record));
    record->blocks = calloc(request->blocks, sizeof(*record->blocks));
    if (!record->blocks) {
        role_trouble(role, true, "out of memory");
        return NULL;
    }
    record->role = role;
    record->id = message->id;
    record->slot = message->slot;
    record->plan = request->plan;
    record->bytes = request->bytes;
    record->block_count = request->blocks;
    if (message->kind == MESSAGE_FETCH) {
        record->ticket_bytes = request->ticket_bytes;
        memcpy(record->ticket, request->ticket, sizeof(record->ticket));
    }
    return record;
}

struct record *role_record_find(struct role *role, const struct message *message)
{
    struct record *record =
        message->slot < role->record_count ? &role->records[message->slot] : NULL;

    return record && record->state != RECORD_UNUSED && record->id == message->id ? record : NULL;
}

void role_queue_add(struct role *role, struct record *record)
{
    record->state = RECORD_QUEUED;
    record->next = NULL;
    *role->queue_end = record;
    role->queue_end = &record->next;
}

void role_queue_remove(struct role *role, struct record *record)
{
    struct record **place = &role->queue;

    while (*place != record) {
        place = &(*place)->next;
    }
    *place = record->next;
    if (role->queue_end == &record->next) {
        role->queue_end = place;
    }
}

struct record *role_queue_admit(struct role *role)
{
    struct record *record = role->queue;
    struct baton_error error;

    if (!record) {
        return NULL;
    }
    baton_err err = baton_pool_alloc(role->pool, record->block_count, record->blocks, &error);
    if (err == BATON_EFULL) {
        return NULL;
    }
    if (err) {
        role_trouble(role, true, "baton_pool_alloc: %s", error.text);
        return NULL;
    }
    role_queue_remove(role, record);
    return record;
}

static void send_end(struct role *role, enum message_kind kind, const struct record *record)
{
    struct message message = {.kind = kind, .slot = record->slot, .id = record->id};

    message.ended = (struct message_ended){
        .started = record->handoff_id != 0,
        .too_late = record->too_late,
        .refetched = record->refetched,
        .limited = record->limited,
        .cancels = record->cancels > UINT8_MAX ? UINT8_MAX : (uint8_t)record->cancels,
        .outcome = record->result.outcome,
        .cause = record->result.cause,
        .stage = record->result.stage,
        .slot_stage = record->result.slot_stage[0],
        .bytes_landed = record->result.bytes_landed,
        .bytes_wasted = record->bytes_wasted,
        .wrong_bytes = record->wrong_bytes,
        .start_ns = record->start_ns,
        .quiet_ns = record->receipt.time_ns,
        .cancel_to_quiet_ns = record->cancel_to_quiet_ns,
    };
    channel_send(&role->channel, &message);
}

void role_doubted(struct role *role, const struct record *record)
{
    send_end(role, MESSAGE_DOUBTED, record);
}

void role_ended(struct role *role, struct record *record)
{
    send_end(role, MESSAGE_ENDED, record);
    free(record->blocks);
    record->blocks = NULL;
    record->handoff_id = 0;
    record->state = RECORD_UNUSED;
}

/* ------------------------------------------------------------------------------------------
 * notices */

/* Callback notices go to the main thread as letters, with a reference. */
static void post_notice(struct record *record, struct baton_completion *notice)
{
    struct letter letter = {.kind = LETTER_NOTICE, .record = record, .id = record->id};

    notice->arg = record;
    baton_handoff_ref(notice->handoff);
    letter.notice = *notice;
    role_post(record->role, &letter);
}

static void on_outcome(baton_handoff *handoff, void *arg, const struct baton_result *result)
{
    struct baton_completion notice = {
        .notice = BATON_NOTICE_OUTCOME, .handoff = handoff, .result = *result};

    post_notice(arg, &notice);
}

static void on_doubt(baton_handoff *handoff, void *arg, baton_cause cause)
{
    struct baton_completion notice = {
        .notice = BATON_NOTICE_DOUBT, .handoff = handoff, .result.cause = cause};

    post_notice(arg, &notice);
}

static void on_quiet(baton_handoff *handoff, void *arg, const struct baton_receipt *receipt)
{
    struct baton_completion notice = {
        .notice = BATON_NOTICE_QUIET, .handoff = handoff, .receipt = *receipt};

    post_notice(arg, &notice);
}

struct baton_notices role_notices(struct record *record)
{
    if (!record->plan.callbacks) {
        return (struct baton_notices){.arg = record};
    }
    return (struct baton_notices){
        .on_outcome = on_outcome, .on_doubt = on_doubt, .on_quiet = on_quiet, .arg = record};
}

/* ------------------------------------------------------------------------------------------
 * handoffs */

void role_handoff_started(struct record *record, baton_handoff *handoff)
{
    record->state = RECORD_RUNNING;
    record->handoff = handoff;
    record->handoff_id = baton_handoff_id(handoff);
    record->start_ns = role_now_ns();
    record->outcomes = 0;
    record->receipts = 0;
}

static bool stash_room(struct role *role, size_t more)
{
    if (role->stash_first + role->stash_count + more <= role->stash_room) {
        return true;
    }
    size_t room = (role->stash_count + more) * 2;
    struct baton_completion *stash = malloc(room * sizeof(*stash));
    if (!stash) {
        return false;
    }
    if (role->stash_count) {
        memcpy(stash, role->stash + role->stash_first, role->stash_count * sizeof(*stash));
    }
    free(role->stash);
    role->stash = stash;
    role->stash_first = 0;
    role->stash_room = room;
    return true;
}

/* Collect into the stash until `record`'s receipt is in it.  What is for others is dealt with
 * afterwards: their pools' work is no part of the time to quiet. */
static bool collect_receipt(struct role *role, const struct record *record)
{
    if (!stash_room(role, COLLECT)) {
        return false;
    }
    struct baton_completion *fresh = role->stash + role->stash_first + role->stash_count;
    size_t count = baton_engine_collect(role->engine, fresh, COLLECT);

    role->stash_count += count;
    for (size_t i = 0; i < count; i++) {
        if (fresh[i].notice == BATON_NOTICE_QUIET && fresh[i].arg == record &&
            baton_handoff_id(fresh[i].handoff) == record->handoff_id) {
            return true;
        }
    }
    return false;
}

static bool stashed_receipt(const struct role *role, const struct record *record)
{
    for (size_t i = 0; i < role->stash_count; i++) {
        const struct baton_completion *notice = &role->stash[role->stash_first + i];
        if (notice->notice == BATON_NOTICE_QUIET && notice->arg == record) {
            return true;
        }
    }
    return false;
}

void role_cancel(struct role *role, struct record *record, baton_cancel_scope scope)
{
    struct pollfd wait = {.fd = baton_engine_completion_fd(role->engine), .events = POLLIN};
    int wait_ms = role->config.fault ? CANCEL_WAIT_FAULT_MS : CANCEL_WAIT_MS;

    if (!record->handoff) {
        return;
    }
    bool decided = record->outcomes > 0;
    uint64_t start = role_now_ns();
    baton_cancel answer = baton_handoff_cancel(record->handoff, scope);

    record->cancels++;
    if (answer == BATON_CANCEL_ALREADY_DECIDED) {
        record->too_late = true;
        return;
    }
    if (decided) {
        role->stats.api_errors++;
        role_trouble(role, false, "a cancel after the outcome was REQUESTED");
    }
    if (record->plan.callbacks || decided || stashed_receipt(role, record)) {
        return;
    }
    while (role_now_ns() - start < (uint64_t)wait_ms * 1000000) {
        if (collect_receipt(role, record)) {
            record->cancel_to_quiet_ns = role_now_ns() - start;
            return;
        }
        poll(&wait, 1, wait_ms);
    }
}

/* Bugs of ours that the checks must find.  True: the receipt was not used as it should be. */
static bool sabotaged(struct role *role, struct record *record)
{
    enum burst_sabotage kind = role->config.sabotage;
    struct baton_error error;

    if ((kind != BURST_SABOTAGE_LEAK && kind != BURST_SABOTAGE_WRONG_RECEIPT) ||
        ++role->retires % SABOTAGE_EVERY || role->sabotages == SABOTAGES_MAX) {
        return false;
    }
    role->sabotages++;
    if (kind == BURST_SABOTAGE_LEAK) {
        return true;
    }
    if (baton_retire(record->handoff, &role->other_receipt, NULL, NULL, &error)) {
        role->stats.receipt_errors++;
    }
    return true;
}

bool role_retire(struct role *role, struct record *record)
{
    struct baton_error error;
    bool retired = false;

    if (!sabotaged(role, record)) {
        retired = !baton_retire(record->handoff, &record->receipt, NULL, NULL, &error);
        if (!retired) {
            role->stats.receipt_errors++;
            role_trouble(role, false, "request %" PRIu64 ": baton_retire: %s", record->id,
                         error.text);
        }
        role->other_receipt = record->receipt;
    }
    baton_handoff_unref(record->handoff);
    record->handoff = NULL;
    return retired;
}

void role_timer_add(struct role *role, struct record *record, uint64_t delay_us)
{
    if (role->timer_count == role->timer_room) {
        size_t room = role->timer_room ? role->timer_room * 2 : 64;
        struct role_timer *timers = realloc(role->timers, room * sizeof(*timers));

        if (!timers) {
            role_trouble(role, true, "out of memory");
            return;
        }
        role->timers = timers;
        role->timer_room = room;
    }
    role->timers[role->timer_count++] =
        (struct role_timer){role_now_ns() + delay_us * 1000, record, record->id};
}
