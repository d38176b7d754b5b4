/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying memory that may fault: the signal handlers for SIGBUS and SIGSEGV, and the guard that
 * they look for.
 *
 * Why jumping out of the handler is safe:
 *  - The signal is synchronous: it is raised by a load or store in a guarded range, on the thread
 * that runs the guarded work.  So at that moment this thread is within `work`, which by contract
 *    holds no lock and is in no function that keeps state; it is not within malloc or stdio.
 *  - A signal that was sent (si_code <= 0) is never taken for a fault.
 *  - The guard is a thread-local pointer with the initial-exec model, so the handler reads it
 *    without the allocation that a first use of dynamic TLS would make.
 *  - SA_NODEFER and an empty sa_mask leave the thread's signal mask as it was, so it need not be
 *    saved (sigsetjmp with 0: no system call a slice) and a second fault is caught as well.
 *  - siglongjmp leaves an alternate stack by moving the stack pointer; nothing has to be undone.
 *
 * The handlers stay until the process ends, so the library must not be unloaded (-z nodelete).
 * Whoever replaces them later without chaining takes the protection away.
 */
#include "transport/fault.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "util/assert.h"

/*
 * ThreadSanitizer's runtime calls our handler from one of its own, for which it blocks every
 * signal; only there must the jump restore the mask, or a second fault would end the process.
 */
#if defined(__SANITIZE_THREAD__)
#define SAVE_MASK 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SAVE_MASK 1
#endif
#endif
#ifndef SAVE_MASK
#define SAVE_MASK 0
#endif

struct guard {
    struct fault_range range[FAULT_RANGES];
    sigjmp_buf resume;
};

enum {
    FAULT_SIGBUS,
    FAULT_SIGSEGV,
    FAULT_SIGNALS,
};

static _Thread_local struct guard *volatile armed __attribute__((tls_model("initial-exec")));
static pthread_once_t installed = PTHREAD_ONCE_INIT;
/* Written before the handlers are installed, constant afterwards. */
static struct sigaction previous_actions[FAULT_SIGNALS];

/* The previous handler runs with the mask that it asked for, as if the kernel had called it. */
static void call(const struct sigaction *previous, int number, siginfo_t *info, void *context)
{
    sigset_t mask = previous->sa_mask;
    sigset_t before;

    if (!(previous->sa_flags & SA_NODEFER)) {
        sigaddset(&mask, number);
    }
    pthread_sigmask(SIG_BLOCK, &mask, &before);
    if (previous->sa_flags & SA_SIGINFO) {
        previous->sa_sigaction(number, info, context);
    } else {
        previous->sa_handler(number);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/*
 * Not ours.  The default action can not be called: it is put back, and then the faulting
 * instruction, which runs again when the handler returns, or the signal raised again meets it.
 */
static void chain(int number, siginfo_t *info, void *context)
{
    const struct sigaction *previous =
        &previous_actions[number == SIGBUS ? FAULT_SIGBUS : FAULT_SIGSEGV];
    bool sent = info->si_code <= 0;
    bool plain = !(previous->sa_flags & SA_SIGINFO);

    if (plain && previous->sa_handler == SIG_IGN && sent) {
        return;
    }
    if (plain && (previous->sa_handler == SIG_DFL || previous->sa_handler == SIG_IGN)) {
        sigaction(number, previous, NULL);
        if (sent) {
            raise(number);
        }
        return;
    }
    call(previous, number, info, context);
}

static bool guards(const struct guard *guard, const void *address)
{
    for (unsigned i = 0; i < FAULT_RANGES; i++) {
        const struct fault_range *range = &guard->range[i];

        if ((uintptr_t)address - (uintptr_t)range->from < range->length) {
            return true;
        }
    }
    return false;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    struct guard *guard = armed;
    int errno_before = errno;

    if (guard && info->si_code > 0 && guards(guard, info->si_addr)) {
        siglongjmp(guard->resume, 1);
    }
    chain(number, info, context);
    errno = errno_before;
}

static void install(void)
{
    struct sigaction action = {.sa_sigaction = on_fault,
                               .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
    int ok;

    sigemptyset(&action.sa_mask);
    ok = sigaction(SIGBUS, NULL, &previous_actions[FAULT_SIGBUS]) == 0 &&
         sigaction(SIGSEGV, NULL, &previous_actions[FAULT_SIGSEGV]) == 0 &&
         sigaction(SIGBUS, &action, NULL) == 0 && sigaction(SIGSEGV, &action, NULL) == 0;
    /* sigaction() fails for wrong arguments only. */
    BATON_ASSERT(ok);
}

bool fault_run(void (*work)(void *arg), void *arg, const struct fault_range ranges[FAULT_RANGES])
{
    struct guard guard = {.range = {ranges[0], ranges[1]}};

    BATON_ASSERT(!armed);
    pthread_once(&installed, install);
    if (sigsetjmp(guard.resume, SAVE_MASK)) {
        armed = NULL;
        return false;
    }
    armed = &guard;
    /* The compiler must not move the work's loads and stores out of the guarded stretch. */
    atomic_signal_fence(memory_order_seq_cst);
    work(arg);
    atomic_signal_fence(memory_order_seq_cst);
    armed = NULL;
    return true;
}

struct copy {
    void *to;
    const void *from;
    size_t length;
};

static void copy_work(void *arg)
{
    const struct copy *copy = arg;

    memcpy(copy->to, copy->from, copy->length);
}

bool fault_copy(void *to, const void *from, size_t length)
{
    struct copy copy = {to, from, length};

    return fault_run(copy_work, &copy, (struct fault_range[FAULT_RANGES]){{from, length}});
}
