/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A page that a process of the burst shares with the driver, and that is read without its help:
 * what it was doing when it was stopped or killed, and what it holds in quarantine.
 */
#ifndef BATON_TOOLS_BURST_BOARD_H
#define BATON_TOOLS_BURST_BOARD_H

#include <stdatomic.h>
#include <stdint.h>

/* Where a fetch stands, as far as the board tells. */
enum board_place {
    BOARD_AWAY = 0, /* not begun, or decided */
    BOARD_WAITING,  /* under way, and none or all of its bytes are there */
    BOARD_MOVING,   /* some are, not all */
};

/* Numbers that belong together may differ by what happens between two reads. */
struct board {
    /* decode, by its engine's thread */
    atomic_uint waiting, moving;
    /* by the main thread, some times in a hundredth of a second, if there are to be faults */
    atomic_uint_fast64_t quarantine_blocks;
    atomic_uint_fast64_t quarantine_since_ns; /* CLOCK_MONOTONIC, of the oldest of them */
    atomic_uint_fast64_t doubts;
};

/* NULL: it can not be had.  `*ret_fd` is the caller's to close. */
struct board *board_create(int *ret_fd);
/* The same page, in another process. */
struct board *board_map(int fd);
/* NULL is allowed. */
void board_unmap(struct board *board);

/* A fetch of decode goes from one place to another. */
void board_move(struct board *board, enum board_place from, enum board_place to);

#endif
