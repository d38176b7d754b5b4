/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives a fuzz target where libFuzzer does not: PROGRAM [INPUTS [SEED]] tries INPUTS mutations of
 * the target's seeds.  Input i is made from SEED + i alone, so one input can be tried again by
 * itself.  It learns nothing from coverage: it is the fast check in `make test`, libFuzzer is the
 * long one.
 */
#include "fuzz/fuzz.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "util/prng.h"

enum {
    INPUTS_DEFAULT = 50000,
    MUTATIONS_MAX = 8,
};

static char replay[512]; /* the command that tries the current input again */

static void print_replay(int signal_number)
{
    ssize_t ignored = write(STDERR_FILENO, replay, strlen(replay));

    (void)ignored;
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

/* Numbers near which limits tend to be. */
static uint8_t odd_byte(struct prng *prng)
{
    static const uint8_t odd[] = {0, 1, 2, 7, 8, 0x1f, 0x20, 0x7e, 0x7f, 0x80, 0xfe, 0xff};

    return odd[prng_below(prng, sizeof(odd))];
}

/* Change `*length` bytes a little.  `bytes` has room for FUZZ_INPUT_BYTES_MAX. */
static void mutate(struct prng *prng, uint8_t *bytes, size_t *length)
{
    size_t at = *length ? prng_below(prng, *length) : 0;
    size_t count = *length ? 1 + prng_below(prng, *length - at) : 0;

    switch (prng_below(prng, 6)) {
    case 0:
        *length = at;
        break;
    case 1: /* more bytes at the end */
        while (*length < FUZZ_INPUT_BYTES_MAX && prng_below(prng, 8)) {
            bytes[(*length)++] = (uint8_t)prng_next(prng);
        }
        break;
    case 2: /* a part twice */
        if (*length + count <= FUZZ_INPUT_BYTES_MAX) {
            memmove(bytes + at + count, bytes + at, *length - at);
            *length += count;
        }
        break;
    case 3:
        if (*length) {
            bytes[at] ^= (uint8_t)(1 << prng_below(prng, 8));
        }
        break;
    case 4:
        if (*length) {
            bytes[at] = odd_byte(prng);
        }
        break;
    default: /* a number of up to 8 equal bytes */
        memset(bytes + at, odd_byte(prng), count < 8 ? count : 8);
        break;
    }
}

static void try_input(uint64_t seed)
{
    uint8_t bytes[FUZZ_INPUT_BYTES_MAX], *copy;
    struct prng prng;
    size_t length;
    uint64_t mutations;

    prng_init(&prng, seed);
    length = fuzz_seed((unsigned)prng_below(&prng, fuzz_seed_count()), bytes);
    FUZZ_CHECK(length <= sizeof(bytes));
    mutations = prng_below(&prng, MUTATIONS_MAX + 1);
    while (mutations--) {
        mutate(&prng, bytes, &length);
    }
    /* As long as stated, so that sanitizers see any byte read past it. */
    copy = malloc(length ? length : 1);
    FUZZ_CHECK(copy);
    memcpy(copy, bytes, length);
    LLVMFuzzerTestOneInput(copy, length);
    free(copy);
}

int main(int argc, char **argv)
{
    uint64_t inputs = argc > 1 ? strtoull(argv[1], NULL, 0) : INPUTS_DEFAULT;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;

    signal(SIGABRT, print_replay);
    signal(SIGSEGV, print_replay);
    for (uint64_t i = 0; i < inputs; i++) {
        snprintf(replay, sizeof(replay), "replay with: %s 1 %" PRIu64 "\n", argv[0], seed + i);
        try_input(seed + i);
    }
    printf("%s: %" PRIu64 " inputs from seed %" PRIu64 ", nothing broken\n", argv[0], inputs, seed);
    puts("1 passed, 0 failed");
    return EXIT_SUCCESS;
}
