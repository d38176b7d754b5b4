/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading memory that may fault.  A mapping of a peer's pool can raise SIGBUS (its pages can not be
 * brought in: no memory, a broken DIMM) or SIGSEGV; that fails the read, not the process.
 *
 * It protects reads of one given range, on the calling thread, and nothing else: a fault at any
 * other address goes to whoever handled the signal before.
 */
#ifndef BATON_TRANSPORT_FAULT_H
#define BATON_TRANSPORT_FAULT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Run `work(arg)`.  Returns false when it was left in the middle by a fault at an address in [from,
 * from + length).  Whatever `work` was doing then stays half done, so it must hold no lock, own
 * nothing that would be lost, and call nothing but memcpy and functions of the same kind.
 * Not to be nested.  The first call in a process installs the signal handlers.
 */
bool fault_run(void (*work)(void *arg), void *arg, const void *from, size_t length);

/* memcpy() from memory that may fault.  False: it did; how much of `to` was written is unknown. */
bool fault_copy(void *to, const void *from, size_t length);

#endif
