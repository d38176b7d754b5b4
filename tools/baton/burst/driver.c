/* SPDX-License-Identifier: Apache-2.0 */
/* The phases of a burst: see burst/driver.h. */
#include "burst/driver.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "burst/drive.h"
#include "burst/fault.h"
#include "burst/role.h"
#include "burst/strike.h"
#include "command.h"
#include "lanes.h"

enum {
    SAMPLE_MS = 10,
    PROGRESS_MS = 1000,
    START_WAIT_MS = 60000,
    REPORT_WAIT_MS = 60000,
    PROBE_BYTES_MAX = 4 << 20,
    ISSUE_AT_ONCE = 64,
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

/* ----------------------------------------------------------------------------------------------
 * time */

/* Ends are told at once; a decode process that still waits long after prefill's end is told by the
 * driver, so that the run goes on, and counted. */
static void prod(struct driver *driver, uint64_t now)
{
    uint64_t patience_ns = drive_patience_ns(driver);

    /* Who was stopped has the same time, from then on; one in doubt was told. */
    if (driver->stopped || now - driver->fault_after_ns <= patience_ns) {
        return;
    }
    for (size_t i = 0; i < driver->slots; i++) {
        struct request *request = &driver->requests[i];
        if (request->active && request->source_ended && !request->sink_ended && !request->prod_ns &&
            !request->doubted && now - request->source_ended_ns > patience_ns) {
            request->prod_ns = now;
            drive_tell(&driver->decode, MESSAGE_CANCEL, request);
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
    drive_receive(driver, &driver->prefill);
    drive_receive(driver, &driver->decode);
    bool alive = strike_tick(driver);
    tick(driver);
    if (driver->active && role_now_ns() - driver->moved_ns > BURST_STUCK_MS * NS_PER_MS) {
        driver->account->stuck = true;
    }
    return alive && !driver->prefill.channel.closed && !driver->decode.channel.closed &&
           !driver->fatal && !driver->account->stuck;
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
    driver->bursting = true;
    while (alive && more_to_issue(driver)) {
        for (unsigned i = 0; i < ISSUE_AT_ONCE && driver->active < driver->config->concurrency &&
                             more_to_issue(driver) && due(driver);
             i++) {
            drive_issue_from_load(driver);
        }
        if (!driver->active) {
            driver->moved_ns = role_now_ns();
        }
        alive = pump(driver);
    }
    driver->sampling = false;
    while (alive && (driver->active || driver->stopped)) {
        alive = pump(driver);
    }
    driver->bursting = false;
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
        drive_issue(driver, blocks ? blocks : 1, &plan);
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

/* Proofs that are late have some time to come. */
static bool run_proofs(struct driver *driver)
{
    uint64_t patience_ms = fault_unproven(driver->config, lanes_own(driver->config->lanes))
                               ? BURST_UNPROVEN_MS
                               : BURST_PROOF_MS;
    uint64_t start = role_now_ns();
    bool alive = true;

    while (alive && driver->shelved && role_now_ns() - start < patience_ms * NS_PER_MS) {
        alive = pump(driver);
    }
    for (size_t i = 0; i < driver->slots; i++) {
        const struct request *request = &driver->requests[i];
        driver->account->unproven_blocks += request->shelved ? request->blocks : 0;
    }
    return alive;
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
    /* Twice what is under way, and what can be shelved. */
    driver->slots = (size_t)driver->config->concurrency * (2 + BURST_FAULTS) + 128;
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

bool drive_start(struct driver *driver, struct child *child, const char *name)
{
    struct message message = {.kind = MESSAGE_CONFIG, .slot = (uint32_t)driver->slots};

    message.config = *driver->config;
    if (!child_start(child, name)) {
        return false;
    }
    channel_send(&child->channel, &message);
    return true;
}

static bool start(struct driver *driver)
{
    if (!drive_start(driver, &driver->prefill, "prefill") ||
        !drive_start(driver, &driver->decode, "decode")) {
        return false;
    }
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
    strike_end(driver);
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
    bool whole =
        run_burst(&driver) && run_probes(&driver) && run_proofs(&driver) && run_report(&driver);
    if (!whole) {
        give_up(&driver);
    }
    finish(&driver);
    return whole && !ret_account->children_lost ? EXIT_OK : EXIT_CHECK;
}
