/* SPDX-License-Identifier: Apache-2.0 */
/* The test runner: runs the registered tests, or those whose name contains an argument. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

static struct test *first, **last = &first;
static unsigned failed_checks;
static const char *skipped;

void test_register(struct test *test)
{
    *last = test;
    last = &test->next;
}

bool test_check(bool ok, const char *condition, const char *file, int line)
{
    if (!ok) {
        failed_checks++;
        printf("  %s:%d: failed: %s\n", file, line, condition);
        fflush(stdout);
    }
    return ok;
}

void test_skip(const char *why)
{
    skipped = why;
}

static bool wanted(const char *name, int argc, char **argv)
{
    bool any = argc < 2;

    for (int i = 1; i < argc; i++) {
        any = any || strstr(name, argv[i]);
    }
    return any;
}

int main(int argc, char **argv)
{
    unsigned passed = 0, failed = 0, left_out = 0;

    for (struct test *t = first; t; t = t->next) {
        if (!wanted(t->name, argc, argv)) {
            continue;
        }
        failed_checks = 0;
        skipped = NULL;
        t->run();
        if (failed_checks) {
            printf("FAILED  %s\n", t->name);
            failed++;
        } else if (skipped) {
            printf("skipped %s: %s\n", t->name, skipped);
            left_out++;
        } else {
            printf("ok      %s\n", t->name);
            passed++;
        }
        fflush(stdout);
    }
    printf("%u passed, %u failed, %u skipped\n", passed, failed, left_out);
    return failed || !(passed + left_out) ? EXIT_FAILURE : EXIT_SUCCESS;
}
