/* SPDX-License-Identifier: Apache-2.0 */
/* The explorer on the command line.  What it does is in sim/explore.c. */
#include "sim_explore.h"

#include "command.h"

#include "sim/explore.h"
#include "sim/explore_matrix.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char matrix_name[] = "matrix";

struct telling {
    time_t told;
    bool live, quiet;
    const volatile sig_atomic_t *interrupted;
};

static bool is_time(struct telling *t)
{
    time_t now = time(NULL);

    if (t->quiet || now - t->told < (t->live ? 1 : 10)) {
        return false;
    }
    t->told = now;
    return true;
}

static bool progress(void *arg, const struct explore_progress *p)
{
    struct telling *t = arg;

    if (is_time(t)) {
        fprintf(stderr,
                "%s%" PRIu64 " states, %" PRIu64 " transitions, depth %" PRIu32 ", %" PRIu64
                " MiB, violations %" PRIu64 "%s",
                t->live ? "\r" : "", p->states, p->transitions, p->depth, p->memory_bytes >> 20,
                p->violations, t->live ? "  " : "\n");
        fflush(stderr);
    }
    return !*t->interrupted;
}

void sim_explore_print_worlds(FILE *file)
{
    fputs("\nWorlds to explore:\n", file);
    for (unsigned i = 0; explore_world_name(i); i++) {
        fprintf(file, "  %-10s %s\n", explore_world_name(i), explore_world_about(i));
    }
    fprintf(file, "  %-10s %s\n", matrix_name,
            "a cancel at every step, by each side and both, in every order: whole runs, no table");
}

static void print_violation(const struct explore_violation *v)
{
    printf("violation: %s: %s\nafter:\n", v->invariant, v->what);
    for (uint32_t i = 0; i < v->length; i++) {
        printf("  %3" PRIu32 "  %s\n", i + 1, v->path[i]);
    }
}

static void end_line(const struct telling *telling)
{
    if (telling->live && !telling->quiet) {
        fputc('\n', stderr);
    }
}

/* ---- the matrix of cancels ---- */

static bool matrix_progress(void *arg, uint64_t cases)
{
    struct telling *t = arg;

    if (is_time(t)) {
        fprintf(stderr, "%s%" PRIu64 " cases%s", t->live ? "\r" : "", cases, t->live ? "  " : "\n");
        fflush(stderr);
    }
    return !*t->interrupted;
}

static void print_matrix(const char *name, const struct explore_matrix_result *r)
{
    if (r->violations) {
        print_violation(&r->first);
    }
    printf("%s: %" PRIu64 " cases, %" PRIu64
           " of them completed, a cancel at each of up to %" PRIu32
           " steps, %s, violations %" PRIu64 "\n",
           name, r->cases, r->completed, r->positions, r->exhausted ? "exhausted" : "not exhausted",
           r->violations);
    for (unsigned i = 0; i < EXPLORE_CANCEL_END_; i++) {
        printf("  %-32s %" PRIu64 "\n", explore_cancel_name((enum explore_cancel)i), r->by_kind[i]);
    }
}

static int run_matrix(struct telling *telling)
{
    static const struct {
        const char *name;
        bool small, stream, push;
    } parts[] = {
        {"1 window, mapped", true, false, false},  {"1 window, stream", true, true, false},
        {"1 window, pushed", true, false, true},   {"2 windows, mapped", false, false, false},
        {"2 windows, stream", false, true, false},
    };
    uint64_t cases = 0, violations = 0;

    for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]) && !*telling->interrupted; i++) {
        const struct explore_matrix_options options = {.small = parts[i].small,
                                                       .stream = parts[i].stream,
                                                       .push = parts[i].push,
                                                       .progress = matrix_progress,
                                                       .arg = telling};
        struct explore_matrix_result result;

        if (explore_matrix(&options, &result)) {
            fputs("baton sim: no memory for the matrix of cancels\n", stderr);
            return EXIT_ENVIRONMENT;
        }
        end_line(telling);
        print_matrix(parts[i].name, &result);
        cases += result.cases;
        violations += result.violations;
        explore_matrix_fini(&result);
    }
    printf("matrix: %" PRIu64 " cases\nviolations: %" PRIu64 "\n", cases, violations);
    return violations > 0 ? EXIT_CHECK : EXIT_OK;
}

/* ---- a world ---- */

static int run_world(const struct sim_explore *explore, struct telling *telling)
{
    const struct explore_options options = {.world = explore->world,
                                            .memory_bytes = explore->memory_bytes,
                                            .progress = progress,
                                            .arg = telling};
    struct explore_result result;
    int err = explore_run(&options, &result);
    int code;

    if (err == -1) {
        fprintf(stderr, "baton sim: \"%s\" is not a world to explore; see baton sim --help\n",
                explore->world);
        return EXIT_USAGE;
    }
    if (err) {
        fputs("baton sim: no memory for the explorer's table; see --memory\n", stderr);
        return EXIT_ENVIRONMENT;
    }
    end_line(telling);
    for (uint32_t i = 0; i < result.kept; i++) {
        print_violation(&result.violation[i]);
    }
    printf("world %s: %" PRIu64 " canonical states, %" PRIu64 " transitions, %" PRIu64
           " ends, depth %" PRIu32 ", %s\nviolations: %" PRIu64 "\n",
           explore->world, result.states, result.transitions, result.terminals, result.depth,
           result.exhausted ? "exhausted" : "not exhausted", result.violations);
    code = result.violations > 0 ? EXIT_CHECK : EXIT_OK;
    explore_result_fini(&result);
    return code;
}

int sim_explore_run(const struct sim_explore *explore)
{
    struct telling telling = {.live = isatty(STDERR_FILENO),
                              .quiet = explore->quiet,
                              .interrupted = explore->interrupted};

    return strcmp(explore->world, matrix_name) ? run_world(explore, &telling)
                                               : run_matrix(&telling);
}
