/* SPDX-License-Identifier: Apache-2.0 */
/* The burst's load, and what it does on each message: see burst_driver.h. */
#include "burst/driver.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "burst/children.h"
#include "burst/reuse.h"
#include "burst/role.h"
#include "command.h"

enum {
    SAMPLE_MS = 10,
    PROGRESS_MS = 1000,
    START_WAIT_MS = 60000,
    REPORT_WAIT_MS = 60000,
    PROBE_BYTES_MAX = 4 << 20,
    TROUBLES_SHOWN = 10,
    ISSUE_AT_ONCE = 64,
};

#define NS_PER_MS UINT64_C(1000000)

/* One request under way. */
struct request {
    bool active, probe;
    bool offered, source_ended, sink_ended;
    bool prodded; /* decode was told by us that it is over */
    uint64_t source_ended_ns;
    uint64_t id;
    uint32_t slot;
    uint32_t blocks;
    struct message_ticket ticket;
    struct request_reports reports;
};

struct driver {
    const struct burst_config *config;
    const struct load *load;
    struct account *account;
    void (*on_progress)(const struct burst_progress *progress);
    struct child prefill, decode;
    bool prefill_ready, decode_ready, prefill_reported, decode_reported;
    struct request *requests; /* by slot */
    uint32_t *free_slots;     /* a ring: a slot rests before it is used again */
    size_t slots, free_first, free_count;
    uint64_t issued, next_id, active, offered;
    struct reuse *reuse;
    uint64_t start_ns, sample_ns, progress_ns, moved_ns;
    bool sampling, probing;
    unsigned troubles;
    bool fatal;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

uint64_t burst_blocks(const struct burst_config *config, uint64_t tokens)
{
    uint64_t blocks = (tokens + config->block_tokens - 1) / config->block_tokens;

    return blocks ? blocks : 1;
}

/* ------------------------------------------------------------------------------------------
 * requests */

static void tell(struct child *child, enum message_kind kind, const struct request *request)
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

static void issue(struct driver *driver, uint64_t blocks, const struct request_plan *plan)
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
    driver->active++;
    tell(&driver->prefill, MESSAGE_REQUEST, request);
}

static void issue_from_load(struct driver *driver)
{
    const struct burst_config *config = driver->config;
    uint64_t index = driver->issued++;
    struct load_request load = load_request_at(driver->load, index);
    uint64_t blocks = burst_blocks(config, load.input_tokens);
    struct request_plan plan = burst_plan(config->seed, index, blocks * config->block_bytes,
                                          load.output_tokens, config->cancel_rate);

    driver->account->requests++;
    issue(driver, blocks, &plan);
}

/* An end that no run without process faults should have: say what both sides know of it. */
static void tell_strange_end(struct driver *driver, const struct request *request)
{
    const struct message_ended *source = &request->reports.source, *sink = &request->reports.sink;
    enum request_end end = account_end_of(&request->reports);

    if (end < REQUEST_FAILED || driver->troubles++ >= TROUBLES_SHOWN) {
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

static void over(struct driver *driver, struct request *request)
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
    driver->free_slots[(driver->free_first + driver->free_count++) % driver->slots] = request->slot;
    driver->moved_ns = role_now_ns();
}

static void fetch(struct driver *driver, struct request *request)
{
    if (!request->reports.fetched && !request->source_ended) {
        request->reports.fetched = true;
        tell(&driver->decode, MESSAGE_FETCH, request);
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
        tell(&driver->prefill, MESSAGE_CANCEL, request);
    } else if (plan->fetch_when == FETCH_AT_OFFER) {
        fetch(driver, request);
        if (plan->at_once) {
            tell(&driver->decode, MESSAGE_CANCEL, request);
        }
    }
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
        driver->account->untold += request->prodded && ended->started && ended->cancels;
        driver->account->reused_under_reader +=
            reuse_reader_quiet(driver->reuse, request->id, ended->quiet_ns);
        /* Nobody will use the offer any more: its blocks are wanted. */
        if (!request->source_ended && ended->outcome != BATON_COMPLETED) {
            tell(&driver->prefill, MESSAGE_CANCEL, request);
        }
    }
    if (request->source_ended && (request->sink_ended || !reports->fetched)) {
        over(driver, request);
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
    if (!request || !request->active || request->id != message->id) {
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
        tell(&driver->prefill, MESSAGE_CANCEL, request);
        tell(&driver->decode, MESSAGE_CANCEL, request);
        break;
    case MESSAGE_ENDED:
        on_ended(driver, request, child == &driver->prefill, &message->ended);
        break;
    default:
        break;
    }
}

static void receive(struct driver *driver, struct child *child)
{
    struct message message;

    while (channel_receive(&child->channel, &message)) {
        on_message(driver, child, &message);
    }
    channel_flush(&child->channel);
}

/* ----------------------------------------------------------------------------------------------
 * time */

/* Ends are told at once; a decode process that still waits long after prefill's end is told by the
 * driver, so that the run goes on, and counted. */
static void prod(struct driver *driver, uint64_t now)
{
    uint64_t patience_ms = driver->config->sabotage ? BURST_UNTOLD_SABOTAGED_MS : BURST_UNTOLD_MS;

    for (size_t i = 0; i < driver->slots; i++) {
        struct request *request = &driver->requests[i];
        if (request->active && request->source_ended && !request->sink_ended && !request->prodded &&
            now - request->source_ended_ns > patience_ms * NS_PER_MS) {
            request->prodded = true;
            tell(&driver->decode, MESSAGE_CANCEL, request);
        }
    }
}

static void tick(struct driver *driver)
{
    uint64_t now = role_now_ns();

    if (now >= driver->sample_ns) {
        if (driver->sampling) {
            samples_add(&driver->account->in_flight, (double)driver->offered);
        }
        prod(driver, now);
        driver->sample_ns = now + SAMPLE_MS * NS_PER_MS;
    }
    if (now >= driver->progress_ns) {
        struct burst_progress progress = {
            .seconds = (double)(now - driver->start_ns) / 1e9,
            .in_flight = driver->offered,
            .waiting = driver->active - driver->offered,
            .account = driver->account,
        };
        if (driver->on_progress && driver->sampling) {
            driver->on_progress(&progress);
        }
        driver->progress_ns = now + PROGRESS_MS * NS_PER_MS;
    }
}

/* Waits for messages, up to the next sample, and deals with them.  False: it can not go on. */
static bool pump(struct driver *driver)
{
    struct pollfd fds[] = {
        {.fd = driver->prefill.channel.fd, .events = channel_events(&driver->prefill.channel)},
        {.fd = driver->decode.channel.fd, .events = channel_events(&driver->decode.channel)},
    };

    if (poll(fds, 2, SAMPLE_MS) < 0 && errno != EINTR) {
        return false;
    }
    receive(driver, &driver->prefill);
    receive(driver, &driver->decode);
    tick(driver);
    if (driver->active && role_now_ns() - driver->moved_ns > BURST_STUCK_MS * NS_PER_MS) {
        driver->account->stuck = true;
    }
    return !driver->prefill.channel.closed && !driver->decode.channel.closed && !driver->fatal &&
           !driver->account->stuck;
}

/* -------------------------------------------------------------------------------------------
 * phases */

static bool more_to_issue(const struct driver *driver)
{
    const struct burst_config *config = driver->config;
    uint64_t elapsed_ms = (role_now_ns() - driver->start_ns) / NS_PER_MS;

    if (interrupted) {
        driver->account->interrupted = true;
        return false;
    }
    return config->requests ? driver->issued < config->requests : elapsed_ms < config->duration_ms;
}

/* Has the next request's time come? */
static bool due(const struct driver *driver)
{
    if (driver->config->speed == 0) {
        return true;
    }
    struct load_request next = load_request_at(driver->load, driver->issued);
    double elapsed_ms = (double)(role_now_ns() - driver->start_ns) / (double)NS_PER_MS;

    return elapsed_ms * driver->config->speed >= (double)next.timestamp_ms;
}

static bool run_burst(struct driver *driver)
{
    bool alive = true;

    driver->start_ns = role_now_ns();
    driver->moved_ns = driver->start_ns;
    driver->progress_ns = driver->start_ns + PROGRESS_MS * NS_PER_MS;
    driver->sampling = true;
    while (alive && more_to_issue(driver)) {
        for (unsigned i = 0; i < ISSUE_AT_ONCE && driver->active < driver->config->concurrency &&
                             more_to_issue(driver) && due(driver);
             i++) {
            issue_from_load(driver);
        }
        if (!driver->active) {
            driver->moved_ns = role_now_ns();
        }
        alive = pump(driver);
    }
    driver->sampling = false;
    while (alive && driver->active) {
        alive = pump(driver);
    }
    driver->account->seconds = (double)(role_now_ns() - driver->start_ns) / 1e9;
    return alive;
}

/* Plain requests of the mean length, but of at most a few MiB, all at once. */
static bool run_probes(struct driver *driver)
{
    const struct burst_config *config = driver->config;
    struct request_plan plan = {.stop_bytes = BURST_NEVER};
    uint64_t blocks = burst_blocks(config, (uint64_t)driver->load->mean_tokens);
    uint64_t most = PROBE_BYTES_MAX / config->block_bytes;
    uint64_t start = role_now_ns();
    bool alive = true;

    blocks = blocks > most ? most : blocks;
    driver->probing = true;
    driver->moved_ns = start;
    for (unsigned i = 0; i < BURST_PROBES; i++) {
        driver->account->probes++;
        issue(driver, blocks ? blocks : 1, &plan);
    }
    while (alive && driver->active) {
        alive = pump(driver);
    }
    driver->account->probes_ms = (role_now_ns() - start) / NS_PER_MS;
    return alive;
}

static bool wait_for(struct driver *driver, const bool *prefill, const bool *decode,
                     uint64_t timeout_ms)
{
    uint64_t start = role_now_ns();
    bool alive = true;

    while (alive && !(*prefill && *decode) && role_now_ns() - start < timeout_ms * NS_PER_MS) {
        alive = pump(driver);
    }
    return *prefill && *decode;
}

static bool run_report(struct driver *driver)
{
    struct message ask = {.kind = MESSAGE_REPORT};

    channel_send(&driver->prefill.channel, &ask);
    channel_send(&driver->decode.channel, &ask);
    driver->account->have_stats =
        wait_for(driver, &driver->prefill_reported, &driver->decode_reported, REPORT_WAIT_MS);
    return driver->account->have_stats;
}

static bool allocate(struct driver *driver)
{
    driver->slots = (size_t)driver->config->concurrency * 2 + 128;
    driver->requests = calloc(driver->slots, sizeof(*driver->requests));
    driver->free_slots = calloc(driver->slots, sizeof(*driver->free_slots));
    driver->reuse = reuse_create();
    if (!driver->requests || !driver->free_slots || !driver->reuse) {
        fprintf(stderr, "baton burst: out of memory\n");
        return false;
    }
    for (size_t i = 0; i < driver->slots; i++) {
        driver->free_slots[i] = (uint32_t)i;
    }
    driver->free_count = driver->slots;
    return true;
}

static bool start(struct driver *driver)
{
    struct message message = {.kind = MESSAGE_CONFIG, .slot = (uint32_t)driver->slots};

    message.config = *driver->config;
    if (!child_start(&driver->prefill, "prefill") || !child_start(&driver->decode, "decode")) {
        return false;
    }
    channel_send(&driver->prefill.channel, &message);
    channel_send(&driver->decode.channel, &message);
    return wait_for(driver, &driver->prefill_ready, &driver->decode_ready, START_WAIT_MS);
}

/* Those that never ended, because a process was lost or nothing moved: failed, and named. */
static void give_up(struct driver *driver)
{
    unsigned shown = 0;

    for (size_t i = 0; i < driver->slots; i++) {
        const struct request *request = &driver->requests[i];
        if (!request->active) {
            continue;
        }
        driver->account->ends[REQUEST_FAILED] += !request->probe;
        if (shown++ < TROUBLES_SHOWN) {
            fprintf(
                stderr,
                "baton burst: request %" PRIu64 " (%s, %" PRIu32
                " blocks) did not end: offered %d, fetched %d, prefill done %d, decode done %d\n",
                request->id, burst_cause_name(request->reports.plan.cause), request->blocks,
                request->offered, request->reports.fetched, request->source_ended,
                request->sink_ended);
        }
    }
}

static void finish(struct driver *driver)
{
    driver->account->children_lost += !child_finish(&driver->prefill);
    driver->account->children_lost += !child_finish(&driver->decode);
    free(driver->requests);
    free(driver->free_slots);
    reuse_destroy(driver->reuse);
}

int burst_drive(const struct burst_config *config, const struct load *load,
                void (*on_progress)(const struct burst_progress *progress),
                struct account *ret_account)
{
    struct driver driver = {
        .config = config,
        .load = load,
        .account = ret_account,
        .on_progress = on_progress,
        .prefill.channel.fd = -1,
        .decode.channel.fd = -1,
    };
    struct sigaction action = {.sa_handler = on_signal};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (!allocate(&driver) || !start(&driver)) {
        finish(&driver);
        return EXIT_ENVIRONMENT;
    }
    bool whole = run_burst(&driver) && run_probes(&driver) && run_report(&driver);
    if (!whole) {
        give_up(&driver);
    }
    finish(&driver);
    return whole && !ret_account->children_lost ? EXIT_OK : EXIT_CHECK;
}
