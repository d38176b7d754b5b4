/* SPDX-License-Identifier: Apache-2.0 */
/* See pair.h. */
#include "scenario/pair.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

const struct kind kinds[] = {
    {"threads, shm", "shm", BATON_LINK_AUTO, BATON_PROGRESS_THREAD, 0, false},
    {"threads, tcp", "tcp", BATON_LINK_AUTO, BATON_PROGRESS_THREAD, 0, false},
    {"threads, tcp, tcp link", "tcp", BATON_LINK_TCP, BATON_PROGRESS_THREAD, 0, false},
    {"threads, shm, two movers", "shm", BATON_LINK_AUTO, BATON_PROGRESS_THREAD, 2, false},
    {"threads, wrapped, shm", "shm", BATON_LINK_AUTO, BATON_PROGRESS_THREAD, 0, true},
    {"threads, wrapped, tcp", "tcp", BATON_LINK_AUTO, BATON_PROGRESS_THREAD, 0, true},
    {"caller, shm", "shm", BATON_LINK_AUTO, BATON_PROGRESS_CALLER, 0, false},
    {"caller, shm, no movers", "shm", BATON_LINK_AUTO, BATON_PROGRESS_CALLER, -1, false},
    {"caller, tcp", "tcp", BATON_LINK_AUTO, BATON_PROGRESS_CALLER, 0, false},
    {"caller, tcp, tcp link", "tcp", BATON_LINK_TCP, BATON_PROGRESS_CALLER, 0, false},
    {"caller, wrapped, shm", "shm", BATON_LINK_AUTO, BATON_PROGRESS_CALLER, 0, true},
    {"threads, shm, socket link", "shm", BATON_LINK_SOCKET, BATON_PROGRESS_THREAD, 0, false},
    {"caller, tcp, socket link", "tcp", BATON_LINK_SOCKET, BATON_PROGRESS_CALLER, 0, false},
    /* The last two need NIXL's library. */
    {"threads, nixl", "nixl", BATON_LINK_AUTO, BATON_PROGRESS_THREAD, 0, false},
    {"caller, wrapped, nixl, tcp link", "nixl", BATON_LINK_TCP, BATON_PROGRESS_CALLER, 0, true},
};
unsigned kinds_count = sizeof(kinds) / sizeof(kinds[0]) - 2;

/* UCX reads its environment when it is loaded. */
__attribute__((constructor)) static void add_nixl(void)
{
    const char *lanes = getenv("BATON_TEST_LANES");

    if (getenv("BATON_NIXL_LIBRARY")) {
        setenv("UCX_TLS", lanes ? lanes : "tcp", true);
        setenv("UCX_MODULES", "^ib", false);
        setenv("UCX_LOG_LEVEL", "fatal", false);
        setenv("NIXL_LOG_LEVEL", "FATAL", false);
        kinds_count += 2;
    }
}

const struct kind *const plain_shm = &kinds[0];
const struct kind *const plain_tcp = &kinds[1];

uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void endpoint_new(char ret_endpoint[BATON_ENDPOINT_BYTES_MAX])
{
    static unsigned number;

    snprintf(ret_endpoint, BATON_ENDPOINT_BYTES_MAX, "unix:@baton-scenario-%d-%llx-%u",
             (int)getpid(), (unsigned long long)now_ns(), number++);
}

bool pair_check(const struct pair *pair, bool ok, const char *condition, const char *file, int line)
{
    if (!test_check(ok, condition, file, line)) {
        printf("    with %s\n", pair->kind->name);
    }
    return ok;
}

/* ---- payloads ---- */

static uint64_t word(uint64_t content, size_t index, size_t at)
{
    uint64_t x = content * 0x9e3779b97f4a7c15u + index * 0xbf58476d1ce4e5b9u + at;

    x ^= x >> 29;
    x *= 0x94d049bb133111ebu;
    return x ^ (x >> 32);
}

void block_fill(void *block, size_t bytes, uint64_t content, size_t index)
{
    uint64_t *words = block;

    for (size_t i = 0; i < bytes / 8; i++) {
        words[i] = word(content, index, i);
    }
}

bool block_holds(const void *block, size_t bytes, uint64_t content, size_t index)
{
    const uint64_t *words = block;

    for (size_t i = 0; i < bytes / 8; i++) {
        if (words[i] != word(content, index, i)) {
            return false;
        }
    }
    return true;
}

void end_fill(struct end *end, uint64_t content)
{
    end->content = content;
    for (size_t i = 0; i < end->block_count; i++) {
        block_fill(baton_pool_block(end->pool, end->blocks[i]), end->pair->block_bytes, content, i);
    }
}

bool end_holds(const struct end *end, uint64_t content, size_t first)
{
    for (size_t i = 0; i < end->block_count; i++) {
        if (!block_holds(baton_pool_block(end->pool, end->blocks[i]), end->pair->block_bytes,
                         content, first + i)) {
            return false;
        }
    }
    return true;
}

/* ---- what the ends are told ---- */

static void pair_wake(struct pair *pair)
{
    uint64_t one = 1;

    if (write(pair->wake, &one, sizeof(one)) != sizeof(one)) {
        abort();
    }
}

/* The callback is over only when its hook is: until then nobody who waits for the end goes on. */
static void end_hook(struct end *end, enum moment moment, baton_stage to)
{
    struct pair *pair = end->pair;

    if (end->hook) {
        end->hook(end, moment, to);
    }
    pthread_mutex_lock(&pair->lock);
    end->calling--;
    pair_wake(pair);
    pthread_mutex_unlock(&pair->lock);
}

static void on_outcome(baton_handoff *handoff, void *arg, const struct baton_result *result)
{
    struct end *end = arg;

    pthread_mutex_lock(&end->pair->lock);
    end->calling++;
    end->outcomes++;
    end->seen = handoff;
    end->disordered |= end->doubts || end->quiets;
    end->disordered |= end->handoff && end->handoff != handoff;
    end->result = *result;
    if (result->aux) {
        size_t bytes = result->aux_bytes < sizeof(end->aux) ? result->aux_bytes : sizeof(end->aux);
        memcpy(end->aux, result->aux, bytes);
    }
    pthread_mutex_unlock(&end->pair->lock);
    end_hook(end, MOMENT_OUTCOME, BATON_STAGE_NONE);
}

static void on_doubt(baton_handoff *handoff, void *arg, baton_cause cause)
{
    struct end *end = arg;

    (void)cause;
    pthread_mutex_lock(&end->pair->lock);
    end->calling++;
    end->doubts++;
    end->seen = handoff;
    end->disordered |= !end->outcomes || end->quiets;
    pthread_mutex_unlock(&end->pair->lock);
    end_hook(end, MOMENT_DOUBT, BATON_STAGE_NONE);
}

static void on_quiet(baton_handoff *handoff, void *arg, const struct baton_receipt *receipt)
{
    struct end *end = arg;

    pthread_mutex_lock(&end->pair->lock);
    end->calling++;
    end->quiets++;
    end->seen = handoff;
    end->disordered |= !end->outcomes;
    end->receipt = *receipt;
    pthread_mutex_unlock(&end->pair->lock);
    end_hook(end, MOMENT_QUIET, BATON_STAGE_NONE);
}

static void on_trace(void *arg, const struct baton_trace *trace)
{
    struct end *end = trace->arg;
    struct pair *pair = arg;

    if (!end || end->pair != pair) {
        return;
    }
    pthread_mutex_lock(&pair->lock);
    end->calling++;
    end->seen = trace->handoff;
    end->stages |= 1u << trace->to;
    end->landed = trace->bytes_landed;
    pthread_mutex_unlock(&pair->lock);
    end_hook(end, MOMENT_TRACE, trace->to);
}

struct baton_notices end_notices(struct end *end)
{
    return (struct baton_notices){
        .on_outcome = on_outcome, .on_doubt = on_doubt, .on_quiet = on_quiet, .arg = end};
}

/* ---- the pair ---- */

static baton_engine *open_engine(struct pair *pair, const struct pair_setup *setup,
                                 struct baton_engine_options options)
{
    const struct kind *kind = setup->kind;
    struct baton_error error = {0};
    baton_engine *engine = NULL;

    options.size = sizeof(options);
    options.on_trace = on_trace;
    options.arg = pair;
    if (kind->progress == BATON_PROGRESS_CALLER) {
        options.progress = BATON_PROGRESS_CALLER;
    }
    if (!options.transports && kind->transport) {
        options.transports = &kind->transport;
        options.transports_count = 1;
    }
    options.link = kind->link;
    options.movers = options.movers ? options.movers : kind->movers;
    options.host = setup->any_host ? options.host : BATON_HOST_IN_PROCESS;
    if (!CHECK_ON(pair, baton_engine_create(&options, &engine, &error) == BATON_OK)) {
        printf("    %s\n", error.text);
        exit(EXIT_FAILURE);
    }
    return engine;
}

static baton_pool *open_pool(struct pair *pair, baton_engine *engine, unsigned flags,
                             void **ret_memory)
{
    struct baton_pool_options options = {
        .size = sizeof(options),
        .block_bytes = pair->block_bytes,
        .block_count = pair->block_count,
        .flags = flags,
    };
    struct baton_error error = {0};
    baton_pool *pool = NULL;

    if (pair->kind->wrapped) {
        options.flags = 0;
        *ret_memory = options.memory = aligned_alloc(4096, pair->block_bytes * pair->block_count);
    }
    if (!CHECK_ON(pair, baton_pool_create(engine, &options, &pool, &error) == BATON_OK)) {
        printf("    %s\n", error.text);
        exit(EXIT_FAILURE);
    }
    return pool;
}

void pair_open(struct pair *pair, const struct pair_setup *setup)
{
    *pair = (struct pair){
        .kind = setup->kind,
        .block_bytes = setup->block_bytes ? setup->block_bytes : PAIR_BLOCK_BYTES,
        .block_count = setup->block_count ? setup->block_count : PAIR_BLOCKS,
        .wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
    };
    pthread_mutex_init(&pair->lock, NULL);
    pair->source = open_engine(pair, setup, setup->source);
    pair->sink = open_engine(pair, setup, setup->sink);
    pair->source_pool = open_pool(pair, pair->source, setup->pool_flags, &pair->source_memory);
    pair->sink_pool = open_pool(pair, pair->sink, setup->pool_flags, &pair->sink_memory);
}

static void close_engine(struct pair *pair, baton_engine *engine)
{
    struct baton_error error = {0};

    CHECK_ON(pair, baton_engine_drain(engine, PAIR_WAIT_MS) == BATON_OK);
    if (!CHECK_ON(pair, baton_engine_destroy(engine, &error) == BATON_OK)) {
        printf("    %s\n", error.text);
        baton_engine_abandon(engine, NULL);
    }
}

void pair_renew_source(struct pair *pair, const struct pair_setup *setup)
{
    CHECK_ON(pair, !pair->source_memory);
    baton_engine_close(pair->source);
    close_engine(pair, pair->source);
    pair->source = open_engine(pair, setup, setup->source);
    pair->source_pool = open_pool(pair, pair->source, setup->pool_flags, &pair->source_memory);
}

void pair_close(struct pair *pair)
{
    struct baton_pool_stats source = pool_stats(pair->source_pool);
    struct baton_pool_stats sink = pool_stats(pair->sink_pool);

    CHECK_ON(pair, source.free_blocks == source.blocks);
    CHECK_ON(pair, sink.free_blocks == sink.blocks);
    CHECK_ON(pair, source.late_bytes == 0 && sink.late_bytes == 0);
    baton_engine_close(pair->source);
    baton_engine_close(pair->sink);
    close_engine(pair, pair->sink);
    close_engine(pair, pair->source);
    free(pair->source_memory);
    free(pair->sink_memory);
    close(pair->wake);
    pthread_mutex_destroy(&pair->lock);
}

static bool holds(struct pair *pair, bool (*done)(const void *arg), const void *arg)
{
    bool is_done;

    pthread_mutex_lock(&pair->lock);
    is_done = done(arg);
    pthread_mutex_unlock(&pair->lock);
    return is_done;
}

bool pair_until(struct pair *pair, bool (*done)(const void *arg), const void *arg)
{
    uint64_t end_ns = now_ns() + (uint64_t)PAIR_WAIT_MS * 1000000;
    int source_fd = pair->source_frozen ? -1 : baton_engine_fd(pair->source);
    int sink_fd = pair->sink_frozen ? -1 : baton_engine_fd(pair->sink);

    while (!holds(pair, done, arg)) {
        struct pollfd fds[] = {
            {pair->wake, POLLIN, 0}, {source_fd, POLLIN, 0}, {sink_fd, POLLIN, 0}};
        uint64_t count, now = now_ns();
        int wait_ms = pair->shared ? 2 : (int)((end_ns - now) / 1000000) + 1;

        if (now >= end_ns || poll(fds, 3, wait_ms) < 0) {
            return false;
        }
        if (fds[0].revents && read(pair->wake, &count, sizeof(count)) < 0 && !pair->shared) {
            return false;
        }
        if (fds[1].revents) {
            CHECK_ON(pair, baton_engine_step(pair->source, 0) == BATON_OK);
        }
        if (fds[2].revents) {
            CHECK_ON(pair, baton_engine_step(pair->sink, 0) == BATON_OK);
        }
    }
    return true;
}

/* ---- handoffs ---- */

static bool take_blocks(struct pair *pair, struct end *end, bool is_source, size_t count)
{
    uint32_t *next = is_source ? &pair->source_next : &pair->sink_next;

    end->pair = pair;
    end->pool = is_source ? pair->source_pool : pair->sink_pool;
    end->block_count = count;
    if (!pair->kind->wrapped) {
        return baton_pool_alloc(end->pool, count, end->blocks, NULL) == BATON_OK;
    }
    for (size_t i = 0; i < count; i++) {
        end->blocks[i] = (*next)++ % (uint32_t)pair->block_count;
    }
    return true;
}

baton_err offer_start(struct pair *pair, struct end *end, size_t count, uint64_t content,
                      const struct baton_offer_args *more)
{
    struct baton_offer_args args = {.watermark_bytes = BATON_WATERMARK_END};
    baton_handoff *handoff = NULL;
    baton_err err;

    if (!CHECK_ON(pair, take_blocks(pair, end, true, count))) {
        return BATON_EFULL;
    }
    end_fill(end, content);
    if (more) {
        args = *more;
    }
    args.size = sizeof(args);
    args.pool = end->pool;
    args.blocks = end->blocks;
    args.block_count = count;
    args.notices = end_notices(end);
    err = baton_offer(pair->source, &args, &handoff, NULL);
    pthread_mutex_lock(&pair->lock);
    end->handoff = handoff;
    pthread_mutex_unlock(&pair->lock);
    if (err != BATON_OK) {
        end_drop(end);
        return err;
    }
    end->ticket = offer_ticket(end, 0);
    return BATON_OK;
}

struct ticket offer_ticket(const struct end *offer, unsigned slot)
{
    struct ticket ticket = {0};

    CHECK(baton_offer_ticket(offer->handoff, slot, ticket.bytes, &ticket.length) == BATON_OK);
    return ticket;
}

baton_err fetch_start(struct pair *pair, struct end *end, const struct ticket *ticket, size_t count,
                      const struct baton_fetch_args *more)
{
    struct baton_fetch_args args = {0};
    baton_err err;
    baton_handoff *handoff = NULL;

    if (!CHECK_ON(pair, take_blocks(pair, end, false, count))) {
        return BATON_EFULL;
    }
    if (more) {
        args = *more;
    }
    args.size = sizeof(args);
    args.ticket = ticket->bytes;
    args.ticket_length = ticket->length;
    args.pool = end->pool;
    args.blocks = end->blocks;
    args.block_count = count;
    args.notices = end_notices(end);
    err = baton_fetch(pair->sink, &args, &handoff, NULL);
    pthread_mutex_lock(&pair->lock);
    end->handoff = handoff;
    pthread_mutex_unlock(&pair->lock);
    if (err != BATON_OK) {
        end_drop(end);
    }
    return err;
}

static bool has_outcome(const void *arg)
{
    const struct end *end = arg;

    return end->calling == 0 && end->outcomes > 0;
}

static bool has_quiet(const void *arg)
{
    const struct end *end = arg;

    return end->calling == 0 && end->quiets > 0;
}

bool end_wait_outcome(struct end *end)
{
    return pair_until(end->pair, has_outcome, end);
}

bool end_wait_quiet(struct end *end)
{
    return pair_until(end->pair, has_quiet, end);
}

struct wish {
    const struct end *end;
    unsigned stages;
    uint64_t landed;
};

static bool has_wish(const void *arg)
{
    const struct wish *wish = arg;

    return wish->end->calling == 0 && (wish->end->stages & wish->stages) == wish->stages &&
           wish->end->landed >= wish->landed;
}

bool end_wait_stage(struct end *end, baton_stage stage)
{
    return pair_until(end->pair, has_wish, &(struct wish){.end = end, .stages = 1u << stage});
}

bool end_wait_landed(struct end *end, uint64_t bytes)
{
    return pair_until(end->pair, has_wish, &(struct wish){.end = end, .landed = bytes});
}

void end_retire(struct end *end)
{
    struct baton_error error = {0};

    CHECK_ON(end->pair, end_wait_quiet(end));
    pthread_mutex_lock(&end->pair->lock);
    CHECK_ON(end->pair, end->outcomes == 1 && end->doubts <= 1 && end->quiets == 1);
    CHECK_ON(end->pair, !end->disordered && end->result.outcome != BATON_UNDECIDED);
    pthread_mutex_unlock(&end->pair->lock);
    if (!CHECK_ON(end->pair,
                  baton_retire(end->handoff, &end->receipt, NULL, NULL, &error) == BATON_OK)) {
        printf("    %s\n", error.text);
    }
}

void end_drop(struct end *end)
{
    if (!end->pair->kind->wrapped) {
        CHECK_ON(end->pair,
                 baton_pool_free(end->pool, end->blocks, end->block_count, NULL) == BATON_OK);
    }
    if (end->handoff) {
        baton_handoff_unref(end->handoff);
        end->handoff = NULL;
    }
}

void end_finish(struct end *end)
{
    end_retire(end);
    end_drop(end);
}

struct baton_pool_stats pool_stats(baton_pool *pool)
{
    struct baton_pool_stats stats = {0};

    baton_pool_inspect(pool, &stats);
    return stats;
}
