/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The self-test of fences: whether destroying an agent, with the NIXL and the lanes that are here,
 * ends what moves through it.  It is made by trying, for the lanes of nixl_lanes()'s list alone.
 */
#ifndef BATON_HELPER_FENCE_H
#define BATON_HELPER_FENCE_H

enum fence_end {
    FENCE_HOLDS = 0,
    FENCE_FAILED = 1,   /* bytes were late, or a case could not be tried */
    FENCE_UNLISTED = 2, /* the lanes are not on the list: nothing was tried */
};

/* Prints a line for each case on standard output.  Forks; the caller has no threads and no NIXL.
 * Ends within 20 s: by SIGALRM, if by nothing else. */
enum fence_end fence_test(void);

#endif
