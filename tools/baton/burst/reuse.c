/* SPDX-License-Identifier: Apache-2.0 */
/* Matching rewritten blocks with their old readers: see burst_reuse.h. */
#include "burst/reuse.h"

#include <stddef.h>
#include <stdlib.h>

enum {
    REUSE_QUIET = 1 << 14, /* requests whose quiet time is remembered */
    REUSE_EARLY = 1 << 12, /* rewritings that wait for it; more are not counted */
};

struct rewriting {
    uint64_t id;
    uint64_t time_ns;
    uint32_t blocks;
};

struct reuse {
    struct {
        uint64_t id, quiet_ns;
    } quiet[REUSE_QUIET]; /* by id */
    struct rewriting early[REUSE_EARLY];
    size_t early_count;
};

struct reuse *reuse_create(void)
{
    return calloc(1, sizeof(struct reuse));
}

void reuse_destroy(struct reuse *reuse)
{
    free(reuse);
}

uint64_t reuse_rewritten(struct reuse *reuse, uint64_t old_id, uint64_t time_ns, uint32_t blocks)
{
    size_t place = old_id % REUSE_QUIET;

    if (reuse->quiet[place].id == old_id) {
        return time_ns < reuse->quiet[place].quiet_ns ? blocks : 0;
    }
    if (reuse->early_count < REUSE_EARLY && reuse->quiet[place].id < old_id) {
        reuse->early[reuse->early_count++] = (struct rewriting){old_id, time_ns, blocks};
    }
    return 0;
}

uint64_t reuse_reader_quiet(struct reuse *reuse, uint64_t id, uint64_t quiet_ns)
{
    uint64_t count = 0;

    reuse->quiet[id % REUSE_QUIET].id = id;
    reuse->quiet[id % REUSE_QUIET].quiet_ns = quiet_ns;
    for (size_t i = 0; i < reuse->early_count;) {
        struct rewriting rewriting = reuse->early[i];
        if (rewriting.id != id) {
            i++;
            continue;
        }
        count += rewriting.time_ns < quiet_ns ? rewriting.blocks : 0;
        reuse->early[i] = reuse->early[--reuse->early_count];
    }
    return count;
}
