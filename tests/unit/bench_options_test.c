/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the options of `baton bench`.  Nothing is measured. */
#include "test.h"

#include "../tools/baton/bench.h"
#include "../tools/baton/command.h"

#include <stdlib.h>
#include <string.h>

/* Reads `words`, closed by NULL, after the command's name.  `ret_message` is the caller's to
 * free(). */
static int read_options(const char *const *words, struct bench_options *ret_options,
                        char **ret_message)
{
    char *argv[16] = {"bench"};
    size_t length;
    FILE *as_was = stderr;
    int argc = 1, code;

    while (words[argc - 1] && argc < 15) {
        argv[argc] = (char *)words[argc - 1];
        argc++;
    }
    *ret_message = NULL;
    stderr = open_memstream(ret_message, &length);
    code = bench_options_read(argc, argv, ret_options);
    fclose(stderr);
    stderr = as_was;
    return code;
}

static bool refused(const char *const *words, const char *reason)
{
    struct bench_options options;
    char *message;
    int code = read_options(words, &options, &message);
    bool as_expected = code == EXIT_USAGE && strstr(message, reason);

    if (!as_expected) {
        printf("  exit code %d: %s\n", code, message);
    }
    free(message);
    return as_expected;
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Without options everything is measured, with the defaults that the help names. */
TEST(bench_options_defaults)
{
    const char *none[] = {NULL};
    struct bench_options options;
    char *message;

    CHECK(read_options(none, &options, &message) == -1 && !*message);
    CHECK(options.all && options.wanted[BENCH_SHM] && options.wanted[BENCH_TCP] &&
          options.wanted[BENCH_PROCESS]);
    CHECK(options.sizes == 3 && options.block_bytes[0] == 16384 &&
          options.block_bytes[2] == 262144);
    CHECK(options.bytes == 256 << 20 && options.handoffs == 4 && options.runs == 7);
    CHECK(options.movers == 1 && !options.json_path && options.channel == -1);
    free(message);
}

/* Each option is taken. */
TEST(bench_options_taken)
{
    struct bench_options options;
    char *message;

    CHECK(read_options(WORDS("--transport", "tcp", "--block-bytes", "4KiB,1m", "--bytes", "8MiB",
                             "--handoffs=2", "--runs=3", "--movers=0", "--json=x"),
                       &options, &message) == -1);
    CHECK(!options.all && options.wanted[BENCH_TCP] && !options.wanted[BENCH_SHM] &&
          !options.wanted[BENCH_PROCESS]);
    CHECK(options.sizes == 2 && options.block_bytes[0] == 4096 &&
          options.block_bytes[1] == 1 << 20);
    CHECK(options.bytes == 8 << 20 && options.handoffs == 2 && options.runs == 3);
    CHECK(options.movers == 0 && !strcmp(options.json_path, "x"));
    free(message);
}

/* A wrong value is refused with a message that names the option. */
TEST(bench_options_refused)
{
    CHECK(refused(WORDS("--transport", "rdma"), "--transport"));
    CHECK(refused(WORDS("--block-bytes", "16KiB,"), "--block-bytes"));
    CHECK(refused(WORDS("--block-bytes", "1001"), "not a multiple of 8"));
    CHECK(refused(WORDS("--block-bytes", "8"), "--block-bytes"));
    CHECK(refused(WORDS("--block-bytes", "1k,2k,3k,4k,5k,6k,7k,8k,9k"), "at most 8"));
    CHECK(refused(WORDS("--bytes", "lots"), "--bytes"));
    CHECK(refused(WORDS("--handoffs", "0"), "--handoffs"));
    CHECK(refused(WORDS("--handoffs", "65"), "--handoffs"));
    CHECK(refused(WORDS("--runs", "-1"), "--runs"));
    CHECK(refused(WORDS("--movers", "17"), "--movers"));
    CHECK(refused(WORDS("--nonsense"), "baton bench --help"));
    CHECK(refused(WORDS("--bytes"), "baton bench --help"));
    CHECK(refused(WORDS("more"), "unexpected argument \"more\""));
}

/* So are values that do not go together. */
TEST(bench_options_refused_together)
{
    CHECK(refused(WORDS("--bytes", "1MiB", "--block-bytes", "1MiB"), "one block"));
    CHECK(refused(WORDS("--bytes", "1GiB", "--block-bytes", "64"), "larger blocks"));
}
