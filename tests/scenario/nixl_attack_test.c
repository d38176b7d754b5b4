/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attacks on handoffs over NIXL, both engines in this process, through the public calls only:
 * cancels at any moment of large windows, pools that come and go, engines that end at each stage,
 * callbacks that call.  It knows nothing of how NIXL is called.
 */
#include "scenario/pair.h"
#include "util/prng.h"

#include <sched.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    CANARY = 0xca9a,
    BLOCK = 256 << 10,
    COUNT = 24, /* blocks of a handoff: 6 MiB, two windows */
    ROUNDS = 20,
    AT_ONCE = 3,
};

extern char **environ;

static const struct kind threads = {"threads, nixl", "nixl", 0, BATON_PROGRESS_THREAD, 0, false};
static const struct kind caller = {"caller, nixl", "nixl", 0, BATON_PROGRESS_CALLER, 0, false};
static const struct kind wrapped = {"wrapped, nixl", "nixl", 0, BATON_PROGRESS_THREAD, 0, true};
static const struct kind *const progress[] = {&threads, &caller};
static const baton_host hosts[] = {BATON_HOST_IN_PROCESS, BATON_HOST_HELPER};
static const struct baton_fetch_args pull = {.mode = BATON_PULL};
static const struct baton_fetch_args push = {.mode = BATON_PUSH};
static const struct baton_fetch_args *const ways[] = {&pull, &push};

static bool have_nixl(void)
{
    if (!getenv("BATON_NIXL_LIBRARY")) {
        test_skip("BATON_NIXL_LIBRARY is not set: see docs/NIXL.md");
        return false;
    }
    return true;
}

static struct pair_setup on_host(const struct kind *kind, baton_host host)
{
    return (struct pair_setup){.kind = kind,
                               .any_host = true,
                               .source.host = host,
                               .sink.host = host,
                               .sink.doubt_ms = 1,
                               .pool_flags = BATON_POOL_CHECK};
}

/* UCX reads over what it goes once in a process: the test of that name is run in one of its own. */
static void run_alone(const char *test, const char *lanes)
{
    char *const argv[] = {"nixl_attack_test", (char *)(uintptr_t)test, NULL};
    int status = -1;
    pid_t child;

    setenv("BATON_TEST_LANES", lanes, true);
    if (CHECK(posix_spawn(&child, "/proc/self/exe", NULL, NULL, argv, environ) == 0)) {
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    unsetenv("BATON_TEST_LANES");
}

static void start(struct pair *pair, struct end *offer, struct end *fetch, uint64_t content,
                  const struct baton_fetch_args *way)
{
    CHECK_ON(pair, offer_start(pair, offer, COUNT, content, NULL) == BATON_OK);
    CHECK_ON(pair, fetch_start(pair, fetch, &offer->ticket, COUNT, way) == BATON_OK);
}

static void drop(struct end *offer, struct end *fetch)
{
    end_drop(fetch);
    end_drop(offer);
}

/* An undisturbed handoff, which outlasts what an ended one left on its way. */
static void run_another(struct pair *pair, const struct baton_fetch_args *way)
{
    struct end offer = {0}, fetch = {0};

    start(pair, &offer, &fetch, 5, way);
    end_retire(&fetch);
    CHECK_ON(pair, fetch.result.outcome == BATON_COMPLETED && end_holds(&fetch, 5, 0));
    end_retire(&offer);
    CHECK_ON(pair, offer.result.outcome == BATON_COMPLETED);
    drop(&offer, &fetch);
}

/* ---- cancels ---- */

/* Uses the receipt and writes what a late byte would destroy. */
static void retire_both(struct end *offer, struct end *fetch, uint64_t content)
{
    struct pair *pair = fetch->pair;

    end_retire(fetch);
    CHECK_ON(pair, fetch->result.outcome != BATON_COMPLETED || end_holds(fetch, content, 0));
    end_fill(fetch, CANARY);
    baton_handoff_cancel(offer->handoff, BATON_CANCEL_OFFER);
    end_retire(offer);
    CHECK_ON(pair,
             fetch->result.outcome != BATON_COMPLETED || offer->result.outcome == BATON_COMPLETED);
    end_fill(offer, CANARY + 1);
}

/* Waits for one of some moments, then cancels, by either side or both. */
static void cancel_at_random(struct prng *prng, struct end *offer, struct end *fetch)
{
    unsigned who = (unsigned)prng_below(prng, 5);

    if (prng_below(prng, 4) == 0) {
        end_wait_stage(fetch, BATON_STAGE_READING);
    } else if (prng_below(prng, 3) == 0) {
        end_wait_landed(fetch, prng_below(prng, COUNT * BLOCK));
    }
    for (uint64_t n = prng_below(prng, 2) * prng_below(prng, 2000); n > 0; n--) {
        sched_yield();
    }
    if (who < 2 || who == 3) {
        baton_handoff_cancel(fetch->handoff, (baton_cancel_scope)(who & 1));
    }
    if (who == 2 || who == 3) {
        baton_handoff_cancel(offer->handoff, BATON_CANCEL_OFFER);
    }
}

static void cancel_many(struct pair *pair, const struct baton_fetch_args *way)
{
    struct prng prng;

    prng_init(&prng, 2067);
    run_another(pair, way);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct end offer[AT_ONCE] = {{0}}, fetch[AT_ONCE] = {{0}};

        for (unsigned i = 0; i < AT_ONCE; i++) {
            start(pair, &offer[i], &fetch[i], round * AT_ONCE + i, way);
        }
        for (unsigned i = 0; i < AT_ONCE; i++) {
            cancel_at_random(&prng, &offer[i], &fetch[i]);
        }
        for (unsigned i = 0; i < AT_ONCE; i++) {
            retire_both(&offer[i], &fetch[i], round * AT_ONCE + i);
        }
        run_another(pair, way);
        for (unsigned i = 0; i < AT_ONCE; i++) {
            CHECK_ON(pair, end_holds(&fetch[i], CANARY, 0) && end_holds(&offer[i], CANARY + 1, 0));
            drop(&offer[i], &fetch[i]);
        }
    }
}

static void large_windows(baton_host host, const struct baton_fetch_args *way)
{
    struct pair_setup setup = on_host(&threads, host);
    struct pair pair;

    if (have_nixl()) {
        setup.block_bytes = BLOCK;
        setup.block_count = COUNT * (AT_ONCE + 1);
        pair_open(&pair, &setup);
        cancel_many(&pair, way);
        pair_close(&pair);
    }
}

/* Either side cancels windows of 4 MiB at moments that a seed draws. */
TEST(large_windows_in_process_pull)
{
    large_windows(BATON_HOST_IN_PROCESS, &pull);
}

TEST(large_windows_in_process_push)
{
    large_windows(BATON_HOST_IN_PROCESS, &push);
}

TEST(large_windows_helper_pull)
{
    large_windows(BATON_HOST_HELPER, &pull);
}

TEST(large_windows_helper_push)
{
    large_windows(BATON_HOST_HELPER, &push);
}

/* The same over shared memory, without and with process_vm_readv. */
TEST(other_lanes)
{
    if (have_nixl()) {
        run_alone("large_windows", "posix");
        run_alone("large_windows", "shm");
    }
}

/* ---- pools ---- */

static baton_pool *pool_make(struct pair *pair, baton_engine *engine, size_t count, void *memory)
{
    const struct baton_pool_options options = {.size = sizeof(options),
                                               .block_bytes = pair->block_bytes,
                                               .block_count = count,
                                               .flags = memory ? 0 : BATON_POOL_CHECK,
                                               .memory = memory};
    baton_pool *pool = NULL;

    CHECK_ON(pair, baton_pool_create(engine, &options, &pool, NULL) == BATON_OK);
    return pool;
}

enum { POOLS = 3 };

/* Handoffs between each pool of the one side and each of the other, all at once, some of them
 * cancelled. */
static void each_to_each(struct pair *pair, baton_pool *const from[POOLS],
                         baton_pool *const to[POOLS], const struct baton_fetch_args *way)
{
    struct end offer[POOLS * POOLS] = {{0}}, fetch[POOLS * POOLS] = {{0}};
    baton_pool *const source = pair->source_pool, *const sink = pair->sink_pool;

    for (unsigned i = 0; i < POOLS * POOLS; i++) {
        pair->source_pool = from[i / POOLS];
        pair->sink_pool = to[i % POOLS];
        start(pair, &offer[i], &fetch[i], i, way);
    }
    pair->source_pool = source;
    pair->sink_pool = sink;
    for (unsigned i = 0; i < POOLS * POOLS; i += 2) {
        baton_handoff_cancel(i % 4 ? fetch[i].handoff : offer[i].handoff, BATON_CANCEL_OFFER);
    }
    for (unsigned i = 0; i < POOLS * POOLS; i++) {
        retire_both(&offer[i], &fetch[i], i);
        CHECK_ON(pair, i % 2 == 0 || fetch[i].result.outcome == BATON_COMPLETED);
    }
    for (unsigned i = 0; i < POOLS * POOLS; i++) {
        CHECK_ON(pair, end_holds(&fetch[i], CANARY, 0) && end_holds(&offer[i], CANARY + 1, 0));
        drop(&offer[i], &fetch[i]);
    }
}

static void pools_come_and_go(struct pair *pair, const struct baton_fetch_args *way)
{
    baton_pool *from[POOLS] = {pair->source_pool}, *to[POOLS] = {pair->sink_pool};

    for (unsigned i = 1; i < POOLS; i++) {
        from[i] = pool_make(pair, pair->source, COUNT * POOLS + i, NULL);
        to[i] = pool_make(pair, pair->sink, COUNT * POOLS + i, NULL);
    }
    for (unsigned round = 0; round < 3; round++) {
        each_to_each(pair, from, to, way);
        CHECK_ON(pair, baton_pool_destroy(from[1], NULL) == BATON_OK);
        CHECK_ON(pair, baton_pool_destroy(to[2], NULL) == BATON_OK);
        from[1] = pool_make(pair, pair->source, COUNT * (POOLS + round) + 1, NULL);
        to[2] = pool_make(pair, pair->sink, COUNT * (POOLS + round) + 1, NULL);
    }
    each_to_each(pair, from, to, way);
}

/* Several pools on one link, some of which go and come back in another size while it lives. */
TEST(pools_of_one_link)
{
    for (unsigned i = 0; i < 4 && have_nixl(); i++) {
        struct pair_setup setup = on_host(&threads, hosts[i / 2]);
        struct pair pair;

        setup.block_count = COUNT * POOLS;
        pair_open(&pair, &setup);
        pools_come_and_go(&pair, ways[i % 2]);
        pair_close(&pair);
    }
}

static bool pool_destroy_in_time(baton_pool *pool)
{
    uint64_t until = now_ns() + (uint64_t)PAIR_WAIT_MS * 1000000;
    baton_err err;

    do {
        err = baton_pool_destroy(pool, NULL);
    } while (err == BATON_EBUSY && now_ns() < until && sched_yield() == 0);
    return err == BATON_OK;
}

/* The pair's own pool becomes one over memory of another size; the old memory is the test's again,
 * which shreds and unmaps it. */
static void rewrap(struct pair *pair, baton_pool **pool, baton_engine *engine, void **memory)
{
    CHECK_ON(pair, pool_destroy_in_time(*pool));
    memset(*memory, 0xff, pair->block_bytes * pair->block_count);
    free(*memory);
    *memory = aligned_alloc(4096, pair->block_bytes * (pair->block_count + 4));
    *pool = pool_make(pair, engine, pair->block_count + 4, *memory);
}

static void wrapped_goes(struct pair *pair, const struct baton_fetch_args *way)
{
    for (unsigned round = 0; round < 6; round++) {
        struct end offer = {0}, fetch = {0};

        start(pair, &offer, &fetch, round, way);
        if (round % 2) {
            end_wait_landed(&fetch, 1);
            baton_handoff_cancel(fetch.handoff, BATON_CANCEL_OFFER);
        }
        CHECK_ON(pair, round % 2 || (end_wait_quiet(&fetch) &&
                                     baton_pool_destroy(fetch.pool, NULL) == BATON_EBUSY));
        end_retire(&fetch);
        CHECK_ON(pair, fetch.result.outcome != BATON_COMPLETED || end_holds(&fetch, round, 0));
        CHECK_ON(pair, round % 2 || fetch.result.outcome == BATON_COMPLETED);
        end_retire(&offer);
        drop(&offer, &fetch);
        if (round % 3 != 1) {
            rewrap(pair, &pair->sink_pool, pair->sink, &pair->sink_memory);
        }
        if (round % 3 != 2) {
            rewrap(pair, &pair->source_pool, pair->source, &pair->source_memory);
        }
    }
}

/* Memory of the user's goes while the link on which it was registered lives. */
TEST(wrapped_memory_goes)
{
    for (unsigned i = 0; i < 4 && have_nixl(); i++) {
        struct pair_setup setup = on_host(&wrapped, i / 2 ? BATON_HOST_AUTO : hosts[0]);
        struct pair pair;

        setup.block_count = COUNT;
        setup.block_bytes = BLOCK;
        pair_open(&pair, &setup);
        wrapped_goes(&pair, ways[i % 2]);
        pair_close(&pair);
    }
}

/* ---- engines that end ---- */

enum stage { OFFERED, FETCHING, READING, MOVING, DONE, STAGES };

/* A handoff that has come as far as that. */
static void reach(struct pair *pair, enum stage stage, struct end *offer, struct end *fetch,
                  const struct baton_fetch_args *way)
{
    const struct baton_offer_args half = {.watermark_bytes = COUNT / 2 * pair->block_bytes};

    CHECK_ON(pair, offer_start(pair, offer, COUNT, 3, stage == READING ? &half : NULL) == BATON_OK);
    if (stage != OFFERED) {
        CHECK_ON(pair, fetch_start(pair, fetch, &offer->ticket, COUNT, way) == BATON_OK);
    }
    if (stage == READING) {
        CHECK_ON(pair, end_wait_landed(fetch, half.watermark_bytes));
    } else if (stage == MOVING) {
        CHECK_ON(pair, end_wait_stage(fetch, BATON_STAGE_READING));
    } else if (stage == DONE) {
        CHECK_ON(pair, end_wait_quiet(fetch) && end_wait_quiet(offer));
    }
}

static void end_engine(struct pair *pair, baton_engine *engine)
{
    CHECK_ON(pair, baton_engine_drain(engine, PAIR_WAIT_MS) == BATON_OK);
    CHECK_ON(pair, baton_engine_destroy(engine, NULL) == BATON_OK);
}

/* What an engine's end may make of a fetch. */
static bool ended_well(const struct end *fetch, enum stage stage)
{
    return fetch->result.outcome == BATON_COMPLETED
               ? stage != READING && end_holds(fetch, 3, 0)
               : stage != DONE && (fetch->result.outcome == BATON_CANCELLED ||
                                   fetch->result.outcome == BATON_PEER_CANCELLED ||
                                   fetch->result.outcome == BATON_LINK_LOST ||
                                   fetch->result.outcome == BATON_REFUSED);
}

static void closed_at(const struct pair_setup *setup, enum stage stage, bool source,
                      const struct baton_fetch_args *way)
{
    struct end offer = {0}, fetch = {0};
    struct pair pair;
    baton_engine *first, *second;

    pair_open(&pair, setup);
    first = source ? pair.source : pair.sink;
    second = source ? pair.sink : pair.source;
    reach(&pair, stage, &offer, &fetch, way);
    CHECK_ON(&pair, baton_engine_destroy(first, NULL) != BATON_OK);
    baton_engine_close(first);
    CHECK_ON(&pair, baton_engine_drain(first, PAIR_WAIT_MS) == BATON_OK);
    CHECK_ON(&pair, !(source ? &offer : &fetch)->handoff ||
                        baton_engine_destroy(first, NULL) == BATON_EBUSY);
    if (stage != OFFERED) {
        end_retire(&fetch);
        CHECK_ON(&pair, ended_well(&fetch, stage));
        end_drop(&fetch);
    }
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_finish(&offer);
    end_engine(&pair, first);
    baton_engine_close(second);
    end_engine(&pair, second);
    close(pair.wake);
}

/* Either engine closes at each stage: its handoffs end, their blocks get receipts, and the other
 * engine is told. */
TEST(engines_close_at_each_stage)
{
    for (unsigned i = 0; i < 4 * STAGES && have_nixl(); i++) {
        struct pair_setup setup = on_host(&threads, hosts[i & 1]);

        setup.block_bytes = BLOCK;
        closed_at(&setup, i / 4, i & 2, ways[(i / 2 ^ i ^ i / 4) & 1]);
    }
}

/* What was abandoned stays reachable, so that a leak checker knows it. */
static struct pair kept[4 * STAGES];
static struct end kept_ends[4 * STAGES][2];

static void abandoned_at(unsigned number, const struct pair_setup *setup, enum stage stage,
                         bool source, const struct baton_fetch_args *way)
{
    struct pair *pair = &kept[number];
    struct end *offer = &kept_ends[number][0], *fetch = &kept_ends[number][1];
    struct end *other = source ? fetch : offer;
    struct baton_abandoned abandoned = {0};

    pair_open(pair, setup);
    reach(pair, stage, offer, fetch, way);
    baton_engine_abandon(source ? pair->source : pair->sink, &abandoned);
    CHECK_ON(pair, abandoned.handoffs <= 1 && abandoned.pools <= 1);
    CHECK_ON(pair, (!source && stage == OFFERED) || abandoned.handoffs == 1);
    if (other->handoff) {
        if (stage == OFFERED || !source) {
            baton_handoff_cancel(other->handoff, BATON_CANCEL_OFFER);
        }
        end_retire(other);
        CHECK_ON(pair, !source || ended_well(other, stage));
        end_drop(other);
    }
    baton_engine_close(source ? pair->sink : pair->source);
    end_engine(pair, source ? pair->sink : pair->source);
}

/* Either engine is given up at each stage; the other one's blocks get their receipts. */
TEST(engines_are_abandoned_at_each_stage)
{
    for (unsigned i = 0; i < 4 * STAGES && have_nixl(); i++) {
        struct pair_setup setup = on_host(&threads, hosts[i & 1]);

        setup.block_bytes = BLOCK;
        abandoned_at(i, &setup, i / 4, i & 2, ways[(i ^ i / 4) & 1]);
    }
}

/* ---- engines that the caller drives ---- */

static void step(baton_engine *engine)
{
    for (unsigned i = 0; i < 100; i++) {
        CHECK(baton_engine_step(engine, 0) == BATON_OK);
    }
}

static bool has_doubt(const void *arg)
{
    return ((const struct end *)arg)->doubts > 0;
}

/* The source is not driven any more; the sink cancels, and ends. */
static void frozen(struct pair *pair, const struct baton_fetch_args *way)
{
    const struct baton_offer_args half = {.watermark_bytes = COUNT / 2 * pair->block_bytes};
    struct end offer = {0}, fetch = {0};

    run_another(pair, way);
    CHECK_ON(pair, offer_start(pair, &offer, COUNT, 3, &half) == BATON_OK);
    CHECK_ON(pair, fetch_start(pair, &fetch, &offer.ticket, COUNT, way) == BATON_OK);
    CHECK_ON(pair, end_wait_landed(&fetch, half.watermark_bytes));
    baton_offer_advance(offer.handoff, BATON_WATERMARK_END);
    CHECK_ON(pair, baton_engine_step(pair->source, 0) == BATON_OK);
    pair->source_frozen = true;
    step(pair->sink);
    baton_handoff_cancel(fetch.handoff, BATON_CANCEL_OFFER);
    CHECK_ON(pair, end_wait_outcome(&fetch));
    if (way->mode == BATON_PUSH && fetch.result.outcome != BATON_COMPLETED) {
        CHECK_ON(pair, pair_until(pair, has_doubt, &fetch));
    }
    if (fetch.quiets == 0) {
        CHECK_ON(pair, baton_pool_free(fetch.pool, fetch.blocks, COUNT, NULL) == BATON_EBUSY);
        CHECK_ON(pair, baton_pool_destroy(fetch.pool, NULL) == BATON_EBUSY);
        baton_engine_close(pair->sink);
        CHECK_ON(pair, baton_engine_destroy(pair->sink, NULL) == BATON_EBUSY);
    }
    pair->source_frozen = false;
    end_retire(&fetch);
    end_fill(&fetch, CANARY);
    end_retire(&offer);
    CHECK_ON(pair, end_holds(&fetch, CANARY, 0));
    drop(&offer, &fetch);
}

/* Engines that the caller drives, one of which is not driven for a while: nothing is freed without
 * a proof, and all goes on with it. */
TEST(caller_driven)
{
    for (unsigned i = 0; i < 4 && have_nixl(); i++) {
        struct pair_setup setup = on_host(&caller, hosts[i / 2]);
        struct pair pair;

        setup.block_bytes = BLOCK;
        pair_open(&pair, &setup);
        frozen(&pair, ways[i % 2]);
        while (baton_engine_drain(pair.source, 0) != BATON_OK) {
            step(pair.sink);
        }
        pair_close(&pair);
    }
}

/* ---- callbacks that call ---- */

enum { CALLBACKS = 12 };

/* Pools come and go, and counters are asked for; in the callback of the given number it cancels; in
 * the last one it uses the receipt, and the fetch's starts another. */
static void call_much(struct end *end, enum moment moment, baton_stage to)
{
    static char text[1 << 16];
    struct pair *pair = end->pair;
    baton_engine *engine = end->pool == pair->sink_pool ? pair->sink : pair->source;
    baton_pool *pool = pool_make(pair, engine, 2, NULL);

    (void)to;
    CHECK_ON(pair, baton_engine_stats_json(engine, text, sizeof(text)) < sizeof(text));
    baton_pool_verify(end->pool);
    CHECK_ON(pair, baton_pool_destroy(pool, NULL) == BATON_OK);
    if (end->hook_calls++ == end->hook_value / 2) {
        baton_handoff_cancel(end->seen, BATON_CANCEL_ATTEMPT);
    }
    if (moment == MOMENT_QUIET) {
        CHECK_ON(pair, baton_retire(end->seen, &end->receipt, NULL, NULL, NULL) == BATON_OK);
        CHECK_ON(pair,
                 end->result.outcome != BATON_COMPLETED || !end->other || end_holds(end, 3, 0));
        end_fill(end, CANARY);
        if (end->other) {
            struct ticket ticket = end->other->ticket;

            CHECK_ON(pair, fetch_start(pair, end->other, &ticket, COUNT,
                                       ways[end->hook_value % 2]) == BATON_OK);
        }
    }
}

static void calls(struct pair *pair, unsigned number, unsigned way)
{
    struct end offer = {.hook = call_much, .hook_value = CALLBACKS * 2}, second = {0}, again = {0};
    struct end fetch = {.hook = call_much, .hook_value = number * 2 | way, .other = &again};

    CHECK_ON(pair, offer_start(pair, &second, COUNT, 4, NULL) == BATON_OK);
    again.ticket = second.ticket;
    start(pair, &offer, &fetch, 3, ways[way]);
    CHECK_ON(pair, end_wait_quiet(&fetch));
    end_retire(&again);
    CHECK_ON(pair, again.result.outcome == BATON_COMPLETED && end_holds(&again, 4, 0));
    end_finish(&second);
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    CHECK_ON(pair, end_wait_quiet(&offer));
    CHECK_ON(pair, end_holds(&fetch, CANARY, 0) && end_holds(&offer, CANARY, 0));
    drop(&offer, &fetch);
    end_drop(&again);
}

/* Callbacks make and destroy pools, cancel, use receipts and fetch. */
TEST(callbacks_that_call)
{
    for (unsigned i = 0; i < 8 && have_nixl(); i++) {
        struct pair_setup setup = on_host(progress[i / 4], hosts[i / 2 % 2]);
        struct pair pair;

        setup.block_count = 4 * COUNT;
        setup.source.window_bytes = setup.sink.window_bytes = 4 * PAIR_BLOCK_BYTES;
        pair_open(&pair, &setup);
        for (unsigned number = 0; number < CALLBACKS; number++) {
            calls(&pair, number, i % 2);
        }
        pair_close(&pair);
    }
}
