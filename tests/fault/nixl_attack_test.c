/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attacks on handoffs over NIXL between real processes: their helpers are killed and stopped from
 * outside, peers stop and die with many handoffs on one link, processes fork, and the policies of
 * doubt are tried over it.
 */
#include "fault/scene.h"

#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "test.h"

enum {
    CLOCK_MS = 400,
    SOON_MS = 1, /* before the doubt is told */
    CANARY = 7,
    MANY = 128, /* handoffs of one link */
    PERCENT = 100 * PARTY_BLOCKS / PARTY_POOL_BLOCKS,
};

static const struct way pull = {"nixl", BATON_LINK_AUTO, BATON_PULL};
static const struct way push = {"nixl", BATON_LINK_AUTO, BATON_PUSH};
static const struct way *const ways[] = {&pull, &push};

static struct party_options options_of(const struct way *way, baton_host host, const char *lanes)
{
    return (struct party_options){.way = way, .host = host, .lanes = lanes};
}

static int open_pidfd(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* The process behind `pidfd` ends, and nobody here ended it. */
static void await_gone(int pidfd)
{
    struct pollfd gone = {.fd = pidfd, .events = POLLIN};

    CHECK(pidfd >= 0 && poll(&gone, 1, PARTY_PATIENCE_MS) == 1);
    close(pidfd);
}

static pid_t helper_of_source(const struct scene *s)
{
    pid_t helpers[PARTY_HELPERS] = {0};

    CHECK(party_helpers(s->source, helpers) == 1);
    return helpers[0];
}

/* A sink that is pushed to watches the source's helper, too. */
static pid_t helper_of_sink(const struct scene *s)
{
    pid_t helpers[PARTY_HELPERS], of_source = helper_of_source(s), own = 0;
    unsigned count = party_helpers(s->sink, helpers);

    for (unsigned i = 0; i < count; i++) {
        if (helpers[i] != of_source) {
            CHECK(own == 0);
            own = helpers[i];
        }
    }
    return own;
}

/* Whether every thread of it stands still, or it has none. */
static bool stands(pid_t pid)
{
    char path[300], state = 'T';
    bool all = true;
    struct dirent *entry;
    DIR *tasks;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    tasks = opendir(path);
    while (tasks && all && (entry = readdir(tasks))) {
        FILE *stat;

        snprintf(path, sizeof(path), "/proc/%d/task/%s/stat", (int)pid, entry->d_name);
        stat = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
        if (stat) {
            all = fscanf(stat, "%*d (%*[^)]) %c", &state) == 1 && (state == 'T' || state == 'Z');
            fclose(stat);
        }
    }
    if (tasks) {
        closedir(tasks);
    }
    return all;
}

/* A stop takes effect when all its threads have come to it. */
static void signal_helper(pid_t helper, int number)
{
    if (CHECK(helper > 1)) {
        CHECK(kill(helper, number) == 0);
        while (number == SIGSTOP && !stands(helper)) {
            sched_yield();
        }
    }
}

/* A fetch of a new offer completes over the same two engines. */
static void next_completes(const struct scene *s, unsigned number)
{
    struct party_ticket ticket;

    party_free(s->source);
    party_free(s->sink);
    ticket = party_offer(s->source, number, number + 10, BATON_WATERMARK_END);
    party_fetch(s->sink, number, &ticket);
    party_await_end(s->sink, number);
    CHECK(party_outcome(s->sink, number) == BATON_COMPLETED);
    CHECK(party_wrong_bytes(s->sink, number, number + 10) == 0);
    party_await_end(s->source, number);
}

static void helper_killed(const struct way *way, bool of_source)
{
    const struct party_options options = options_of(way, BATON_HOST_HELPER, "tcp");
    struct scene s = scene_make(&options);
    pid_t helper = of_source ? helper_of_source(&s) : helper_of_sink(&s);

    signal_helper(helper, SIGKILL);
    party_open_gate(s.sink);
    party_await_end(s.sink, 0);
    CHECK(party_outcome(s.sink, 0) != BATON_COMPLETED || party_wrong_bytes(s.sink, 0, 1) == 0);
    scene_stays_quiet(&s, 0);
    next_completes(&s, 1);
    scene_end(&s);
}

/* A helper is killed from outside in mid transfer.  Both engines live, their blocks get receipts,
 * and the link comes back. */
TEST(sinks_helper_killed_pull)
{
    if (scene_has_nixl()) {
        helper_killed(&pull, false);
    }
}

TEST(sinks_helper_killed_push)
{
    if (scene_has_nixl()) {
        helper_killed(&push, false);
    }
}

TEST(sources_helper_killed_pull)
{
    if (scene_has_nixl()) {
        helper_killed(&pull, true);
    }
}

TEST(sources_helper_killed_push)
{
    if (scene_has_nixl()) {
        helper_killed(&push, true);
    }
}

/*
 * The sink's own helper is stopped from outside: what it was given can land when it goes on, so a
 * cancel is told and its blocks wait; the helper's end, or that it goes on, ends that.
 */
static void helper_stopped(const struct way *way, bool ends)
{
    const struct party_options options = options_of(way, BATON_HOST_HELPER, "tcp");
    struct scene s = scene_make(&options);
    pid_t helper = helper_of_sink(&s);
    struct party_ticket other = party_offer(s.source, 1, 2, BATON_WATERMARK_END);

    signal_helper(helper, SIGSTOP);
    party_fetch(s.sink, 1, &other); /* is granted, or posted, what can not land */
    party_open_gate(s.sink);
    party_await_stage(s.sink, 1, BATON_STAGE_READING);
    party_cancel(s.sink, 0, BATON_CANCEL_ATTEMPT);
    party_cancel(s.sink, 1, BATON_CANCEL_ATTEMPT);
    signal_helper(helper, ends ? SIGKILL : SIGCONT);
    for (unsigned i = 0; i < 2; i++) {
        party_await_end(s.sink, i);
        party_rewrite(s.sink, i, CANARY);
        party_cancel(s.source, i, BATON_CANCEL_OFFER);
        party_await_end(s.source, i);
    }
    CHECK(party_wrong_bytes(s.sink, 0, CANARY) == 0);
    CHECK(party_wrong_bytes(s.sink, 1, CANARY) == 0);
    next_completes(&s, 2);
    scene_end(&s);
}

TEST(sinks_helper_stopped)
{
    for (unsigned i = 0; i < 4 && scene_has_nixl(); i++) {
        helper_stopped(ways[i % 2], i / 2);
    }
}

/* A party that is killed leaves no helper; neither does one that ends in order while a child of
 * its still holds its descriptors. */
TEST(helpers_end_with_their_engine)
{
    const struct party_options options = options_of(&push, BATON_HOST_HELPER, "tcp");
    struct scene s;
    pid_t holder;
    int source, sink;

    if (!scene_has_nixl()) {
        return;
    }
    s = scene_make(&options);
    source = open_pidfd(helper_of_source(&s));
    sink = open_pidfd(helper_of_sink(&s));
    holder = party_fork_holder(s.sink);
    CHECK(party_fork_wrong_calls(s.sink) == 0);
    party_kill(s.source);
    await_gone(source);
    party_open_gate(s.sink);
    party_await_end(s.sink, 0);
    CHECK(party_proof(s.sink, 0) == BATON_PROOF_HELPER_EXITED);
    party_finish(s.sink);
    await_gone(sink);
    party_end_holder(holder);
    party_finish(s.source);
}

/* 128 handoffs on one link; their source is stopped, half of them are cancelled, it is killed. */
static void many(const struct way *way, baton_host host, bool dies)
{
    struct party_options options = options_of(way, host, "tcp");
    static struct party_ticket tickets[MANY];
    struct scene s;

    options.blocks = PARTY_POOL_BLOCKS / MANY;
    s.source = party_start(&options);
    options.gate = PARTY_GATE_LANDED;
    s.sink = party_start(&options);
    for (unsigned i = 0; i < MANY; i++) {
        tickets[i] = party_offer(s.source, i, i, BATON_WATERMARK_END);
        party_fetch(s.sink, i, &tickets[i]);
    }
    party_await_gate(s.sink);
    party_stop(s.source);
    for (unsigned i = 0; i < MANY; i += 2) {
        party_cancel(s.sink, i, BATON_CANCEL_ATTEMPT);
    }
    party_open_gate(s.sink);
    if (dies) {
        party_kill(s.source);
    } else {
        party_continue(s.source);
    }
    for (unsigned i = 0; i < MANY; i++) {
        party_await_end(s.sink, i);
        CHECK(i % 2 == 0 || dies || party_outcome(s.sink, i) == BATON_COMPLETED);
        if (party_outcome(s.sink, i) == BATON_COMPLETED) {
            CHECK(party_wrong_bytes(s.sink, i, i) == 0);
        }
    }
    for (unsigned i = 0; i < MANY && !dies; i++) {
        party_cancel(s.source, i, BATON_CANCEL_OFFER);
        party_await_end(s.source, i);
    }
    scene_end(&s);
}

TEST(many_handoffs_of_a_stopped_source)
{
    for (unsigned i = 0; i < 4 && scene_has_nixl(); i++) {
        many(ways[i % 2], i / 2 ? BATON_HOST_HELPER : BATON_HOST_IN_PROCESS, false);
    }
}

TEST(many_handoffs_of_a_killed_source)
{
    for (unsigned i = 0; i < 4 && scene_has_nixl(); i++) {
        many(ways[i % 2], i / 2 ? BATON_HOST_HELPER : BATON_HOST_IN_PROCESS, true);
    }
}

/* on_doubt over NIXL.  A fence of helpers is a proof where only the sink's library stores. */
static void doubt_fenced(baton_host host)
{
    struct party_options options = options_of(&push, host, "tcp");
    struct scene s;

    options.on_doubt = BATON_ON_DOUBT_FENCE;
    options.on_doubt_ms = SOON_MS;
    s = scene_stalled(&options, CLOCK_MS);
    party_open_gate(s.sink);
    party_await_end(s.sink, 1);
    CHECK(party_outcome(s.sink, 1) == BATON_TIMED_OUT);
    CHECK(party_proof(s.sink, 1) ==
          (host == BATON_HOST_HELPER ? BATON_PROOF_HELPER_EXITED : BATON_PROOF_LINK_FENCED));
    CHECK(party_seen(s.sink, 1)->links_fenced == 1 && party_seen(s.sink, 1)->peers_killed == 0);
    party_rewrite(s.sink, 1, CANARY);
    party_continue(s.source);
    party_cancel(s.source, 1, BATON_CANCEL_OFFER);
    party_await_end(s.source, 1);
    CHECK(party_wrong_bytes(s.sink, 1, CANARY) == 0);
    next_completes(&s, 2);
    scene_end(&s);
}

TEST(doubt_is_fenced_by_helpers)
{
    if (scene_has_nixl()) {
        doubt_fenced(BATON_HOST_HELPER);
    }
}

TEST(doubt_is_fenced_in_process)
{
    if (scene_has_nixl()) {
        doubt_fenced(BATON_HOST_IN_PROCESS);
    }
}

/* Lanes on which the source's process stores: the fence alone is no proof, its word or end is. */
TEST(doubt_is_not_ended_by_a_fence_of_cma)
{
    struct party_options options = options_of(&push, BATON_HOST_HELPER, "shm");
    struct scene s;

    if (!scene_has_nixl()) {
        return;
    }
    options.on_doubt = BATON_ON_DOUBT_FENCE;
    options.on_doubt_ms = SOON_MS;
    s = scene_stalled(&options, CLOCK_MS);
    party_open_gate(s.sink);
    party_await_doubt(s.sink, 1);
    CHECK(party_guards(s.sink, 1) == PARTY_GUARDS || party_has_receipt(s.sink, 1));
    party_continue(s.source);
    party_await_end(s.sink, 1);
    scene_stays_quiet(&s, 1);
    scene_end(&s);
}

/* The source's process is ended by the sink: where its helper stored, that one must end, too. */
TEST(doubt_kills_the_peer)
{
    for (unsigned i = 0; i < 4 && scene_has_nixl(); i++) {
        struct party_options options = options_of(
            &push, i / 2 ? BATON_HOST_HELPER : BATON_HOST_IN_PROCESS, i % 2 ? "shm" : "tcp");
        struct scene s;

        options.on_doubt = BATON_ON_DOUBT_KILL_LOCAL_PEER;
        options.on_doubt_ms = SOON_MS;
        s = scene_stalled(&options, CLOCK_MS);
        party_open_gate(s.sink);
        party_await_end(s.sink, 1);
        party_await_killed(s.source);
        CHECK(party_outcome(s.sink, 1) == BATON_TIMED_OUT);
        CHECK(party_proof(s.sink, 1) == (i % 2   ? BATON_PROOF_PEER_EXITED
                                         : i / 2 ? BATON_PROOF_HELPER_EXITED
                                                 : BATON_PROOF_LINK_FENCED));
        CHECK(party_seen(s.sink, 1)->peers_killed == 1);
        party_rewrite(s.sink, 1, CANARY);
        party_free(s.sink);
        scene_end(&s);
    }
}

/*
 * The source's process ends before the helper that writes for it, and is dialled again in vain: the
 * end of the helper is still the proof.
 */
TEST(writer_ends_long_after_its_source)
{
    const struct party_options options = options_of(&push, BATON_HOST_HELPER, "shm");
    struct scene s;
    pid_t helper;

    if (!scene_has_nixl()) {
        return;
    }
    s = scene_make(&options);
    helper = helper_of_source(&s);
    signal_helper(helper, SIGSTOP);
    party_kill(s.source);
    party_open_gate(s.sink);
    party_await_doubt(s.sink, 0);
    CHECK(party_guards(s.sink, 0) == PARTY_GUARDS && !party_has_receipt(s.sink, 0));
    signal_helper(helper, SIGKILL);
    party_await_end(s.sink, 0);
    CHECK(party_proof(s.sink, 0) == BATON_PROOF_PEER_EXITED);
    party_free(s.sink);
    scene_end(&s);
}

/* What a stopped source holds in doubt is bounded; with its word it gets more again. */
TEST(quarantine_is_bounded)
{
    for (unsigned i = 0; i < 2 && scene_has_nixl(); i++) {
        struct party_options options =
            options_of(&push, i ? BATON_HOST_HELPER : BATON_HOST_IN_PROCESS, "tcp");
        struct party_ticket second;
        struct scene s;

        options.quarantine_percent_max = PERCENT - 1;
        s = scene_stalled(&options, CLOCK_MS);
        party_open_gate(s.sink);
        party_await_doubt(s.sink, 1);
        party_fetch_refused(s.sink, 2, &s.ticket, BATON_ELIMIT);
        party_continue(s.source);
        party_await_end(s.sink, 1);
        party_cancel(s.source, 1, BATON_CANCEL_OFFER);
        party_await_end(s.source, 1);
        second = party_offer(s.source, 2, 3, BATON_WATERMARK_END);
        party_fetch(s.sink, 2, &second);
        party_await_end(s.sink, 2);
        CHECK(party_outcome(s.sink, 2) == BATON_COMPLETED);
        CHECK(party_wrong_bytes(s.sink, 2, 3) == 0);
        party_await_end(s.source, 2);
        scene_end(&s);
    }
}
