/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying between memories that may fault.  A mapping of a peer's pool can raise SIGBUS (its pages
 * can not be brought in: no memory, a broken DIMM) or SIGSEGV, and so can memory that a user has
 * wrapped (a file that was truncated under its mapping); that fails the copy, not the process.
 *
 * It protects loads and stores within the given ranges, on the calling thread, and nothing else: a
 * fault at any other address goes to whoever handled the signal before.
 */
#ifndef BATON_TRANSPORT_FAULT_H
#define BATON_TRANSPORT_FAULT_H

#include <stdbool.h>
#include <stddef.h>

enum {
    FAULT_RANGES = 2, /* what is read, and what is written */
};

struct fault_range {
    const void *from;
    size_t length; /* 0: none */
};

/*
 * Run `work(arg)`.  Returns false when it was left in the middle by a fault at an address in one of
 * the ranges.  Whatever `work` was doing then stays half done, so it must hold no lock, own
 * nothing that would be lost, and call nothing but memcpy and functions of the same kind.
 * Not to be nested.  The first call in a process installs the signal handlers.
 */
bool fault_run(void (*work)(void *arg), void *arg, const struct fault_range ranges[FAULT_RANGES]);

/* memcpy() from memory that may fault.  False: it did; how much of `to` was written is unknown. */
bool fault_copy(void *to, const void *from, size_t length);

#endif
