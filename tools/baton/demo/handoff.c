/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Baton's run: a fetch from a child is cancelled in the middle, and its blocks are poisoned when
 * its receipt is there.  The child offers half of its bytes at first, so that no fetch can complete
 * before the cancel, and the other half after the poison, so that there is something to be late.
 */
#include "demo/late.h"
#include "util/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct source_orders {
    const char *lane;
    size_t bytes;
};

struct source_answer {
    struct baton_error error;
    uint8_t ticket[BATON_TICKET_BYTES_MAX];
    size_t ticket_length;
};

/* What the engine's thread saw of the fetch. */
struct seen {
    int landed_fd, quiet_fd; /* eventfds */
    struct baton_result result;
    struct baton_receipt receipt;
};

static baton_err engine_make(const char *lane, void *arg, baton_trace_fn on_trace,
                             baton_engine **ret_engine, struct baton_error *ret_error)
{
    bool tcp = !strcmp(lane, "tcp");
    struct baton_engine_options options = {.size = sizeof(options),
                                           .transports = &lane,
                                           .transports_count = 1,
                                           .link = tcp ? BATON_LINK_TCP : BATON_LINK_AUTO,
                                           .host = BATON_HOST_HELPER,
                                           .on_trace = on_trace,
                                           .arg = arg};

    return baton_engine_create(&options, ret_engine, ret_error);
}

static uint32_t *blocks_in_order(size_t count)
{
    uint32_t *blocks = calloc(count, sizeof(*blocks));

    for (size_t i = 0; i < count && blocks; i++) {
        blocks[i] = (uint32_t)i;
    }
    return blocks;
}

static baton_err offer_make(const struct source_orders *orders, baton_handoff **ret_offer,
                            struct source_answer *answer)
{
    size_t count = orders->bytes / LATE_BLOCK_BYTES;
    struct baton_pool_options options = {
        .size = sizeof(options), .block_bytes = LATE_BLOCK_BYTES, .block_count = count};
    uint32_t *blocks = blocks_in_order(count);
    struct baton_offer_args args = {.size = sizeof(args),
                                    .blocks = blocks,
                                    .block_count = count,
                                    .watermark_bytes = orders->bytes / 2};
    baton_engine *engine;
    baton_err err = engine_make(orders->lane, NULL, NULL, &engine, &answer->error);

    err = err ? err : baton_pool_create(engine, &options, &args.pool, &answer->error);
    err = err ? err : baton_pool_alloc(args.pool, count, blocks, &answer->error);
    for (size_t i = 0; i < count && !err; i++) {
        memset(baton_pool_block(args.pool, blocks[i]), LATE_PAYLOAD, LATE_BLOCK_BYTES);
    }
    err = err ? err : baton_offer(engine, &args, ret_offer, &answer->error);
    return err ? err : baton_offer_ticket(*ret_offer, 0, answer->ticket, &answer->ticket_length);
}

/* The child: offers, and at an order says that all bytes are there. */
static void source_run(void *arg, int channel)
{
    struct source_answer answer = {0};
    baton_handoff *offer = NULL;
    char order;

    answer.error.code = offer_make(arg, &offer, &answer);
    if (send(channel, &answer, sizeof(answer), MSG_NOSIGNAL) == sizeof(answer) &&
        !answer.error.code && recv(channel, &order, 1, 0) == 1) {
        baton_offer_advance(offer, BATON_WATERMARK_END);
        /* Until the demo ends this process. */
        (void)!recv(channel, &order, 1, 0);
    }
}

static void on_trace(void *arg, const struct baton_trace *trace)
{
    struct seen *seen = arg;

    if (trace->bytes_landed > 0) {
        eventfd_write(seen->landed_fd, 1);
    }
}

static void on_outcome(baton_handoff *handoff, void *arg, const struct baton_result *result)
{
    struct seen *seen = arg;

    (void)handoff;
    seen->result = *result;
}

static void on_quiet(baton_handoff *handoff, void *arg, const struct baton_receipt *receipt)
{
    struct seen *seen = arg;

    (void)handoff;
    seen->receipt = *receipt;
    eventfd_write(seen->quiet_fd, 1);
}

static baton_err event_wait(int fd, const char *what, struct baton_error *ret_error)
{
    struct pollfd wanted = {.fd = fd, .events = POLLIN};
    uint64_t count;
    int ready;

    do {
        ready = poll(&wanted, 1, LATE_WAIT_MS_MAX);
    } while (ready < 0 && errno == EINTR);
    /* Reading it orders what was written before it. */
    if (ready == 1 && read(fd, &count, sizeof(count)) == sizeof(count)) {
        return BATON_OK;
    }
    snprintf(ret_error->text, sizeof(ret_error->text), "no %s within %d ms", what,
             LATE_WAIT_MS_MAX);
    return BATON_ETIMEOUT;
}

/* From the middle of a fetch to its poisoned blocks, which lie in order at `memory`. */
static baton_err cancel(baton_handoff *fetch, struct seen *seen, const struct late_child *source,
                        unsigned char *memory, struct late_run *run, struct baton_error *ret_error)
{
    baton_err err = event_wait(seen->landed_fd, "byte of the fetch", ret_error);
    uint64_t start_ns;

    if (err) {
        return err;
    }
    if (run->stopped) {
        late_child_stop(source);
    }
    start_ns = clock_now_ns();
    baton_handoff_cancel(fetch, BATON_CANCEL_OFFER);
    err = event_wait(seen->quiet_fd, "receipt", ret_error);
    run->answer_us = (double)(clock_now_ns() - start_ns) / 1e3;
    err = err ? err : baton_retire(fetch, &seen->receipt, NULL, NULL, ret_error);
    if (err) {
        return err;
    }
    /* First where a copy that went on would be now, and at once: the next owner does not wait. */
    run->before = seen->receipt.bytes_landed;
    memset(memory + run->before, LATE_POISON, run->bytes - run->before);
    memset(memory, LATE_POISON, run->before);
    snprintf(run->answer, sizeof(run->answer), "%s, receipt %s",
             baton_outcome_name(seen->result.outcome), baton_proof_name(seen->receipt.proof));
    (void)!send(source->channel, "a", 1, MSG_NOSIGNAL);
    kill(source->pid, SIGCONT);
    run->late = late_settle(memory, run->bytes);
    return BATON_OK;
}

static baton_err fetch_run(baton_engine *engine, const struct source_answer *answer,
                           struct seen *seen, const struct late_child *source, struct late_run *run,
                           struct baton_error *ret_error)
{
    size_t count = run->bytes / LATE_BLOCK_BYTES;
    uint32_t *blocks = blocks_in_order(count);
    struct baton_pool_options options = {
        .size = sizeof(options), .block_bytes = LATE_BLOCK_BYTES, .block_count = count};
    struct baton_fetch_args args = {.size = sizeof(args),
                                    .ticket = answer->ticket,
                                    .ticket_length = answer->ticket_length,
                                    .blocks = blocks,
                                    .block_count = count,
                                    .notices = {on_outcome, NULL, on_quiet, seen}};
    baton_err err = baton_pool_create(engine, &options, &args.pool, ret_error);
    baton_handoff *fetch = NULL;

    err = err ? err : baton_pool_alloc(args.pool, count, blocks, ret_error);
    for (size_t i = 0; i < count && !err; i++) {
        blocks[i] = (uint32_t)i; /* they are all of the pool's */
    }
    err = err ? err : baton_fetch(engine, &args, &fetch, ret_error);
    if (!err) {
        err = cancel(fetch, seen, source, baton_pool_block(args.pool, blocks[0]), run, ret_error);
        baton_handoff_unref(fetch);
    }
    err = err ? err : baton_pool_free(args.pool, blocks, count, ret_error);
    free(blocks);
    return err;
}

static baton_err sink_run(const struct late_child *source, struct late_run *run,
                          struct baton_error *ret_error)
{
    struct seen seen = {.landed_fd = eventfd(0, EFD_CLOEXEC), .quiet_fd = eventfd(0, EFD_CLOEXEC)};
    struct source_answer answer;
    baton_engine *engine;
    baton_err err = BATON_OK;

    if (!late_child_receive(source, &answer, sizeof(answer))) {
        snprintf(ret_error->text, sizeof(ret_error->text), "the source ended");
        err = BATON_ESYSTEM;
    } else if (answer.error.code) {
        *ret_error = answer.error;
        err = answer.error.code;
    }
    err = err ? err : engine_make(run->lane, &seen, on_trace, &engine, ret_error);
    if (!err) {
        err = fetch_run(engine, &answer, &seen, source, run, ret_error);
        baton_engine_close(engine);
        if (baton_engine_drain(engine, LATE_WAIT_MS_MAX) ||
            baton_engine_destroy(engine, err ? NULL : ret_error)) {
            struct baton_abandoned abandoned;

            baton_engine_abandon(engine, &abandoned);
            err = err ? err : BATON_EBUSY;
        }
    }
    close(seen.landed_fd);
    close(seen.quiet_fd);
    return err;
}

void late_baton_run(unsigned index, size_t bytes, struct late_run *ret_run)
{
    static const char *const lanes[] = {"tcp", "shm", "nixl"};
    struct source_orders orders = {.lane = lanes[index / 2], .bytes = bytes};
    struct baton_error error = {0};
    struct late_child source = {0};
    baton_err err = BATON_ENOMEM;

    *ret_run = (struct late_run){
        .who = "Baton", .lane = orders.lane, .way = "fetch", .stopped = index % 2, .bytes = bytes};
    if (late_child_start(&source, source_run, &orders)) {
        err = sink_run(&source, ret_run, &error);
    }
    if (err) {
        snprintf(ret_run->failure, sizeof(ret_run->failure), "%.60s %.90s", baton_strerror(err),
                 error.text);
    }
    late_child_end(&source);
}
