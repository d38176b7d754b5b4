/* SPDX-License-Identifier: Apache-2.0 */
/* What the two fixtures of the shm transport share. */
#ifndef BATON_TESTS_CONFORM_SHM_FIXTURE_H
#define BATON_TESTS_CONFORM_SHM_FIXTURE_H

#include "conform/fixture.h"

extern const struct fixture shm_fixture;
extern const struct fixture process_fixture;

/* Open the world's links; all windows read from `region`. */
bool shm_links_open(struct world *world, struct transport *transport,
                    const struct transport_region *region);

#endif
