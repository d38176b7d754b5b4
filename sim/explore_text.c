/* SPDX-License-Identifier: Apache-2.0 */
/* The explorer's steps in words, for the paths that a person reads. */
#include "sim/explore_world.h"

#include <stdio.h>

static void wire_text(const struct world *w, struct step step, char *text, size_t room)
{
    const struct wire *wire = &w->wires[step.a];
    char word[EXPLORE_TEXT_BYTES / 2] = "";
    const char *to = step.b == SINK_END ? "the sink" : "the source";

    if (step.kind == STEP_DELIVER) {
        explore_word_text(&wire->queue[step.b][0], word, sizeof(word));
        snprintf(text, room, "wire %u of sink %u: %s arrives at %s", wire->dial, wire->sink + 1,
                 word, to);
    } else if (step.kind == STEP_NOTICE) {
        snprintf(text, room, "wire %u of sink %u: %s learns that it has ended", wire->dial,
                 wire->sink + 1, to);
    } else if (step.kind == STEP_ROOM) {
        snprintf(text, room, "wire %u of sink %u: %s writes its next frame", wire->dial,
                 wire->sink + 1, to);
    } else {
        snprintf(text, room, "wire %u of sink %u is cut", wire->dial, wire->sink + 1);
    }
}

static void mover_text(const struct world *w, struct step step, char *text, size_t room)
{
    const struct window *v = &w->windows[step.a % SINKS_MAX][step.b % WINDOWS_MAX];
    static const char *const what[] = {
        [STEP_READ] = "is copied",
        [STEP_BACK] = "is given back",
        [STEP_DEAD] = "finds the source dead",
        [STEP_FAIL] = "fails",
        [STEP_ASK] = "is asked for at the source",
    };

    if (step.kind == STEP_SERVE) {
        const struct serve *s = &w->serves[step.a];

        snprintf(text, room, "source: unit %u of the offer is sent to sink %u", s->unit,
                 s->sink + 1);
        return;
    }
    snprintf(text, room, "sink %u: the window of unit %u %s%s", step.a + 1, v->unit,
             v->stopped ? "(stopped) " : "", what[step.kind]);
}

static void clock_text(const struct explorer *x, struct step step, char *text, size_t room)
{
    const uint32_t offers = x->limits[step.a].offers, fetches = x->limits[step.a].fetches;
    static const char *const of_handoff[] = {"whole", "doubt"};

    if (step.b < offers) {
        snprintf(text, room, "source: the %s clock of offer %u runs out%s",
                 step.c < 2 ? of_handoff[step.c] : "reader or lease", step.b,
                 step.c == 3 ? " (slot 1)" : "");
    } else if (step.b < offers + fetches) {
        snprintf(text, room, "sink %u: the %s clock of its fetch runs out", step.a,
                 step.c < 2 ? of_handoff[step.c] : "present");
    } else {
        snprintf(text, room, "node %u: link %u was silent for %s", step.a,
                 step.b - offers - fetches, step.c ? "too long" : "a third of the time");
    }
}

static void owner_text(const struct world *w, struct step step, char *text, size_t room)
{
    const struct offer_book *o = &w->offers[w->life[0]][step.a % PLANS_MAX];

    switch (step.kind) {
    case STEP_FETCH:
        snprintf(text, room, "sink %u fetches%s", step.a + 1,
                 step.b < w->life[0] ? " with the ticket of the source's former life" : "");
        return;
    case STEP_OFFER:
        snprintf(text, room, "source: offer %u is made again", step.a);
        return;
    case STEP_ADVANCE:
        snprintf(text, room, "source: offer %u advances to %u", step.a, o->watermark + 1);
        return;
    case STEP_REWRITE:
        snprintf(text, room, "source: the owner writes to block %u anew", step.a);
        return;
    case STEP_CANCEL_OFFER:
        snprintf(text, room, "source: offer %u is cancelled", step.a);
        return;
    case STEP_CANCEL_FETCH:
        snprintf(text, room, "sink %u cancels its %s", step.a + 1,
                 step.b == BATON_CANCEL_OFFER ? "request" : "fetch");
        return;
    default:
        snprintf(text, room, "%s %u crashes and starts again", step.a ? "sink" : "source", step.a);
    }
}

void explore_step_text(const struct explorer *x, const struct world *w, struct step step,
                       char *ret_text, size_t room)
{
    switch (step.kind) {
    case STEP_DELIVER:
    case STEP_NOTICE:
    case STEP_ROOM:
    case STEP_CUT:
        wire_text(w, step, ret_text, room);
        return;
    case STEP_READ:
    case STEP_BACK:
    case STEP_DEAD:
    case STEP_FAIL:
    case STEP_ASK:
    case STEP_SERVE:
        mover_text(w, step, ret_text, room);
        return;
    case STEP_POST:
    case STEP_LAND:
        snprintf(ret_text, room, "source: unit %u for sink %u %s", w->pushes[step.a].unit,
                 w->pushes[step.a].sink + 1U, step.kind == STEP_POST ? "is on its way" : "lands");
        return;
    case STEP_PROVE:
    case STEP_DIAL:
        snprintf(ret_text, room, "sink %u %s", step.a + 1U,
                 step.kind == STEP_DIAL ? "dials again, for its blocks in doubt"
                                        : "has a proof that the dead source writes no more");
        return;
    case STEP_CLOCK:
        clock_text(x, step, ret_text, room);
        return;
    default:
        owner_text(w, step, ret_text, room);
    }
}
