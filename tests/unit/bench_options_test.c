/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the options of `baton bench`.  Nothing is measured. */
#include "test.h"

#include "../tools/baton/bench/bench.h"
#include "../tools/baton/command.h"

#include "baton.h"

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
          options.wanted[BENCH_PROCESS] && !options.wanted[BENCH_NIXL]);
    CHECK(options.sizes == 3 && options.block_bytes[0] == 16384 &&
          options.block_bytes[2] == 262144);
    CHECK(options.bytes == 256 << 20 && options.runs == 7 && options.cancel_handoffs == 128);
    CHECK(options.handoffs_count == 1 && options.handoffs[0] == 4);
    for (unsigned i = 0; i < BENCH_SECTIONS; i++) {
        CHECK(options.sections[i]);
    }
    CHECK(options.movers_count == 1 && options.movers[0] == 1 && !options.json_path &&
          options.channel == -1);
    free(message);
}

/* Each option is taken. */
TEST(bench_options_taken)
{
    struct bench_options options;
    char *message;

    CHECK(read_options(WORDS("--transport", "tcp", "--block-bytes", "4KiB,1m", "--bytes", "512MiB",
                             "--handoffs=2,256", "--runs=3", "--movers=0,2", "--json=x"),
                       &options, &message) == -1);
    CHECK(!options.all && options.wanted[BENCH_TCP] && !options.wanted[BENCH_SHM] &&
          !options.wanted[BENCH_PROCESS]);
    CHECK(options.sizes == 2 && options.block_bytes[0] == 4096 &&
          options.block_bytes[1] == 1 << 20);
    CHECK(options.bytes == 512 << 20 && options.runs == 3);
    CHECK(options.handoffs_count == 2 && options.handoffs[1] == 256);
    CHECK(options.movers_count == 2 && options.movers[0] == 0 && options.movers[1] == 2);
    CHECK(!strcmp(options.json_path, "x"));
    free(message);
}

/* NIXL is measured only by name; pushes over it, and their cancels. */
TEST(bench_options_of_nixl)
{
    struct bench_options options;
    char *message;

    CHECK(read_options(WORDS("--transport", "nixl", "--mode", "push", "--host", "helper", "--lanes",
                             "posix", "--only", "throughput,cancel"),
                       &options, &message) == -1);
    CHECK(options.wanted[BENCH_NIXL] && !options.wanted[BENCH_TCP] && options.push);
    CHECK(options.host == BATON_HOST_HELPER && !strcmp(options.lanes, "posix"));
    free(message);
}

/* A part of it alone. */
TEST(bench_options_sections)
{
    struct bench_options options;
    char *message;

    CHECK(read_options(WORDS("--only", "latency,idle", "--cancel-handoffs", "1"), &options,
                       &message) == -1);
    CHECK(options.sections[BENCH_LATENCY] && options.sections[BENCH_IDLE]);
    CHECK(!options.sections[BENCH_THROUGHPUT] && !options.sections[BENCH_POST] &&
          !options.sections[BENCH_CANCEL]);
    CHECK(options.cancel_handoffs == 1);
    free(message);
}

/* A wrong value is refused with a message that names the option. */
TEST(bench_options_refused)
{
    CHECK(refused(WORDS("--transport", "rdma"), "--transport"));
    CHECK(refused(WORDS("--block-bytes", "16KiB,"), "--block-bytes"));
    CHECK(refused(WORDS("--block-bytes", "1001"), "not a multiple of 8"));
    CHECK(refused(WORDS("--block-bytes", "8"), "--block-bytes"));
    CHECK(refused(WORDS("--block-bytes", "1k,2k,3k,4k,5k,6k,7k,8k,9k,1m"), "at most 9"));
    CHECK(refused(WORDS("--bytes", "lots"), "--bytes"));
    CHECK(refused(WORDS("--handoffs", "0"), "--handoffs"));
    CHECK(refused(WORDS("--handoffs", "257"), "--handoffs"));
    CHECK(refused(WORDS("--handoffs", "4,,8"), "--handoffs"));
    CHECK(refused(WORDS("--only", "everything"), "--only"));
    CHECK(refused(WORDS("--cancel-handoffs", "0"), "--cancel-handoffs"));
    CHECK(refused(WORDS("--runs", "-1"), "--runs"));
    CHECK(refused(WORDS("--movers", "17"), "--movers"));
    CHECK(refused(WORDS("--host", "there"), "--host"));
    CHECK(refused(WORDS("--lanes", "tcp;posix"), "--lanes"));
    CHECK(refused(WORDS("--nonsense"), "baton bench --help"));
    CHECK(refused(WORDS("--bytes"), "baton bench --help"));
    CHECK(refused(WORDS("more"), "unexpected argument \"more\""));
}

/* So are values that do not go together. */
TEST(bench_options_refused_together)
{
    CHECK(refused(WORDS("--bytes", "1MiB", "--block-bytes", "1MiB"), "one block"));
    CHECK(refused(WORDS("--bytes", "4MiB", "--block-bytes", "64KiB", "--handoffs", "64,65"),
                  "one block"));
    CHECK(
        refused(WORDS("--mode", "push", "--transport", "tcp", "--only", "cancel"), "--mode push"));
    CHECK(refused(WORDS("--mode", "push", "--transport", "nixl", "--only", "latency"),
                  "--mode push"));
    CHECK(refused(WORDS("--transport", "shm", "--host", "helper"), "--transport nixl"));
    CHECK(refused(WORDS("--lanes", "tcp"), "--transport nixl"));
}

/* A handoff has as many blocks as its share of the bytes, within what it may have. */
TEST(bench_options_blocks_of_a_handoff)
{
    CHECK(bench_blocks_each(256 << 20, 16 << 10, 4) == 4096);
    CHECK(bench_blocks_each(UINT64_C(1) << 30, 256, 4) == 1 << 17);
    CHECK(bench_blocks_each(1 << 20, 16 << 10, 128) == 1);
    CHECK(bench_movers(BENCH_PROCESS, 0) == 1 && bench_movers(BENCH_SHM, 0) == 0);
}
