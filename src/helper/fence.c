/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One case: a transfer of many blocks that one of the two sides breaks off by destroying its agent,
 * in the middle; then the landing memory gets its next owner, both sides go on, and what changes in
 * it after that is late.
 *
 * That it is the middle does not hang on timing.  On the lanes of the list what lands is stored by
 * the process whose memory it is, by nobody else, and in its polls.  The two sides take turns, so
 * that a turn moves no more than what fits between them, which is far less than the whole; when the
 * first blocks have landed that side holds still, and the other fills what lies between them.
 *
 * That bytes would be late without the destroy is seen too, by the cases in which nobody destroys:
 * a machine on which nothing is late then shows nothing.
 */
#include "helper/fence.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "helper/side.h"
#include "transport/nixl_worker.h"
#include "util/clock.h"

enum {
    TRANSFER_BYTES = 64 << 20,
    BLOCKS_LANDED_MIN = 16, /* of 1024 */
    TURN_POLLS = 10,
    TURNS_MAX = 10000,
    NEXT_OWNERS = 0x3c, /* of memory that a transfer still reads */
    SECONDS_MAX = 20,
    TRIES_MAX = 5,
    NOBODY = SIDES,
};

/* Orders.  Each is answered when it is done, but POLL, which lasts until the next. */
enum { READ = 'r', WRITE = 'w', POST = 'o', TURN = 't', DESTROY = 'd', POLL = 'p', END = 'e' };

static const struct fence_case {
    bool writes;
    int destroys; /* SIDE_..., or NOBODY */
    bool stopped; /* the side that nothing lands at, until the memory has its next owner */
    const char *text;
} cases[] = {
    {false, NOBODY, false, "read,  nobody destroys                "},
    {true, NOBODY, false, "write, nobody destroys                "},
    {false, SIDE_INITIATOR, false, "read,  reader destroys, source live   "},
    {false, SIDE_INITIATOR, true, "read,  reader destroys, source stopped"},
    {true, SIDE_TARGET, false, "write, target destroys, writer live   "},
    {true, SIDE_TARGET, true, "write, target destroys, writer stopped"},
    {true, SIDE_INITIATOR, false, "write, writer destroys, target waits  "},
};

enum { CASES = sizeof(cases) / sizeof(cases[0]) };

struct fence_run {
    const struct fence_case *what;
    const struct side_pair *pair;
    uint64_t before, late; /* bytes */
    uint64_t read_late;    /* of those: what the source's next owner had written */
    double destroy_ms;
    bool ended[SIDES]; /* the process, by itself */
    bool reusable;     /* the pair */
    char failure[160];
};

static int landing_side(bool writes)
{
    return writes ? SIDE_TARGET : SIDE_INITIATOR;
}

/* ---- in the children ---- */

static size_t blocks_landed(const unsigned char *landing)
{
    size_t count = 0;

    for (size_t at = 0; at < TRANSFER_BYTES; at += LATE_BLOCK_BYTES) {
        count += ((const volatile unsigned char *)landing)[at] == LATE_PAYLOAD;
    }
    return count;
}

static void post(struct side *side)
{
    struct nixl_request *request = side_request(side, TRANSFER_BYTES / LATE_BLOCK_BYTES);

    side_must(side, side->api->post_xfer_req(side->agent, request, NULL) == NIXL_IN_PROGRESS,
              "post_xfer_req: to be under way");
}

/* With no other turn meanwhile. */
static size_t turn(struct side *side, const unsigned char *landing)
{
    size_t landed = 0;

    for (int i = 0; i < TURN_POLLS && landed < BLOCKS_LANDED_MIN; i++) {
        side_must(side, !side_poll(side), "a turn to itself");
        landed = landing ? blocks_landed(landing) : 0;
    }
    return landed;
}

static void destroy(struct side *side, struct side_report *report)
{
    uint64_t start_ns = clock_now_ns();

    report->destroy = side->api->destroy_agent(side->agent);
    report->us = (double)(clock_now_ns() - start_ns) / 1e3;
    side->agent = NULL;
    side_must(side, report->destroy == NIXL_OK, "destroy_agent");
}

/* Until the last answer. */
static void case_serve(struct side *side, int which)
{
    int lands = landing_side(side->orders->writes);
    const unsigned char *landing = which == lands ? side->orders->memory[which] : NULL;
    /* The other's first block is moved meanwhile. */
    char order = side_serve(side);

    while (order && order != END) {
        struct side_report report = {0};

        if (order == POST) {
            post(side);
        } else if (order == TURN) {
            report.landed = turn(side, landing);
        } else if (order == DESTROY) {
            destroy(side, &report);
        }
        if (order != POLL) {
            side_tell(side, &report);
        }
        order = order == POLL && side->agent ? side_serve(side) : side_order(side);
    }
}

/* An agent for each case: to make the first of a process takes long. */
static void side_run(void *arg, int channel, int which)
{
    struct side_orders orders = *(const struct side_orders *)arg;
    struct side side = {.channel = channel};
    const struct side_report done = {0};
    char order;

    /* The library's words are not among the results. */
    dup2(STDERR_FILENO, STDOUT_FILENO);
    while ((order = side_order(&side)) != 0) {
        struct side_report report = {0};

        orders.writes = order == WRITE;
        side_open(&side, &orders, which, channel);
        side_tell(&side, &done);
        case_serve(&side, which);
        if (side.agent) {
            destroy(&side, &report);
        }
        side_tell(&side, &done);
    }
}

static void initiator_run(void *arg, int channel)
{
    side_run(arg, channel, SIDE_INITIATOR);
}

static void target_run(void *arg, int channel)
{
    side_run(arg, channel, SIDE_TARGET);
}

/* ---- in their parent ---- */

static bool ask(struct fence_run *run, int which, char order, struct side_report *ret_report)
{
    side_say(run->pair, which, order);
    return side_hear(run->pair, which, ret_report, run->failure);
}

static bool run_begin(struct fence_run *run)
{
    char order = run->what->writes ? WRITE : READ;
    struct side_report report;

    side_say(run->pair, SIDE_INITIATOR, order);
    side_say(run->pair, SIDE_TARGET, order);
    return side_hear(run->pair, SIDE_INITIATOR, &report, run->failure) &&
           side_hear(run->pair, SIDE_TARGET, &report, run->failure);
}

/* Until some has landed and more lies between the two, which both hold still. */
static bool run_to_middle(struct fence_run *run)
{
    int lands = landing_side(run->what->writes);
    struct side_report report;

    /* The first ends the target's polling. */
    if (!ask(run, SIDE_TARGET, TURN, &report) || !ask(run, SIDE_INITIATOR, POST, &report)) {
        return false;
    }
    report.landed = 0;
    for (int i = 0; i < TURNS_MAX && report.landed < BLOCKS_LANDED_MIN; i++) {
        if (!ask(run, !lands, TURN, &report) || !ask(run, lands, TURN, &report)) {
            return false;
        }
    }
    return ask(run, !lands, TURN, &report);
}

/* `other` polls from here on, or is stopped; unless it is the one that destroys. */
static bool break_off(struct fence_run *run, int other)
{
    struct side_report report;

    if (run->what->stopped) {
        late_child_stop(&run->pair->children[other]);
    }
    if (run->what->destroys != other) {
        side_say(run->pair, other, POLL);
    }
    if (run->what->destroys == NOBODY) {
        return true;
    }
    if (!ask(run, run->what->destroys, DESTROY, &report)) {
        return false;
    }
    run->destroy_ms = report.us / 1e3;
    return true;
}

/* The memory gets its next owner, and everybody goes on. */
static void go_on(struct fence_run *run, unsigned char *landing, unsigned char *from)
{
    int lands = landing_side(run->what->writes);

    memset(landing, LATE_POISON, TRANSFER_BYTES);
    if (run->what->destroys == !lands) {
        memset(from, NEXT_OWNERS, TRANSFER_BYTES);
    }
    side_say(run->pair, lands, POLL);
    kill(run->pair->children[!lands].pid, SIGCONT);
    run->late = late_settle(landing, TRANSFER_BYTES);
    run->read_late = TRANSFER_BYTES - late_count(landing, TRANSFER_BYTES, NEXT_OWNERS);
    for (int which = 0; which < SIDES; which++) {
        run->ended[which] = !late_child_lives(&run->pair->children[which]);
    }
}

/* The agents that are left go; what becomes of their processes is not of the case any more. */
static void pair_tidy(struct fence_run *run)
{
    struct side_report report;
    char unwanted[sizeof(run->failure)];

    for (int which = 0; which < SIDES; which++) {
        side_say(run->pair, which, END);
        run->reusable =
            side_hear(run->pair, which, &report, unwanted) && (which == 0 || run->reusable);
    }
}

static void case_try(struct fence_run *run, unsigned char *const memory[SIDES])
{
    int lands = landing_side(run->what->writes);

    memset(memory[lands], 0, TRANSFER_BYTES);
    memset(memory[!lands], LATE_PAYLOAD, TRANSFER_BYTES);
    if (!run_begin(run) || !run_to_middle(run)) {
        return;
    }
    run->before = late_count(memory[lands], TRANSFER_BYTES, 0);
    if (!break_off(run, !lands)) {
        return;
    }
    go_on(run, memory[lands], memory[!lands]);
    pair_tidy(run);
}

/* Why it did not come out as it must; "" when it did. */
static const char *case_judge(const struct fence_run *run)
{
    int lands = landing_side(run->what->writes);
    int destroys = run->what->destroys;

    if (run->failure[0]) {
        return run->failure;
    }
    if (run->before == TRANSFER_BYTES) {
        return "it was over before it was broken off";
    }
    if (run->ended[lands]) {
        return "the process with the memory ended";
    }
    if (destroys == NOBODY && !run->late) {
        return "nothing is late without a destroy either, so this shows nothing";
    }
    /* What it had handed on before still lands, and is the other side's to fence; but nothing is
     * taken any more from the memory of the one that destroyed. */
    if (destroys == !lands && run->read_late) {
        return "late reads";
    }
    return destroys == lands && run->late ? "late bytes" : "";
}

static void case_print(const struct fence_run *run, const char *why)
{
    bool is_other = run->what->destroys == !landing_side(run->what->writes);

    printf("%s  landed %5.2f MiB, destroyed in %5.1f ms, late %8llu bytes  %s%s%s%s\n",
           run->what->text, (double)run->before / (1 << 20), run->destroy_ms,
           (unsigned long long)run->late, why[0] ? "FAILED: " : "ok", why,
           is_other && !why[0] ? ", none read after it: no fence for the target" : "",
           run->ended[0] || run->ended[1] ? "; a process ended" : "");
    fflush(stdout);
}

/* A pair whose processes both live is used again. */
static bool pair_ensure(struct side_pair *pair, struct side_orders *orders)
{
    static void (*const sides[SIDES])(void *, int) = {initiator_run, target_run};

    return pair->children[0].pid > 0 || side_pair_start(pair, orders, sides);
}

/* UCX may end a process whose peer's connection is gone (docs/NIXL.md).  That is no late byte; but
 * one that was to live and go on is given more tries to do so. */
static bool case_run(const struct fence_case *what, struct side_pair *pair,
                     struct side_orders *orders)
{
    struct fence_run run;
    const char *why;
    bool again = true;

    for (int i = 0; i < TRIES_MAX && again; i++) {
        run = (struct fence_run){.what = what, .pair = pair};
        if (!pair_ensure(pair, orders)) {
            printf("FAILED: no processes\n");
            return false;
        }
        case_try(&run, orders->memory);
        why = case_judge(&run);
        again = !why[0] && !what->stopped && run.ended[!landing_side(what->writes)];
        case_print(&run, again && i == TRIES_MAX - 1 ? "the other side never goes on" : why);
        if (!run.reusable) {
            side_pair_end(pair, orders);
        }
    }
    return !why[0] && !again;
}

/* The children die with this process. */
static void too_late(int number)
{
    static const char text[] = "FAILED: out of time\n";

    (void)number;
    (void)!write(STDOUT_FILENO, text, sizeof(text) - 1);
    _exit(FENCE_FAILED);
}

static bool cases_run(struct side_orders *orders)
{
    struct side_pair pair = {0};
    bool holds = true;

    for (size_t i = 0; i < CASES; i++) {
        holds = case_run(&cases[i], &pair, orders) && holds;
        if (!holds && cases[i].destroys == NOBODY) {
            break; /* the others would show nothing */
        }
    }
    if (pair.children[0].pid > 0) {
        side_pair_end(&pair, orders);
    }
    return holds;
}

enum fence_end fence_test(void)
{
    const char *tls = getenv("UCX_TLS");
    const struct rlimit no_core = {0};
    struct side_orders orders = {.tls = tls, .bytes = TRANSFER_BYTES};
    bool holds;

    if (nixl_lanes(tls) != NIXL_LANES_OWN) {
        printf("not on the list of lanes: UCX_TLS=%s\n", tls ? tls : "");
        return FENCE_UNLISTED;
    }
    /* Lanes of shared memory have no handler of dead peers. */
    orders.no_errors = strstr(tls, "posix") || strstr(tls, "sysv");
    orders.memory[0] = late_memory(SIDES * (size_t)TRANSFER_BYTES);
    if (!orders.memory[0]) {
        printf("FAILED: no memory\n");
        return FENCE_FAILED;
    }
    orders.memory[1] = orders.memory[0] + TRANSFER_BYTES;
    signal(SIGALRM, too_late);
    alarm(SECONDS_MAX);
    setrlimit(RLIMIT_CORE, &no_core);
    holds = cases_run(&orders);
    alarm(0);
    munmap(orders.memory[0], SIDES * (size_t)TRANSFER_BYTES);
    return holds ? FENCE_HOLDS : FENCE_FAILED;
}
