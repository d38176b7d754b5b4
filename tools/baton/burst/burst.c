/* SPDX-License-Identifier: Apache-2.0 */
/* `baton burst`: options, presets, and the exit code.  The run itself is burst_driver.c. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "baton.h"
#include "burst/decode.h"
#include "burst/driver.h"
#include "burst/load.h"
#include "burst/prefill.h"
#include "burst/report.h"
#include "command.h"
#include "options.h"

enum {
    DEFAULT_CONCURRENCY = 48,
    DEFAULT_DURATION_MS = 30000,
    DURATION_MS_MAX = 7 * 24 * 3600 * 1000,
    BLOCK_TOKENS_MIN = 16,
    BLOCK_TOKENS_MAX = 512,
    BLOCK_BYTES_WANTED = 16 << 10,
    BLOCK_BYTES_MAX = 1 << 30,
    BLOCK_BYTES_UNIT = 8,
    BLOCK_BYTES_MIN = 512, /* a request of one block still has several watermarks */
};

/*
 * KV cache bytes of one token, from the models' public configurations: layers x 2 x KV heads x head
 * size x 2 bytes (bf16), and for multi-head latent attention layers x (rank + rope part) x 2 bytes.
 * `tiny` is no model: it makes a mean request 1.5 MB, which suits two cores.
 */
static const struct preset {
    const char *name;
    uint32_t kv_bytes_per_token;
} presets[] = {
    {"tiny", 128},
    {"Llama-3.1-8B", 32 * 2 * 8 * 128 * 2}, /* 131,072 */
    {"Qwen3-0.6B", 28 * 2 * 8 * 128 * 2},   /* 114,688 */
    {"DeepSeek-R1", 61 * (512 + 64) * 2},   /* 70,272 */
};

enum { PRESETS = sizeof(presets) / sizeof(presets[0]) };

static const char *const sabotages[] = {
    [BURST_SABOTAGE_NONE] = "none",
    [BURST_SABOTAGE_EARLY_RETIRE] = "early-retire",
    [BURST_SABOTAGE_SKIP_LEASE] = "skip-lease",
    [BURST_SABOTAGE_LATE_MOVER] = "late-mover",
    [BURST_SABOTAGE_DOUBLE_OUTCOME] = "double-outcome",
    [BURST_SABOTAGE_LEAK] = "leak",
    [BURST_SABOTAGE_WRONG_RECEIPT] = "wrong-receipt",
    NULL,
};

static const char usage[] =
    "usage: baton burst [options]\n"
    "\n"
    "Hands the KV cache of many requests from a prefill to a decode process while clients hang "
    "up,\n"
    "deadlines pass and both sides cancel, at every stage; checks every byte, block and outcome.\n"
    "\n"
    "  --concurrency N         requests under way at once, 1 to 4096 (default 48)\n"
    "  --duration TIME         issue requests for so long, such as 30, 90s, 2m (default 30)\n"
    "  --requests N            issue so many requests, in place of --duration\n"
    "  --transport shm|tcp     how the bytes travel (default shm)\n"
    "  --mode pull|push        push: the source sends, or over shm writes, what is granted to it\n"
    "                          (default pull)\n"
    "  --link auto|tcp         tcp: control links as between two hosts (default auto)\n"
    "  --trace FILE            requests from a trace: JSON lines with timestamp (ms), "
    "input_length,\n"
    "                          output_length and hash_ids; it starts anew after its end\n"
    "  --speed X               issue the trace's requests at X times its speed; 0: as fast as the\n"
    "                          concurrency allows (default 0)\n"
    "  --tokens-max N          cut longer prompts to N tokens\n"
    "  --model NAME            bytes per token of tiny, Llama-3.1-8B, Qwen3-0.6B or DeepSeek-R1\n"
    "                          (default tiny)\n"
    "  --kv-bytes-per-token N  in place of the model's\n"
    "  --block-tokens N        tokens in a block (default: such that a block has about 16 KiB)\n"
    "  --pool-blocks N         blocks of each pool (default: min(concurrency, 128) mean requests,\n"
    "                          and at least the largest request)\n"
    "  --cancel-rate P         share of the requests that end early, 0 to 1 (default 0.5)\n"
    "  --movers N              threads that copy, 0 to 16 (default: the engine's)\n"
    "  --seed N                lengths and cancels; the same seed makes the same plan (default 1)\n"
    "  --stats PATH            serve the engines' stats at PATH.prefill and PATH.decode\n"
    "  --json FILE             write the results as JSON; - for standard output\n"
    "  --sabotage NAME         test builds only: switch on a bug that the checks must find:\n"
    "                          early-retire, skip-lease, late-mover, double-outcome, leak,\n"
    "                          wrong-receipt\n"
    "  --verbose               a line of progress each second, and the engines' warnings\n"
    "  --help, --version\n"
    "\n"
    "Exit codes: 0 ok; 1 a check failed; 2 usage; 3 environment.\n";

struct burst_options {
    struct burst_config config;
    const char *model; /* NULL: by --kv-bytes-per-token alone */
    const char *trace_path;
    const char *json_path;
    const char *role; /* hidden: what the driver starts */
    uint64_t channel_fd;
    uint32_t tokens_max; /* 0: no prompt is cut */
};

enum option_id {
    OPTION_CONCURRENCY = 1,
    OPTION_DURATION,
    OPTION_REQUESTS,
    OPTION_TRANSPORT,
    OPTION_MODE,
    OPTION_LINK,
    OPTION_TRACE,
    OPTION_SPEED,
    OPTION_TOKENS_MAX,
    OPTION_MODEL,
    OPTION_KV_BYTES,
    OPTION_BLOCK_TOKENS,
    OPTION_POOL_BLOCKS,
    OPTION_CANCEL_RATE,
    OPTION_MOVERS,
    OPTION_SEED,
    OPTION_STATS,
    OPTION_JSON,
    OPTION_SABOTAGE,
    OPTION_VERBOSE,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_ROLE,
    OPTION_CHANNEL,
};

static const struct option long_options[] = {
    {"concurrency", required_argument, NULL, OPTION_CONCURRENCY},
    {"duration", required_argument, NULL, OPTION_DURATION},
    {"requests", required_argument, NULL, OPTION_REQUESTS},
    {"transport", required_argument, NULL, OPTION_TRANSPORT},
    {"mode", required_argument, NULL, OPTION_MODE},
    {"link", required_argument, NULL, OPTION_LINK},
    {"trace", required_argument, NULL, OPTION_TRACE},
    {"speed", required_argument, NULL, OPTION_SPEED},
    {"tokens-max", required_argument, NULL, OPTION_TOKENS_MAX},
    {"model", required_argument, NULL, OPTION_MODEL},
    {"kv-bytes-per-token", required_argument, NULL, OPTION_KV_BYTES},
    {"block-tokens", required_argument, NULL, OPTION_BLOCK_TOKENS},
    {"pool-blocks", required_argument, NULL, OPTION_POOL_BLOCKS},
    {"cancel-rate", required_argument, NULL, OPTION_CANCEL_RATE},
    {"movers", required_argument, NULL, OPTION_MOVERS},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"stats", required_argument, NULL, OPTION_STATS},
    {"json", required_argument, NULL, OPTION_JSON},
    {"sabotage", required_argument, NULL, OPTION_SABOTAGE},
    {"verbose", no_argument, NULL, OPTION_VERBOSE},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"role", required_argument, NULL, OPTION_ROLE},
    {"channel", required_argument, NULL, OPTION_CHANNEL},
    {NULL, 0, NULL, 0},
};

/* -------------------------------------------------------------------------------------------
 * options */

static const char *const *preset_names(void)
{
    static const char *names[PRESETS + 1];

    for (unsigned i = 0; i < PRESETS; i++) {
        names[i] = presets[i].name;
    }
    return names;
}

static bool set_small(struct option_place place, const char *text, uint64_t min, uint64_t max,
                      uint32_t *ret_value)
{
    uint64_t value = 0;

    if (!option_number(place, text, min, max, &value)) {
        return false;
    }
    *ret_value = (uint32_t)value;
    return true;
}

static bool set_choice(struct option_place place, const char *text, const char *other,
                       const char *wanted, bool *ret_is_wanted)
{
    const char *const choices[] = {other, wanted, NULL};
    unsigned index = 0;

    if (!option_choice(place, text, choices, &index)) {
        return false;
    }
    *ret_is_wanted = index == 1;
    return true;
}

static bool set_model(struct option_place place, const char *text, struct burst_options *options)
{
    unsigned index = 0;

    if (!option_choice(place, text, preset_names(), &index)) {
        return false;
    }
    options->model = presets[index].name;
    return true;
}

static bool set_sabotage(struct option_place place, const char *text, struct burst_config *config)
{
#ifdef BATON_TEST_BUILD
    unsigned index = 0;

    if (!option_choice(place, text, sabotages, &index)) {
        return false;
    }
    config->sabotage = index;
    return true;
#else
    (void)sabotages;
    (void)config;
    fprintf(stderr, "baton %s: %s %s: this build has no sabotage; use one made for tests\n",
            place.command, place.option, text);
    return false;
#endif
}

static bool set_stats(struct option_place place, const char *text, struct burst_config *config)
{
    if (strlen(text) >= sizeof(config->stats_path)) {
        fprintf(stderr, "baton %s: %s: a socket's path may have at most %zu characters\n",
                place.command, place.option, sizeof(config->stats_path) - 1);
        return false;
    }
    snprintf(config->stats_path, sizeof(config->stats_path), "%s", text);
    return true;
}

static bool set_movers(struct option_place place, const char *text, struct burst_config *config)
{
    uint64_t value = 0;

    if (!option_number(place, text, 0, BATON_MOVERS_MAX, &value)) {
        return false;
    }
    config->movers = (int)value;
    return true;
}

/* Options about the load and its sizes. */
static bool set_load_option(struct burst_options *options, enum option_id id,
                            struct option_place place, const char *text)
{
    struct burst_config *config = &options->config;

    switch (id) {
    case OPTION_CONCURRENCY:
        return set_small(place, text, 1, BURST_CONCURRENCY_MAX, &config->concurrency);
    case OPTION_DURATION:
        return option_duration(place, text, 1, DURATION_MS_MAX, &config->duration_ms);
    case OPTION_REQUESTS:
        return option_number(place, text, 1, UINT32_MAX, &config->requests);
    case OPTION_SPEED:
        return option_fraction(place, text, 0, 1e6, &config->speed);
    case OPTION_TOKENS_MAX:
        return set_small(place, text, 1, LOAD_TOKENS_MAX, &options->tokens_max);
    case OPTION_MODEL:
        return set_model(place, text, options);
    case OPTION_KV_BYTES:
        return set_small(place, text, 1, 1 << 24, &config->kv_bytes_per_token);
    case OPTION_BLOCK_TOKENS:
        return set_small(place, text, 1, 1 << 16, &config->block_tokens);
    case OPTION_POOL_BLOCKS:
        return option_number(place, text, 1, BATON_POOL_BLOCKS_MAX, &config->pool_blocks);
    case OPTION_CANCEL_RATE:
        return option_fraction(place, text, 0, 1, &config->cancel_rate);
    case OPTION_SEED:
        return option_number(place, text, 0, INT64_MAX, &config->seed);
    default:
        return false;
    }
}

static bool set_option(struct burst_options *options, enum option_id id, struct option_place place,
                       const char *text)
{
    struct burst_config *config = &options->config;

    switch (id) {
    case OPTION_TRANSPORT:
        return set_choice(place, text, "shm", "tcp", &config->tcp);
    case OPTION_MODE:
        return set_choice(place, text, "pull", "push", &config->push);
    case OPTION_LINK:
        return set_choice(place, text, "auto", "tcp", &config->link_tcp);
    case OPTION_TRACE:
        options->trace_path = text;
        return true;
    case OPTION_JSON:
        options->json_path = text;
        return true;
    case OPTION_MOVERS:
        return set_movers(place, text, config);
    case OPTION_STATS:
        return set_stats(place, text, config);
    case OPTION_SABOTAGE:
        return set_sabotage(place, text, config);
    case OPTION_VERBOSE:
        config->verbose = true;
        return true;
    case OPTION_ROLE:
        options->role = text;
        return true;
    case OPTION_CHANNEL:
        return option_number(place, text, 0, INT32_MAX, &options->channel_fd);
    default:
        return set_load_option(options, id, place, text);
    }
}

/* Returns an exit code when the command is over with that, else -1. */
static int parse(int argc, char **argv, struct burst_options *options)
{
    int id, index = 0;
    char name[64];
    static char whole_name[] = "baton burst"; /* for getopt's own messages */

    argv[0] = whole_name;
    optind = 1;
    while ((id = getopt_long(argc, argv, "", long_options, &index)) != -1) {
        if (id == OPTION_HELP) {
            fputs(usage, stdout);
            return EXIT_OK;
        }
        if (id == OPTION_VERSION) {
            printf("baton %s\n", baton_version());
            return EXIT_OK;
        }
        if (id == '?') {
            fprintf(stderr, "see baton burst --help\n");
            return EXIT_USAGE;
        }
        snprintf(name, sizeof(name), "--%s", long_options[index].name);
        struct option_place place = {"burst", name};
        if (!set_option(options, (enum option_id)id, place, optarg)) {
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "baton burst: \"%s\" is not an option; see baton burst --help\n",
                argv[optind]);
        return EXIT_USAGE;
    }
    if (options->config.requests && options->config.duration_ms) {
        fprintf(stderr, "baton burst: give --requests or --duration, not both\n");
        return EXIT_USAGE;
    }
    if (options->config.speed > 0 && !options->trace_path) {
        fprintf(stderr, "baton burst: --speed is about a trace's time: give --trace as well\n");
        return EXIT_USAGE;
    }
    return -1;
}

/* ----------------------------------------------------------------------------------------------
 * sizes */

static void choose_sizes(struct burst_options *options)
{
    struct burst_config *config = &options->config;

    for (unsigned i = 0; i < PRESETS && !config->kv_bytes_per_token; i++) {
        if (!strcmp(options->model, presets[i].name)) {
            config->kv_bytes_per_token = presets[i].kv_bytes_per_token;
        }
    }
    if (!config->block_tokens) {
        config->block_tokens = BLOCK_TOKENS_MAX;
        while (config->block_tokens > BLOCK_TOKENS_MIN &&
               (uint64_t)config->block_tokens * config->kv_bytes_per_token > BLOCK_BYTES_WANTED) {
            config->block_tokens /= 2;
        }
    }
    config->block_bytes = (uint64_t)config->block_tokens * config->kv_bytes_per_token;
    if (!config->requests && !config->duration_ms) {
        config->duration_ms = DEFAULT_DURATION_MS;
    }
}

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

/* ------------------------------------------------------------------------------------------ the
 * run */

static void print_replay(const struct burst_options *options, FILE *file)
{
    const struct burst_config *config = &options->config;

    fprintf(file, "  replay: baton burst --seed %" PRIu64 " --concurrency %" PRIu32, config->seed,
            config->concurrency);
    if (config->requests) {
        fprintf(file, " --requests %" PRIu64, config->requests);
    } else {
        fprintf(file, " --duration %" PRIu64 "ms", config->duration_ms);
    }
    fprintf(file, " --transport %s --mode %s --link %s", config->tcp ? "tcp" : "shm",
            config->push ? "push" : "pull", config->link_tcp ? "tcp" : "auto");
    fprintf(file,
            " --cancel-rate %g --kv-bytes-per-token %" PRIu32 " --block-tokens %" PRIu32
            " --pool-blocks %" PRIu64,
            config->cancel_rate, config->kv_bytes_per_token, config->block_tokens,
            config->pool_blocks);
    if (options->trace_path) {
        fprintf(file, " --trace %s --speed %g", options->trace_path, config->speed);
    }
    if (options->tokens_max) {
        fprintf(file, " --tokens-max %" PRIu32, options->tokens_max);
    }
    if (config->movers >= 0) {
        fprintf(file, " --movers %d", config->movers);
    }
    if (config->sabotage) {
        fprintf(file, " --sabotage %s", sabotages[config->sabotage]);
    }
    fputc('\n', file);
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
        print_replay(options, person);
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

    choose_sizes(options);
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
    struct burst_options options = {
        .config = {.seed = 1, .concurrency = DEFAULT_CONCURRENCY, .cancel_rate = 0.5, .movers = -1},
    };

    int code = parse(argc, argv, &options);
    if (code >= 0) {
        return code;
    }
    if (options.role && !strcmp(options.role, "prefill")) {
        return burst_prefill((int)options.channel_fd);
    }
    if (options.role && !strcmp(options.role, "decode")) {
        return burst_decode((int)options.channel_fd);
    }
    if (!options.model && !options.config.kv_bytes_per_token) {
        options.model = "tiny";
    }
    return prepare_and_run(&options);
}
