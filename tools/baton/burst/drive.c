/* SPDX-License-Identifier: Apache-2.0 */
/* The requests of the burst's driver, and what it does on each message: see burst/drive.h. */
#include "burst/drive.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "burst/role.h"
#include "burst/strike.h"

/* ------------------------------------------------------------------------------------------
 * requests */

void drive_tell(struct child *child, enum message_kind kind, const struct request *request)
{
    struct message message = {.kind = kind, .slot = request->slot, .id = request->id};

    if (kind == MESSAGE_REQUEST || kind == MESSAGE_FETCH) {
        message.request.plan = request->reports.plan;
        message.request.bytes = request->reports.bytes;
        message.request.blocks = request->blocks;
        message.request.ticket_bytes = request->ticket.length;
        memcpy(message.request.ticket, request->ticket.bytes, sizeof(message.request.ticket));
    }
    channel_send(&child->channel, &message);
}

void drive_issue(struct driver *driver, uint64_t blocks, const struct request_plan *plan)
{
    uint32_t slot = driver->free_slots[driver->free_first];
    struct request *request = &driver->requests[slot];

    driver->free_first = (driver->free_first + 1) % driver->slots;
    driver->free_count--;
    memset(request, 0, sizeof(*request));
    request->active = true;
    request->probe = driver->probing;
    request->id = ++driver->next_id;
    request->slot = slot;
    request->blocks = (uint32_t)blocks;
    request->reports.plan = *plan;
    request->reports.bytes = blocks * driver->config->block_bytes;
    request->reports.hit = !request->probe && strike_hits(driver);
    driver->active++;
    drive_tell(&driver->prefill, MESSAGE_REQUEST, request);
}

void drive_issue_from_load(struct driver *driver)
{
    const struct burst_config *config = driver->config;
    uint64_t index = driver->issued++;
    struct load_request load = load_request_at(driver->load, index);
    uint64_t blocks = burst_blocks(config, load.input_tokens);
    struct request_plan plan = burst_plan(config->seed, index, blocks * config->block_bytes,
                                          load.output_tokens, config->cancel_rate);

    driver->account->requests++;
    drive_issue(driver, blocks, &plan);
}

/* An end that no run without process faults should have: say what both sides know of it. */
static void tell_strange_end(struct driver *driver, const struct request *request)
{
    const struct message_ended *source = &request->reports.source, *sink = &request->reports.sink;
    enum request_end end = account_end_of(&request->reports);

    if (end < REQUEST_FAILED || sink->limited || driver->troubles++ >= TROUBLES_SHOWN) {
        return;
    }
    fprintf(stderr,
            "baton burst: request %" PRIu64 " (%s, %" PRIu32
            " blocks) ended as %s: prefill %s, %s; decode %s, %s, in %s%s\n",
            request->id, burst_cause_name(request->reports.plan.cause), request->blocks,
            request_end_name(end), baton_outcome_name(source->outcome),
            baton_cause_name(source->cause), baton_outcome_name(sink->outcome),
            baton_cause_name(sink->cause), baton_stage_name(sink->stage),
            sink->refetched ? ", fetched again" : "");
}

static void free_slot(struct driver *driver, const struct request *request)
{
    driver->free_slots[(driver->free_first + driver->free_count++) % driver->slots] = request->slot;
}

void drive_over(struct driver *driver, struct request *request)
{
    tell_strange_end(driver, request);
    if (request->probe) {
        account_probe(driver->account, &request->reports);
    } else {
        account_request(driver->account, &request->reports);
    }
    request->active = false;
    driver->active--;
    driver->offered -= request->offered;
    if (!request->shelved) {
        free_slot(driver, request);
    }
    driver->moved_ns = role_now_ns();
}

static void fetch(struct driver *driver, struct request *request)
{
    if (!request->reports.fetched && !request->source_ended) {
        request->reports.fetched = true;
        drive_tell(&driver->decode, MESSAGE_FETCH, request);
    }
}

/* ------------------------------------------------------------------------------------------
 * messages */

static void on_offered(struct driver *driver, struct request *request,
                       const struct message_ticket *ticket)
{
    const struct request_plan *plan = &request->reports.plan;

    request->offered = true;
    driver->offered++;
    request->ticket = *ticket;
    if (plan->cause == BURST_GONE_BEFORE_PREFILL) {
        drive_tell(&driver->prefill, MESSAGE_CANCEL, request);
    } else if (plan->fetch_when == FETCH_AT_OFFER) {
        fetch(driver, request);
        if (plan->at_once) {
            drive_tell(&driver->decode, MESSAGE_CANCEL, request);
        }
    }
}

uint64_t drive_patience_ns(const struct driver *driver)
{
    return (driver->config->sabotage ? BURST_UNTOLD_SABOTAGED_MS : BURST_UNTOLD_MS) * NS_PER_MS;
}

/* Did the fetch go on until it was told by us?  Not one that had waited for blocks and was made
 * shortly before. */
static bool was_untold(const struct driver *driver, const struct request *request,
                       const struct message_ended *ended)
{
    return request->prod_ns && ended->started && ended->cancels &&
           request->prod_ns > ended->start_ns + drive_patience_ns(driver);
}

static void on_ended(struct driver *driver, struct request *request, bool source,
                     const struct message_ended *ended)
{
    struct request_reports *reports = &request->reports;

    if (source) {
        request->source_ended = true;
        request->source_ended_ns = role_now_ns();
        reports->source = *ended;
    } else {
        request->sink_ended = true;
        reports->sink = *ended;
        driver->account->untold += was_untold(driver, request, ended);
        driver->account->reused_under_reader +=
            reuse_reader_quiet(driver->reuse, request->id, ended->quiet_ns);
        /* Nobody will use the offer any more: its blocks are wanted. */
        if (!request->source_ended && ended->outcome != BATON_COMPLETED) {
            drive_tell(&driver->prefill, MESSAGE_CANCEL, request);
        }
    }
    if (request->source_ended && (request->sink_ended || !reports->fetched)) {
        drive_over(driver, request);
    }
}

void drive_shelve(struct driver *driver, struct request *request)
{
    request->sink_ended = true;
    request->shelved = true;
    driver->shelved++;
    drive_over(driver, request);
}

/* Of one that was shelved: its proof has come after all. */
static void on_proven(struct driver *driver, struct request *request)
{
    request->shelved = false;
    driver->shelved--;
    free_slot(driver, request);
}

/* With the source's process gone nobody knows whether there will be a receipt. */
static void on_doubted(struct driver *driver, struct request *request,
                       const struct message_ended *ended)
{
    request->doubted = true;
    request->reports.sink = *ended;
    if (request->orphan && !request->sink_ended) {
        drive_shelve(driver, request);
    }
}

static void on_trouble(struct driver *driver, const struct child *child,
                       const struct message_trouble *trouble)
{
    driver->fatal = driver->fatal || trouble->fatal;
    if (driver->troubles++ < TROUBLES_SHOWN) {
        fprintf(stderr, "baton burst: %s: %.500s\n", child->name, trouble->text);
    }
}

/* Messages that are about no request. */
static bool on_general(struct driver *driver, const struct child *child,
                       const struct message *message)
{
    bool prefill = child == &driver->prefill;

    switch (message->kind) {
    case MESSAGE_READY:
        *(prefill ? &driver->prefill_ready : &driver->decode_ready) = true;
        return true;
    case MESSAGE_STATS:
        *(prefill ? &driver->account->prefill : &driver->account->decode) = message->stats;
        *(prefill ? &driver->prefill_reported : &driver->decode_reported) = true;
        return true;
    case MESSAGE_TROUBLE:
        on_trouble(driver, child, &message->trouble);
        return true;
    case MESSAGE_WAKEUP:
        if (driver->sampling) {
            samples_add(&driver->account->bare_wakeup_us, (double)message->wakeup_ns / 1e3);
        }
        return true;
    case MESSAGE_REUSED:
        driver->account->reused_under_reader += reuse_rewritten(
            driver->reuse, message->id, message->reused.time_ns, message->reused.blocks);
        return true;
    default:
        return false;
    }
}

static void on_message(struct driver *driver, const struct child *child,
                       const struct message *message)
{
    if (on_general(driver, child, message)) {
        return;
    }
    struct request *request =
        message->slot < driver->slots ? &driver->requests[message->slot] : NULL;
    if (!request || request->id != message->id || !(request->active || request->shelved)) {
        return;
    }
    if (request->shelved) {
        if (message->kind == MESSAGE_ENDED) {
            on_proven(driver, request);
        }
        return;
    }
    switch (message->kind) {
    case MESSAGE_OFFERED:
        on_offered(driver, request, &message->ticket);
        break;
    case MESSAGE_PARKED:
        fetch(driver, request);
        break;
    case MESSAGE_REACHED:
        drive_tell(&driver->prefill, MESSAGE_CANCEL, request);
        drive_tell(&driver->decode, MESSAGE_CANCEL, request);
        break;
    case MESSAGE_DOUBTED:
        if (child == &driver->decode) {
            on_doubted(driver, request, &message->ended);
        }
        break;
    case MESSAGE_ENDED:
        on_ended(driver, request, child == &driver->prefill, &message->ended);
        break;
    default:
        break;
    }
}

void drive_receive(struct driver *driver, struct child *child)
{
    struct message message;

    while (channel_receive(&child->channel, &message)) {
        on_message(driver, child, &message);
    }
    channel_flush(&child->channel);
}
