/* SPDX-License-Identifier: Apache-2.0 */
/* The parent of a bench pair: starts the child, asks it, and moves a payload by handoffs. */
#include "bench/pair.h"
#include "util/clock.h"
#include "util/error.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Between fork and exec in a process that may have threads: only calls that are safe there. */
static _Noreturn void child_exec(int channel, char *const argv[])
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fcntl(channel, F_SETFD, 0);
    execv("/proc/self/exe", argv);
    _exit(127);
}

static baton_err child_start(struct pair *pair, struct baton_error *ret_error)
{
    char text[16];
    char *const argv[] = {(char[]){"baton"}, (char[]){"bench"}, (char[]){"--role-channel"}, text,
                          NULL};
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
        return error_system(ret_error, errno, "socketpair");
    }
    snprintf(text, sizeof(text), "%d", ends[1]);
    pair->child = fork();
    if (pair->child == 0) {
        child_exec(ends[1], argv);
    }
    close(ends[1]);
    if (pair->child < 0) {
        baton_err err = error_system(ret_error, errno, "fork");

        close(ends[0]);
        return err;
    }
    pair->channel = ends[0];
    return BATON_OK;
}

/* The child ends when its channel does; one that hangs is killed. */
static baton_err child_end(struct pair *pair, struct baton_error *ret_error)
{
    int pidfd = pidfd_open(pair->child, 0), status = 0;
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    baton_err err = BATON_OK;

    pair_continue(pair);
    close(pair->channel);
    if (pidfd >= 0 && poll(&ended, 1, BENCH_WAIT_MS_MAX / 4) != 1) {
        err = error_set(ret_error, BATON_ETIMEOUT, "the other process did not end: killed");
        kill(pair->child, SIGKILL);
    }
    if (pidfd >= 0) {
        close(pidfd);
    }
    if (waitpid(pair->child, &status, 0) == pair->child && !err && status) {
        err = error_set(ret_error, BATON_EINVAL, "the other process failed (%s %d)",
                        WIFSIGNALED(status) ? "signal" : "exit code",
                        WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    return err;
}

baton_err pair_start(struct pair *ret_pair, const struct bench_setup *setup,
                     struct baton_error *ret_error)
{
    struct peer_request request = {.kind = PEER_SETUP, .setup = *setup};
    struct peer_answer answer;
    struct pair pair = {0};
    baton_err err = child_start(&pair, ret_error);

    for (unsigned i = 0; i < RAW_PLACES; i++) {
        raw_init(&pair.raw[i]);
    }
    if (err) {
        return err;
    }
    if (setup->child_reads && setup->transport == BENCH_PROCESS) {
        /* Yama lets a parent read its child, and the reverse only where it is told so.  A kernel
         * without Yama knows no such call and needs none. */
        (void)prctl(PR_SET_PTRACER, pair.child);
    }
    err = pair_ask(&pair, &request, &answer, ret_error);
    if (!err) {
        pair.child_memory = answer.memory;
        err = side_init(&pair.side, setup, setup->child_reads, ret_error);
    }
    if (err) {
        child_end(&pair, NULL);
        return err;
    }
    if (setup->child_reads) {
        side_fill(&pair.side);
    } else {
        side_wipe(&pair.side);
    }
    *ret_pair = pair;
    return BATON_OK;
}

baton_err pair_end(struct pair *pair, struct baton_error *ret_error)
{
    baton_err child_err, err;

    /* A stopped child would keep this side's handoffs from ending. */
    pair_continue(pair);
    for (unsigned i = 0; i < RAW_PLACES; i++) {
        raw_fini(&pair->raw[i]);
    }
    raw_nixl_close(pair->nixl);
    err = side_fini(&pair->side, ret_error);
    child_err = child_end(pair, err ? NULL : ret_error);
    return err ? err : child_err;
}

baton_err pair_send(struct pair *pair, const struct peer_request *request,
                    struct baton_error *ret_error)
{
    if (send(pair->channel, request, sizeof(*request), MSG_NOSIGNAL) != sizeof(*request)) {
        return error_set(ret_error, BATON_ESYSTEM, "the other process has ended");
    }
    return BATON_OK;
}

baton_err pair_receive(struct pair *pair, struct peer_answer *ret_answer,
                       struct baton_error *ret_error)
{
    struct pollfd wanted = {.fd = pair->channel, .events = POLLIN};
    int ready;

    do {
        ready = poll(&wanted, 1, 2 * BENCH_WAIT_MS_MAX);
    } while (ready < 0 && errno == EINTR);
    if (ready < 1) {
        return error_set(ret_error, BATON_ETIMEOUT, "the other process does not answer");
    }
    if (recv(pair->channel, ret_answer, sizeof(*ret_answer), 0) != sizeof(*ret_answer)) {
        return error_set(ret_error, BATON_ESYSTEM, "the other process has ended");
    }
    if (ret_answer->error.code) {
        return error_set(ret_error, ret_answer->error.code, "the other process: %s",
                         ret_answer->error.text);
    }
    return BATON_OK;
}

baton_err pair_ask(struct pair *pair, const struct peer_request *request,
                   struct peer_answer *ret_answer, struct baton_error *ret_error)
{
    baton_err err = pair_send(pair, request, ret_error);

    return err ? err : pair_receive(pair, ret_answer, ret_error);
}

double own_usage(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

baton_err pair_usage(struct pair *pair, double *ret_seconds, struct baton_error *ret_error)
{
    struct peer_request request = {.kind = PEER_USAGE};
    struct peer_answer answer;
    baton_err err = pair_ask(pair, &request, &answer, ret_error);

    if (!err) {
        *ret_seconds = answer.cpu_seconds + own_usage();
    }
    return err;
}

baton_err pair_stop(struct pair *pair, struct baton_error *ret_error)
{
    int status;

    if (kill(pair->child, SIGSTOP) || waitpid(pair->child, &status, WUNTRACED) != pair->child ||
        !WIFSTOPPED(status)) {
        return error_set(ret_error, BATON_ESYSTEM, "the other process could not be stopped");
    }
    pair->stopped = true;
    return BATON_OK;
}

void pair_continue(struct pair *pair)
{
    if (pair->stopped) {
        kill(pair->child, SIGCONT);
        pair->stopped = false;
    }
}

/* Wait for all `count` fetches, use their receipts.  The first error is reported. */
static baton_err fetches_finish(struct bench_side *side, struct watched *watched, unsigned count,
                                uint64_t *ret_last_ns, struct baton_error *ret_error)
{
    uint64_t last_ns = 0;

    for (unsigned i = 0; i < count; i++) {
        baton_err err = watched_wait_quiet(side, &watched[i], "receipt of a fetch", ret_error);

        if (!err) {
            err = watched_retire(&watched[i], ret_error);
        }
        if (!err) {
            err = watched_completed(&watched[i], ret_error);
        }
        if (err) {
            return err;
        }
        last_ns = watched[i].outcome_ns > last_ns ? watched[i].outcome_ns : last_ns;
    }
    *ret_last_ns = last_ns;
    return BATON_OK;
}

baton_err pair_move(struct pair *pair, struct watched *watched, struct pair_moved *ret_moved,
                    struct baton_error *ret_error)
{
    static struct peer_answer offers[BENCH_HANDOFFS_MAX], answer;
    unsigned handoffs = pair->side.setup.handoffs;
    struct peer_request request = {.count = pair->side.setup.blocks / handoffs};
    uint64_t start_ns, last_ns = 0, post_ns = 0;
    baton_err err = BATON_OK;

    for (unsigned i = 0; i < handoffs && !err; i++) {
        request.kind = PEER_OFFER;
        request.first = i * request.count;
        err = pair_ask(pair, &request, &offers[i], ret_error);
        post_ns += offers[i].call_cpu_ns;
    }
    start_ns = clock_now_ns();
    for (unsigned i = 0; i < handoffs && !err; i++) {
        err = watched_fetch(&pair->side, &watched[i], i * request.count, request.count,
                            offers[i].ticket, offers[i].ticket_length, ret_error);
        post_ns += watched[i].call_cpu_ns;
    }
    if (!err) {
        err = fetches_finish(&pair->side, watched, handoffs, &last_ns, ret_error);
    }
    if (!err) {
        request.kind = PEER_REAP;
        err = pair_ask(pair, &request, &answer, ret_error);
    }
    if (!err) {
        *ret_moved = (struct pair_moved){(double)(last_ns - start_ns) / 1e9, (double)post_ns};
    }
    return err;
}

baton_err pair_raw_connect(struct pair *pair, enum raw_place place, const struct raw_config *config,
                           struct baton_error *ret_error)
{
    struct peer_request request = {.kind = PEER_CONNECT, .place = place, .raw = *config};
    struct peer_answer answer;
    int listener;
    baton_err err;

    raw_fini(&pair->raw[place]);
    err = raw_listen(config, &listener, &request.port, ret_error);
    if (err) {
        return err;
    }
    err = pair_ask(pair, &request, &answer, ret_error);
    if (!err) {
        err = raw_accept(&pair->raw[place], config, listener, ret_error);
    }
    close(listener);
    return err;
}

baton_err pair_raw_move(struct pair *pair, enum raw_place place, double *ret_seconds,
                        struct baton_error *ret_error)
{
    struct peer_request request = {.kind = PEER_SEND, .place = place};
    struct peer_answer answer;
    uint64_t start_ns = clock_now_ns(), end_ns;
    baton_err err = pair_send(pair, &request, ret_error);

    if (!err) {
        err = raw_receive(&pair->side, &pair->raw[place], ret_error);
    }
    end_ns = clock_now_ns();
    if (!err) {
        err = pair_receive(pair, &answer, ret_error);
    }
    if (!err) {
        *ret_seconds = (double)(end_ns - start_ns) / 1e9;
    }
    return err;
}

baton_err pair_nixl_connect(struct pair *pair, struct baton_error *ret_error)
{
    struct peer_request request = {.kind = PEER_NIXL_MEET};
    struct peer_answer answer;
    baton_err err = raw_nixl_open(&pair->side, &pair->nixl, &request.nixl, ret_error);

    if (!err) {
        err = pair_ask(pair, &request, &answer, ret_error);
    }
    return err ? err : raw_nixl_meet(pair->nixl, &answer.nixl, ret_error);
}

static baton_err nixl_read(struct pair *pair, bool prepares, double *ret_seconds,
                           struct baton_error *ret_error)
{
    struct peer_request request = {.kind = PEER_NIXL_SERVE};
    struct peer_answer answer;
    baton_err end_err, err = pair_send(pair, &request, ret_error);

    if (!err) {
        err = raw_nixl_move(pair->nixl, prepares, ret_seconds, ret_error);
    }
    /* Any other request ends the polling. */
    request.kind = PEER_USAGE;
    end_err = pair_send(pair, &request, err ? NULL : ret_error);
    for (unsigned i = 0; i < 2 && !end_err; i++) {
        end_err = pair_receive(pair, &answer, err ? NULL : ret_error);
    }
    return err ? err : end_err;
}

baton_err pair_nixl_move(struct pair *pair, bool prepares, double *ret_seconds,
                         struct baton_error *ret_error)
{
    struct peer_request request = {.kind = PEER_NIXL_MOVE, .prepares = prepares};
    struct peer_answer answer;
    baton_err err;

    if (!pair->side.setup.push) {
        return nixl_read(pair, prepares, ret_seconds, ret_error);
    }
    err = pair_send(pair, &request, ret_error);
    if (!err) {
        raw_nixl_serve(pair->nixl, pair->channel);
        err = pair_receive(pair, &answer, ret_error);
    }
    if (!err) {
        *ret_seconds = answer.seconds;
    }
    return err;
}
