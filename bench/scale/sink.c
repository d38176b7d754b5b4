/* SPDX-License-Identifier: Apache-2.0 */
/* The sinks of bench/scale, and the orders to their source. */
#include "pair.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SINKS_MAX = 64,
    WAIT_MS = 20000, /* without anything that happens, while something should */
};

struct sink {
    baton_engine *engine;
    baton_pool *pool;
    uint32_t *blocks;
};

struct fetch {
    struct pair *pair;
    baton_handoff *handoff;
    uint32_t number;
};

struct pair {
    struct setup setup;
    struct shared *shared;
    size_t shared_bytes;
    pid_t child;
    int channel, bell, epoll;
    struct sink sinks[SINKS_MAX];
    struct fetch *fetches;
    uint32_t asked, over; /* fetches of this round */
    uint32_t reading;     /* were accepted, ever */
};

/* ---- fetches ---- */

/* Handoff `number` goes to the engines in turn. */
static const struct sink *sink_of(const struct pair *p, uint32_t number)
{
    return &p->sinks[number % p->setup.sinks];
}

static const uint32_t *blocks_of(const struct pair *p, uint32_t number)
{
    return sink_of(p, number)->blocks + (size_t)(number / p->setup.sinks) * p->setup.blocks;
}

/* The first or the last word of a block. */
static uint64_t *word_at(const struct pair *p, uint32_t number, uint32_t block, bool last)
{
    uint64_t *words = baton_pool_block(sink_of(p, number)->pool, blocks_of(p, number)[block]);

    return words + (last ? p->setup.block_bytes / sizeof(*words) - 1 : 0);
}

static void wipe(const struct pair *p, uint32_t number)
{
    for (uint32_t b = 0; b < p->setup.blocks; b++) {
        *word_at(p, number, b, false) = 0;
        *word_at(p, number, b, true) = 0;
    }
}

static void check(const struct pair *p, uint32_t number)
{
    for (uint32_t b = 0; b < p->setup.blocks; b++) {
        if (*word_at(p, number, b, false) != payload_word(number, b, false) ||
            *word_at(p, number, b, true) != payload_word(number, b, true)) {
            die("wrong bytes in block %u of handoff %u", b, number);
        }
    }
}

static void on_outcome(baton_handoff *handoff, void *arg, const struct baton_result *result)
{
    (void)handoff;
    (void)arg;
    if (result->outcome != BATON_COMPLETED) {
        die("a fetch that nobody cancelled ended as %s (%s)", baton_outcome_name(result->outcome),
            baton_cause_name(result->cause));
    }
}

static void on_quiet(baton_handoff *handoff, void *arg, const struct baton_receipt *receipt)
{
    struct fetch *fetch = arg;
    struct baton_error error = {0};

    must(baton_retire(handoff, receipt, NULL, NULL, &error), "retire a fetch", &error);
    check(fetch->pair, fetch->number);
    baton_handoff_unref(fetch->handoff);
    fetch->pair->over++;
}

static void on_trace(void *arg, const struct baton_trace *trace)
{
    struct fetch *fetch = trace->arg;

    (void)arg;
    if (trace->from == BATON_STAGE_OPENING && trace->to == BATON_STAGE_READING) {
        fetch->pair->reading++;
    }
}

static void fetch_next(struct pair *p)
{
    const struct shared_ticket *ticket = &p->shared->ticket[p->asked];
    struct fetch *fetch = &p->fetches[p->asked];
    const struct baton_fetch_args args = {
        .size = sizeof(args),
        .ticket = ticket->bytes,
        .ticket_length = ticket->length,
        .pool = sink_of(p, p->asked)->pool,
        .blocks = blocks_of(p, p->asked),
        .block_count = p->setup.blocks,
        .notices = {.on_outcome = on_outcome, .on_quiet = on_quiet, .arg = fetch},
    };
    struct baton_error error = {0};

    *fetch = (struct fetch){.pair = p, .number = p->asked};
    wipe(p, p->asked);
    must(baton_fetch(sink_of(p, p->asked)->engine, &args, &fetch->handoff, &error), "fetch",
         &error);
    p->asked++;
}

/* Waits for something to do, and does it. */
static int turn(struct pair *p, int timeout_ms)
{
    struct epoll_event ready[SINKS_MAX + 1];
    int count = epoll_wait(p->epoll, ready, SINKS_MAX + 1, timeout_ms);

    for (int i = 0; i < count; i++) {
        const struct sink *sink = ready[i].data.ptr;
        eventfd_t rung;

        if (sink) {
            must(baton_engine_step(sink->engine, 0), "step", NULL);
        } else {
            eventfd_read(p->bell, &rung);
        }
    }
    while (p->asked < atomic_load(&p->shared->offered)) {
        fetch_next(p);
    }
    return count;
}

/* Until `*count` is `wanted`. */
static void turn_until(struct pair *p, const uint32_t *count, uint32_t wanted, const char *what)
{
    while (*count < wanted) {
        if (turn(p, WAIT_MS) == 0) {
            die("%u of %u handoffs are %s, and nothing happens for %d s", *count, wanted, what,
                WAIT_MS / 1000);
        }
    }
}

/* ---- orders ---- */

static void order(struct pair *p, enum order_kind kind, uint32_t handoffs, uint32_t at_once)
{
    const struct order o = {.kind = kind, .handoffs = handoffs, .at_once = at_once};

    if (kind == ORDER_ROUND || kind == ORDER_HOLD) {
        p->asked = p->over = p->reading = 0;
        atomic_store(&p->shared->offered, 0);
    }
    if (send(p->channel, &o, sizeof(o), MSG_NOSIGNAL) != sizeof(o)) {
        die("the source has ended");
    }
}

static struct usage answer(struct pair *p)
{
    struct usage usage;

    if (recv(p->channel, &usage, sizeof(usage), 0) != sizeof(usage)) {
        die("the source has ended");
    }
    return usage;
}

void pair_look(struct pair *p, struct usage *ret_source, struct usage *ret_sink)
{
    order(p, ORDER_LOOK, 0, 0);
    *ret_source = answer(p);
    *ret_sink = usage_now();
}

void pair_round(struct pair *p, uint32_t handoffs, uint32_t at_once, struct cost *ret_cost)
{
    struct usage source, sink, source_end, sink_end;
    double start_s;

    pair_look(p, &source, &sink);
    start_s = now_s();
    order(p, ORDER_ROUND, handoffs, at_once);
    turn_until(p, &p->over, handoffs, "completed");
    ret_cost->wall_s = now_s() - start_s;
    source_end = answer(p);
    sink_end = usage_now();
    ret_cost->source_cpu_s = source_end.cpu_s - source.cpu_s;
    ret_cost->sink_cpu_s = sink_end.cpu_s - sink.cpu_s;
}

void pair_hold(struct pair *p, uint32_t handoffs, double *ret_source_bytes, double *ret_sink_bytes)
{
    struct usage source, sink, source_held, sink_held;

    pair_look(p, &source, &sink);
    order(p, ORDER_HOLD, handoffs, handoffs);
    turn_until(p, &p->reading, handoffs, "accepted");
    pair_look(p, &source_held, &sink_held);
    order(p, ORDER_ADVANCE, 0, 0);
    turn_until(p, &p->over, handoffs, "completed");
    answer(p);
    *ret_source_bytes = source_held.heap_bytes - source.heap_bytes;
    *ret_sink_bytes = sink_held.heap_bytes - sink.heap_bytes;
}

void pair_idle(struct pair *p, double seconds, struct cost *ret_cost)
{
    const double end_s = now_s() + seconds;
    struct usage source, sink, source_end, sink_end;
    double start_s = now_s(), left_s;

    pair_look(p, &source, &sink);
    while ((left_s = end_s - now_s()) > 0) {
        turn(p, (int)(left_s * 1000) + 1);
    }
    pair_look(p, &source_end, &sink_end);
    ret_cost->wall_s = now_s() - start_s;
    ret_cost->source_cpu_s = source_end.cpu_s - source.cpu_s;
    ret_cost->sink_cpu_s = sink_end.cpu_s - sink.cpu_s;
}

/* ---- making ---- */

static void watch(struct pair *p, int fd, struct sink *sink)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = sink};

    if (epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &event)) {
        die("epoll_ctl: %s", strerror(errno));
    }
}

static void sink_make(struct pair *p, struct sink *sink, uint64_t seed)
{
    const struct setup *setup = &p->setup;
    uint32_t handoffs = (setup->handoffs + setup->sinks - 1) / setup->sinks;
    uint32_t blocks = handoffs * setup->blocks;

    sink->blocks = malloc(blocks * sizeof(*sink->blocks));
    if (!sink->blocks) {
        die("no memory for the numbers of %u blocks", blocks);
    }
    sink->engine = engine_make(setup, handoffs + ENGINE_SPARE, 1);
    sink->pool = pool_make(sink->engine, setup->block_bytes, blocks, seed, sink->blocks);
    for (uint32_t b = 0; b < blocks; b++) {
        memset(baton_pool_block(sink->pool, b), 0, setup->block_bytes);
    }
    watch(p, baton_engine_fd(sink->engine), sink);
}

/* The child must start before there is an engine: none outlives a fork. */
static void child_start(struct pair *p)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
        die("socketpair: %s", strerror(errno));
    }
    fflush(stdout); /* or the child says it once more */
    p->child = fork();
    if (p->child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[0]);
        source_run(&p->setup, p->shared, ends[1], p->bell);
    }
    if (p->child < 0) {
        die("fork: %s", strerror(errno));
    }
    close(ends[1]);
    p->channel = ends[0];
}

struct pair *pair_make(const struct setup *setup)
{
    struct pair *p = calloc(1, sizeof(*p));

    if (!p || setup->sinks > SINKS_MAX) {
        die("%u sinks: at most %d", setup->sinks, SINKS_MAX);
    }
    p->setup = *setup;
    p->shared_bytes = sizeof(*p->shared) + setup->handoffs * sizeof(p->shared->ticket[0]);
    p->shared =
        mmap(NULL, p->shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    p->fetches = calloc(setup->handoffs, sizeof(*p->fetches));
    p->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (p->shared == MAP_FAILED || !p->fetches || p->bell < 0 || p->epoll < 0) {
        die("no memory for %u handoffs", setup->handoffs);
    }
    child_start(p);
    p->setup.on_trace = on_trace; /* the child's setup has none */
    watch(p, p->bell, NULL);
    for (unsigned i = 0; i < setup->sinks; i++) {
        sink_make(p, &p->sinks[i], 2 + i);
    }
    return p;
}

void pair_end(struct pair *p)
{
    int status = 0;

    for (unsigned i = 0; i < p->setup.sinks; i++) {
        engine_end(p->sinks[i].engine);
        free(p->sinks[i].blocks);
    }
    close(p->channel);
    if (waitpid(p->child, &status, 0) != p->child || status) {
        die("the source failed");
    }
    close(p->bell);
    close(p->epoll);
    munmap(p->shared, p->shared_bytes);
    free(p->fetches);
    free(p);
}
