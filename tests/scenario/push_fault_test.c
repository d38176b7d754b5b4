/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer that is killed or stopped in the middle of a push: over tcp the other side's receipt is
 * its own drain, at once; over shm a sink's waits for the end of the process.  The peer is a child
 * process; the test's own engine is made after the fork.
 */
#include "scenario/pair.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    BLOCK_BYTES = 64 << 10,
    BLOCKS = 512,   /* 32 MiB: much more than is under way at once */
    SOON_MS = 2000, /* for a receipt that waits for nobody, on a busy machine under a sanitizer */
};

/* One process's half of the handoff. */
struct half {
    baton_engine *engine;
    baton_pool *pool;
    baton_handoff *handoff;
    uint32_t blocks[BLOCKS];
    atomic_int victim; /* this process gets `signal` when the first bytes have landed; 0: none */
    int signal;
    const char *transport; /* NULL: tcp */
    struct baton_result result;
    struct baton_receipt receipt;
};

/* Only a fetch's bytes land. */
static void on_trace(void *arg, const struct baton_trace *trace)
{
    struct half *half = arg;

    if (trace->bytes_landed > 0) {
        int victim = atomic_exchange(&half->victim, 0);

        if (victim) {
            kill(victim, half->signal);
        }
    }
}

static bool half_open(struct half *half)
{
    const char *const transport = half->transport ? half->transport : "tcp";
    struct baton_engine_options options = {.size = sizeof(options),
                                           .transports = &transport,
                                           .transports_count = 1,
                                           .on_trace = on_trace,
                                           .arg = half};
    struct baton_pool_options pool = {.size = sizeof(pool),
                                      .block_bytes = BLOCK_BYTES,
                                      .block_count = BLOCKS,
                                      .flags = BATON_POOL_CHECK};

    return baton_engine_create(&options, &half->engine, NULL) == BATON_OK &&
           baton_pool_create(half->engine, &pool, &half->pool, NULL) == BATON_OK &&
           baton_pool_alloc(half->pool, BLOCKS, half->blocks, NULL) == BATON_OK;
}

static bool half_offer(struct half *half, struct ticket *ret_ticket)
{
    struct baton_offer_args args = {.size = sizeof(args),
                                    .pool = half->pool,
                                    .blocks = half->blocks,
                                    .block_count = BLOCKS,
                                    .watermark_bytes = BATON_WATERMARK_END};

    return baton_offer(half->engine, &args, &half->handoff, NULL) == BATON_OK &&
           baton_offer_ticket(half->handoff, 0, ret_ticket->bytes, &ret_ticket->length) == BATON_OK;
}

static bool half_fetch(struct half *half, const struct ticket *ticket)
{
    struct baton_fetch_args args = {.size = sizeof(args),
                                    .ticket = ticket->bytes,
                                    .ticket_length = ticket->length,
                                    .pool = half->pool,
                                    .blocks = half->blocks,
                                    .block_count = BLOCKS,
                                    .mode = BATON_PUSH};

    return baton_fetch(half->engine, &args, &half->handoff, NULL) == BATON_OK;
}

/* The receipt, and no outcome or two; false: it did not come in time. */
static bool half_await(struct half *half, int timeout_ms)
{
    struct pollfd told = {.fd = baton_engine_completion_fd(half->engine), .events = POLLIN};
    struct baton_completion c;

    for (;;) {
        if (poll(&told, 1, timeout_ms) != 1) {
            return false;
        }
        if (baton_engine_collect(half->engine, &c, 1) == 1) {
            half->result = c.result;
            half->receipt = c.receipt;
            baton_handoff_unref(c.handoff);
            if (c.notice == BATON_NOTICE_QUIET) {
                return true;
            }
        }
    }
}

/* The blocks have their next owner, who finds them unchanged when all is closed. */
static void half_close(struct half *half)
{
    CHECK(baton_retire(half->handoff, &half->receipt, NULL, NULL, NULL) == BATON_OK);
    CHECK(baton_pool_free(half->pool, half->blocks, BLOCKS, NULL) == BATON_OK);
    baton_handoff_unref(half->handoff);
    baton_engine_close(half->engine);
    CHECK(baton_engine_drain(half->engine, PAIR_WAIT_MS) == BATON_OK);
    baton_pool_verify(half->pool);
    CHECK(pool_stats(half->pool).late_bytes == 0);
    CHECK(baton_engine_destroy(half->engine, NULL) == BATON_OK);
}

/* The child: the source, until it is killed. */
_Noreturn static void live_as_source(int tell, const char *transport)
{
    struct half half = {.transport = transport};
    struct ticket ticket = {0};

    if (half_open(&half) && half_offer(&half, &ticket) &&
        write(tell, &ticket, sizeof(ticket)) == sizeof(ticket)) {
        for (;;) {
            pause();
        }
    }
    _exit(EXIT_FAILURE);
}

/* The child: the sink, which does to itself what the story says once its first bytes have landed.
 */
_Noreturn static void live_as_sink(int hear, int signal)
{
    struct half half = {.victim = getpid(), .signal = signal};
    struct ticket ticket = {0};

    if (read(hear, &ticket, sizeof(ticket)) == sizeof(ticket) && half_open(&half) &&
        half_fetch(&half, &ticket)) {
        for (;;) {
            pause();
        }
    }
    _exit(EXIT_FAILURE);
}

static void reap(pid_t pid)
{
    kill(pid, SIGKILL);
    CHECK(waitpid(pid, NULL, 0) == pid);
}

/* The source gets the signal in the middle: what the sink's half is told. */
static void sink_loses(int signal, struct half *half)
{
    struct ticket ticket = {0};
    int pipes[2];
    pid_t pid;

    CHECK(pipe(pipes) == 0);
    pid = fork();
    if (pid == 0) {
        live_as_source(pipes[1], half->transport);
    }
    half->signal = signal;
    atomic_init(&half->victim, pid);
    CHECK(read(pipes[0], &ticket, sizeof(ticket)) == sizeof(ticket));
    CHECK(half_open(half) && half_fetch(half, &ticket));
    if (signal == SIGSTOP) {
        int status = 0;

        CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
        baton_handoff_cancel(half->handoff, BATON_CANCEL_OFFER);
    }
    CHECK(half_await(half, signal == SIGSTOP ? SOON_MS : PAIR_WAIT_MS));
    CHECK(half->receipt.proof == BATON_PROOF_LOCAL_DRAIN);
    CHECK(half->receipt.bytes_landed > 0 && half->receipt.bytes_landed < BLOCKS * BLOCK_BYTES);
    half_close(half);
    reap(pid);
    close(pipes[0]);
    close(pipes[1]);
}

TEST(a_source_killed_in_mid_push)
{
    struct half half = {0};

    sink_loses(SIGKILL, &half);
    CHECK(half.result.outcome == BATON_LINK_LOST);
    /* Its connections can be at their end before its process is. */
    CHECK(half.result.cause == BATON_CAUSE_PEER_DIED ||
          half.result.cause == BATON_CAUSE_LINK_CLOSED);
}

/* It can not answer, and holds what it was granted: the sink's cancel is quiet all the same. */
TEST(a_source_stopped_in_mid_push)
{
    struct half half = {0};

    sink_loses(SIGSTOP, &half);
    CHECK(half.result.outcome == BATON_CANCELLED && half.result.cause == BATON_CAUSE_CANCEL);
}

/* The sink gets the signal in the middle: what the source's half is told. */
static void source_loses(int signal)
{
    struct half half = {0};
    struct ticket ticket = {0};
    int pipes[2], status = 0;
    pid_t pid;

    CHECK(pipe(pipes) == 0);
    pid = fork();
    if (pid == 0) {
        live_as_sink(pipes[0], signal);
    }
    CHECK(half_open(&half) && half_offer(&half, &ticket));
    CHECK(write(pipes[1], &ticket, sizeof(ticket)) == sizeof(ticket));
    CHECK(waitpid(pid, &status, WUNTRACED) == pid);
    CHECK(signal == SIGSTOP ? WIFSTOPPED(status) : WIFSIGNALED(status));
    baton_handoff_cancel(half.handoff, BATON_CANCEL_OFFER);
    CHECK(half_await(&half, SOON_MS));
    CHECK(half.result.outcome == BATON_CANCELLED);
    CHECK(half.receipt.proof == BATON_PROOF_LOCAL_DRAIN && half.receipt.attempts == 1);
    half_close(&half);
    if (signal == SIGSTOP) {
        reap(pid);
    }
    close(pipes[0]);
    close(pipes[1]);
}

TEST(a_sink_killed_in_mid_push)
{
    source_loses(SIGKILL);
}

/* Its socket's buffers are full, and a push stands half written. */
TEST(a_sink_stopped_in_mid_push)
{
    source_loses(SIGSTOP);
}

/* The sink's process has no free descriptor when its link is lost: the end of the source, which
 * stored into its blocks, is seen all the same. */
TEST(a_source_killed_when_no_descriptor_is_free)
{
    struct half half = {.transport = "shm", .signal = SIGSTOP};
    struct ticket ticket = {0};
    struct rlimit limit, none;
    int pipes[2], status = 0;
    pid_t pid;

    CHECK(pipe(pipes) == 0);
    pid = fork();
    if (pid == 0) {
        live_as_source(pipes[1], half.transport);
    }
    atomic_init(&half.victim, pid);
    CHECK(read(pipes[0], &ticket, sizeof(ticket)) == sizeof(ticket));
    CHECK(half_open(&half) && half_fetch(&half, &ticket));
    CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    none = limit;
    none.rlim_cur = 3; /* all of those are in use */
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0 && dup(pipes[0]) < 0);
    reap(pid);
    CHECK(half_await(&half, PAIR_WAIT_MS));
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    CHECK(half.result.outcome == BATON_LINK_LOST);
    CHECK(half.receipt.proof == BATON_PROOF_PEER_EXITED);
    half_close(&half);
    close(pipes[0]);
    close(pipes[1]);
}
