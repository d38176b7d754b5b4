/* SPDX-License-Identifier: Apache-2.0 */
/* Threads of the library's own, in a host program that knows nothing of them. */
#ifndef BATON_UTIL_THREAD_H
#define BATON_UTIL_THREAD_H

#include <pthread.h>

/*
 * Starts a thread with a name of at most 15 characters.  The process's signals are none of its
 * business, but for the faults of its own loads: were those blocked, the kernel would kill the
 * process.  Returns 0 or an errno.
 */
int thread_start(pthread_t *ret_thread, const char *name, void *(*run)(void *arg), void *arg);

#endif
