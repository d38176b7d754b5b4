/* SPDX-License-Identifier: Apache-2.0 */
/* `baton burst`: the sizes of its pools, and the exit code.  The run itself is burst/driver.c. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "baton.h"
#include "burst/decode.h"
#include "burst/driver.h"
#include "burst/fault.h"
#include "burst/load.h"
#include "burst/options.h"
#include "burst/prefill.h"
#include "burst/report.h"
#include "command.h"
#include "lanes.h"

enum {
    BLOCK_BYTES_MAX = 1 << 30,
    BLOCK_BYTES_UNIT = 8,
    BLOCK_BYTES_MIN = 512, /* a request of one block still has several watermarks */
};

static bool check_block(const struct burst_config *config)
{
    if (config->block_bytes >= BLOCK_BYTES_MIN && config->block_bytes <= BLOCK_BYTES_MAX &&
        config->block_bytes % BLOCK_BYTES_UNIT == 0) {
        return true;
    }
    fprintf(stderr,
            "baton burst: a block of %" PRIu32 " tokens of %" PRIu32 " bytes has %" PRIu64
            " bytes: it must have %d to %d, a multiple of %d; change --block-tokens\n",
            config->block_tokens, config->kv_bytes_per_token, config->block_bytes, BLOCK_BYTES_MIN,
            BLOCK_BYTES_MAX, BLOCK_BYTES_UNIT);
    return false;
}

static bool check_largest(const struct burst_options *options, const struct load *load)
{
    const struct burst_config *config = &options->config;
    uint64_t largest = burst_blocks(config, load->largest_tokens);

    if (largest <= config->pool_blocks && largest <= BATON_HANDOFF_BLOCKS_MAX) {
        return true;
    }
    if (options->trace_path) {
        fprintf(stderr, "baton burst: %s:%zu: ", options->trace_path, load->largest_line);
    } else {
        fprintf(stderr, "baton burst: ");
    }
    if (largest > BATON_HANDOFF_BLOCKS_MAX) {
        fprintf(stderr,
                "a request of %" PRIu32 " tokens needs %" PRIu64
                " blocks, a handoff has at most %d: give a larger --block-tokens\n",
                load->largest_tokens, largest, BATON_HANDOFF_BLOCKS_MAX);
        return false;
    }
    fprintf(stderr,
            "a request of %" PRIu32 " tokens needs %" PRIu64 " blocks, the pool has %" PRIu64
            ": give --pool-blocks %" PRIu64 " or more, or cut prompts with --tokens-max\n",
            load->largest_tokens, largest, config->pool_blocks, largest);
    return false;
}

static int choose_pool(struct burst_options *options, const struct load *load)
{
    struct burst_config *config = &options->config;
    uint64_t requests = config->concurrency < BURST_POOL_REQUESTS_MAX ? config->concurrency
                                                                      : BURST_POOL_REQUESTS_MAX;
    uint64_t largest = burst_blocks(config, load->largest_tokens);

    if (config->fault && config->transport == BURST_NIXL) {
        /* A proof may take seconds, or never come: the burst goes on with the rest. */
        requests *= 1 + BURST_FAULTS;
    }
    if (!config->pool_blocks) {
        config->pool_blocks = burst_blocks(config, (uint64_t)load->mean_tokens) * requests;
        config->pool_blocks = config->pool_blocks < largest ? largest : config->pool_blocks;
    }
    if (!check_largest(options, load)) {
        return EXIT_USAGE;
    }
    double needed = 2.0 * (double)config->pool_blocks * (double)config->block_bytes;
    double there = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    if (config->pool_blocks > BATON_POOL_BLOCKS_MAX || needed > there * 0.8) {
        fprintf(stderr,
                "baton burst: two pools of %" PRIu64 " blocks of %" PRIu64
                " bytes are %.1f GiB, this machine has %.1f GiB: give a smaller --concurrency, "
                "--pool-blocks or --tokens-max\n",
                config->pool_blocks, config->block_bytes, needed / (1 << 30), there / (1 << 30));
        return EXIT_ENVIRONMENT;
    }
    return EXIT_OK;
}

static int run(struct burst_options *options, const struct load *load, FILE *json)
{
    static struct account account;
    struct report report;
    bool live = options->config.verbose || isatty(STDERR_FILENO);
    FILE *person = json == stdout ? stderr : stdout;

    int code = burst_drive(&options->config, load, live ? report_progress : NULL, &account);
    report_progress_end();
    if (code == EXIT_ENVIRONMENT) {
        return code;
    }
    report_init(&report, &options->config, options->model ? options->model : "given by hand",
                &account, code == EXIT_OK);
    report_summary(&report, person);
    if (!report.ok) {
        fputs("  replay: ", person);
        burst_options_print(options, person);
    }
    bool written = !json || report_json(&report, json);
    account_fini(&account);
    if (!written) {
        fprintf(stderr, "baton burst: %s: %s\n", options->json_path, strerror(errno));
        return EXIT_ENVIRONMENT;
    }
    return report.ok ? EXIT_OK : EXIT_CHECK;
}

static int prepare_and_run(struct burst_options *options)
{
    struct load load = {0};
    char why[LOAD_ERROR_BYTES];
    FILE *json = NULL;

    if (!check_block(&options->config)) {
        return EXIT_USAGE;
    }
    if (!options->trace_path) {
        load_init_generator(&load, options->config.seed);
    } else if (!load_read_trace(options->trace_path, &load, why)) {
        fprintf(stderr, "baton burst: %s\n", why);
        return EXIT_USAGE;
    }
    if (options->tokens_max) {
        load_cut(&load, options->tokens_max);
    }
    int code = choose_pool(options, &load);
    if (code == EXIT_OK && options->json_path) {
        json = strcmp(options->json_path, "-") ? fopen(options->json_path, "we") : stdout;
        if (!json) {
            fprintf(stderr, "baton burst: --json %s: %s\n", options->json_path, strerror(errno));
            code = EXIT_ENVIRONMENT;
        }
    }
    if (code == EXIT_OK) {
        code = run(options, &load, json);
    }
    if (json && json != stdout) {
        fclose(json);
    }
    load_fini(&load);
    return code;
}

int burst_command(int argc, char **argv)
{
    struct burst_options options;
    int code = burst_options_read(argc, argv, &options);

    if (code >= 0) {
        return code;
    }
    if (options.role) {
        return strcmp(options.role, "prefill")
                   ? burst_decode((int)options.channel_fd, (int)options.board_fd)
                   : burst_prefill((int)options.channel_fd, (int)options.board_fd);
    }
    if (options.config.transport == BURST_NIXL) {
        /* The processes of the burst inherit it. */
        snprintf(options.config.lanes, sizeof(options.config.lanes), "%s",
                 lanes_set(options.config.lanes));
    }
    return prepare_and_run(&options);
}
