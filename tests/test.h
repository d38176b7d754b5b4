/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TEST and CHECK.  A test program is some files with TESTs, linked with test.c.  A CHECK that fails
 * is printed, counted and does not leave the test; callbacks on other threads record, the test's
 * own thread checks.
 */
#ifndef BATON_TESTS_TEST_H
#define BATON_TESTS_TEST_H

#include <stdbool.h>
#include <stdio.h>

struct test {
    const char *name;
    void (*run)(void);
    struct test *next;
};

void test_register(struct test *test);
/* Counts and prints a failed check.  Returns `ok`. */
bool test_check(bool ok, const char *condition, const char *file, int line);
/* Marks the running test as skipped, and says why.  Return from the test after it. */
void test_skip(const char *why);

#define TEST(test_name)                                                                            \
    static void test_##test_name(void);                                                            \
    __attribute__((constructor)) static void register_##test_name(void)                            \
    {                                                                                              \
        static struct test self = {#test_name, test_##test_name, NULL};                            \
        test_register(&self);                                                                      \
    }                                                                                              \
    static void test_##test_name(void)

#define CHECK(condition) test_check((condition), #condition, __FILE__, __LINE__)

#endif
