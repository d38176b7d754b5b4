/* SPDX-License-Identifier: Apache-2.0 */
/* tools/baton/burst/fault.c and board.c: when a process is stopped or killed, what is seen of it.
 */
#include "../../tools/baton/burst/fault.h"

#include <stddef.h>
#include <unistd.h>

#include "../../tools/baton/burst/board.h"
#include "baton.h"
#include "test.h"

#define MS UINT64_C(1000000)

/* Two faults, at a third and at two thirds of the burst's time; then no more, and none unasked. */
TEST(fault_is_due_each_third)
{
    struct burst_config config = {.duration_ms = 9000, .fault = BURST_FAULT_KILL};

    CHECK(!fault_due(&config, 0, 2999, 0) && fault_due(&config, 0, 3000, 0));
    CHECK(!fault_due(&config, 1, 5999, 0) && fault_due(&config, 1, 6000, 0));
    CHECK(!fault_due(&config, BURST_FAULTS, 9000, 0));
    config.fault = BURST_FAULT_NONE;
    CHECK(!fault_due(&config, 0, 9000, 0));
}

/* Of a burst of so many requests it is the number issued that counts, whatever the time. */
TEST(fault_is_due_by_requests)
{
    struct burst_config config = {.requests = 10, .fault = BURST_FAULT_STOP};

    CHECK(!fault_due(&config, 0, 60000, 3) && fault_due(&config, 0, 0, 4));
    CHECK(!fault_due(&config, 1, 60000, 6) && fault_due(&config, 1, 0, 7));
}

/* A fault waits for a transfer to hit, but not for ever. */
TEST(fault_is_aimed_at_a_transfer)
{
    CHECK(fault_aimed(1, 0) && !fault_aimed(0, 0) && !fault_aimed(0, 999) && fault_aimed(0, 1000));
}

/* A stop lasts a second; where a stopped source leaves its sink in doubt, until the sink has said
 * so, and three seconds at most. */
TEST(fault_stops_until_it_is_seen)
{
    struct burst_config config = {.fault = BURST_FAULT_STOP, .cancel_rate = 0.5};
    const struct fault fault = {.start_ns = 5 * MS, .doubts_first = 2};

    CHECK(!fault_seen(&config, &fault, 1004 * MS, 9) && fault_seen(&config, &fault, 1005 * MS, 2));
    config.push = true;
    CHECK(!fault_seen(&config, &fault, 1005 * MS, 2) && fault_seen(&config, &fault, 1005 * MS, 3));
    CHECK(!fault_seen(&config, &fault, 3004 * MS, 2) && fault_seen(&config, &fault, 3005 * MS, 2));
    config.transport = BURST_TCP;
    CHECK(fault_seen(&config, &fault, 1005 * MS, 2));
    config.transport = BURST_SHM;
    config.fault_decode = true;
    CHECK(fault_seen(&config, &fault, 1005 * MS, 2));
}

/* Quarantine counts for the fault that it began at, also after the next one; what comes and goes
 * with cancels at other times counts for none. */
TEST(fault_owns_its_quarantine)
{
    struct fault faults[2] = {
        {.start_ns = 1000 * MS, .end_ns = 2000 * MS},
        {.start_ns = 5000 * MS, .end_ns = 5000 * MS},
    };

    fault_sample(faults, 2, 900 * MS, 7, 800 * MS);
    fault_sample(faults, 2, 2500 * MS, 7, 2400 * MS);
    fault_sample(faults, 2, 2500 * MS, 0, 1500 * MS);
    CHECK(faults[0].quarantined == 0 && faults[1].quarantined == 0);
    CHECK(fault_quarantine_us(&faults[0]) == 0);
    fault_sample(faults, 1, 1600 * MS, 9, 1500 * MS);
    CHECK(faults[0].quarantined == 9 && fault_quarantine_us(&faults[0]) == 0);
    fault_sample(faults, 1, 2300 * MS, 5, 1500 * MS);
    CHECK(faults[0].quarantined == 9 && fault_quarantine_us(&faults[0]) == 300000);
    fault_sample(faults, 2, 5010 * MS, 4, 5005 * MS);
    CHECK(faults[1].quarantined == 4 && fault_quarantine_us(&faults[1]) == 10000);
    fault_sample(faults, 2, 5020 * MS, 6, 1500 * MS);
    CHECK(faults[1].quarantined == 4 && fault_quarantine_us(&faults[0]) == 3020000);
}

/* A stop that has not ended yet owns what began at any time since. */
TEST(fault_owns_quarantine_while_it_lasts)
{
    struct fault fault = {.start_ns = 1000 * MS};

    fault_sample(&fault, 1, 3000 * MS, 3, 2900 * MS);
    CHECK(fault.quarantined == 3 && fault.held_ns == 3000 * MS);
}

/* Only the writes of a helper, whose lanes let it store by itself, outlive every proof. */
TEST(fault_without_a_proof)
{
    const struct burst_config config = {.fault = BURST_FAULT_KILL,
                                        .transport = BURST_NIXL,
                                        .push = true,
                                        .host = BATON_HOST_HELPER};
    struct burst_config other;

    CHECK(fault_unproven(&config, false) && !fault_unproven(&config, true));
    other = config;
    other.host = BATON_HOST_IN_PROCESS;
    CHECK(!fault_unproven(&other, false));
    other = config;
    other.push = false;
    CHECK(!fault_unproven(&other, false));
    other = config;
    other.fault_decode = true;
    CHECK(!fault_unproven(&other, false));
    other = config;
    other.fault = BURST_FAULT_STOP;
    CHECK(!fault_unproven(&other, false));
    other.on_doubt = BATON_ON_DOUBT_KILL_LOCAL_PEER; /* it may die of being stopped */
    CHECK(fault_unproven(&other, false));
}

/* A stop loses nothing, unless the engine is told to act on doubt. */
TEST(fault_loses_requests)
{
    CHECK(!fault_loses(&(struct burst_config){.fault = BURST_FAULT_NONE}));
    CHECK(!fault_loses(&(struct burst_config){.fault = BURST_FAULT_STOP}));
    CHECK(fault_loses(
        &(struct burst_config){.fault = BURST_FAULT_STOP, .on_doubt = BATON_ON_DOUBT_FENCE}));
    CHECK(fault_loses(&(struct burst_config){.fault = BURST_FAULT_KILL}));
}

/* What one mapping writes the other reads, and each fetch is counted in one place. */
TEST(board_is_one_page)
{
    int fd = -1;
    struct board *board = board_create(&fd), *other = board ? board_map(fd) : NULL;

    if (!CHECK(board && other)) {
        return;
    }
    close(fd);
    board_move(board, BOARD_AWAY, BOARD_WAITING);
    board_move(board, BOARD_AWAY, BOARD_WAITING);
    board_move(board, BOARD_WAITING, BOARD_MOVING);
    board_move(board, BOARD_MOVING, BOARD_MOVING);
    CHECK(atomic_load(&other->waiting) == 1 && atomic_load(&other->moving) == 1);
    board_move(board, BOARD_MOVING, BOARD_WAITING);
    board_move(board, BOARD_WAITING, BOARD_AWAY);
    board_move(board, BOARD_WAITING, BOARD_AWAY);
    CHECK(atomic_load(&other->waiting) == 0 && atomic_load(&other->moving) == 0);
    board_unmap(board);
    board_unmap(other);
    board_unmap(NULL);
}
