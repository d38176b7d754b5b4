/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a process whose invariant is broken: the host program's hook, or a message and
 * abort().
 */
#include "util/assert.h"

#include "baton.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static _Atomic(baton_panic_fn) panic_hook;

void baton_panic_hook(baton_panic_fn hook)
{
    atomic_store(&panic_hook, hook);
}

_Noreturn void panic_at(const char *condition, const char *file, int line)
{
    baton_panic_fn hook = atomic_load(&panic_hook);

    if (hook) {
        hook(condition, file, line);
    }
    fprintf(stderr, "baton: broken invariant: %s (%s:%d)\n", condition, file, line);
    abort();
}
