/* SPDX-License-Identifier: Apache-2.0 */
/* Assertions that stay on in release builds.  A failed one is a broken invariant, never bad input.
 */
#ifndef BATON_UTIL_ASSERT_H
#define BATON_UTIL_ASSERT_H

#include <stdbool.h>

_Noreturn void panic_at(const char *condition, const char *file, int line);

#define BATON_ASSERT(condition)                                                                    \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0)) {                                                   \
            panic_at(#condition, __FILE__, __LINE__);                                              \
        }                                                                                          \
    } while (0)

#define BATON_IMPLIES(a, b) (!(a) || (b))

#endif
