/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests of util/assert.h.  What panics does so in a child process. */
#include "test.h"
#include "util/assert.h"

#include "baton.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    EXIT_OF_HOOK = 42,
};

static void leaving_hook(const char *condition, const char *file, int line)
{
    bool told = strcmp(condition, "1 + 1 == 3") == 0 && strstr(file, "assert_test.c") && line > 0;

    _exit(told ? EXIT_OF_HOOK : EXIT_FAILURE);
}

static void returning_hook(const char *condition, const char *file, int line)
{
    (void)condition;
    (void)file;
    (void)line;
}

/* Panics in a child that has `hook`; what it says on stderr goes to `ret_said`.  Returns the wait
 * status. */
static int panicked(baton_panic_fn hook, char *ret_said, size_t size)
{
    int ends[2], status = -1;
    ssize_t got;
    pid_t child;

    if (!CHECK(pipe(ends) == 0)) {
        return status;
    }
    child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        dup2(ends[1], STDERR_FILENO);
        baton_panic_hook(hook);
        BATON_ASSERT(1 + 1 == 3);
        _exit(EXIT_SUCCESS);
    }
    close(ends[1]);
    got = read(ends[0], ret_said, size - 1);
    ret_said[got > 0 ? got : 0] = '\0';
    close(ends[0]);
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    return status;
}

static bool aborted(int status)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

/* Without a hook the process says what broke, and aborts. */
TEST(assert_aborts_with_a_message)
{
    char said[256];

    CHECK(aborted(panicked(NULL, said, sizeof(said))));
    CHECK(strstr(said, "1 + 1 == 3") && strstr(said, "assert_test.c:"));
}

/* The hook is told what broke and where, and decides how the process ends. */
TEST(assert_calls_the_hook)
{
    char said[256];
    int status = panicked(leaving_hook, said, sizeof(said));

    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_OF_HOOK);
    CHECK(said[0] == '\0');
}

/* A hook that returns breaks its promise: the process aborts all the same. */
TEST(assert_aborts_when_the_hook_returns)
{
    char said[256];

    CHECK(aborted(panicked(returning_hook, said, sizeof(said))));
}

/* A condition that holds costs nothing and is evaluated once. */
TEST(assert_evaluates_once)
{
    int evaluated = 0;

    BATON_ASSERT(++evaluated == 1);
    CHECK(evaluated == 1);
}

TEST(implies_is_an_implication)
{
    CHECK(BATON_IMPLIES(false, false));
    CHECK(BATON_IMPLIES(false, true));
    CHECK(!BATON_IMPLIES(true, false));
    CHECK(BATON_IMPLIES(true, true));
}
