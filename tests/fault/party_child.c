/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child's half of a party: an engine with its own thread, and the main thread, which does what
 * it is told.  It checks nothing itself; the test does.
 */
#include "fault/party_order.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/filter.h>

enum {
    DESCRIPTORS_MAX = 256, /* of a party's process */
    STATS_BYTES = 32 << 10,
    EXIT_WELL = 0,
    EXIT_GONE = 3, /* the test is gone, or was never told what it asked for */
};

struct own {
    struct party_handoff *seen;
    baton_handoff *handoff;
    uint32_t blocks[PARTY_BLOCKS];
    bool held; /* the blocks were not let go of */
};

/* One process is one party. */
static struct party me;
static struct party_options mine;
static struct own own[PARTY_HANDOFFS];
static baton_engine *engine;
static baton_pool *pool;
static struct baton_error error;
static atomic_bool gate_passed;

/* ---- what the test is to see ---- */

static void tell_news(void)
{
    const uint64_t one = 1;

    if (write(me.news, &one, sizeof(one)) < 0) {
        _exit(EXIT_GONE);
    }
}

/* On the engine's thread, which moves no further before the test says so. */
static void wait_at_gate(void)
{
    uint64_t one;

    atomic_store(&me.seen->at_gate, true);
    tell_news();
    if (read(me.gate, &one, sizeof(one)) < 0) {
        _exit(EXIT_GONE);
    }
}

static bool is_gate(const struct baton_trace *trace)
{
    if (trace->to == BATON_STAGE_COMMITTING) {
        return mine.gate == PARTY_GATE_COMMITTING;
    }
    return mine.gate == PARTY_GATE_LANDED && trace->from == BATON_STAGE_READING &&
           trace->to == BATON_STAGE_READING && trace->bytes_landed > 0;
}

static void on_trace(void *arg, const struct baton_trace *trace)
{
    struct own *h = trace->arg;

    (void)arg;
    atomic_store(&h->seen->landed, trace->bytes_landed);
    atomic_store(&h->seen->stage_us, party_now_us());
    atomic_store(&h->seen->stage, trace->to);
    tell_news();
    if (h - own >= mine.gate_from && is_gate(trace) && !atomic_exchange(&gate_passed, true)) {
        wait_at_gate();
    }
}

static void on_outcome(baton_handoff *handoff, void *arg, const struct baton_result *result)
{
    struct own *h = arg;

    (void)handoff;
    h->seen->result = *result;
    atomic_fetch_add(&h->seen->outcomes, 1);
    tell_news();
}

static uint64_t count_of(const char *stats, const char *name)
{
    const char *at = strstr(stats, name);

    return at ? strtoull(at + strlen(name) + 2, NULL, 10) : UINT64_MAX;
}

/* On the engine's thread, so the counters are of this moment. */
static void note_counts(struct party_handoff *seen)
{
    static char stats[STATS_BYTES];

    baton_engine_stats_json(engine, stats, sizeof(stats));
    seen->links_fenced = count_of(stats, "\"links_fenced\"");
    seen->peers_killed = count_of(stats, "\"peers_killed\"");
}

static void on_quiet(baton_handoff *handoff, void *arg, const struct baton_receipt *receipt)
{
    struct own *h = arg;

    h->seen->quiet_us = party_now_us();
    h->seen->receipt = *receipt;
    note_counts(h->seen);
    if (atomic_load(&h->seen->outcomes) != 1) {
        atomic_store(&h->seen->disordered, true);
    }
    atomic_fetch_add(&h->seen->receipts, 1);
    if (baton_retire(handoff, receipt, NULL, NULL, NULL) == BATON_OK) {
        atomic_store(&h->seen->retired, true);
    }
    tell_news();
}

static void on_doubt(baton_handoff *handoff, void *arg, baton_cause cause)
{
    struct own *h = arg;

    (void)handoff;
    (void)cause;
    atomic_fetch_add(&h->seen->doubts, 1);
    tell_news();
}

static struct baton_notices notices_of(struct own *h)
{
    return (struct baton_notices){
        .on_outcome = on_outcome, .on_doubt = on_doubt, .on_quiet = on_quiet, .arg = h};
}

/* ---- payload ---- */

/* Eight bytes that say whose they are: of this seed, at this place, and of nothing else. */
static uint64_t word_at(uint64_t seed, uint64_t index)
{
    uint64_t word = (seed << 40 ^ index) * UINT64_C(0x9e3779b97f4a7c15);

    return word ^ word >> 29;
}

static void write_payload(const struct own *h, uint64_t seed)
{
    const uint64_t words = PARTY_BLOCK_BYTES / sizeof(uint64_t);

    for (uint64_t i = 0; i < mine.blocks * words; i++) {
        uint64_t *block = baton_pool_block(pool, h->blocks[i / words]);

        block[i % words] = word_at(seed, i);
    }
}

static uint64_t wrong_bytes(const struct own *h, uint64_t seed)
{
    const uint64_t words = PARTY_BLOCK_BYTES / sizeof(uint64_t);
    uint64_t wrong = 0;

    for (uint64_t i = 0; i < mine.blocks * words; i++) {
        const uint64_t *block = baton_pool_block(pool, h->blocks[i / words]);

        wrong += block[i % words] != word_at(seed, i) ? sizeof(uint64_t) : 0;
    }
    return wrong;
}

/* ---- orders ---- */

static baton_err take_blocks(struct own *h)
{
    baton_err err = baton_pool_alloc(pool, mine.blocks, h->blocks, &error);

    h->held = !err;
    return err;
}

static void offer(struct own *h, const struct party_order *order, struct party_answer *answer)
{
    struct baton_offer_args args = {.size = sizeof(args),
                                    .pool = pool,
                                    .blocks = h->blocks,
                                    .block_count = mine.blocks,
                                    .watermark_bytes = order->watermark_bytes,
                                    .notices = notices_of(h)};

    if ((answer->err = take_blocks(h))) {
        return;
    }
    write_payload(h, order->number);
    if (!(answer->err = baton_offer(engine, &args, &h->handoff, &error))) {
        answer->err =
            baton_offer_ticket(h->handoff, 0, answer->ticket.bytes, &answer->ticket.length);
    }
}

static void fetch(struct own *h, const struct party_order *order, struct party_answer *answer)
{
    struct baton_fetch_args args = {.size = sizeof(args),
                                    .ticket = order->ticket.bytes,
                                    .ticket_length = order->ticket.length,
                                    .pool = pool,
                                    .blocks = h->blocks,
                                    .block_count = mine.blocks,
                                    .mode = mine.way->mode,
                                    .commit_timeout_ms = mine.commit_timeout_ms,
                                    .progress_timeout_ms = order->number ? (uint32_t)order->number
                                                                         : mine.progress_timeout_ms,
                                    .notices = notices_of(h)};

    if (!(answer->err = take_blocks(h))) {
        answer->err = baton_fetch(engine, &args, &h->handoff, &error);
    }
    if (answer->err && h->held) {
        h->held = baton_pool_free(pool, h->blocks, mine.blocks, NULL) != BATON_OK;
    }
}

/* Only what has a used receipt is ours to touch. */
static void use_blocks(const struct own *h, const struct party_order *order,
                       struct party_answer *answer)
{
    if (!atomic_load(&h->seen->retired)) {
        answer->err = BATON_EBUSY;
    } else if (order->verb == PARTY_REWRITE) {
        write_payload(h, order->number);
    } else {
        answer->number = wrong_bytes(h, order->number);
    }
}

static void free_retired(struct party_answer *answer)
{
    for (unsigned i = 0; i < PARTY_HANDOFFS; i++) {
        struct own *h = &own[i];

        if (!h->handoff || !atomic_load(&h->seen->retired)) {
            continue;
        }
        answer->err = h->held ? baton_pool_free(pool, h->blocks, mine.blocks, &error) : BATON_OK;
        baton_handoff_unref(h->handoff);
        h->handoff = NULL;
        h->held = false;
        if (answer->err) {
            return;
        }
    }
    baton_pool_verify(pool);
    baton_pool_inspect(pool, &me.seen->pool);
}

/* Whether somebody who takes all that is free gets a block of the handoff's. */
static bool gets_own(const struct own *h)
{
    static uint32_t blocks[PARTY_POOL_BLOCKS];
    bool gets = false;
    size_t count = 0;

    while (count < PARTY_POOL_BLOCKS && !baton_pool_alloc(pool, 1, &blocks[count], NULL)) {
        for (unsigned i = 0; i < mine.blocks; i++) {
            gets |= blocks[count] == h->blocks[i];
        }
        count++;
    }
    return (count && baton_pool_free(pool, blocks, count, NULL)) || gets;
}

static void try_guards(struct own *h, struct party_answer *answer)
{
    const struct baton_receipt none = {.handoff_id = baton_handoff_id(h->handoff)};
    struct baton_pool_stats stats;

    /* Of an offer they may be let go of, which does not make them free. */
    if (h->held && !baton_pool_free(pool, h->blocks, mine.blocks, NULL)) {
        h->held = false;
    }
    baton_pool_inspect(pool, &stats);
    answer->number = stats.lent_blocks >= mine.blocks ? PARTY_GUARD_FREE : 0;
    answer->number |= baton_retire(h->handoff, &none, NULL, NULL, NULL) == BATON_ERECEIPT
                          ? PARTY_GUARD_RETIRE
                          : 0;
    answer->number |= baton_pool_destroy(pool, NULL) == BATON_EBUSY ? PARTY_GUARD_POOL : 0;
    answer->number |= baton_engine_destroy(engine, NULL) == BATON_EBUSY ? PARTY_GUARD_ENGINE : 0;
    answer->number |= !gets_own(h) ? PARTY_GUARD_ALLOC : 0;
}

static void status(struct party_answer *answer)
{
    static char stats[STATS_BYTES];
    struct baton_completion completion;

    if (baton_engine_stats_json(engine, stats, sizeof(stats)) == 0 ||
        baton_engine_collect(engine, &completion, 1) != 0) {
        answer->err = BATON_ESYSTEM;
    }
    baton_pool_inspect(pool, &me.seen->pool);
}

/* It holds what the party holds until it is killed, or the test has ended without doing so. */
static void fork_holder(struct party_answer *answer)
{
    pid_t pid = fork();

    if (pid == 0) {
        struct pollfd test = {.fd = me.orders};

        while (poll(&test, 1, -1) < 1) {
            /* Interrupted. */
        }
        _exit(0);
    }
    answer->err = pid > 0 ? BATON_OK : BATON_ESYSTEM;
    answer->number = (uint64_t)pid;
}

static void fork_calls(const struct own *h, struct party_answer *answer)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a call that waits would never return */
        _exit((int)party_calls_after_fork(engine, pool, h->handoff));
    }
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) {
        answer->err = BATON_ESYSTEM;
    }
    answer->number = (uint64_t)WEXITSTATUS(status);
}

/* The kernel drops every packet that arrives at our TCP sockets, acknowledgements too. */
static void deafen(bool deaf, struct party_answer *answer)
{
    struct sock_filter nothing = {.code = BPF_RET | BPF_K, .k = 0};
    const struct sock_fprog program = {.len = 1, .filter = &nothing};

    for (int fd = 0; fd < DESCRIPTORS_MAX; fd++) {
        struct sockaddr_storage address;
        socklen_t length = sizeof(address);

        if (getpeername(fd, (struct sockaddr *)&address, &length) != 0 ||
            address.ss_family != AF_INET) {
            continue;
        }
        answer->number += setsockopt(fd, SOL_SOCKET, deaf ? SO_ATTACH_FILTER : SO_DETACH_FILTER,
                                     &program, sizeof(program)) == 0;
    }
}

static void obey(const struct party_order *order, struct party_answer *answer)
{
    struct own *h = &own[order->handoff];

    switch (order->verb) {
    case PARTY_OFFER:
        offer(h, order, answer);
        break;
    case PARTY_ADVANCE:
        baton_offer_advance(h->handoff, order->watermark_bytes);
        break;
    case PARTY_FETCH:
        fetch(h, order, answer);
        break;
    case PARTY_CANCEL:
        answer->number = party_now_us();
        answer->cancel = baton_handoff_cancel(h->handoff, (baton_cancel_scope)order->number);
        break;
    case PARTY_REWRITE:
    case PARTY_WRONG_BYTES:
        use_blocks(h, order, answer);
        break;
    case PARTY_FREE:
        free_retired(answer);
        break;
    case PARTY_CLOSE:
        baton_engine_close(engine);
        break;
    case PARTY_DRAIN:
        answer->err = baton_engine_drain(engine, (int)order->number);
        break;
    case PARTY_DESTROY:
        answer->err = baton_engine_destroy(engine, &error);
        break;
    case PARTY_FORK_HOLDER:
        fork_holder(answer);
        break;
    case PARTY_FORK_CALLS:
        fork_calls(h, answer);
        break;
    case PARTY_DEAFEN:
        deafen(order->number, answer);
        break;
    case PARTY_TRY_GUARDS:
        try_guards(h, answer);
        break;
    case PARTY_STATUS:
        status(answer);
        break;
    case PARTY_ABANDON:
        baton_engine_abandon(engine, &answer->abandoned);
        break;
    }
}

/* ---- life ---- */

static void on_log(void *arg, baton_log_level level, const char *text)
{
    (void)arg;
    (void)level;
    fprintf(stderr, "  %d: %s\n", (int)getpid(), text);
}

/* Read once, when the library is loaded. */
static void set_lanes(const char *lanes)
{
    if (lanes) {
        setenv("UCX_TLS", lanes, true);
        setenv("UCX_MODULES", "^ib", false);
        setenv("UCX_LOG_LEVEL", "fatal", false);
        setenv("NIXL_LOG_LEVEL", "FATAL", false);
    }
}

static baton_err begin(void)
{
    const struct baton_engine_options options = {
        .size = sizeof(options),
        .listen = mine.listen[0] ? mine.listen : NULL,
        .listen_count = mine.listen[0] ? 2 : 0,
        .link = mine.way->link,
        .transports = &mine.way->transport,
        .transports_count = 1,
        .window_bytes = PARTY_BLOCK_BYTES,
        .slice_bytes = 4096,
        .inflight_bytes_max = PARTY_BLOCK_BYTES,
        .link_timeout_ms = mine.link_timeout_ms,
        .on_trace = on_trace,
        .host = mine.host,
        .on_log = getenv("PARTY_LOG") ? on_log : NULL,
        .on_doubt = mine.on_doubt,
        .on_doubt_ms = mine.on_doubt_ms,
        .quarantine_bytes_max = mine.quarantine_bytes_max,
        .quarantine_percent_max = mine.quarantine_percent_max,
        .helpers_max = mine.helpers_max,
    };
    const struct baton_pool_options pool_options = {.size = sizeof(pool_options),
                                                    .block_bytes = PARTY_BLOCK_BYTES,
                                                    .block_count = PARTY_POOL_BLOCKS,
                                                    .flags = BATON_POOL_CHECK};
    baton_err err;

    set_lanes(mine.lanes);
    err = baton_engine_create(&options, &engine, &error);

    if (!err) {
        err = baton_pool_create(engine, &pool_options, &pool, &error);
    }
    for (unsigned i = 0; !err && i < 2; i++) {
        baton_engine_endpoint(engine, i, me.seen->endpoint[i]);
    }
    for (unsigned i = 0; i < PARTY_HANDOFFS; i++) {
        own[i].seen = &me.seen->handoff[i];
    }
    return err;
}

void party_live(const struct party *party, const struct party_options *options)
{
    struct party_answer answer = {0};
    struct party_order order;

    me = *party;
    mine = *options;
    mine.blocks = mine.blocks ? mine.blocks : PARTY_BLOCKS;
    answer.err = begin();
    while (send(me.orders, &answer, sizeof(answer), MSG_NOSIGNAL) == (ssize_t)sizeof(answer)) {
        if (answer.err) {
            fprintf(stderr, "  a party: %s: %s\n", baton_strerror(answer.err), error.text);
        }
        if (recv(me.orders, &order, sizeof(order), 0) != (ssize_t)sizeof(order)) {
            break;
        }
        answer = (struct party_answer){.err = BATON_OK};
        obey(&order, &answer);
        if (order.verb == PARTY_DESTROY && !answer.err) {
            send(me.orders, &answer, sizeof(answer), MSG_NOSIGNAL);
            _exit(EXIT_WELL);
        }
    }
    _exit(EXIT_GONE);
}
