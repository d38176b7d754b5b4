/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fixed scenarios whose instructions scripts/check-instructions counts under callgrind.  Each does
 * the same in every run; what it prints are their names, in the order in which they ran.  Measures
 * no time, and tests only that it did what it says.
 */
#include "instructions.h"

#include "baton.h"
#include "layout/layout.h"
#include "pool/pool.h"
#include "transport/slice.h"
#include "util/prng.h"
#include "util/ring.h"
#include "wire/frame.h"
#include "wire/ticket.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCKS = 4096,
    BLOCK_BYTES = 4096,
    WINDOW_BYTES = 1 << 20,
    SLICE_BYTES = 64 << 10,
    RING_ROUNDS = 1000,
    RING_FRAME_BYTES = 88,
};

void need(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "instructions: not as it should be: %s\n", what);
        exit(EXIT_FAILURE);
    }
}

/* Callgrind counts within this function, and writes the counts down at its end. */
__attribute__((noinline)) static void counted(void (*run)(void *arg), void *arg)
{
    run(arg);
    __asm__ volatile(""); /* no tail call: callgrind must see the end */
}

void measure(const char *name, void (*run)(void *arg), void *arg)
{
    counted(run, arg);
    printf("%s\n", name);
}

/* 0 .. BLOCKS-1, in an order that hardly ever has neighbours. */
static uint32_t *shuffled(uint64_t seed)
{
    uint32_t *blocks = malloc(BLOCKS * sizeof(*blocks));
    struct prng prng;

    need(blocks, "memory for block numbers");
    prng_init(&prng, seed);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        uint32_t other = (uint32_t)prng_below(&prng, i + 1);

        blocks[i] = blocks[other];
        blocks[other] = i;
    }
    return blocks;
}

/* ---- the book of a pool ---- */

struct book {
    struct pool *pool;
    struct pool_loan loan;
    uint32_t *blocks, *last;
    baton_err err;
    size_t last_count;
};

static void run_alloc(void *arg)
{
    struct book *b = arg;

    b->err = pool_alloc(b->pool, BLOCKS, b->last, NULL);
}

static void run_lend(void *arg)
{
    struct book *b = arg;

    b->err = pool_lend(b->pool, &b->loan, NULL);
}

static void run_retire(void *arg)
{
    struct book *b = arg;

    b->err = pool_retire(b->pool, &b->loan, b->loan.handoff_id, b->loan.nonce, b->last,
                         &b->last_count, NULL);
}

static void run_free(void *arg)
{
    struct book *b = arg;

    b->err = pool_free(b->pool, b->blocks, BLOCKS, b->last, &b->last_count, NULL);
    pool_reclaim(b->pool, b->last, b->last_count);
}

static void measure_loan(struct book *b, bool exclusive, const char *lend, const char *retire)
{
    b->loan.exclusive = exclusive;
    b->loan.used = false;
    measure(lend, run_lend, b);
    need(b->err == BATON_OK, "blocks are lent");
    measure(retire, run_retire, b);
    need(b->err == BATON_OK && b->last_count == 0, "blocks are retired, and still held");
}

static void measure_pool(void)
{
    struct book b = {.blocks = shuffled(1), .last = malloc(BLOCKS * sizeof(uint32_t))};
    uint64_t *generations = malloc(BLOCKS * sizeof(*generations));
    void *memory = malloc(pool_state_bytes(BLOCKS));

    need(b.last && generations && memory, "memory for a pool's book");
    b.pool = pool_init(memory, BLOCKS, false, 1);
    b.loan = (struct pool_loan){.handoff_id = 1,
                                .nonce = 2,
                                .blocks = b.blocks,
                                .generations = generations,
                                .count = BLOCKS};
    measure("pool_alloc_4096", run_alloc, &b);
    need(b.err == BATON_OK, "blocks are allocated");
    measure_loan(&b, false, "pool_lend_offer_4096", "pool_retire_offer_4096");
    measure_loan(&b, true, "pool_lend_fetch_4096", "pool_retire_fetch_4096");
    measure("pool_free_4096", run_free, &b);
    need(b.err == BATON_OK && b.last_count == BLOCKS, "blocks are freed");
    free(memory);
    free(generations);
    free(b.last);
    free(b.blocks);
}

/* ---- posting ---- */

struct post {
    baton_engine *engine;
    struct baton_offer_args offer;
    struct baton_fetch_args fetch;
    baton_handoff *offered, *fetched;
    baton_err err;
};

static void run_offer(void *arg)
{
    struct post *p = arg;

    p->err = baton_offer(p->engine, &p->offer, &p->offered, NULL);
}

static void run_fetch(void *arg)
{
    struct post *p = arg;

    p->err = baton_fetch(p->engine, &p->fetch, &p->fetched, NULL);
}

static baton_pool *pool_make(baton_engine *engine)
{
    const struct baton_pool_options options = {
        .size = sizeof(options), .block_bytes = BLOCK_BYTES, .block_count = BLOCKS};
    uint32_t *blocks = malloc(BLOCKS * sizeof(*blocks));
    baton_pool *pool = NULL;

    need(blocks && !baton_pool_create(engine, &options, &pool, NULL) &&
             !baton_pool_alloc(pool, BLOCKS, blocks, NULL),
         "a pool, all of it held");
    free(blocks);
    return pool;
}

/* The engine is never driven, so nothing but the post itself happens. */
static void measure_post(void)
{
    const struct baton_engine_options options = {
        .size = sizeof(options), .progress = BATON_PROGRESS_CALLER, .movers = -1};
    struct post p = {0};
    uint32_t *source = shuffled(1), *sink = shuffled(2);
    uint8_t ticket[BATON_TICKET_BYTES_MAX];

    need(!baton_engine_create(&options, &p.engine, NULL), "an engine");
    p.offer = (struct baton_offer_args){.size = sizeof(p.offer),
                                        .pool = pool_make(p.engine),
                                        .blocks = source,
                                        .block_count = BLOCKS,
                                        .watermark_bytes = BATON_WATERMARK_END};
    measure("post_offer_4096", run_offer, &p);
    need(p.err == BATON_OK, "an offer");
    p.fetch = (struct baton_fetch_args){.size = sizeof(p.fetch),
                                        .ticket = ticket,
                                        .pool = pool_make(p.engine),
                                        .blocks = sink,
                                        .block_count = BLOCKS};
    need(!baton_offer_ticket(p.offered, 0, ticket, &p.fetch.ticket_length), "a ticket");
    measure("post_fetch_4096", run_fetch, &p);
    need(p.err == BATON_OK, "a fetch");
    baton_engine_abandon(p.engine, &(struct baton_abandoned){0});
    free(source);
    free(sink);
}

/* ---- plans, runs and slices ---- */

struct walk {
    struct plan plan;
    uint64_t spans;
    uint8_t *runs;
    size_t runs_bytes;
    uint32_t *decoded;
    bool ok;
    struct transport_region region;
    unsigned char *sink_base;
    atomic_bool stop;
};

static void run_walk(void *arg)
{
    struct walk *w = arg;

    for (uint64_t offset = 0; offset < plan_bytes(&w->plan); offset += WINDOW_BYTES) {
        struct plan_cursor cursor;
        struct plan_span span;

        plan_cursor_init(&cursor, &w->plan, offset, WINDOW_BYTES);
        while (plan_next(&cursor, WINDOW_BYTES, &span)) {
            w->spans++;
        }
    }
}

static void run_encode(void *arg)
{
    struct walk *w = arg;

    w->runs_bytes = runs_encode(w->plan.source, BLOCKS, w->runs);
}

static void run_decode(void *arg)
{
    struct walk *w = arg;

    w->ok = runs_decode(w->runs, w->runs_bytes, BLOCKS, BLOCKS, w->decoded);
}

/* As a mover copies. */
static void run_copy(void *arg)
{
    struct walk *w = arg;

    for (uint64_t offset = 0; offset < plan_bytes(&w->plan); offset += WINDOW_BYTES) {
        struct transport_window window = {.plan = &w->plan,
                                          .sink_base = w->sink_base,
                                          .region = &w->region,
                                          .stop = &w->stop,
                                          .offset = offset,
                                          .length = WINDOW_BYTES};

        plan_cursor_init(&window.cursor, &w->plan, offset, WINDOW_BYTES);
        while (slice_copy(&window, SLICE_BYTES, &w->stop)) {
        }
        w->ok = w->ok && window.status == TRANSPORT_OK;
    }
}

static void measure_plan(void)
{
    const size_t bytes = (size_t)BLOCKS * BLOCK_BYTES;
    uint32_t *source = shuffled(1), *sink = shuffled(2);
    unsigned char *from = calloc(1, bytes);
    struct walk w = {
        .plan = {.block_bytes = BLOCK_BYTES, .block_count = BLOCKS, .source = source, .sink = sink},
        .runs = malloc(BLOCKS * 8),
        .decoded = malloc(BLOCKS * sizeof(uint32_t)),
        .sink_base = calloc(1, bytes)};

    need(from && w.sink_base && w.runs && w.decoded, "memory for blocks");
    w.region = (struct transport_region){
        .length = bytes, .block_bytes = BLOCK_BYTES, .map = from, .pidfd = -1};
    measure("plan_walk_4096", run_walk, &w);
    need(w.spans > BLOCKS - 8, "hardly two blocks are adjacent");
    measure("runs_encode_4096", run_encode, &w);
    measure("runs_decode_4096", run_decode, &w);
    need(w.ok && !memcmp(w.decoded, source, BLOCKS * sizeof(uint32_t)), "the runs are the blocks");
    run_copy(&w); /* the first one installs handlers */
    measure("slice_copy_4096", run_copy, &w);
    need(w.ok, "all slices are copied");
    free(source);
    free(sink);
    free(from);
    free(w.runs);
    free(w.decoded);
    free(w.sink_base);
}

/* ---- frames, tickets, rings ---- */

static const uint8_t runs[] = {4, 0, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0};

/* One valid frame of each type. */
static const struct frame frames[] = {
    {.type = FRAME_HELLO, .hello = {.magic = WIRE_MAGIC, .version_min = 1, .version_max = 1}},
    {.type = FRAME_WELCOME, .welcome = {.magic = WIRE_MAGIC, .version = 1}},
    {.type = FRAME_REJECT,
     .reject = {.version_min = 1, .version_max = 1, .cause = BATON_CAUSE_BUSY},
     .payload = (const uint8_t *)"busy",
     .payload_length = 4},
    {.type = FRAME_BULK, .bulk = {.magic = WIRE_MAGIC}},
    {.type = FRAME_REGION,
     .region = {.kind = REGION_MEMFD, .length = 1 << 20, .block_bytes = 1 << 16}},
    {.type = FRAME_OPEN,
     .open = {.transports = WIRE_TRANSPORT_SHM, .block_bytes = 1 << 16, .block_count = 3}},
    {.type = FRAME_ACCEPT,
     .accept = {.attempt = 1, .total = 0x3000, .block_count = 3, .block_bytes = 0x1000},
     .payload = runs,
     .payload_length = sizeof(runs)},
    {.type = FRAME_REFUSED, .refused = {.cause = BATON_CAUSE_GONE}},
    {.type = FRAME_WATERMARK, .watermark = {.fetch_id = 1, .attempt = 2, .watermark = 3}},
    {.type = FRAME_COMMIT, .commit = {.offer_id = 1, .fetch_id = 2, .attempt = 3}},
    {.type = FRAME_COMMITTED, .committed = {.fetch_id = 1, .attempt = 2}},
    {.type = FRAME_ENDED, .ended = {.fetch_id = 1, .attempt = 2, .cause = BATON_CAUSE_CANCEL}},
    {.type = FRAME_CANCEL, .cancel = {.offer_id = 1, .cause = BATON_CAUSE_CANCEL}},
    {.type = FRAME_PING},
    {.type = FRAME_PONG},
};

struct coded {
    const struct frame *frame;
    struct frame decoded;
    bool ok;
};

static void run_frame(void *arg)
{
    struct coded *c = arg;
    uint8_t bytes[256];
    size_t length = frame_encode(c->frame, bytes), used = 0;
    const char *why = NULL;

    c->ok = frame_decode(bytes, length, &c->decoded, &used, &why) == FRAME_WHOLE && used == length;
}

static void measure_frames(void)
{
    for (unsigned i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        struct coded c = {.frame = &frames[i]};
        char name[32];

        snprintf(name, sizeof(name), "frame_%s", frame_name(frames[i].type));
        measure(name, run_frame, &c);
        need(c.ok, name);
    }
}

struct ticket_coded {
    struct ticket ticket, decoded;
    uint8_t bytes[BATON_TICKET_BYTES_MAX];
    size_t length;
    baton_err err;
};

static void run_ticket(void *arg)
{
    struct ticket_coded *c = arg;

    c->length = ticket_encode(&c->ticket, c->bytes);
    c->err = ticket_decode(c->bytes, c->length, &c->decoded, NULL);
}

static void measure_ticket(void)
{
    struct ticket_coded c = {
        .ticket = {.offer_id = 1 << 20,
                   .block_bytes = 1 << 16,
                   .block_count = 4,
                   .endpoint_count = 2,
                   .endpoint = {"unix:@baton-0123456789abcdef", "tcp:127.0.0.1:40123"}}};

    measure("ticket", run_ticket, &c);
    need(c.length > 0 && c.err == BATON_OK, "a ticket");
}

struct piped {
    struct ring_end writer, reader;
    uint64_t bytes;
};

static void run_ring(void *arg)
{
    unsigned char from[RING_FRAME_BYTES] = {1}, to[RING_FRAME_BYTES];
    struct piped *p = arg;

    for (unsigned i = 0; i < RING_ROUNDS; i++) {
        size_t written = 0, got = 0;
        bool wake = false;

        if (!ring_write(&p->writer, from, sizeof(from), &written, &wake) ||
            !ring_read(&p->reader, to, sizeof(to), &got, &wake)) {
            return;
        }
        p->bytes += got;
    }
}

static void measure_ring(void)
{
    static struct ring ring;
    struct piped p = {.writer = {.ring = &ring}, .reader = {.ring = &ring}};

    measure("ring_1000_frames", run_ring, &p);
    need(p.bytes == RING_ROUNDS * RING_FRAME_BYTES, "all bytes came through the ring");
}

int main(void)
{
    printf("compiler %s %s, %s\n", COMPILER, __VERSION__, BUILD_TYPE);
    measure_core();
    measure_post();
    measure_plan();
    measure_frames();
    measure_pool();
    measure_ticket();
    measure_ring();
    return EXIT_SUCCESS;
}
