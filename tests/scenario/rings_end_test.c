/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links through shared memory that end, or wait: peers that are stopped and killed with full rings,
 * engines that are given up with unread frames, forks, many links and many dials.  Nothing is left
 * over, nothing is touched from elsewhere, and who waits costs nothing.
 */
#include "scenario/pair.h"
#include "scenario/raw_link.h"

#include <dirent.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ThreadSanitizer can not start threads in the child of a process that has some. */
#if defined(__SANITIZE_THREAD__)
#define CHILD_HAS_THREADS false
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CHILD_HAS_THREADS false
#endif
#endif
#ifndef CHILD_HAS_THREADS
#define CHILD_HAS_THREADS true
#endif

enum {
    DIALS = 1000,
    DIALS_OUT = 100,
    LINKS = 60,
    IDLE_MS = 300,
    FILLERS = 2 * RING_BYTES / FRAME_HEAD_BYTES,
};

static uint64_t cpu_ns(void)
{
    struct timespec used;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
}

static unsigned open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned count = 0;

    while (readdir(dir)) {
        count++;
    }
    closedir(dir);
    return count;
}

/* Lines of /proc/self/maps that contain a text, and the first of them. */
static unsigned mappings(const char *text, uintptr_t *ret_from, uintptr_t *ret_to)
{
    FILE *file = fopen("/proc/self/maps", "r");
    unsigned count = 0;
    char line[512];

    while (fgets(line, sizeof(line), file)) {
        if (strstr(line, text)) {
            char *end;

            if (count++ == 0 && ret_from) {
                *ret_from = strtoull(line, &end, 16);
                *ret_to = strtoull(end + 1, NULL, 16);
            }
        }
    }
    fclose(file);
    return count;
}

static bool says_open(struct raw_link *raw, uint64_t id)
{
    struct frame open = raw_open(id), answer;

    return raw_say(raw, &open) && raw_hear(raw, &answer) && answer.type == FRAME_REFUSED &&
           answer.refused.fetch_id == id;
}

/* Fills both rings: asks until the engine takes no more, and reads nothing. */
static void fill_both(struct raw_link *raw)
{
    for (unsigned i = 0; i < FILLERS; i++) {
        struct frame open = raw_open(i);

        raw_say(raw, &open);
    }
}

/* A fetch from a source that never answers: the time of its opening clock, and then it is over. */
static void wait_idle(struct pair *pair, uint32_t ms)
{
    struct baton_fetch_args args = {.opening_timeout_ms = ms};
    struct end fetch = {0};
    struct raw_link raw;
    struct ticket ticket;

    CHECK(raw_listen(&raw));
    ticket.length = raw_ticket(&raw, pair->block_bytes, 1, ticket.bytes);
    CHECK(fetch_start(pair, &fetch, &ticket, 1, &args) == BATON_OK);
    end_finish(&fetch);
    CHECK(fetch.result.outcome == BATON_TIMED_OUT);
    raw_close(&raw);
}

static void check_serves(struct pair *pair)
{
    struct end offer = {0}, fetch = {0};

    CHECK(offer_start(pair, &offer, 2, 5, NULL) == BATON_OK);
    CHECK(fetch_start(pair, &fetch, &offer.ticket, 2, NULL) == BATON_OK);
    end_retire(&fetch);
    CHECK(fetch.result.outcome == BATON_COMPLETED && end_holds(&fetch, 5, 0));
    end_drop(&fetch);
    end_finish(&offer);
}

/* ---- given up ---- */

/* Engines that are closed and destroyed while frames wait in rings, on both sides of them. */
TEST(an_engine_with_unread_frames_can_be_destroyed)
{
    static struct raw_link raws[4];
    struct pair pair;

    for (unsigned i = 0; i < 8; i++) {
        pair_open(&pair, &(struct pair_setup){.kind = i % 2 ? plain_shm : &kinds[6]});
        if (i % 2) {
            for (unsigned k = 0; k < 4; k++) {
                CHECK(raw_dial_rings(&raws[k], pair.source));
                fill_both(&raws[k]);
            }
        }
        check_serves(&pair);
        pair_close(&pair);
        for (unsigned k = 0; i % 2 && k < 4; k++) {
            CHECK(raw_gone(&raws[k]));
            raw_close(&raws[k]);
        }
    }
}

/* What was abandoned stays reachable, so that a leak checker knows it. */
static struct pair kept;

/* One that is abandoned ends its links, and its rings are not touched any more. */
TEST(an_engine_with_unread_frames_can_be_abandoned)
{
    struct raw_link raw;

    pair_open(&kept, &(struct pair_setup){.kind = plain_shm});
    CHECK(raw_dial_rings(&raw, kept.source));
    fill_both(&raw);
    baton_engine_abandon(kept.source, NULL);
    CHECK(raw_gone(&raw));
    CHECK(mappings("baton-raw", NULL, NULL) == 1); /* our own */
    raw_close(&raw);
    baton_engine_close(kept.sink);
    CHECK(baton_engine_drain(kept.sink, PAIR_WAIT_MS) == BATON_OK);
    CHECK(baton_engine_destroy(kept.sink, NULL) == BATON_OK);
    close(kept.wake);
}

/* ---- stopped and killed ---- */

/* A process that fills both rings and stops. */
static pid_t start_filler(baton_engine *engine)
{
    static struct raw_link raw;
    pid_t pid = fork();
    char endpoint[BATON_ENDPOINT_BYTES_MAX];

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* What the child may ask of its parent's engine is where it listens, and who it is. */
        if (!baton_engine_endpoint(engine, 0, endpoint) || !raw_dial_rings(&raw, engine)) {
            _exit(1);
        }
        fill_both(&raw);
        raise(SIGSTOP);
        _exit(0);
    }
    return pid;
}

/* A peer that is stopped with full rings keeps its link and holds up nobody; killed, it has ended,
 * and is not said to have broken the protocol. */
TEST(a_peer_stopped_with_full_rings_keeps_its_link_until_it_is_killed)
{
    struct pair_setup setup = {.kind = plain_shm, .source.on_log = raw_on_log};
    uint64_t end_ns = now_ns() + (uint64_t)PAIR_WAIT_MS * 1000000;
    struct pair pair;
    int status = 0;
    pid_t pid;

    pair_open(&pair, &setup);
    pid = start_filler(pair.source);
    CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    for (unsigned i = 0; i < 20; i++) {
        check_serves(&pair);
    }
    CHECK(raw_closed == NULL);
    kill(pid, SIGKILL);
    CHECK(waitpid(pid, &status, 0) == pid);
    while (!raw_closed && now_ns() < end_ns) {
        check_serves(&pair);
    }
    /* Its socket ends a moment before its pidfd says so. */
    CHECK(raw_closed && strcmp(raw_closed, "protocol") != 0);
    pair_close(&pair);
}

/* ---- forks ---- */

/* A child has neither the rings nor what they are for; it can have an engine of its own. */
static int in_child(struct pair *pair, struct end *offer)
{
    struct pair own;

    if (mappings("baton-link", NULL, NULL) > 0 || baton_engine_fd(pair->sink) != -1 ||
        baton_engine_step(pair->source, 0) != BATON_EFORKED) {
        return 1;
    }
    baton_handoff_cancel(offer->handoff, BATON_CANCEL_OFFER);
    baton_engine_close(pair->source);
    if (CHILD_HAS_THREADS) {
        pair_open(&own, &(struct pair_setup){.kind = pair->kind});
        check_serves(&own);
        pair_close(&own);
    }
    return mappings("baton-link", NULL, NULL) > 0 ? 2 : 0;
}

/* A fork while frames go to and fro: the child is not in the way, the handoffs complete. */
TEST(a_forked_child_has_no_rings)
{
    for (unsigned i = 0; i < 2; i++) {
        struct baton_offer_args args = {.watermark_bytes = 8};
        struct end offer = {0}, fetch = {0};
        struct pair pair;
        int status = -1;
        pid_t pid;

        pair_open(&pair, &(struct pair_setup){.kind = i ? plain_shm : &kinds[6]});
        CHECK(offer_start(&pair, &offer, 2, 1, &args) == BATON_OK);
        CHECK(fetch_start(&pair, &fetch, &offer.ticket, 2, NULL) == BATON_OK);
        CHECK(end_wait_landed(&fetch, 8));
        CHECK(mappings("baton-link", NULL, NULL) == 2);
        fflush(stdout);
        pid = fork();
        if (pid == 0) {
            _exit(in_child(&pair, &offer));
        }
        baton_offer_advance(offer.handoff, BATON_WATERMARK_END);
        end_finish(&fetch);
        end_finish(&offer);
        CHECK(fetch.result.outcome == BATON_COMPLETED);
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        pair_close(&pair);
    }
}

/* A child that lives on holds its parent's sockets, and yet a link that the parent closes is
 * closed: a fetch by an old ticket is not left waiting for a source that is no more. */
TEST(a_forked_child_does_not_hold_a_link)
{
    struct baton_fetch_args args = {.opening_timeout_ms = IDLE_MS};
    struct end offer = {0}, fetch = {0}, late = {0};
    struct pair pair;
    pid_t pid;

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    CHECK(offer_start(&pair, &offer, 1, 1, NULL) == BATON_OK);
    CHECK(fetch_start(&pair, &fetch, &offer.ticket, 1, NULL) == BATON_OK);
    end_finish(&fetch);
    end_finish(&offer);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pause();
        _exit(0);
    }
    baton_engine_close(pair.source);
    CHECK(baton_engine_drain(pair.source, PAIR_WAIT_MS) == BATON_OK);
    CHECK(baton_engine_destroy(pair.source, NULL) == BATON_OK);
    pair.source_frozen = true; /* it is no more */
    CHECK(fetch_start(&pair, &late, &offer.ticket, 1, &args) == BATON_OK);
    end_finish(&late);
    CHECK(late.result.outcome == BATON_LINK_LOST);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    baton_engine_close(pair.sink);
    CHECK(baton_engine_drain(pair.sink, PAIR_WAIT_MS) == BATON_OK);
    CHECK(baton_engine_destroy(pair.sink, NULL) == BATON_OK);
    close(pair.wake);
}

/* Fetches one block, takes the source's memory away, and fetches another. */
static int fault_in_a_small_window(void)
{
    struct end offer[2] = {{0}}, fetch[2] = {{0}};
    uintptr_t from = 0, to = 0;
    struct pair pair;

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    for (unsigned i = 0; i < 2; i++) {
        offer_start(&pair, &offer[i], 1, 1, NULL);
        fetch_start(&pair, &fetch[i], &offer[i].ticket, 1, NULL);
        end_retire(&fetch[i]);
        if (i == 0 && (mappings(" r--s ", &from, &to) != 1 ||
                       mprotect((void *)from, to - from, PROT_NONE) != 0)) {
            return 2;
        }
    }
    return fetch[0].result.outcome == BATON_COMPLETED && fetch[1].result.outcome == BATON_FAILED &&
                   fetch[1].result.cause == BATON_CAUSE_READ
               ? 0
               : 3;
}

/* The driver copies a small window itself: a load that faults fails the fetch, as it does on a
 * mover, and not the process. */
TEST(a_fault_in_a_small_window_fails_the_fetch)
{
    int status = -1;
    pid_t pid;

    if (!CHILD_HAS_THREADS) {
        test_skip("ThreadSanitizer: no threads in a child");
        return;
    }
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        _exit(fault_in_a_small_window());
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    if (!CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
        printf("    signal %d, code %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0,
               WIFEXITED(status) ? WEXITSTATUS(status) : 0);
    }
}

/* ---- many ---- */

/* Many links that were busy and have nothing to say any more cost nothing. */
TEST(links_that_were_hot_cost_nothing)
{
    static struct raw_link raws[LINKS];
    struct pair pair;
    uint64_t used_ns;

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    for (unsigned i = 0; i < LINKS; i++) {
        CHECK(raw_dial_rings(&raws[i], pair.source));
    }
    for (unsigned i = 0; i < 20 * LINKS; i++) {
        CHECK(says_open(&raws[i % LINKS], i));
    }
    check_serves(&pair);
    used_ns = cpu_ns();
    wait_idle(&pair, IDLE_MS);
    used_ns = cpu_ns() - used_ns;
    if (!CHECK(used_ns < (uint64_t)IDLE_MS * 1000000 / 20)) {
        printf("    %llu us of CPU\n", (unsigned long long)used_ns / 1000);
    }
    for (unsigned i = 0; i < LINKS; i++) {
        CHECK(says_open(&raws[i], i));
        raw_close(&raws[i]);
    }
    pair_close(&pair);
}

/* The same while a link holds what nobody reads, in both directions. */
TEST(a_link_that_is_stuck_costs_nothing)
{
    struct raw_link raw;
    struct pair pair;
    uint64_t used_ns;

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    CHECK(raw_dial_rings(&raw, pair.source));
    fill_both(&raw);
    check_serves(&pair);
    used_ns = cpu_ns();
    wait_idle(&pair, IDLE_MS);
    used_ns = cpu_ns() - used_ns;
    CHECK(used_ns < (uint64_t)IDLE_MS * 1000000 / 20);
    raw_close(&raw);
    pair_close(&pair);
}

/* Links that come and go leave no descriptor, no mapping and no memory behind, at the source... */
TEST(dials_leave_nothing_at_the_source)
{
    static struct raw_link raw;
    unsigned fds = 0, maps = 0;
    size_t bytes = 0;
    struct pair pair;

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    for (unsigned i = 0; i < DIALS; i++) {
        CHECK(raw_dial_rings(&raw, pair.source));
        if (i % 3 == 0) {
            fill_both(&raw);
        } else if (i % 3 == 1) {
            CHECK(says_open(&raw, i));
        }
        raw_close(&raw);
        if (i == 100 || i + 1 == DIALS) {
            /* It took the end of the last link before it greeted the next. */
            check_serves(&pair);
            CHECK(i == 100 || open_fds() <= fds + 4);
            CHECK(i == 100 || mappings("", NULL, NULL) <= maps + 4);
            CHECK(i == 100 || mallinfo2().uordblks + mallinfo2().hblkhd < bytes + (256 << 10));
            fds = open_fds();
            maps = mappings("", NULL, NULL);
            bytes = mallinfo2().uordblks + mallinfo2().hblkhd;
        }
    }
    pair_close(&pair);
}

/* A link that is lost in the moment in which it has something to say is free again: more of them,
 * one after the other, than there may be at once. */
TEST(a_link_lost_with_something_to_say_is_free_again)
{
    const struct frame said[] = {raw_open(1), {.type = FRAME_ENDED, .ended.cause = 1}};
    static struct raw_link raw;
    struct pair pair;
    uint8_t bytes[512];
    size_t length = 0;
    bool up = true;

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    for (unsigned i = 0; i < 2; i++) {
        length += frame_encode(&said[i], bytes + length);
    }
    for (unsigned i = 0; up && i < 2 * LINKS; i++) {
        up = raw_dial_rings(&raw, pair.source) && raw_write(&raw, bytes, length) == length &&
             raw_bell(&raw, -1) && raw_gone(&raw);
        raw_close(&raw);
        if (!CHECK(up)) {
            printf("    dial %u\n", i);
        }
    }
    if (up) {
        check_serves(&pair);
    }
    pair_close(&pair);
}

/* ... and at the sink, whose fetches lose them. */
TEST(dials_leave_nothing_at_the_sink)
{
    static struct raw_link raw;
    unsigned fds = 0, maps = 0;
    struct pair pair;

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    for (unsigned i = 0; i < DIALS_OUT; i++) {
        struct ticket ticket;
        struct frame open;
        struct end fetch = {0};

        CHECK(raw_listen(&raw));
        ticket.length = raw_ticket(&raw, pair.block_bytes, 1, ticket.bytes);
        CHECK(fetch_start(&pair, &fetch, &ticket, 1, NULL) == BATON_OK);
        CHECK(raw_accept(&raw));
        CHECK(i % 2 || (raw_hear(&raw, &open) && open.type == FRAME_OPEN));
        raw_close(&raw);
        end_finish(&fetch);
        CHECK(fetch.result.outcome == BATON_LINK_LOST);
        if (i == 10 || i + 1 == DIALS_OUT) {
            check_serves(&pair);
            CHECK(i == 10 || open_fds() <= fds);
            CHECK(i == 10 || mappings("", NULL, NULL) <= maps + 4);
            fds = open_fds();
            maps = mappings("", NULL, NULL);
        }
    }
    pair_close(&pair);
}
