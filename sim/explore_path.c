/* SPDX-License-Identifier: Apache-2.0 */
/* One guarded step of an explorer's world, and the short path to what it broke. */
#include "sim/explore_search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct explorer *guarded;

static void panicked(const char *condition, const char *file, int line)
{
    const char *name = strrchr(file, '/');

    if (guarded) {
        explore_broken(guarded, "assertion", "%s (%s:%d)", condition, name ? name + 1 : file, line);
    }
}

void explorer_guard(struct explorer *x)
{
    guarded = x;
    baton_panic_hook(x ? panicked : NULL);
}

bool explorer_takes(struct explorer *x, const struct world *before, struct world *after,
                    struct step step)
{
    if (setjmp(x->broken)) {
        return false;
    }
    explore_world_step(x, before, after, step);
    return true;
}

bool explorer_begins(struct explorer *x, struct world *w)
{
    if (setjmp(x->broken)) {
        return false;
    }
    explore_world_begin(x, w);
    return true;
}

bool explorer_rests(struct explorer *x, const struct world *w)
{
    if (setjmp(x->broken)) {
        return false;
    }
    explore_check_p11_rest(x, w);
    return true;
}

bool explorer_is_over(struct explorer *x, const struct world *w)
{
    if (setjmp(x->broken)) {
        return false;
    }
    explore_check_all_over(x, w);
    return true;
}

/* ---- replay ---- */

/* A cancel of what is over is inert, so that the search leaves it out; the matrix does not. */
static bool may_take(const struct world *w, const struct step *steps, unsigned count,
                     struct step step)
{
    if ((step.kind == STEP_CANCEL_OFFER && w->cancels_offer > 0) ||
        (step.kind == STEP_CANCEL_FETCH && w->cancels_fetch[step.a] > 0 &&
         explore_fetch_last(w, step.a))) {
        return true;
    }
    for (unsigned i = 0; i < count; i++) {
        if (memcmp(&steps[i], &step, sizeof(step)) == 0) {
            return true;
        }
    }
    return false;
}

/*
 * Take the steps but the one at `without`.  Returns how many were needed to break something, with
 * the break in x; 0: nothing broke.  The texts of the steps go to `ret_path` unless it is NULL.
 */
static uint32_t replay(struct explorer *x, struct world *worlds[2], const struct step *steps,
                       uint32_t count, uint32_t without, char (*ret_path)[EXPLORE_TEXT_BYTES])
{
    struct step enabled[STEPS_MAX];
    unsigned work = 0, can;

    if (!explorer_begins(x, worlds[0])) {
        return 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct world *before = worlds[0];

        if (i == without) {
            continue;
        }
        can = explore_world_steps(x, before, enabled, &work);
        if (!may_take(before, enabled, can, steps[i])) {
            return 0;
        }
        if (ret_path) {
            explore_step_text(x, before, steps[i], ret_path[i], EXPLORE_TEXT_BYTES);
        }
        memcpy(worlds[1], before, x->bytes);
        if (!explorer_takes(x, before, worlds[1], steps[i])) {
            return i + 1;
        }
        worlds[0] = worlds[1];
        worlds[1] = before;
        explore_world_steps(x, worlds[0], enabled, &work);
        if (work == 0 && !explorer_rests(x, worlds[0])) {
            return i + 1;
        }
    }
    return 0;
}

/* Leave out every step without which the same breaks. */
static uint32_t shorten(struct explorer *x, struct world *worlds[2], struct step *steps,
                        uint32_t count, const char *invariant)
{
    bool shorter = true;

    while (shorter) {
        shorter = false;
        for (uint32_t i = count; i > 0; i--) {
            uint32_t needed = i <= count ? replay(x, worlds, steps, count, i - 1, NULL) : 0;

            if (needed == 0 || strcmp(x->invariant, invariant) != 0) {
                continue;
            }
            memmove(&steps[i - 1], &steps[i], (count - i) * sizeof(*steps));
            count = needed > i - 1 ? needed - 1 : needed;
            shorter = true;
        }
    }
    return count;
}

void explore_path(struct explorer *x, struct step *steps, uint32_t count,
                  struct explore_violation *ret_violation)
{
    struct world *worlds[2] = {malloc(x->bytes), malloc(x->bytes)};
    struct explore_violation *v = ret_violation;

    *v = (struct explore_violation){.length = 0};
    snprintf(v->invariant, sizeof(v->invariant), "%s", x->invariant);
    snprintf(v->what, sizeof(v->what), "%s", x->what);
    if (worlds[0] && worlds[1] && count > 0) {
        count = shorten(x, worlds, steps, count, v->invariant);
        v->path = calloc(count, sizeof(*v->path));
        if (v->path && replay(x, worlds, steps, count, UINT32_MAX, v->path) == count) {
            v->length = count;
            snprintf(v->what, sizeof(v->what), "%s", x->what);
        }
    }
    free(worlds[0]);
    free(worlds[1]);
}
