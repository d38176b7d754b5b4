/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a fuzz target is: one function that libFuzzer or main.c calls with bytes, and its seeds.  A
 * target aborts, through FUZZ_CHECK, when a promise is broken.
 */
#ifndef BATON_TESTS_FUZZ_FUZZ_H
#define BATON_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    FUZZ_INPUT_BYTES_MAX = 4096,
};

/* Try one input.  Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* How many seeds the target has; and seed `index`, at most FUZZ_INPUT_BYTES_MAX bytes.  Returns its
 * length. */
unsigned fuzz_seed_count(void);
size_t fuzz_seed(unsigned index, uint8_t *ret_bytes);

#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
