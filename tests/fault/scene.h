/* SPDX-License-Identifier: Apache-2.0 */
/* Scenes: a source and a sink, processes of their own, in the middle of a handoff. */
#ifndef BATON_TESTS_FAULT_SCENE_H
#define BATON_TESTS_FAULT_SCENE_H

#include "fault/party.h"

struct scene {
    struct party *source, *sink;
    struct party_ticket ticket; /* of the source's last offer */
};

/* Whether NIXL's library is there; if not, the test is skipped. */
bool scene_has_nixl(void);

/*
 * The sink's engine is held in mid transfer: the first bytes of handoff 0, whose payload is 1, have
 * landed.  The options are of both parties, but that the gate and the clocks are of the sink alone.
 */
struct scene scene_make(const struct party_options *options);

/*
 * The same with handoff 1, whose fetch has a clock, after a handoff that has completed, since to
 * begin may take longer than the clock; and its source is stopped.
 */
struct scene scene_stalled(const struct party_options *options, uint32_t clock_ms);

/* After the sink's receipt: what is written into its blocks then stays there, until the source's
 * end of the handoff, whose offer is cancelled, is quiet too. */
void scene_stays_quiet(const struct scene *s, unsigned handoff);

/* Both parties end in order, if they still live. */
void scene_end(const struct scene *s);

#endif
