/* SPDX-License-Identifier: Apache-2.0 */
/* The explorer on the command line.  What it does is in sim/explore.c. */
#include "sim_explore.h"

#include "command.h"

#include "sim/explore.h"

#include <inttypes.h>
#include <time.h>
#include <unistd.h>

struct telling {
    time_t told;
    bool live, quiet;
};

static bool progress(void *arg, const struct explore_progress *p)
{
    struct telling *t = arg;
    time_t now = time(NULL);

    if (!t->quiet && now - t->told >= (t->live ? 1 : 10)) {
        t->told = now;
        fprintf(stderr,
                "%s%" PRIu64 " states, %" PRIu64 " transitions, depth %" PRIu32 ", %" PRIu64
                " MiB, violations %" PRIu64 "%s",
                t->live ? "\r" : "", p->states, p->transitions, p->depth, p->memory_bytes >> 20,
                p->violations, t->live ? "  " : "\n");
        fflush(stderr);
    }
    return true;
}

void sim_explore_print_worlds(FILE *file)
{
    fputs("\nWorlds to explore:\n", file);
    for (unsigned i = 0; explore_world_name(i); i++) {
        fprintf(file, "  %-10s %s\n", explore_world_name(i), explore_world_about(i));
    }
}

static void print_violation(const struct explore_violation *v)
{
    printf("violation: %s: %s\nafter:\n", v->invariant, v->what);
    for (uint32_t i = 0; i < v->length; i++) {
        printf("  %3" PRIu32 "  %s\n", i + 1, v->path[i]);
    }
}

int sim_explore_run(const struct sim_explore *explore)
{
    struct telling telling = {.live = isatty(STDERR_FILENO), .quiet = explore->quiet};
    const struct explore_options options = {.world = explore->world,
                                            .memory_bytes = explore->memory_bytes,
                                            .progress = progress,
                                            .arg = &telling};
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
    if (telling.live && !telling.quiet) {
        fputc('\n', stderr);
    }
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
