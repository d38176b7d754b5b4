/* SPDX-License-Identifier: Apache-2.0 */
/* Threads of the library's own. */
#include "util/thread.h"

#include <signal.h>

int thread_start(pthread_t *ret_thread, const char *name, void *(*run)(void *arg), void *arg)
{
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigset_t mask, before;
    int err;

    sigfillset(&mask);
    for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        sigdelset(&mask, faults[i]);
    }
    pthread_sigmask(SIG_SETMASK, &mask, &before);
    err = pthread_create(ret_thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err == 0) {
        pthread_setname_np(*ret_thread, name);
    }
    return err;
}
