/* SPDX-License-Identifier: Apache-2.0 */
/* The options of `baton burst`: from the command line, and back to one that runs the same again. */
#include "burst/options.h"

#include <getopt.h>
#include <inttypes.h>
#include <string.h>

#include "baton.h"
#include "burst/load.h"
#include "command.h"
#include "options.h"

enum {
    DEFAULT_CONCURRENCY = 48,
    DEFAULT_DURATION_MS = 30000,
    DURATION_MS_MAX = 7 * 24 * 3600 * 1000,
    BLOCK_TOKENS_MIN = 16,
    BLOCK_TOKENS_MAX = 512,
    BLOCK_BYTES_WANTED = 16 << 10,
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

const char *const burst_transport_names[BURST_TRANSPORTS + 1] = {"shm", "tcp", "nixl", NULL};

static const char *const mode_names[] = {"pull", "push", NULL};
static const char *const link_names[] = {"auto", "tcp", NULL};
/* As baton_host and baton_on_doubt count. */
static const char *const host_names[] = {"auto", "in-process", "helper", NULL};
static const char *const on_doubt_names[] = {"wait", "fence", "kill-local-peer", NULL};

static const char *const fault_names[] = {"none", "stop", "kill", NULL};
static const char *const role_names[] = {"prefill", "decode", NULL};

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
    "  --transport NAME        how the bytes travel: shm, tcp or nixl (default shm)\n"
    "  --mode pull|push        push: the source sends, or over shm and nixl writes, what is "
    "granted\n"
    "                          to it (default pull)\n"
    "  --host NAME             with nixl, where the library runs: auto, in-process or helper\n"
    "                          (default auto)\n"
    "  --lanes NAME,...        with nixl, what UCX may use, such as tcp, posix or shm (default:\n"
    "                          $UCX_TLS, then tcp)\n"
    "  --on-doubt NAME         what an engine does about a peer that may still write: wait, fence\n"
    "                          or kill-local-peer (default wait)\n"
    "  --fault NAME            twice in mid burst, none (default), stop: stop a process for a "
    "while, "
    "or\n"
    "                          kill: kill it, and go on with a new one of its role\n"
    "  --fault-peer NAME       which one: prefill (default) or decode\n"
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

enum option_id {
    OPTION_CONCURRENCY = 1,
    OPTION_DURATION,
    OPTION_REQUESTS,
    OPTION_TRANSPORT,
    OPTION_MODE,
    OPTION_HOST,
    OPTION_LANES,
    OPTION_ON_DOUBT,
    OPTION_FAULT,
    OPTION_FAULT_PEER,
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
    OPTION_BOARD,
};

static const struct option long_options[] = {
    {"concurrency", required_argument, NULL, OPTION_CONCURRENCY},
    {"duration", required_argument, NULL, OPTION_DURATION},
    {"requests", required_argument, NULL, OPTION_REQUESTS},
    {"transport", required_argument, NULL, OPTION_TRANSPORT},
    {"mode", required_argument, NULL, OPTION_MODE},
    {"host", required_argument, NULL, OPTION_HOST},
    {"lanes", required_argument, NULL, OPTION_LANES},
    {"on-doubt", required_argument, NULL, OPTION_ON_DOUBT},
    {"fault", required_argument, NULL, OPTION_FAULT},
    {"fault-peer", required_argument, NULL, OPTION_FAULT_PEER},
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
    {"board", required_argument, NULL, OPTION_BOARD},
    {NULL, 0, NULL, 0},
};

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

/* The second of two. */
static bool set_flag(struct option_place place, const char *text, const char *const choices[3],
                     bool *ret_is_second)
{
    unsigned index = 0;

    if (!option_choice(place, text, choices, &index)) {
        return false;
    }
    *ret_is_second = index == 1;
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
    unsigned role;

    switch (id) {
    case OPTION_TRANSPORT:
        return option_choice(place, text, burst_transport_names, &config->transport);
    case OPTION_MODE:
        return set_flag(place, text, mode_names, &config->push);
    case OPTION_HOST:
        return option_choice(place, text, host_names, &config->host);
    case OPTION_LANES:
        return lanes_read(place, text, config->lanes);
    case OPTION_ON_DOUBT:
        return option_choice(place, text, on_doubt_names, &config->on_doubt);
    case OPTION_FAULT:
        return option_choice(place, text, fault_names, &config->fault);
    case OPTION_FAULT_PEER:
        options->fault_peer = true;
        return set_flag(place, text, role_names, &config->fault_decode);
    case OPTION_LINK:
        return set_flag(place, text, link_names, &config->link_tcp);
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
        return option_choice(place, text, role_names, &role);
    case OPTION_CHANNEL:
        return option_number(place, text, 0, INT32_MAX, &options->channel_fd);
    case OPTION_BOARD:
        return option_number(place, text, 0, INT32_MAX, &options->board_fd);
    default:
        return set_load_option(options, id, place, text);
    }
}

/* Values that are right alone and wrong together. */
static bool check_together(const struct burst_options *options)
{
    const struct burst_config *config = &options->config;

    if (config->requests && config->duration_ms) {
        fprintf(stderr, "baton burst: give --requests or --duration, not both\n");
        return false;
    }
    if (config->speed > 0 && !options->trace_path) {
        fprintf(stderr, "baton burst: --speed is about a trace's time: give --trace as well\n");
        return false;
    }
    if (config->transport != BURST_NIXL && (config->host || config->lanes[0])) {
        fprintf(stderr, "baton burst: --host and --lanes are for --transport nixl\n");
        return false;
    }
    if (options->fault_peer && !config->fault) {
        fprintf(stderr, "baton burst: --fault-peer is about a fault: give --fault as well\n");
        return false;
    }
    return true;
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
    return check_together(options) ? -1 : EXIT_USAGE;
}

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

int burst_options_read(int argc, char **argv, struct burst_options *ret_options)
{
    struct burst_options options = {
        .config = {.seed = 1, .concurrency = DEFAULT_CONCURRENCY, .cancel_rate = 0.5, .movers = -1},
    };
    int code = parse(argc, argv, &options);

    if (code >= 0) {
        return code;
    }
    if (!options.model && !options.config.kv_bytes_per_token) {
        options.model = "tiny";
    }
    choose_sizes(&options);
    *ret_options = options;
    return -1;
}

void burst_options_print(const struct burst_options *options, FILE *file)
{
    const struct burst_config *config = &options->config;

    fprintf(file, "baton burst --seed %" PRIu64 " --concurrency %" PRIu32, config->seed,
            config->concurrency);
    if (config->requests) {
        fprintf(file, " --requests %" PRIu64, config->requests);
    } else {
        fprintf(file, " --duration %" PRIu64 "ms", config->duration_ms);
    }
    fprintf(file, " --transport %s --mode %s --link %s", burst_transport_names[config->transport],
            mode_names[config->push], link_names[config->link_tcp]);
    if (config->transport == BURST_NIXL) {
        fprintf(file, " --host %s --lanes %s", host_names[config->host], config->lanes);
    }
    fprintf(file, " --on-doubt %s", on_doubt_names[config->on_doubt]);
    if (config->fault) {
        fprintf(file, " --fault %s --fault-peer %s", fault_names[config->fault],
                role_names[config->fault_decode]);
    }
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
