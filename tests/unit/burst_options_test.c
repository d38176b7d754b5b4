/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the options of `baton burst`, and of the lanes that it gives NIXL.  Nothing is run. */
#include "test.h"

#include "../tools/baton/burst/options.h"
#include "../tools/baton/command.h"
#include "../tools/baton/lanes.h"

#include "baton.h"

#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 40 };

/* Reads `words`, closed by NULL, after the command's name.  `ret_message` is the caller's to
 * free(). */
static int read_options(const char *const *words, struct burst_options *ret_options,
                        char **ret_message)
{
    char *argv[WORDS_MAX] = {(char[]){"burst"}};
    size_t length;
    FILE *as_was = stderr;
    int argc = 1, code;

    while (words[argc - 1] && argc < WORDS_MAX - 1) {
        argv[argc] = (char *)words[argc - 1];
        argc++;
    }
    *ret_message = NULL;
    stderr = open_memstream(ret_message, &length);
    code = burst_options_read(argc, argv, ret_options);
    fclose(stderr);
    stderr = as_was;
    return code;
}

static bool refused(const char *const *words, const char *reason)
{
    struct burst_options options;
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

/* Without options: pulls over shm, in the sizes that the help names. */
TEST(burst_options_defaults)
{
    const char *none[] = {NULL};
    struct burst_options options;
    char *message;

    CHECK(read_options(none, &options, &message) == -1 && !*message);
    CHECK(options.config.transport == BURST_SHM && !options.config.push);
    CHECK(options.config.host == BATON_HOST_AUTO && !options.config.lanes[0] &&
          options.config.on_doubt == BATON_ON_DOUBT_WAIT);
    CHECK(options.config.concurrency == 48 && options.config.duration_ms == 30000 &&
          options.config.block_bytes == 16384 && options.config.movers == -1);
    CHECK(!strcmp(options.model, "tiny") && !options.role);
    CHECK(options.config.fault == BURST_FAULT_NONE && !options.config.fault_decode);
    free(message);
}

/* The names of hosts and of what is done in doubt are those that the engine takes. */
TEST(burst_options_of_nixl)
{
    struct burst_options options;
    char *message;

    CHECK(read_options(WORDS("--transport", "nixl", "--mode", "push", "--host", "in-process",
                             "--lanes", "tcp,posix", "--on-doubt", "kill-local-peer"),
                       &options, &message) == -1);
    CHECK(options.config.transport == BURST_NIXL && options.config.push);
    CHECK(options.config.host == BATON_HOST_IN_PROCESS);
    CHECK(options.config.on_doubt == BATON_ON_DOUBT_KILL_LOCAL_PEER);
    CHECK(!strcmp(options.config.lanes, "tcp,posix"));
    free(message);
    CHECK(read_options(WORDS("--transport=nixl", "--host=helper", "--on-doubt=fence"), &options,
                       &message) == -1);
    CHECK(options.config.host == BATON_HOST_HELPER &&
          options.config.on_doubt == BATON_ON_DOUBT_FENCE);
    free(message);
}

/* Faults are none unless asked for, and prefill's unless said. */
TEST(burst_options_of_faults)
{
    struct burst_options options;
    char *message;

    CHECK(read_options(WORDS("--fault", "stop"), &options, &message) == -1);
    CHECK(options.config.fault == BURST_FAULT_STOP && !options.config.fault_decode);
    free(message);
    CHECK(read_options(WORDS("--fault", "kill", "--fault-peer", "decode"), &options, &message) ==
          -1);
    CHECK(options.config.fault == BURST_FAULT_KILL && options.config.fault_decode);
    free(message);
}

/* What is wrong is refused by its name, also where only the two together are wrong. */
TEST(burst_options_refused)
{
    CHECK(refused(WORDS("--transport", "rdma"), "--transport"));
    CHECK(refused(WORDS("--mode", "shove"), "--mode"));
    CHECK(refused(WORDS("--host", "elsewhere"), "--host"));
    CHECK(refused(WORDS("--on-doubt", "hope"), "--on-doubt"));
    CHECK(refused(WORDS("--transport", "nixl", "--lanes", ""), "--lanes"));
    CHECK(refused(WORDS("--transport", "nixl", "--lanes", "tcp posix"), "--lanes"));
    CHECK(refused(WORDS("--host", "helper"), "--transport nixl"));
    CHECK(refused(WORDS("--transport", "tcp", "--lanes", "tcp"), "--transport nixl"));
    CHECK(refused(WORDS("--requests", "1", "--duration", "1"), "not both"));
    CHECK(refused(WORDS("--speed", "2"), "--trace"));
    CHECK(refused(WORDS("--role", "nobody"), "--role"));
    CHECK(refused(WORDS("--fault", "sleep"), "--fault"));
    CHECK(refused(WORDS("--fault", "kill", "--fault-peer", "both"), "--fault-peer"));
    CHECK(refused(WORDS("--fault-peer", "decode"), "--fault"));
    CHECK(refused(WORDS("more"), "\"more\" is not an option"));
}

/* Whether the line that `options` print is read as the same options. */
static bool read_again(const struct burst_options *options)
{
    struct burst_options again;
    char *line = NULL, *message, *words[WORDS_MAX] = {NULL}, *rest;
    size_t length, count = 0;
    FILE *file = open_memstream(&line, &length);
    bool same;

    burst_options_print(options, file);
    fclose(file);
    strtok_r(line, " \n", &rest); /* baton */
    strtok_r(NULL, " \n", &rest); /* burst */
    while (count < WORDS_MAX - 1 && (words[count] = strtok_r(NULL, " \n", &rest))) {
        count++;
    }
    same = read_options((const char *const *)words, &again, &message) == -1 &&
           again.config.transport == options->config.transport &&
           again.config.push == options->config.push && again.config.seed == options->config.seed &&
           again.config.host == options->config.host &&
           again.config.on_doubt == options->config.on_doubt &&
           again.config.fault == options->config.fault &&
           again.config.fault_decode == options->config.fault_decode &&
           !strcmp(again.config.lanes, options->config.lanes) &&
           again.config.block_bytes == options->config.block_bytes;
    free(message);
    free(line);
    return same;
}

/* The line that a failed burst prints runs the same burst. */
TEST(burst_options_print_what_is_read)
{
    static const char *const lines[][10] = {
        {"--transport", "nixl", "--lanes", "posix", "--mode", "push", "--seed", "7"},
        {"--transport", "nixl", "--host", "helper", "--on-doubt", "fence", "--lanes", "tcp"},
        {"--transport", "tcp", "--model", "Qwen3-0.6B", "--requests", "9"},
        {"--fault", "stop", "--fault-peer", "decode"},
        {"--fault", "kill"},
    };

    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
        struct burst_options options;
        char *message;

        CHECK(read_options(lines[i], &options, &message) == -1);
        free(message);
        options.config.pool_blocks = 1000; /* chosen before it is printed */
        CHECK(read_again(&options));
    }
}

/* Lanes that never leave the host are those whose peers' deaths UCX does not see. */
TEST(lanes_of_this_host)
{
    CHECK(lanes_on_host("shm") && lanes_on_host("posix") && lanes_on_host("self,posix,cma"));
    CHECK(!lanes_on_host("tcp") && !lanes_on_host("posix,tcp") && !lanes_on_host("all"));
    CHECK(!lanes_on_host("^tcp") && !lanes_on_host("shmem") && !lanes_on_host(""));
}

/* Lanes over which a peer's library stores nothing itself. */
TEST(lanes_that_own_their_memory)
{
    CHECK(lanes_own("tcp") && lanes_own("posix,tcp"));
    CHECK(!lanes_own("shm") && !lanes_own("tcp,cma") && !lanes_own("all") && !lanes_own(""));
}

/* Named lanes win over the environment's, which win over tcp; the rest is left as it was set. */
TEST(lanes_in_the_environment)
{
    unsetenv("UCX_TLS");
    setenv("UCX_LOG_LEVEL", "info", true);
    CHECK(!strcmp(lanes_set(""), "tcp"));
    CHECK(!strcmp(lanes_set("posix"), "posix"));
    CHECK(!strcmp(lanes_set(""), "posix") && !strcmp(getenv("UCX_TLS"), "posix"));
    CHECK(!strcmp(getenv("UCX_LOG_LEVEL"), "info") && !strcmp(getenv("UCX_MODULES"), "^ib"));
}
