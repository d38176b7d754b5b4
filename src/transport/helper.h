/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Helper processes: finding the executable, starting it, and knowing that it has ended.  What a
 * helper does, and what is said to it, is not known here.
 *
 * A helper is no child of this process: that would give the host program a SIGCHLD and let its
 * waitpid(-1) meet a process that it never made, and execve() resets the signal that a parent asked
 * for.  So it is made by a process that ends at once, and belongs to whoever adopts orphans; what
 * is known of it is known through its pidfd.  Where this process adopts orphans itself (it is the
 * container's first process, or a subreaper), the helper is its child after all.  Where the one
 * that adopts reaps nothing, as in a container without an init, the number of an ended helper stays
 * taken, and nothing else of it.
 */
#ifndef BATON_TRANSPORT_HELPER_H
#define BATON_TRANSPORT_HELPER_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "baton.h"

enum {
    HELPER_SOCKET = 3, /* the helper's end; no other descriptor above 2 reaches it */
    HELPER_END_BYTES = 64,
};

struct helper {
    pid_t pid;  /* for people; -1: none */
    int pidfd;  /* readable once it has ended */
    int socket; /* AF_UNIX, SOCK_SEQPACKET; the caller's to close */
};

/* The environment variable that names the executable. */
#define HELPER_VARIABLE "BATON_HELPER"

/*
 * The absolute path of the helper's executable: `given`, else what BATON_HELPER says, else
 * `baton-helper` beside the file that this code is in, else in ../libexec/baton from there, else
 * where it is installed.  What was named is not replaced by another.  Errors: BATON_ESYSTEM, it
 * is not there; the message says where was looked.
 */
BATON_MUST_USE baton_err helper_find(const char *given, char ret_path[PATH_MAX],
                                     struct baton_error *ret_error);

/*
 * Start `path` with `argv`, which begins with a name and ends with NULL.  Any thread, of a process
 * with any threads.  It has its socket, standard output and error of this process, nothing on
 * standard input, all signals at their default, and a session of its own, so that the terminal's
 * signals are the host's.  Waits until the program was loaded.  Errors: BATON_ENOMEM,
 * BATON_ESYSTEM; nothing is left.
 */
BATON_MUST_USE baton_err helper_start(const char *path, const char *const argv[],
                                      struct helper *ret_helper, struct baton_error *ret_error);

/* End it (SIGKILL).  Does not wait. */
void helper_kill(const struct helper *helper);

/*
 * Whether it has ended: all of its threads, its memory and its descriptors are gone.  Does not
 * wait.  If so pid and pidfd are -1 afterwards, and `ret_end` says how, as far as the kernel tells.
 */
bool helper_reaped(struct helper *helper, char ret_end[HELPER_END_BYTES]);

#endif
