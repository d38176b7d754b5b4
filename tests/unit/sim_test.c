/* SPDX-License-Identifier: Apache-2.0 */
/* The simulator: a slice of its seeds, that a seed decides everything, that every fault fires, and
 * that its checkers see what they are for. */
#include "sim/shrink.h"
#include "test.h"

#include <string.h>

enum { SLICE = 10000, FEW = 400 };

static bool good(const struct sim_result *r)
{
    if (r->failed) {
        printf("  seed %llu: %s: %s\n", (unsigned long long)r->seed, r->checker, r->text);
    }
    return !r->failed;
}

/* A fixed slice of seeds: no violation, every fault fires, half of the seeds are struck. */
TEST(a_slice_of_seeds_has_no_violation)
{
    struct sim *s = sim_create();
    uint64_t fired[SIM_FAULTS] = {0}, struck = 0, forked = 0, deep = 0;

    for (uint64_t seed = 1; seed <= SLICE; seed++) {
        struct sim_plan plan = {.seed = seed};
        struct sim_result r;

        sim_run(s, &plan, &r);
        if (!CHECK(good(&r))) {
            break;
        }
        struck += r.struck;
        forked += r.forked;
        deep += r.deep;
        for (unsigned i = 0; i < SIM_FAULTS; i++) {
            fired[i] += r.fired[i];
        }
    }
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        if (!CHECK(fired[i] >= SLICE / 1000)) {
            printf("  %s fired %llu times\n", sim_fault_name((enum sim_fault)i),
                   (unsigned long long)fired[i]);
        }
    }
    CHECK(struck * 2 >= SLICE && forked > 0 && deep > 0);
    sim_destroy(s);
}

/* Each world that fixes a part of the draw holds, too; without faults most fetches complete. */
TEST(every_world_has_no_violation)
{
    struct sim *s = sim_create();

    for (unsigned i = 0; sim_world_name(i); i++) {
        uint64_t fetches = 0, completed = 0;

        for (uint64_t seed = 1; seed <= FEW; seed++) {
            struct sim_plan plan = {.seed = seed, .world = sim_world_name(i)};
            struct sim_result r;

            sim_run(s, &plan, &r);
            if (!CHECK(good(&r))) {
                break;
            }
            fetches += r.fetches;
            completed += r.completed;
        }
        CHECK(strcmp(sim_world_name(i), "calm") != 0 || completed * 2 > fetches);
    }
    sim_destroy(s);
}

/* The same seed twice, in a fresh world and in a used one, ends in the same state. */
TEST(one_seed_is_one_run)
{
    struct sim *used = sim_create();

    for (uint64_t seed = 1; seed <= FEW; seed++) {
        struct sim *fresh = sim_create();
        struct sim_plan plan = {.seed = seed};
        struct sim_result a, b;

        sim_run(used, &plan, &a);
        sim_run(fresh, &plan, &b);
        CHECK(a.hash == b.hash && a.events == b.events && a.steps == b.steps);
        sim_destroy(fresh);
    }
    sim_destroy(used);
}

/* A piece that lands after its receipt: the checker of S1 sees it, with a seed that replays it and
 * a smaller run. */
TEST(a_late_landing_is_seen_and_shrunk)
{
    struct sim *s = sim_create();
    struct sim_plan plan = {.break_landing = true};
    struct sim_result r = {.failed = false}, again;

    for (uint64_t seed = 1; seed <= FEW && !r.failed; seed++) {
        plan.seed = seed;
        sim_run(s, &plan, &r);
    }
    CHECK(r.failed && strcmp(r.checker, "S1_no_late_write") == 0);
    sim_run(s, &plan, &again);
    CHECK(again.failed && strcmp(again.text, r.text) == 0 && again.events == r.events);
    again = r;
    sim_shrink(s, &plan, &again);
    CHECK(again.failed && strcmp(again.checker, r.checker) == 0);
    CHECK(again.events <= r.events && (plan.handoffs > 0 || plan.without != 0));
    sim_destroy(s);
}

/* What no checker looks at is named, with a reason. */
TEST(what_is_not_checked_has_a_reason)
{
    const char *why = NULL;
    unsigned n = 0;

    for (; sim_not_checked(n, &why); n++) {
        CHECK(why && strlen(why) > 10);
    }
    CHECK(n > 0);
}

/* Cards that write by themselves: quiet comes by each of its ways, and where there is none the
 * blocks stay in quarantine; with a fence that does not happen. */
TEST(a_card_that_writes_ends_by_every_proof)
{
    struct sim *s = sim_create();
    uint64_t ends[SIM_ENDS] = {0}, late = 0;

    for (uint64_t seed = 1; seed <= FEW; seed++) {
        struct sim_plan plan = {.seed = seed, .world = "push-library"};
        struct sim_result r;

        sim_run(s, &plan, &r);
        if (!CHECK(good(&r))) {
            break;
        }
        CHECK(r.ends[SIM_FENCED] == 0 || r.ends[SIM_NEVER] == 0);
        for (unsigned i = 0; i < SIM_ENDS; i++) {
            ends[i] += r.ends[i];
        }
        late += r.fired[SIM_LATE_PIECE];
    }
    for (unsigned i = 0; i < SIM_ENDS; i++) {
        CHECK(ends[i] > 0);
    }
    CHECK(late > FEW / 10);
    sim_destroy(s);
}

/* A driver that takes the death of the source for a proof: that is seen in each seed in which it
 * does, and a piece that lands afterwards, too. */
TEST(a_card_outlives_its_source_and_is_seen)
{
    struct sim *s = sim_create();
    struct sim_plan plan = {.world = "push-library", .break_proof = true};
    unsigned late = 0;

    for (uint64_t seed = 1; seed <= FEW && late == 0; seed++) {
        struct sim_result r;

        plan.seed = seed;
        sim_run(s, &plan, &r);
        late += r.failed && strcmp(r.checker, "S13_all_lanes") == 0;
        CHECK(!r.failed || late || strcmp(r.checker, "P10_proof") == 0);
    }
    CHECK(late > 0);
    sim_destroy(s);
}
