/* SPDX-License-Identifier: Apache-2.0 */
/* Faults, carried out: see burst/strike.h. */
#include "burst/strike.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

#include "burst/fault.h"
#include "burst/role.h"

enum {
    AFTER_STOP_MS = 1500, /* what an engine does about doubt can come after the peer goes on */
};

static struct child *victim_of(struct driver *driver)
{
    return driver->config->fault_decode ? &driver->decode : &driver->prefill;
}

static struct child *other_of(struct driver *driver)
{
    return driver->config->fault_decode ? &driver->prefill : &driver->decode;
}

static struct fault *last_fault(struct driver *driver)
{
    return &driver->account->fault[driver->account->faults - 1];
}

/* ---- requests ---- */

/* Those that are with the peer now may end because of it. */
static void mark(struct driver *driver)
{
    for (size_t i = 0; i < driver->slots; i++) {
        struct request *request = &driver->requests[i];
        request->reports.hit = request->reports.hit || request->active;
    }
}

/* With one side stopped nothing lands, and no point to cancel at is reached.  So half of the
 * clients hang up now: the other side has to end their requests without the peer's help. */
static void hang_up(struct driver *driver)
{
    for (size_t i = 0; i < driver->slots; i++) {
        const struct request *request = &driver->requests[i];
        if (request->active && request->reports.fetched && request->id % 2 == 0 &&
            !request->source_ended && !request->sink_ended) {
            drive_tell(other_of(driver), MESSAGE_CANCEL, request);
        }
    }
}

static void source_lost(struct driver *driver, struct request *request)
{
    request->orphan = true;
    if (!request->source_ended) {
        request->source_ended = true;
        request->source_ended_ns = role_now_ns();
        request->reports.source_lost = true;
    }
    if (request->sink_ended || !request->reports.fetched) {
        drive_over(driver, request);
    } else if (request->doubted) {
        drive_shelve(driver, request);
    }
}

/* Its reader may have been anywhere; prefill's side is told that nobody comes any more. */
static void sink_lost(struct driver *driver, struct request *request)
{
    if (!request->reports.fetched || request->sink_ended) {
        return;
    }
    request->sink_ended = true;
    request->reports.sink_lost = true;
    if (request->source_ended) {
        drive_over(driver, request);
    } else {
        drive_tell(&driver->prefill, MESSAGE_CANCEL, request);
    }
}

/* The process has died, and a new one takes its place.  What it had still said counts. */
static bool replace(struct driver *driver)
{
    struct child *child = victim_of(driver);
    const char *name = child->name;

    drive_receive(driver, child);
    child_forget(child);
    mark(driver);
    for (size_t i = 0; i < driver->slots; i++) {
        struct request *request = &driver->requests[i];
        if (!request->active) {
            continue;
        }
        if (driver->config->fault_decode) {
            sink_lost(driver, request);
        } else {
            source_lost(driver, request);
        }
    }
    return drive_start(driver, child, name);
}

/* ---- faults ---- */

static struct fault *begin(struct driver *driver)
{
    struct fault *fault = &driver->account->fault[driver->account->faults++];

    *fault = (struct fault){
        .start_ns = role_now_ns(),
        .doubts_first = atomic_load(&other_of(driver)->board->doubts),
    };
    return fault;
}

/* Right after the signal: what the fetches were about. */
static void look(struct driver *driver, struct fault *fault)
{
    fault->moving = atomic_load(&driver->decode.board->moving);
    fault->under_way = fault->moving + atomic_load(&driver->decode.board->waiting);
}

static bool stop(struct driver *driver)
{
    struct fault *fault = begin(driver);

    if (!child_stop(victim_of(driver))) {
        return false;
    }
    look(driver, fault);
    mark(driver);
    hang_up(driver);
    driver->stopped = true;
    return true;
}

static void go_on(struct driver *driver)
{
    uint64_t now = role_now_ns();

    driver->stopped = false;
    driver->fault_after_ns = now;
    driver->moved_ns = now;
    last_fault(driver)->end_ns = now;
    child_continue(victim_of(driver));
}

static bool kill_and_replace(struct driver *driver)
{
    struct fault *fault = begin(driver);

    kill(victim_of(driver)->pid, SIGKILL);
    look(driver, fault);
    if (child_kill(victim_of(driver)) != SIGKILL) {
        fprintf(stderr, "baton burst: the %s process had ended before it was killed\n",
                victim_of(driver)->name);
        return false;
    }
    fault->end_ns = fault->start_ns;
    driver->fault_after_ns = fault->start_ns;
    return replace(driver);
}

/* A stopped peer may be ended by the other side, which was told to do so in doubt. */
static bool ended_by_other(const struct driver *driver)
{
    const struct burst_config *config = driver->config;
    const struct child *victim = config->fault_decode ? &driver->decode : &driver->prefill;

    return config->fault == BURST_FAULT_STOP && victim->channel.closed &&
           config->on_doubt == BATON_ON_DOUBT_KILL_LOCAL_PEER &&
           driver->revived < driver->account->faults;
}

static bool revive(struct driver *driver)
{
    struct child *victim = victim_of(driver);

    driver->revived++;
    if (driver->stopped) {
        go_on(driver);
    }
    if (child_kill(victim) != SIGKILL) {
        fprintf(stderr, "baton burst: the %s process has ended by itself\n", victim->name);
        return false;
    }
    last_fault(driver)->died = true;
    return replace(driver);
}

/* ---- time ---- */

static void sample(struct driver *driver, uint64_t now)
{
    const struct board *board = other_of(driver)->board;

    fault_sample(driver->account->fault, driver->account->faults, now,
                 atomic_load(&board->quarantine_blocks), atomic_load(&board->quarantine_since_ns));
}

static bool is_due(struct driver *driver, uint64_t now)
{
    uint64_t elapsed_ms = (now - driver->start_ns) / NS_PER_MS;

    if (!driver->bursting ||
        !fault_due(driver->config, driver->account->faults, elapsed_ms, driver->issued)) {
        return false;
    }
    driver->fault_due_ns = driver->fault_due_ns ? driver->fault_due_ns : now;
    return fault_aimed(atomic_load(&driver->decode.board->moving),
                       (now - driver->fault_due_ns) / NS_PER_MS);
}

bool strike_tick(struct driver *driver)
{
    uint64_t now = role_now_ns();
    bool alive = true;

    if (driver->config->fault == BURST_FAULT_NONE) {
        return true;
    }
    if (driver->account->faults) {
        sample(driver, now);
    }
    if (ended_by_other(driver)) {
        alive = revive(driver);
    } else if (driver->stopped) {
        if (fault_seen(driver->config, last_fault(driver), now,
                       atomic_load(&other_of(driver)->board->doubts))) {
            go_on(driver);
        }
    } else if (is_due(driver, now)) {
        driver->fault_due_ns = 0;
        alive = driver->config->fault == BURST_FAULT_STOP ? stop(driver) : kill_and_replace(driver);
    }
    driver->account->children_lost += !alive;
    return alive;
}

void strike_end(struct driver *driver)
{
    if (driver->stopped) {
        go_on(driver);
    }
}

bool strike_hits(const struct driver *driver)
{
    return driver->config->fault == BURST_FAULT_STOP &&
           (driver->stopped || (driver->account->faults && role_now_ns() - driver->fault_after_ns <
                                                               AFTER_STOP_MS * NS_PER_MS));
}
