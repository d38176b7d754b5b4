/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handoffs that are watched: their notices, and waiting for them.  A side whose engine has a thread
 * sleeps until an eventfd is written; one that drives its engine does so without rest.
 */
#include "bench/watched.h"
#include "util/clock.h"
#include "util/error.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { STEPS_A_LOOK = 1024 }; /* of the engine, between two looks at the clock */

static void on_outcome(baton_handoff *handoff, void *arg, const struct baton_result *result)
{
    struct watched *watched = arg;

    (void)handoff;
    watched->outcome_ns = clock_now_ns();
    watched->result = *result;
    atomic_store(&watched->decided, true);
    if (watched->tell_outcome && !watched->polled) {
        eventfd_write(watched->outcome_fd, 1);
    }
}

static void on_doubt(baton_handoff *handoff, void *arg, baton_cause cause)
{
    (void)handoff;
    (void)arg;
    (void)cause; /* the time to the receipt will show it */
}

static void on_quiet(baton_handoff *handoff, void *arg, const struct baton_receipt *receipt)
{
    struct watched *watched = arg;

    (void)handoff;
    watched->receipt = *receipt;
    atomic_store(&watched->quiet, true);
    if (!watched->polled) {
        eventfd_write(watched->quiet_fd, 1);
    }
}

void watched_trace(void *arg, const struct baton_trace *trace)
{
    struct watched *watched = trace->arg;

    (void)arg;
    if (watched && watched->step != BATON_STAGE_NONE && trace->to == watched->step) {
        watched->step = BATON_STAGE_NONE;
        watched->step_ns = clock_now_ns();
        atomic_store(&watched->stepped, true);
        if (!watched->polled) {
            eventfd_write(watched->step_fd, 1);
        }
    }
}

baton_err watched_init(struct watched *ret_watched, struct baton_error *ret_error)
{
    *ret_watched = (struct watched){
        .outcome_fd = eventfd(0, EFD_CLOEXEC),
        .quiet_fd = eventfd(0, EFD_CLOEXEC),
        .step_fd = eventfd(0, EFD_CLOEXEC),
    };

    if (ret_watched->outcome_fd < 0 || ret_watched->quiet_fd < 0 || ret_watched->step_fd < 0) {
        baton_err err = error_system(ret_error, errno, "eventfd");

        watched_fini(ret_watched);
        return err;
    }
    return BATON_OK;
}

void watched_fini(struct watched *watched)
{
    int fds[] = {watched->outcome_fd, watched->quiet_fd, watched->step_fd};

    for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
}

/* For the next handoff. */
static struct baton_notices begin(const struct bench_side *side, struct watched *watched)
{
    watched->polled = side->setup.polled;
    atomic_store(&watched->decided, false);
    atomic_store(&watched->quiet, false);
    return (struct baton_notices){on_outcome, on_doubt, on_quiet, watched};
}

static uint64_t thread_cpu_ns(void)
{
    struct timespec now = {0};

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* The second clock costs a system call, which a poller would see in what it times. */
static void call_start(struct watched *watched)
{
    watched->call_cpu_ns = watched->polled ? 0 : thread_cpu_ns();
    watched->start_ns = clock_now_ns();
}

static void call_end(struct watched *watched)
{
    watched->call_ns = clock_now_ns() - watched->start_ns;
    watched->call_cpu_ns = watched->polled ? 0 : thread_cpu_ns() - watched->call_cpu_ns;
}

baton_err watched_offer(struct bench_side *side, struct watched *watched, size_t first,
                        size_t count, void *ret_ticket, size_t *ret_ticket_length,
                        struct baton_error *ret_error)
{
    struct baton_offer_args args = {
        .size = sizeof(args),
        .pool = side->pool,
        .blocks = side->blocks + first,
        .block_count = count,
        .watermark_bytes = side->setup.held ? 0 : BATON_WATERMARK_END,
        .notices = begin(side, watched),
    };
    baton_err err;

    call_start(watched);
    err = baton_offer(side->engine, &args, &watched->handoff, ret_error);
    call_end(watched);
    if (err) {
        return err;
    }
    err = baton_offer_ticket(watched->handoff, 0, ret_ticket, ret_ticket_length);
    return err ? error_set(ret_error, err, "no ticket: %s", baton_strerror(err)) : BATON_OK;
}

baton_err watched_fetch(struct bench_side *side, struct watched *watched, size_t first,
                        size_t count, const void *ticket, size_t ticket_length,
                        struct baton_error *ret_error)
{
    struct baton_fetch_args args = {
        .size = sizeof(args),
        .ticket = ticket,
        .ticket_length = ticket_length,
        .pool = side->pool,
        .blocks = side->blocks + first,
        .block_count = count,
        .mode = side->setup.push ? BATON_PUSH : BATON_PULL,
        .notices = begin(side, watched),
    };
    baton_err err;

    call_start(watched);
    err = baton_fetch(side->engine, &args, &watched->handoff, ret_error);
    call_end(watched);
    return err;
}

void watched_advance(const struct watched *watched)
{
    baton_offer_advance(watched->handoff, BATON_WATERMARK_END);
}

static baton_err too_long(const char *what, struct baton_error *ret_error)
{
    return error_set(ret_error, BATON_ETIMEOUT, "no %s within %d s", what,
                     BENCH_WAIT_MS_MAX / 1000);
}

/* Wait until one of two descriptors is readable; the second may be -1. */
static baton_err wait_two(int first, int second, const char *what, struct baton_error *ret_error)
{
    struct pollfd wanted[] = {{.fd = first, .events = POLLIN}, {.fd = second, .events = POLLIN}};
    eventfd_t count;
    int ready;

    do {
        ready = poll(wanted, 2, BENCH_WAIT_MS_MAX);
    } while (ready < 0 && errno == EINTR);
    if (ready < 1 || (wanted[0].revents && eventfd_read(first, &count))) {
        return too_long(what, ret_error);
    }
    return BATON_OK;
}

baton_err watched_wait_fd(int fd, const char *what, struct baton_error *ret_error)
{
    return wait_two(fd, -1, what, ret_error);
}

/* Drive the engine without rest until one of two flags is up; the second may be NULL. */
static baton_err drive_until(struct bench_side *side, const atomic_bool *first,
                             const atomic_bool *second, const char *what,
                             struct baton_error *ret_error)
{
    uint64_t start_ns = clock_now_ns();

    for (unsigned steps = 1; !atomic_load(first) && !(second && atomic_load(second)); steps++) {
        baton_engine_step(side->engine, 0);
        if (steps % STEPS_A_LOOK == 0 &&
            clock_now_ns() - start_ns > BENCH_WAIT_MS_MAX * UINT64_C(1000000)) {
            return too_long(what, ret_error);
        }
    }
    return BATON_OK;
}

baton_err watched_wait_outcome(struct bench_side *side, struct watched *watched, const char *what,
                               struct baton_error *ret_error)
{
    return watched->polled ? drive_until(side, &watched->decided, NULL, what, ret_error)
                           : watched_wait_fd(watched->outcome_fd, what, ret_error);
}

baton_err watched_wait_quiet(struct bench_side *side, struct watched *watched, const char *what,
                             struct baton_error *ret_error)
{
    return watched->polled ? drive_until(side, &watched->quiet, NULL, what, ret_error)
                           : watched_wait_fd(watched->quiet_fd, what, ret_error);
}

baton_err watched_wait_step(struct bench_side *side, struct watched *watched,
                            struct baton_error *ret_error)
{
    return watched->polled
               ? drive_until(side, &watched->stepped, &watched->quiet, "step", ret_error)
               : wait_two(watched->step_fd, watched->quiet_fd, "step", ret_error);
}

void watched_expect(struct watched *watched, baton_stage step)
{
    watched->step = step;
    atomic_store(&watched->stepped, false);
}

baton_err watched_retire(struct watched *watched, struct baton_error *ret_error)
{
    baton_err err = baton_retire(watched->handoff, &watched->receipt, NULL, NULL, ret_error);

    baton_handoff_unref(watched->handoff);
    watched->handoff = NULL;
    return err;
}

baton_err watched_completed(const struct watched *watched, struct baton_error *ret_error)
{
    if (watched->result.outcome == BATON_COMPLETED) {
        return BATON_OK;
    }
    return error_set(ret_error, BATON_EINVAL,
                     "a fetch that nobody cancelled ended as %s (%s) with %llu of %llu bytes",
                     baton_outcome_name(watched->result.outcome),
                     baton_cause_name(watched->result.cause),
                     (unsigned long long)watched->result.bytes_landed,
                     (unsigned long long)watched->result.bytes_total);
}
