/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Posting: handoffs of many blocks, in turns with handoffs of one block, driven by callers that
 * poll.  What is counted, in ns a block:
 *   offer, fetch   how long the two calls take, each in its process;
 *   opened         from the call of fetch until the engine says READING, the earliest moment at
 *                  which a window can start, less what a handoff of one block takes: all that grows
 *                  with the number of blocks, at both ends and between them, the call included.
 * Idle: the CPU time of a process whose engine has its own thread, a link, and nothing to do.
 */
#include "bench/post.h"
#include "bench/machine.h"
#include "bench/pair.h"
#include "util/error.h"

#include <errno.h>
#include <time.h>

enum {
    POST_BLOCKS = 16384,
    POST_BLOCK_BYTES = 4 << 10,
    POSTS_A_RUN = 5,
    SETTLE_MS = 200, /* an engine looks a little longer before it sleeps */
    IDLE_MS = 1000,
};

struct posted {
    double offer_ns, fetch_ns, opened_ns;
};

/* One handoff of `count` blocks. */
static baton_err post_one(struct pair *pair, struct watched *watched, size_t count,
                          struct posted *ret_posted, struct baton_error *ret_error)
{
    struct peer_request request = {.kind = PEER_OFFER, .count = count};
    struct peer_answer offer, answer;
    baton_err err = pair_ask(pair, &request, &offer, ret_error);

    if (!err) {
        watched_expect(watched, BATON_STAGE_READING);
        err = watched_fetch(&pair->side, watched, 0, count, offer.ticket, offer.ticket_length,
                            ret_error);
    }
    if (!err) {
        err = watched_wait_quiet(&pair->side, watched, "receipt of a fetch", ret_error);
    }
    if (!err) {
        err = watched_retire(watched, ret_error);
    }
    if (!err) {
        err = watched_completed(watched, ret_error);
    }
    if (!err) {
        request.kind = PEER_REAP;
        err = pair_ask(pair, &request, &answer, ret_error);
    }
    if (!err) {
        *ret_posted = (struct posted){(double)offer.call_ns, (double)watched->call_ns,
                                      (double)(watched->step_ns - watched->start_ns)};
    }
    return err;
}

static baton_err posts_measure(struct pair *pair, struct watched *watched, unsigned count,
                               struct bench_post *post, struct baton_error *ret_error)
{
    struct posted many, one;
    /* Makes the link, and touches all memory. */
    baton_err err = post_one(pair, watched, POST_BLOCKS, &many, ret_error);

    if (!err) {
        err = side_verify(&pair->side, "a handoff of many blocks", ret_error);
    }
    for (unsigned i = 0; i < count && !err; i++) {
        err = post_one(pair, watched, POST_BLOCKS, &many, ret_error);
        if (!err) {
            err = post_one(pair, watched, 1, &one, ret_error);
        }
        if (!err) {
            samples_add(&post->offer, many.offer_ns / POST_BLOCKS);
            samples_add(&post->fetch, many.fetch_ns / POST_BLOCKS);
            samples_add(&post->opened, (many.opened_ns - one.opened_ns) / (POST_BLOCKS - 1));
        }
    }
    return err;
}

baton_err post_measure(enum bench_transport transport, const struct bench_options *options,
                       struct bench_post *ret_post, struct baton_error *ret_error)
{
    struct bench_setup setup = {.transport = transport,
                                .host = options->host,
                                .trace = true,
                                .polled = true,
                                .handoffs = 1,
                                .movers = bench_movers(transport, 0),
                                .block_bytes = POST_BLOCK_BYTES,
                                .blocks = POST_BLOCKS,
                                .seed = 1};
    struct watched watched;
    struct pair pair;
    baton_err end_err, err = watched_init(&watched, ret_error);

    *ret_post = (struct bench_post){.transport = transport, .blocks = POST_BLOCKS};
    if (err) {
        return err;
    }
    err = pair_start(&pair, &setup, ret_error);
    if (!err) {
        machine_pin(BENCH_PARENT);
        err = posts_measure(&pair, &watched, options->runs * POSTS_A_RUN, ret_post, ret_error);
        machine_unpin();
        end_err = pair_end(&pair, err ? NULL : ret_error);
        err = err ? err : end_err;
    }
    watched_fini(&watched);
    return err;
}

static void wait_ms(unsigned ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

    while (nanosleep(&time, &time) && errno == EINTR) {
    }
}

static double seconds_of(clockid_t clock)
{
    struct timespec now = {0};

    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Looks at the clocks only, so that no question to the child is counted. */
static baton_err idle_cores(struct pair *pair, double *ret_cores, struct baton_error *ret_error)
{
    clockid_t clocks[3] = {CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID};
    double before[3], passed[3];
    int reason = clock_getcpuclockid(pair->child, &clocks[2]);

    if (reason) {
        return error_system(ret_error, reason, "the other process's clock");
    }
    wait_ms(SETTLE_MS);
    for (unsigned i = 0; i < 3; i++) {
        before[i] = seconds_of(clocks[i]);
    }
    wait_ms(IDLE_MS);
    for (unsigned i = 0; i < 3; i++) {
        passed[i] = seconds_of(clocks[i]) - before[i];
    }
    *ret_cores = (passed[1] > passed[2] ? passed[1] : passed[2]) / passed[0];
    return BATON_OK;
}

baton_err idle_measure(enum bench_transport transport, bool link_tcp,
                       const struct bench_options *options, struct bench_idle *ret_idle,
                       struct baton_error *ret_error)
{
    struct bench_setup setup = {.transport = transport,
                                .host = options->host,
                                .link_tcp = link_tcp,
                                .handoffs = 1,
                                .movers = bench_movers(transport, options->movers[0]),
                                .block_bytes = POST_BLOCK_BYTES,
                                .blocks = 1,
                                .seed = 1};
    struct pair_moved moved;
    struct watched watched;
    struct pair pair;
    baton_err end_err, err = watched_init(&watched, ret_error);

    *ret_idle = (struct bench_idle){.transport = transport, .link_tcp = link_tcp};
    if (err) {
        return err;
    }
    err = pair_start(&pair, &setup, ret_error);
    if (!err) {
        /* There is a link from then on. */
        err = pair_move(&pair, &watched, &moved, ret_error);
        if (!err) {
            err = idle_cores(&pair, &ret_idle->cores, ret_error);
        }
        end_err = pair_end(&pair, err ? NULL : ret_error);
        err = err ? err : end_err;
    }
    watched_fini(&watched);
    return err;
}

void bench_post_fini(struct bench_post *post)
{
    samples_fini(&post->offer);
    samples_fini(&post->fetch);
    samples_fini(&post->opened);
}
