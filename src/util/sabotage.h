/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults built in on purpose, to see that `baton burst` finds them.  Only test builds can switch
 * them on; everywhere else BATON_SABOTAGE() is the constant false.
 */
#ifndef BATON_UTIL_SABOTAGE_H
#define BATON_UTIL_SABOTAGE_H

#include <stdbool.h>

enum sabotage {
    SABOTAGE_EARLY_RETIRE,   /* quiet is told while movers are still at work */
    SABOTAGE_SKIP_LEASE,     /* the source commits a revoked attempt */
    SABOTAGE_LATE_MOVER,     /* movers do not stop when their fetch ends */
    SABOTAGE_DOUBLE_OUTCOME, /* an outcome is told twice */
};

#ifdef BATON_TEST_BUILD
void sabotage_enable(enum sabotage sabotage);
bool sabotage_enabled(enum sabotage sabotage);
#define BATON_SABOTAGE(name) sabotage_enabled(SABOTAGE_##name)
#else
#define BATON_SABOTAGE(name) false
#endif

#endif
