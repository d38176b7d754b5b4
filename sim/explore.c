/* SPDX-License-Identifier: Apache-2.0 */
/* The explorer's search: depth first, whole worlds on a stack, fingerprints in a table. */
#include "sim/explore_search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PROGRESS_STATES = 1 << 16,
    MEMORY_BYTES = 1 << 30,
};

/* One state of the path that is being searched. */
struct level {
    struct step steps[STEPS_MAX];
    uint8_t count, next;
};

struct search {
    struct explorer x;
    struct seen seen;
    uint8_t *worlds; /* one for each level, and one more */
    struct level *levels;
    uint32_t depth, room;
    const struct explore_options *options;
    struct explore_result *result;
    bool stopped;
};

static struct world *world_at(const struct search *s, uint32_t depth)
{
    return (struct world *)(void *)(s->worlds + (size_t)depth * s->x.bytes);
}

static bool make_room(struct search *s)
{
    uint32_t room = s->room ? s->room * 2 : 64;
    uint8_t *worlds;
    struct level *levels;

    if (s->depth + 2 < s->room) {
        return true;
    }
    worlds = realloc(s->worlds, (size_t)room * s->x.bytes);
    if (worlds) {
        s->worlds = worlds;
    }
    levels = realloc(s->levels, (size_t)room * sizeof(*levels));
    if (levels) {
        s->levels = levels;
    }
    if (!worlds || !levels) {
        return false;
    }
    s->room = room;
    return true;
}

/* The path to what is broken: the step that every level took last. */
static void keep(struct search *s)
{
    struct explore_result *r = s->result;
    struct step *steps;

    r->violations++;
    for (uint32_t i = 0; i < r->kept; i++) {
        if (strcmp(r->violation[i].invariant, s->x.invariant) == 0) {
            return;
        }
    }
    steps = calloc(s->depth + 1, sizeof(*steps));
    if (r->kept == EXPLORE_VIOLATIONS_MAX || !steps) {
        free(steps);
        return;
    }
    for (uint32_t i = 0; i < s->depth; i++) {
        steps[i] = s->levels[i].steps[s->levels[i].next - 1];
    }
    explore_path(&s->x, steps, s->depth, &r->violation[r->kept]);
    r->kept++;
    free(steps);
}

static void violated(struct search *s)
{
    uint32_t most = s->options->violations_max ? s->options->violations_max : 1;

    keep(s);
    s->stopped = s->stopped || s->result->violations >= most;
}

/* The world behind the last level is a new state: look at it, and search on from there. */
static void enter(struct search *s)
{
    struct level *level = &s->levels[s->depth];
    unsigned work = 0;

    level->count = (uint8_t)explore_world_steps(&s->x, world_at(s, s->depth), level->steps, &work);
    level->next = 0;
    s->result->states++;
    s->result->terminals += level->count == 0;
    s->result->rests += work == 0;
    if (work == 0 && !explorer_rests(&s->x, world_at(s, s->depth))) {
        violated(s);
        return;
    }
    s->depth++;
    s->result->depth = s->depth > s->result->depth ? s->depth : s->result->depth;
}

static void told(struct search *s)
{
    const struct explore_progress p = {.states = s->result->states,
                                       .transitions = s->result->transitions,
                                       .violations = s->result->violations,
                                       .depth = s->depth,
                                       .memory_bytes = s->seen.room * sizeof(uint64_t)};

    if (s->options->progress && !s->options->progress(s->options->arg, &p)) {
        s->stopped = true;
    }
}

static void go(struct search *s, struct step step)
{
    const struct world *before = world_at(s, s->depth - 1);
    struct world *after = world_at(s, s->depth);
    uint64_t most = s->options->states_max;

    memcpy(after, before, s->x.bytes);
    s->result->transitions++;
    if (!explorer_takes(&s->x, before, after, step)) {
        violated(s);
        return;
    }
    switch (explore_seen_add(&s->seen, explore_world_key(&s->x, after))) {
    case SEEN_KNOWN:
        return;
    case SEEN_FULL:
        s->stopped = true;
        return;
    case SEEN_NEW:
        enter(s);
    }
    if (s->result->states % PROGRESS_STATES == 0) {
        told(s);
    }
    if (most && s->result->states >= most) {
        s->stopped = true;
    }
}

static int search(struct search *s)
{
    if (!make_room(s)) {
        return -2;
    }
    if (!explorer_begins(&s->x, world_at(s, 0))) {
        violated(s);
        return 0;
    }
    explore_seen_add(&s->seen, explore_world_key(&s->x, world_at(s, 0)));
    enter(s);
    while (s->depth > 0 && !s->stopped) {
        struct level *level = &s->levels[s->depth - 1];

        if (level->next == level->count) {
            s->depth--;
            continue;
        }
        if (!make_room(s)) {
            return -2;
        }
        level = &s->levels[s->depth - 1];
        level->next++;
        go(s, level->steps[level->next - 1]);
    }
    s->result->exhausted = !s->stopped;
    return 0;
}

int explore_run(const struct explore_options *options, struct explore_result *ret_result)
{
    const struct explore_rules *rules = explore_rules_of(options->world);
    uint64_t bytes = options->memory_bytes ? options->memory_bytes : MEMORY_BYTES;
    struct explore_result result = {.states = 0};
    struct search *s;
    int ret = -2;

    if (!rules) {
        return -1;
    }
    s = calloc(1, sizeof(*s));
    if (!s) {
        return -2;
    }
    s->options = options;
    s->result = &result;
    if (explorer_init(&s->x, rules) &&
        explore_seen_init(&s->seen,
                          bytes < EXPLORE_MEMORY_BYTES_MIN ? EXPLORE_MEMORY_BYTES_MIN : bytes)) {
        s->x.wrong = options->wrong;
        s->x.arg = options->arg;
        explorer_guard(&s->x);
        ret = search(s);
        explorer_guard(NULL);
    }
    explore_seen_fini(&s->seen);
    explorer_fini(&s->x);
    free(s->worlds);
    free(s->levels);
    free(s);
    if (ret == 0) {
        *ret_result = result;
    } else {
        explore_result_fini(&result);
    }
    return ret;
}

void explore_result_fini(struct explore_result *result)
{
    for (uint32_t i = 0; i < result->kept; i++) {
        free(result->violation[i].path);
        result->violation[i].path = NULL;
    }
    result->kept = 0;
}
