/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of `baton demo late-bytes`: that it counts what is late, and that Baton's runs have none.
 */
#include "test.h"

#include "../tools/baton/demo/late.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    BYTES = 4 << 20,
    LATE = 3 * 4096 + 5,
};

/* A writer that has been told to go on after the poison, as a released transfer does. */
static void write_late(void *arg, int channel)
{
    char order = 'r';

    if (write(channel, &order, 1) == 1 && read(channel, &order, 1) == 1) {
        memset(arg, LATE_PAYLOAD, LATE);
        (void)!write(channel, &order, 1);
    }
}

/* The last byte counts, too: the demo's 0 is worth as much as its count of others. */
TEST(demo_counts_what_lands_after_the_poison)
{
    unsigned char *memory = late_memory(BYTES);
    struct late_child child;
    char ready = 0;

    CHECK(memory && late_child_start(&child, write_late, memory + BYTES - LATE));
    CHECK(late_child_receive(&child, &ready, 1));
    late_child_stop(&child);
    memset(memory, LATE_POISON, BYTES);
    CHECK(write(child.channel, "g", 1) == 1);
    kill(child.pid, SIGCONT);
    CHECK(late_child_receive(&child, &ready, 1));
    CHECK(late_settle(memory, BYTES) == LATE);
    late_child_end(&child);
    munmap(memory, BYTES);
}

/* Each of Baton's runs breaks off in the middle, gets its receipt, and nothing lands after it. */
TEST(demo_baton_is_quiet_after_the_receipt)
{
    bool nixl = getenv("BATON_NIXL_LIBRARY") != NULL;

    setenv("UCX_TLS", "tcp", true);
    for (unsigned i = 0; i < LATE_BATON_RUNS - (nixl ? 0 : LATE_BATON_RUNS_NIXL); i++) {
        struct late_run run;

        late_baton_run(i, BYTES, &run);
        if (!CHECK(!run.failure[0])) {
            printf("%s: %s\n", run.lane, run.failure);
        }
        CHECK(run.before > 0 && run.before <= BYTES / 2 && run.stopped == (i % 2 == 1));
        CHECK(run.late == 0 && !strcmp(run.answer, "cancelled, receipt local_drain"));
    }
}
