/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `baton demo late-bytes`: one run moves bytes between two processes, breaks off, is told that it
 * is over, poisons the memory, lets everything go on, and counts the bytes that changed after that.
 */
#ifndef BATON_TOOLS_DEMO_LATE_H
#define BATON_TOOLS_DEMO_LATE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "baton.h"
#include "helper/child.h"

struct late_run {
    const char *who, *lane, *way;
    bool stopped;      /* the peer, from before the end until after the poison */
    uint64_t bytes;    /* that were to move */
    uint64_t before;   /* of them, there when the memory was poisoned */
    uint64_t late;     /* and changed afterwards */
    double answer_us;  /* from the call that ends it to the answer */
    char answer[80];   /* what the caller was told */
    char failure[160]; /* why there is no result; "" when there is one */
};

/* Find NIXL, in a child.  BATON_OK with its version, or the error. */
baton_err late_nixl_find(const char *path, char ret_version[32], struct baton_error *ret_error);
/* The last two of Baton are over NIXL. */
enum { LATE_NIXL_RUNS = 12, LATE_BATON_RUNS = 6, LATE_BATON_RUNS_NIXL = 2 };
void late_nixl_run(const char *path, unsigned index, size_t bytes, struct late_run *ret_run);
void late_baton_run(unsigned index, size_t bytes, struct late_run *ret_run);

#endif
