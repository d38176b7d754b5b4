/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a run that fails to a smaller one that fails in the same way: first another seed with very
 * few offers, if one fails too; then fewer kinds of faults, fewer offers, fewer faults.
 */
#include "sim/shrink.h"

#include <inttypes.h>
#include <string.h>

enum {
    RUNS_MAX = 3000,       /* of making one run smaller */
    FEW_OFFERS_MAX = 4,    /* of the seeds that are searched for another failure */
    SEEDS_EACH_MAX = 2000, /* for each number of offers */
};

struct shrinking {
    struct sim *sim;
    struct sim_plan *plan;
    struct sim_result *result;
    unsigned runs;
};

/* Keep `plan` when it fails as the one that there is. */
static bool keeps(struct shrinking *k, const struct sim_plan *plan)
{
    struct sim_result result;

    if (k->runs >= RUNS_MAX) {
        return false;
    }
    k->runs++;
    sim_run(k->sim, plan, &result);
    if (!result.failed || result.events > k->result->events ||
        strcmp(result.checker, k->result->checker) != 0) {
        return false;
    }
    *k->plan = *plan;
    *k->result = result;
    return true;
}

/* A long run is hard to cut: each thing left out moves all that follows.  A run that is short to
 * begin with is easier to find. */
static void find_short(struct shrinking *k)
{
    for (unsigned offers = 1; offers <= FEW_OFFERS_MAX; offers++) {
        for (unsigned i = 0; i < SEEDS_EACH_MAX; i++) {
            struct sim_plan try = {.seed = i + 1,
                                   .world = k->plan->world,
                                   .without = k->plan->without,
                                   .handoffs = offers,
                                   .break_landing = k->plan->break_landing};

            k->runs = 0;
            if (keeps(k, &try)) {
                return;
            }
        }
    }
    k->runs = 0;
}

void sim_shrink(struct sim *sim, struct sim_plan *plan, struct sim_result *result)
{
    struct shrinking k = {.sim = sim, .plan = plan, .result = result};
    bool again = true;

    find_short(&k);
    while (again && k.runs < RUNS_MAX) {
        struct sim_plan try;

        again = false;
        for (unsigned i = 0; i < SIM_FAULTS; i++) {
            try = *plan;
            try.without |= UINT64_C(1) << i;
            again =
                (result->fired[i] > 0 && try.without != plan->without && keeps(&k, &try)) || again;
        }
        for (unsigned n = 1; n < 40 && (plan->handoffs == 0 || n < plan->handoffs); n++) {
            try = *plan;
            try.handoffs = n;
            if (keeps(&k, &try)) {
                again = true;
                break;
            }
        }
        /* From the end: what comes later has less that depends on it. */
        for (uint32_t i = (uint32_t)result->faults; i-- > 0 && plan->skips < SIM_SKIPS_MAX;) {
            try = *plan;
            try.skip[try.skips++] = i;
            again = keeps(&k, &try) || again;
        }
    }
    /* The chart is of the last run. */
    sim_run(sim, plan, result);
}

void sim_print_replay(const struct sim_plan *plan, FILE *file)
{
    const char *between = " --without ";

    fprintf(file, "baton sim --seed %" PRIu64, plan->seed);
    if (plan->world) {
        fprintf(file, " --world %s", plan->world);
    }
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        if (plan->without >> i & 1) {
            fprintf(file, "%s%s", between, sim_fault_name((enum sim_fault)i));
            between = ",";
        }
    }
    if (plan->handoffs) {
        fprintf(file, " --offers %u", plan->handoffs);
    }
    for (unsigned i = 0; i < plan->skips; i++) {
        fprintf(file, "%s%" PRIu32, i ? "," : " --skip ", plan->skip[i]);
    }
}
