/* SPDX-License-Identifier: Apache-2.0 */
/* Many seeds, one after the other: progress, sums, and a report of the first violation.  The only
 * file of this folder that prints by itself and looks at a real clock. */
#include "sim/shrink.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "util/clock.h"

enum { CHART_LINES = 120, JSON_LINES = 400 };

static void add(struct sim_totals *t, const struct sim_result *r)
{
    t->seeds++;
    t->violations += r->failed;
    t->struck += r->struck;
    t->deep += r->deep;
    t->forked += r->forked;
    t->events += r->events;
    t->steps += r->steps;
    t->offers += r->offers;
    t->fetches += r->fetches;
    t->completed += r->completed;
    t->frames += r->frames;
    t->pieces += r->pieces;
    t->receipts += r->receipts;
    t->hash = t->hash * UINT64_C(0x9e3779b97f4a7c15) + r->hash;
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        t->fired[i] += r->fired[i];
    }
    for (unsigned i = 0; i < SIM_ENDS; i++) {
        t->ends[i] += r->ends[i];
    }
}

static double percent(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0;
}

static double each_second(uint64_t count, double seconds)
{
    return seconds > 0 ? (double)count / seconds : 0;
}

static uint64_t all_faults(const struct sim_totals *t)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        sum += t->fired[i];
    }
    return sum;
}

static void print_progress(const struct sim_totals *t, bool live)
{
    fprintf(stderr,
            "%s%" PRIu64 " seeds (%.0f/s), %" PRIu64 " events (%.2f M/s), %" PRIu64
            " faults, struck %.0f %%, violations %" PRIu64 "%s",
            live ? "\r" : "", t->seeds, each_second(t->seeds, t->seconds), t->events,
            each_second(t->events, t->seconds) / 1e6, all_faults(t), percent(t->struck, t->seeds),
            t->violations, live ? "  " : "\n");
    fflush(stderr);
}

static void print_totals(const struct sim_totals *t)
{
    printf("%" PRIu64 " seeds in %.1f s: %.0f seeds/s\n"
           "%" PRIu64 " events (%.0f a seed, %.2f M/s), %" PRIu64 " steps of cores\n"
           "%" PRIu64 " offers, %" PRIu64 " fetches (%" PRIu64 " completed), %" PRIu64
           " frames, %" PRIu64 " pieces landed, %" PRIu64 " receipts\n"
           "a fault or cancel while READING or COMMITTING: %.1f %% of the seeds\n"
           "core_check(), pool_check() every 64 events and each frame twice (S14): %.1f %%; a node "
           "killed in a copy of the world (S20): %.1f %%\n"
           "cards that wrote: quiet by WRITTEN %" PRIu64 ", QUIESCED %" PRIu64 ", a fence %" PRIu64
           ", an exit %" PRIu64 "; never %" PRIu64 "\n"
           "violations: %" PRIu64 "\nhash of all states: %016" PRIx64 "\nfaults:",
           t->seeds, t->seconds, each_second(t->seeds, t->seconds), t->events,
           t->seeds ? (double)t->events / (double)t->seeds : 0,
           each_second(t->events, t->seconds) / 1e6, t->steps, t->offers, t->fetches, t->completed,
           t->frames, t->pieces, t->receipts, percent(t->struck, t->seeds),
           percent(t->deep, t->seeds), percent(t->forked, t->seeds), t->ends[SIM_WRITTEN],
           t->ends[SIM_QUIESCED], t->ends[SIM_FENCED], t->ends[SIM_EXITED], t->ends[SIM_NEVER],
           t->violations, t->hash);
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        printf("%s%-15s %10" PRIu64, i % 4 ? "   " : "\n  ", sim_fault_name((enum sim_fault)i),
               t->fired[i]);
    }
    printf("\n");
}

static void print_failure(const struct sim *sim, const struct sim_plan *plan,
                          const struct sim_result *r)
{
    printf("violation: %s: %s (seed %" PRIu64 ")\n", r->checker, r->text, r->seed);
    sim_print_options(sim, stdout);
    sim_print_chart(sim, CHART_LINES, stdout);
    printf("violation: %s: %s\nreplay: ", r->checker, r->text);
    sim_print_replay(plan, stdout);
    printf("\n");
}

static void write_string(const char *text, FILE *file)
{
    fputc('"', file);
    for (; *text; text++) {
        fprintf(file, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    }
    fputc('"', file);
}

static bool write_json(FILE *file, const struct sim *sim, const struct sim_plan *plan,
                       const struct sim_totals *t, const struct sim_result *failed)
{
    bool wrong;

    fprintf(file,
            "{\n  \"seeds\": %" PRIu64 ", \"seconds\": %.3f, \"events\": %" PRIu64
            ", \"core_steps\": %" PRIu64 ",\n  \"offers\": %" PRIu64 ", \"fetches\": %" PRIu64
            ", \"completed\": %" PRIu64 ", \"frames\": %" PRIu64 ", \"pieces\": %" PRIu64
            ", \"receipts\": %" PRIu64 ",\n  \"struck\": %" PRIu64 ", \"deep\": %" PRIu64
            ", \"forked\": %" PRIu64 ", \"violations\": %" PRIu64 ",\n  \"faults\": {",
            t->seeds, t->seconds, t->events, t->steps, t->offers, t->fetches, t->completed,
            t->frames, t->pieces, t->receipts, t->struck, t->deep, t->forked, t->violations);
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        fprintf(file, "%s\"%s\": %" PRIu64, i ? ", " : "", sim_fault_name((enum sim_fault)i),
                t->fired[i]);
    }
    fputs("}", file);
    if (failed->failed) {
        fprintf(file, ",\n  \"seed\": %" PRIu64 ", \"checker\": ", failed->seed);
        write_string(failed->checker, file);
        fputs(", \"text\": ", file);
        write_string(failed->text, file);
        fputs(",\n  \"replay\": \"", file);
        sim_print_replay(plan, file);
        fputs("\"", file);
        fputs(",\n  \"chart\": ", file);
        sim_print_chart_json(sim, JSON_LINES, file);
    }
    fputs("\n}\n", file);
    wrong = ferror(file);
    return fclose(file) == 0 && !wrong;
}

/* From the first seed to the last, to the end of the time, or to a violation. */
static void run_all(struct sim *sim, const struct sim_campaign *c, struct sim_plan *plan,
                    struct sim_totals *t, struct sim_result *r)
{
    uint64_t begun = clock_now_us(), told = begun, now = begun;
    bool live = isatty(STDERR_FILENO);

    for (uint64_t seed = c->first; seed <= c->last && !r->failed; seed++) {
        plan->seed = seed;
        sim_run(sim, plan, r);
        add(t, r);
        if (c->interrupted && *c->interrupted) {
            break;
        }
        if (seed % 64 != 0 && !r->failed) {
            continue;
        }
        now = clock_now_us();
        t->seconds = (double)(now - begun) / 1e6;
        if (!c->quiet && now - told > (live ? 500000U : 10000000U)) {
            print_progress(t, live);
            told = now;
        }
        if (c->minutes && now - begun >= (uint64_t)c->minutes * 60000000) {
            break;
        }
        if (seed == UINT64_MAX) {
            break;
        }
    }
    t->seconds = (double)(clock_now_us() - begun) / 1e6;
    if (!c->quiet && live) {
        fputc('\n', stderr);
    }
}

static int run(struct sim *sim, const struct sim_campaign *campaign, struct sim_plan *plan,
               struct sim_totals *t, struct sim_result *r)
{
    run_all(sim, campaign, plan, t, r);
    if (r->failed && campaign->shrink) {
        printf("violation: %s: %s (seed %" PRIu64 "), to be made smaller\n", r->checker, r->text,
               r->seed);
        fflush(stdout);
        sim_shrink(sim, plan, r);
    }
    if (r->failed) {
        print_failure(sim, plan, r);
    } else if (campaign->first == campaign->last) {
        sim_print_options(sim, stdout);
        printf("hash of the state: %016" PRIx64 "\n", r->hash);
    }
    if (campaign->interrupted && *campaign->interrupted) {
        printf("interrupted after seed %" PRIu64 "\n", plan->seed);
    }
    print_totals(t);
    return r->failed;
}

int sim_campaign_run(const struct sim_campaign *campaign, struct sim_totals *ret_totals)
{
    struct sim *sim = sim_create();
    struct sim_result result = {.failed = false};
    struct sim_plan plan = campaign->plan;
    FILE *json = NULL;
    int code;

    memset(ret_totals, 0, sizeof(*ret_totals));
    if (!sim) {
        fputs("baton sim: no memory\n", stderr);
        return 3;
    }
    /* Before the run: it may last for hours. */
    if (campaign->json_path && !(json = fopen(campaign->json_path, "w"))) {
        fprintf(stderr, "baton sim: can not write %s: %s\n", campaign->json_path, strerror(errno));
        sim_destroy(sim);
        return 3;
    }
    code = run(sim, campaign, &plan, ret_totals, &result);
    if (json && !write_json(json, sim, &plan, ret_totals, &result)) {
        fprintf(stderr, "baton sim: could not write all of %s\n", campaign->json_path);
        code = code ? code : 3;
    }
    sim_destroy(sim);
    return code;
}
