/* SPDX-License-Identifier: Apache-2.0 */
/* The switches of sabotage.h: set once, before the engine is made, read from any thread. */
#include "util/sabotage.h"

#ifdef BATON_TEST_BUILD

static unsigned enabled;

void sabotage_enable(enum sabotage sabotage)
{
    enabled |= 1U << sabotage;
}

bool sabotage_enabled(enum sabotage sabotage)
{
    return enabled & 1U << sabotage;
}

#else

/* ISO C wants something in every file. */
typedef int sabotage_is_not_built;

#endif
