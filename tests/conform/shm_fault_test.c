/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults while reading: those of the guarded range fail the read, all others reach the handler that
 * was there before.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "test.h"
#include "transport/fault.h"

enum {
    BYTES = 1 << 16,
};

/* The handler that was there before: it must be installed before the first guarded read. */
static sigjmp_buf back;
static volatile sig_atomic_t expected, seen;

static void previous_handler(int number)
{
    if (!expected) {
        signal(number, SIG_DFL);
        return;
    }
    seen++;
    siglongjmp(back, 1);
}

__attribute__((constructor)) static void install_previous(void)
{
    struct sigaction action = {.sa_handler = previous_handler};

    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, NULL);
}

static unsigned char *pages(int protection)
{
    return mmap(NULL, BYTES, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* Memory that can be read is copied; guarding it changes nothing. */
TEST(readable_memory_is_copied)
{
    static unsigned char from[BYTES], to[BYTES];

    memset(from, 7, sizeof(from));
    CHECK(fault_copy(to, from, sizeof(from)));
    CHECK(memcmp(from, to, sizeof(from)) == 0);
}

/* A page that may not be read fails the copy, again and again. */
TEST(segv_fails_the_copy)
{
    static unsigned char to[BYTES];
    unsigned char *from = pages(PROT_NONE);

    for (unsigned i = 0; i < 3; i++) {
        CHECK(!fault_copy(to, from, BYTES));
    }
    mprotect(from, BYTES, PROT_READ);
    CHECK(fault_copy(to, from, BYTES));
    munmap(from, BYTES);
}

/* So does a file that was truncated under its mapping; what came before is there. */
TEST(sigbus_fails_the_copy)
{
    static unsigned char to[BYTES];
    int fd = memfd_create("fault", MFD_CLOEXEC);
    unsigned char *from = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, fd, 0);

    CHECK(ftruncate(fd, BYTES / 2) == 0);
    CHECK(fault_copy(to, from, BYTES / 2));
    CHECK(!fault_copy(to, from, BYTES));
    CHECK(!fault_copy(to, from, BYTES));
    munmap(from, BYTES);
    close(fd);
}

static void store(void *arg)
{
    memset(arg, 5, BYTES);
}

/* Either of the ranges is guarded, for stores as for loads. */
TEST(stores_to_either_range_fail)
{
    static unsigned char other[16];
    unsigned char *to = pages(PROT_READ);
    const struct fault_range first[FAULT_RANGES] = {{to, BYTES}, {other, sizeof(other)}};
    const struct fault_range second[FAULT_RANGES] = {{other, sizeof(other)}, {to, BYTES}};

    CHECK(!fault_run(store, to, first));
    CHECK(!fault_run(store, to, second));
    mprotect(to, BYTES, PROT_READ | PROT_WRITE);
    CHECK(fault_run(store, to, second) && to[BYTES - 1] == 5);
    munmap(to, BYTES);
}

static void *copy_on_thread(void *arg)
{
    unsigned char *from = pages(PROT_NONE), to[16];
    unsigned *failures = arg;

    for (unsigned i = 0; i < 1000; i++) {
        *failures += !fault_copy(to, from, sizeof(to));
    }
    munmap(from, BYTES);
    return NULL;
}

/* Each thread has a guard of its own. */
TEST(threads_fault_side_by_side)
{
    pthread_t threads[3];
    unsigned failures[3] = {0, 0, 0};

    for (unsigned i = 0; i < 3; i++) {
        CHECK(pthread_create(&threads[i], NULL, copy_on_thread, &failures[i]) == 0);
    }
    for (unsigned i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        CHECK(failures[i] == 1000);
    }
}

static void touch(void *arg)
{
    *(volatile unsigned char *)arg = 1;
}

/* A signal that claims an address, as another process of this user could send it. */
static void send_signal(void *arg)
{
    siginfo_t info;

    memset(&info, 0, sizeof(info));
    info.si_signo = SIGSEGV;
    info.si_code = SI_QUEUE;
    info.si_addr = arg;
    syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGSEGV, &info);
}

/* A signal that was sent is no fault, not even within a guarded read. */
TEST(a_sent_signal_is_passed_on)
{
    unsigned char *from = pages(PROT_NONE);

    seen = 0;
    expected = 1;
    CHECK(!fault_copy(&(char){0}, from, 1)); /* the handlers are installed */
    if (sigsetjmp(back, 1) == 0) {
        raise(SIGSEGV);
    }
    CHECK(seen == 1);
    expected = 0;
    munmap(from, BYTES);
}

/*
 * The previous handler leaves with a jump of its own, which a guarded read does not expect; so the
 * guarded cases run on threads that end.
 */
static void *touch_guarded(void *elsewhere)
{
    static unsigned char guarded[16];
    const struct fault_range ranges[FAULT_RANGES] = {{guarded, sizeof(guarded)}};

    if (sigsetjmp(back, 1) == 0) {
        fault_run(touch, elsewhere, ranges);
    }
    return NULL;
}

static void *send_guarded(void *arg)
{
    static unsigned char guarded[16];
    const struct fault_range ranges[FAULT_RANGES] = {{guarded, sizeof(guarded)}};

    (void)arg;
    if (sigsetjmp(back, 1) == 0) {
        fault_run(send_signal, guarded, ranges);
    }
    return NULL;
}

static void on_thread(void *(*run)(void *arg), void *arg)
{
    pthread_t thread;

    CHECK(pthread_create(&thread, NULL, run, arg) == 0);
    pthread_join(thread, NULL);
}

/* Faults at other addresses, and signals that only claim to be faults, go to the previous handler.
 */
TEST(faults_elsewhere_are_passed_on)
{
    unsigned char *elsewhere = pages(PROT_NONE);

    seen = 0;
    expected = 1;
    if (sigsetjmp(back, 1) == 0) {
        touch(elsewhere);
    }
    CHECK(seen == 1);
    on_thread(touch_guarded, elsewhere);
    CHECK(seen == 2);
    on_thread(send_guarded, NULL);
    CHECK(seen == 3);
    expected = 0;
    munmap(elsewhere, BYTES);
}
