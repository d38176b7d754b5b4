/* SPDX-License-Identifier: Apache-2.0 */
/* The explorer: a small world to its end, the matrix of cancels, and that what is wrong is told. */
#include "sim/explore.h"
#include "sim/explore_matrix.h"
#include "test.h"

#include <inttypes.h>
#include <string.h>

/* The number of states is part of what the world is: a change of it has to be understood. */
#define TINY_STATES 7937

static bool explore(const char *world, struct explore_result *ret_result)
{
    const struct explore_options options = {.world = world, .memory_bytes = 256 << 20};

    return CHECK(explore_run(&options, ret_result) == 0);
}

static void print_violation(const struct explore_violation *v)
{
    printf("%s: %s\n", v->invariant, v->what);
    for (uint32_t i = 0; i < v->length; i++) {
        printf("  %3" PRIu32 "  %s\n", i + 1, v->path[i]);
    }
}

/* A small world is explored to its end, nothing breaks, and it has as many states as it had. */
TEST(tiny_world_is_exhausted)
{
    struct explore_result r;

    if (!explore("tiny", &r)) {
        return;
    }
    for (uint32_t i = 0; i < r.kept; i++) {
        print_violation(&r.violation[i]);
    }
    CHECK(r.exhausted && r.violations == 0);
    CHECK(r.states == TINY_STATES);
    CHECK(r.transitions > r.states && r.terminals > 0 && r.rests > r.terminals);
    printf("tiny: %" PRIu64 " canonical states, %" PRIu64 " transitions\n", r.states,
           r.transitions);
    explore_result_fini(&r);
}

/* A search again is the same search. */
TEST(search_is_repeatable)
{
    struct explore_result a, b;

    if (!explore("tiny", &a)) {
        return;
    }
    if (explore("tiny", &b)) {
        CHECK(a.states == b.states && a.transitions == b.transitions && a.depth == b.depth);
        explore_result_fini(&b);
    }
    explore_result_fini(&a);
}

/* Two sinks of one offer: every order of their frames, windows and cancels. */
TEST(two_slots_are_exhausted)
{
    struct explore_result r;

    if (!explore("slots", &r)) {
        return;
    }
    for (uint32_t i = 0; i < r.kept; i++) {
        print_violation(&r.violation[i]);
    }
    CHECK(r.exhausted && r.violations == 0 && r.states > 100000);
    printf("slots: %" PRIu64 " canonical states\n", r.states);
    explore_result_fini(&r);
}

/* A source that writes into its sink's block: bytes that land after the cancel, the cut, the crash,
 * and no receipt before they have. */
TEST(late_writes_are_exhausted)
{
    struct explore_result r;

    if (!explore("late", &r)) {
        return;
    }
    for (uint32_t i = 0; i < r.kept; i++) {
        print_violation(&r.violation[i]);
    }
    CHECK(r.exhausted && r.violations == 0 && r.states > 100000);
    printf("late: %" PRIu64 " canonical states\n", r.states);
    explore_result_fini(&r);
}

static bool nobody_completes(void *arg, const struct explore_look *look)
{
    (void)arg;
    return look->completed > 0;
}

/* A check that is wrong on purpose is reported, with the steps that a fetch needs and no others. */
TEST(violation_has_a_short_path)
{
    const struct explore_options options = {.world = "tiny", .wrong = nobody_completes};
    struct explore_result r;
    const struct explore_violation *v = &r.violation[0];

    if (!CHECK(explore_run(&options, &r) == 0)) {
        return;
    }
    CHECK(!r.exhausted && r.violations == 1 && r.kept == 1);
    CHECK(strcmp(v->invariant, "a test's own") == 0 && strstr(v->what, "completed 1"));
    /* Link, OPEN, ACCEPT, the bytes, COMMIT, COMMITTED: fewer do not do. */
    if (CHECK(v->length >= 12 && v->length <= 16)) {
        CHECK(strstr(v->path[0], "HELLO arrives at the source"));
        CHECK(strstr(v->path[v->length - 1], "COMMITTED of fetch 1, lease 1 arrives at the sink"));
    }
    for (uint32_t i = 0; i < v->length; i++) {
        CHECK(!strstr(v->path[i], "cancel") && !strstr(v->path[i], "cut"));
    }
    explore_result_fini(&r);
}

/* All violations can be counted, and the search goes on. */
TEST(search_goes_on_after_violations)
{
    const struct explore_options options = {
        .world = "tiny", .wrong = nobody_completes, .violations_max = UINT32_MAX};
    struct explore_result r;

    if (CHECK(explore_run(&options, &r) == 0)) {
        CHECK(r.exhausted && r.violations > 1 && r.kept == 1);
        explore_result_fini(&r);
    }
}

static bool stop(void *arg, const struct explore_progress *progress)
{
    *(uint64_t *)arg = progress->states;
    return false;
}

/* Memory, a number of states and the caller bound a search, which then is not exhausted. */
TEST(search_is_bounded)
{
    uint64_t told = 0;
    struct explore_options options = {.world = "tiny", .states_max = 100};
    struct explore_result r;

    if (CHECK(explore_run(&options, &r) == 0)) {
        CHECK(r.states == 100 && !r.exhausted);
        explore_result_fini(&r);
    }
    options = (struct explore_options){.world = "slots", .memory_bytes = EXPLORE_MEMORY_BYTES_MIN};
    if (CHECK(explore_run(&options, &r) == 0)) {
        CHECK(r.states < EXPLORE_MEMORY_BYTES_MIN / 8 && !r.exhausted);
        explore_result_fini(&r);
    }
    options = (struct explore_options){.world = "slots", .progress = stop, .arg = &told};
    if (CHECK(explore_run(&options, &r) == 0)) {
        CHECK(told > 0 && r.states == told && !r.exhausted);
        explore_result_fini(&r);
    }
    options = (struct explore_options){.world = "none such"};
    CHECK(explore_run(&options, &r) == -1);
}

static uint64_t matrix(bool small, bool stream, bool push)
{
    const struct explore_matrix_options options = {.small = small, .stream = stream, .push = push};
    struct explore_matrix_result r;
    uint64_t sum = 0;

    if (!CHECK(explore_matrix(&options, &r) == 0)) {
        return 0;
    }
    for (int kind = 0; kind < EXPLORE_CANCEL_END_; kind++) {
        CHECK(r.by_kind[kind] > 0);
        sum += r.by_kind[kind];
    }
    CHECK(r.exhausted && sum == r.cases);
    CHECK(r.completed > 0 && r.completed < r.cases);
    if (!CHECK(r.violations == 0)) {
        print_violation(&r.first);
    }
    printf("matrix of cancels, %s, %s: %" PRIu64 " cases, %" PRIu32 " positions\n",
           small ? "1 window" : "2 windows",
           push     ? "pushed"
           : stream ? "stream"
                    : "mapped",
           r.cases, r.positions);
    explore_matrix_fini(&r);
    return r.cases;
}

/* A cancel at every step, by each side or both, in every order before it and after it. */
TEST(cancel_at_every_step_in_every_order)
{
    CHECK(matrix(true, false, false) > 1000);
    CHECK(matrix(true, true, false) > 1000);
    CHECK(matrix(true, false, true) > 10000);
    CHECK(matrix(false, false, false) >= 10000);
    CHECK(matrix(false, true, false) >= 10000);
}
