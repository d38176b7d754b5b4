/* SPDX-License-Identifier: Apache-2.0 */
/* The matrix of cancels: whole runs, depth first, without a table of what was seen. */
#include "sim/explore_matrix.h"
#include "sim/explore_search.h"

#include <stdlib.h>
#include <string.h>

enum {
    RUN_STEPS_MAX = 128,
    PROGRESS_CASES = 1 << 16,
};

/* Without a cancel nothing ends early, so the budgets are one for each side. */
static const struct explore_rules matrix_rules[] = {
    {.name = "matrix, small",
     .sinks = 1,
     .plans = 1,
     .slots = 1,
     .units = 1,
     .blocks = 1,
     .windows = 1,
     .queue = 2,
     .split = true,
     .rewrites_at_once = true,
     .attempts = 8,
     .cancels_offer = 1,
     .cancels_fetch = 1},
    {.name = "matrix",
     .sinks = 1,
     .plans = 1,
     .slots = 1,
     .units = 2,
     .blocks = 2,
     .block = {{0, 1}},
     .windows = 2,
     .queue = 2,
     .split = true,
     .rewrites_at_once = true,
     .attempts = 8,
     .cancels_offer = 1,
     .cancels_fetch = 1},
};

struct run {
    struct step steps[STEPS_MAX];
    unsigned count, next;
    unsigned kind; /* the next cancel to try from here */
    bool cancelled;
};

struct matrix {
    struct explorer x;
    uint8_t *worlds;
    struct run runs[RUN_STEPS_MAX];
    struct step taken[RUN_STEPS_MAX + 2]; /* cancels by both are two steps of one level */
    uint32_t taken_at[RUN_STEPS_MAX];
    uint32_t depth;
    unsigned kind; /* of the cancel that is under way */
    const struct explore_matrix_options *options;
    struct explore_matrix_result *result;
    bool stopped;
};

const char *explore_cancel_name(enum explore_cancel kind)
{
    static const char *const names[] = {
        [EXPLORE_CANCEL_SOURCE] = "source",
        [EXPLORE_CANCEL_SINK_ATTEMPT] = "sink, attempt",
        [EXPLORE_CANCEL_SINK_OFFER] = "sink, offer",
        [EXPLORE_CANCEL_BOTH_ATTEMPT] = "source, then sink, attempt",
        [EXPLORE_CANCEL_BOTH_OFFER] = "source, then sink, offer",
        [EXPLORE_CANCEL_ATTEMPT_BOTH] = "sink, attempt, then source",
        [EXPLORE_CANCEL_OFFER_BOTH] = "sink, offer, then source",
    };

    return kind < EXPLORE_CANCEL_END_ ? names[kind] : "none";
}

static struct world *world_at(const struct matrix *m, uint32_t depth)
{
    return (struct world *)(void *)(m->worlds + (size_t)depth * m->x.bytes);
}

/* The one or two cancels of a kind, in their order. */
static unsigned cancels_of(unsigned kind, struct step ret_steps[2])
{
    const struct step source = {.kind = STEP_CANCEL_OFFER};
    const struct step attempt = {.kind = STEP_CANCEL_FETCH, .b = BATON_CANCEL_ATTEMPT};
    const struct step offer = {.kind = STEP_CANCEL_FETCH, .b = BATON_CANCEL_OFFER};

    switch (kind) {
    case EXPLORE_CANCEL_SOURCE:
        ret_steps[0] = source;
        return 1;
    case EXPLORE_CANCEL_SINK_ATTEMPT:
        ret_steps[0] = attempt;
        return 1;
    case EXPLORE_CANCEL_SINK_OFFER:
        ret_steps[0] = offer;
        return 1;
    case EXPLORE_CANCEL_BOTH_ATTEMPT:
    case EXPLORE_CANCEL_BOTH_OFFER:
        ret_steps[0] = source;
        ret_steps[1] = kind == EXPLORE_CANCEL_BOTH_OFFER ? offer : attempt;
        return 2;
    default:
        ret_steps[0] = kind == EXPLORE_CANCEL_OFFER_BOTH ? offer : attempt;
        ret_steps[1] = source;
        return 2;
    }
}

static void violated(struct matrix *m, uint32_t taken)
{
    struct step *steps = calloc(taken + 1, sizeof(*steps));

    m->result->violations++;
    m->stopped = true;
    if (steps) {
        memcpy(steps, m->taken, taken * sizeof(*steps));
        explore_path(&m->x, steps, taken, &m->result->first);
    }
    free(steps);
}

/* Steps that need no user's cancel; where nobody has cancelled, the offer's advances among them. */
static void look(struct matrix *m)
{
    struct run *run = &m->runs[m->depth];
    unsigned work, count = explore_world_steps(&m->x, world_at(m, m->depth), run->steps, &work);

    run->count = 0;
    run->next = 0;
    for (unsigned i = 0; i < count; i++) {
        if (i < work || run->steps[i].kind == STEP_ADVANCE) {
            run->steps[run->count++] = run->steps[i];
        }
    }
}

/* The end of a run: whoever was cancelled, and whoever was not, is over. */
static void finish(struct matrix *m, uint32_t taken)
{
    struct explore_matrix_result *r = m->result;
    const struct world *w = world_at(m, m->depth);
    bool attempt = m->kind == EXPLORE_CANCEL_SINK_ATTEMPT;
    const struct fetch_book *f = explore_fetch_last(w, 0);

    r->cases++;
    r->by_kind[m->kind]++;
    r->completed += f && f->outcome == BATON_COMPLETED;
    /* A cancelled attempt leaves the offer to the next reader. */
    if (!(attempt && !w->offers[0][0].outcome ? explorer_rests(&m->x, w)
                                              : explorer_is_over(&m->x, w))) {
        violated(m, taken);
    }
    if (r->cases % PROGRESS_CASES == 0 && m->options->progress &&
        !m->options->progress(m->options->arg, r->cases)) {
        m->stopped = true;
    }
    m->stopped = m->stopped || (m->options->cases_max && r->cases >= m->options->cases_max);
}

static bool take(struct matrix *m, struct step step, uint32_t at)
{
    struct world *after = world_at(m, m->depth);

    m->taken[at] = step;
    m->result->steps++;
    if (!explorer_takes(&m->x, world_at(m, m->depth - 1), after, step)) {
        violated(m, at + 1);
        return false;
    }
    return true;
}

/* Goes one level deeper by the cancels of the next kind, also of an end that is over already. */
static bool enter_cancel(struct matrix *m, struct run *run)
{
    struct step steps[2];
    unsigned count = cancels_of(run->kind, steps);
    uint32_t at = m->taken_at[m->depth - 1];

    m->kind = run->kind++;
    memcpy(world_at(m, m->depth), world_at(m, m->depth - 1), m->x.bytes);
    for (unsigned i = 0; i < count; i++) {
        if (!take(m, steps[i], at + i)) {
            return false;
        }
    }
    m->taken_at[m->depth] = at + count;
    m->runs[m->depth].cancelled = true;
    return true;
}

static bool enter_step(struct matrix *m, struct run *run)
{
    uint32_t at = m->taken_at[m->depth - 1];

    memcpy(world_at(m, m->depth), world_at(m, m->depth - 1), m->x.bytes);
    if (!take(m, run->steps[run->next++], at)) {
        return false;
    }
    m->taken_at[m->depth] = at + 1;
    m->runs[m->depth].cancelled = run->cancelled;
    return true;
}

/* One level deeper, or one up. */
static void next(struct matrix *m)
{
    struct run *run = &m->runs[m->depth - 1];
    bool entered;

    if (!run->cancelled && run->kind < EXPLORE_CANCEL_END_) {
        entered = enter_cancel(m, run);
        m->result->positions = m->depth > m->result->positions ? m->depth : m->result->positions;
    } else if (run->next < run->count) {
        entered = enter_step(m, run);
    } else {
        m->depth--;
        return;
    }
    if (!entered || m->stopped) {
        return;
    }
    look(m);
    m->runs[m->depth].kind = 0;
    if (m->runs[m->depth].count == 0 && m->runs[m->depth].cancelled) {
        finish(m, m->taken_at[m->depth]);
        return;
    }
    BATON_ASSERT(m->depth + 1 < RUN_STEPS_MAX);
    m->depth++;
}

int explore_matrix(const struct explore_matrix_options *options,
                   struct explore_matrix_result *ret_result)
{
    struct explore_matrix_result result = {.cases = 0};
    struct explore_rules rules = matrix_rules[options->small ? 0 : 1];
    struct matrix *m = calloc(1, sizeof(*m));
    int ret = -2;

    rules.streams = options->stream;
    rules.pushes = options->push;
    if (m && explorer_init(&m->x, &rules)) {
        m->options = options;
        m->result = &result;
        m->worlds = calloc(RUN_STEPS_MAX, m->x.bytes);
    }
    if (m && m->worlds) {
        explorer_guard(&m->x);
        if (explorer_begins(&m->x, world_at(m, 0))) {
            look(m);
            m->depth = 1;
        } else {
            violated(m, 0);
        }
        while (m->depth > 0 && !m->stopped) {
            next(m);
        }
        explorer_guard(NULL);
        result.exhausted = !m->stopped;
        *ret_result = result;
        ret = 0;
    }
    if (m) {
        explorer_fini(&m->x);
        free(m->worlds);
    }
    free(m);
    return ret;
}

void explore_matrix_fini(struct explore_matrix_result *result)
{
    free(result->first.path);
    result->first.path = NULL;
}
