/* SPDX-License-Identifier: Apache-2.0 */
/* Pages shared with the burst's driver: see burst/board.h. */
#include "burst/board.h"

#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

struct board *board_map(int fd)
{
    void *page = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    return page == MAP_FAILED ? NULL : page;
}

struct board *board_create(int *ret_fd)
{
    int fd = memfd_create("baton-burst", MFD_CLOEXEC);
    struct board *board;

    if (fd < 0) {
        return NULL;
    }
    board = ftruncate(fd, sizeof(*board)) ? NULL : board_map(fd);
    if (!board) {
        close(fd);
        return NULL;
    }
    *ret_fd = fd;
    return board;
}

void board_unmap(struct board *board)
{
    if (board) {
        munmap(board, sizeof(*board));
    }
}

static atomic_uint *count_of(struct board *board, enum board_place place)
{
    if (place == BOARD_AWAY) {
        return NULL;
    }
    return place == BOARD_MOVING ? &board->moving : &board->waiting;
}

void board_move(struct board *board, enum board_place from, enum board_place to)
{
    atomic_uint *left = count_of(board, from), *entered = count_of(board, to);

    if (from == to) {
        return;
    }
    if (left) {
        atomic_fetch_sub(left, 1);
    }
    if (entered) {
        atomic_fetch_add(entered, 1);
    }
}
