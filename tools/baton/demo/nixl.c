/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A naive run: what happens after NIXL has said that a transfer is released and its memory is
 * deregistered.  Two children, with an agent each, do what an application does that takes NIXL_OK
 * for "it is over"; they are children because NIXL can not be unloaded and reads its environment
 * once.  The demo poisons and counts in memory that it shares with both.
 *
 * That bytes are late does not hang on timing: the agents have no progress thread, so nothing moves
 * but when somebody polls, and from before the transfer until after the poison the target does not,
 * nor does the initiator between the release and the poison.
 */
#include "demo/late.h"
#include "helper/side.h"
#include "transport/nixl_api.h"
#include "util/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct lane {
    const char *name, *tls;
    bool no_errors;
} lanes[] = {
    {"tcp", "tcp", false},
    /* What is left of shared memory where process_vm_readv is forbidden, as in containers. */
    {"shm, queues", "posix", true},
    {"shm, cma", "shm", true},
};

/* Ready; polls until 'h', then holds still; deregisters at 'd'; polls again from 'p' on. */
static void target_run(void *arg, int channel)
{
    struct side_report report = {0};
    struct side side;
    char order;

    side_open(&side, arg, SIDE_TARGET, channel);
    side_tell(&side, &report);
    for (order = side_serve(&side); order == 'h' || order == 'd'; order = side_order(&side)) {
        if (order == 'd') {
            report.deregister = side.api->deregister_mem(side.agent, side.regions, side.hints);
        }
        side_tell(&side, &report);
    }
    if (order) {
        side_serve(&side);
    }
}

/* Ready; at an order, a transfer that is released at once; polls from the next order on. */
static void initiator_run(void *arg, int channel)
{
    struct side_report report = {0};
    struct nixl_request *request;
    struct side side;
    uint64_t start_ns;

    side_open(&side, arg, SIDE_INITIATOR, channel);
    side_tell(&side, &report);
    if (!side_order(&side)) {
        return;
    }
    request = side_request(&side, side.orders->bytes / LATE_BLOCK_BYTES);
    report.post = side.api->post_xfer_req(side.agent, request, NULL);
    start_ns = clock_now_ns();
    report.release = side.api->release_xfer_req(side.agent, request);
    report.deregister = side.api->deregister_mem(side.agent, side.regions, side.hints);
    report.us = (double)(clock_now_ns() - start_ns) / 1e3;
    side_tell(&side, &report);
    if (side_order(&side)) {
        side_serve(&side);
    }
}

struct found {
    baton_err err;
    struct baton_error error;
    char version[32];
};

static void find(void *arg, int channel)
{
    struct found found = {0};
    const struct nixl_api *api;

    found.err = nixl_api_load(arg, &api, &found.error);
    if (!found.err) {
        memcpy(found.version, api->version, sizeof(found.version));
    }
    (void)!send(channel, &found, sizeof(found), MSG_NOSIGNAL);
}

baton_err late_nixl_find(const char *path, char ret_version[32], struct baton_error *ret_error)
{
    struct late_child child;
    struct found found;

    if (!late_child_start(&child, find, (void *)(uintptr_t)path)) {
        snprintf(ret_error->text, sizeof(ret_error->text), "fork: %s", strerror(errno));
        return BATON_ESYSTEM;
    }
    if (!late_child_receive(&child, &found, sizeof(found))) {
        found =
            (struct found){.err = BATON_EINVAL, .error.text = "NIXL's library ended the process"};
    }
    late_child_end(&child);
    *ret_error = found.error;
    memcpy(ret_version, found.version, sizeof(found.version));
    return found.err;
}

static void fail(struct late_run *run, const char *what)
{
    snprintf(run->failure, sizeof(run->failure), "%s", what);
}

static bool transfer(const struct side_orders *orders, const struct side_pair *pair,
                     struct late_run *run)
{
    const struct late_child *target = &pair->children[SIDE_TARGET];
    unsigned char *landing = orders->memory[orders->writes ? SIDE_TARGET : SIDE_INITIATOR];
    struct side_report report, there = {0};

    if (!side_hear(pair, SIDE_TARGET, &there, run->failure) ||
        !side_hear(pair, SIDE_INITIATOR, &report, run->failure) ||
        !side_say(pair, SIDE_TARGET, 'h') || !side_hear(pair, SIDE_TARGET, &there, run->failure)) {
        return false;
    }
    if (run->stopped) {
        late_child_stop(target);
    }
    side_say(pair, SIDE_INITIATOR, 'g');
    if (!side_hear(pair, SIDE_INITIATOR, &report, run->failure)) {
        return false;
    }
    if (orders->writes) {
        /* The memory is the target's to deregister, before it polls again. */
        side_say(pair, SIDE_TARGET, 'd');
        kill(target->pid, SIGCONT);
        if (!side_hear(pair, SIDE_TARGET, &there, run->failure)) {
            return false;
        }
    }
    run->answer_us = report.us;
    snprintf(run->answer, sizeof(run->answer), "release %d, deregister %d%s", report.release,
             report.deregister ? report.deregister : there.deregister,
             report.post == NIXL_OK ? ", done in the post" : "");
    run->before = orders->bytes - late_count(landing, orders->bytes, LATE_PAYLOAD);
    memset(landing, LATE_POISON, orders->bytes);
    side_say(pair, SIDE_INITIATOR, 'p');
    side_say(pair, SIDE_TARGET, 'p');
    kill(target->pid, SIGCONT);
    run->late = late_settle(landing, orders->bytes);
    return true;
}

static void processes_run(struct side_orders *orders, struct late_run *run)
{
    static void (*const sides[SIDES])(void *, int) = {initiator_run, target_run};
    struct side_pair pair;

    if (!side_pair_start(&pair, orders, sides)) {
        fail(run, "fork");
        return;
    }
    transfer(orders, &pair, run);
    side_pair_end(&pair, orders);
}

void late_nixl_run(const char *path, unsigned index, size_t bytes, struct late_run *ret_run)
{
    const struct lane *lane = &lanes[index / 4];
    struct side_orders orders = {.library = path,
                                 .tls = lane->tls,
                                 .no_errors = lane->no_errors,
                                 .writes = index / 2 % 2,
                                 .bytes = bytes};

    *ret_run = (struct late_run){.who = "NIXL",
                                 .lane = lane->name,
                                 .way = orders.writes ? "write" : "read",
                                 .stopped = index % 2,
                                 .bytes = bytes};
    orders.memory[0] = late_memory(2 * bytes);
    if (!orders.memory[0]) {
        fail(ret_run, "no memory");
        return;
    }
    orders.memory[1] = orders.memory[0] + bytes;
    memset(orders.memory[!orders.writes], LATE_PAYLOAD, bytes);
    processes_run(&orders, ret_run);
    munmap(orders.memory[0], 2 * bytes);
}
