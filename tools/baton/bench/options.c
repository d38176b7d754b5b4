/* SPDX-License-Identifier: Apache-2.0 */
/* The options of `baton bench`.  Starts nothing. */
#include "options.h"
#include "bench/bench.h"
#include "command.h"

#include "baton.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

const char *const bench_transport_names[BENCH_TRANSPORTS + 1] = {"shm", "tcp", "process", "nixl",
                                                                 NULL};

static const char *const section_names[BENCH_SECTIONS + 1] = {"throughput", "post", "latency",
                                                              "cancel",     "idle", NULL};

enum {
    BLOCK_BYTES_MIN = 64,
    BLOCK_BYTES_MAX = 1 << 30,
};

static const char help_text[] =
    "Usage: baton bench [--transport shm|tcp|process|nixl] [--only SECTION[,SECTION...]]\n"
    "                   [--mode pull|push] [--host auto|in-process|helper] [--lanes "
    "NAME[,NAME...]]\n"
    "                   [--block-bytes N[,N...]] [--handoffs N[,N...]] [--movers N[,N...]]\n"
    "                   [--bytes N] [--cancel-handoffs N] [--runs N] [--json FILE]\n"
    "\n"
    "Measure handoffs between two processes, blocks scattered on both sides, next to what the "
    "same\n"
    "costs without Baton in the same run.  Sections:\n"
    "  throughput  uncancelled handoffs, in turns with a memcpy of the same blocks (and, for shm,\n"
    "              one by as many threads as there are movers, and one of contiguous memory), "
    "with\n"
    "              raw TCP that polls and that blocks (for tcp; each the best of a small sweep),\n"
    "              with process_vm_readv of 64 blocks a call (for process), and with NIXL itself,\n"
    "              both sides polling (for nixl; with its lists of blocks made before and within)\n"
    "  post        the calls that post a handoff of 16,384 blocks, and how much later the first\n"
    "              window may start than with one block\n"
    "  latency     one block of 16 KiB, engines driven by callers that poll and by Baton's own\n"
    "              threads, next to raw TCP round trips; as the machine is, and with a process "
    "that\n"
    "              spins on each CPU\n"
    "  cancel      cancels up to their receipts, at either end, the other process alive and\n"
    "              stopped, next to an eventfd round trip between two threads\n"
    "  idle        what an engine costs that has nothing to do\n"
    "\n"
    "  --transport NAME      only this one (default: all that work here, but nixl)\n"
    "  --only SECTION,...    only these sections (default: all)\n"
    "  --mode pull|push      push: the source sends what is granted to it; with --transport tcp\n"
    "                        --only throughput, and --transport nixl --only throughput,cancel\n"
    "                        (default pull)\n"
    "  --host NAME           with nixl, where its library runs: auto, in-process or helper "
    "(default\n"
    "                        auto)\n"
    "  --lanes NAME,...      with nixl, what UCX may use, Baton's and the baseline's, such as "
    "tcp,\n"
    "                        posix or shm (default: $UCX_TLS, then tcp)\n"
    "  --block-bytes N,...   block sizes, multiples of 8, from 64 (default 16KiB,64KiB,256KiB)\n"
    "  --handoffs N,...      handoffs at once, 1 to 256, which share the bytes of a run (default "
    "4)\n"
    "  --movers N,...        threads that copy, 0 to 16, for shm and process (default 1; for\n"
    "                        process at least 1)\n"
    "  --slice-bytes N       copied between two looks for a cancel, for shm and process (default\n"
    "                        64KiB); 1GiB: none within a window, to see what looking costs\n"
    "  --bytes N             bytes of one run, and in flight at cancels (default 256MiB), or as\n"
    "                        many as the handoffs can have\n"
    "  --cancel-handoffs N   in flight at each cancel, 1 to 256 (default 128)\n"
    "  --runs N              runs of each (default 7)\n"
    "  --json FILE           also write the results there; - for standard output\n"
    "  --help                print this text\n"
    "  --version             print the version\n"
    "\n"
    "Exit codes: 0 ok; 1 a handoff failed or delivered wrong bytes; 2 usage; 3 the machine "
    "refused.\n";

static struct option_place place(const char *option)
{
    return (struct option_place){"bench", option};
}

/* One value of a list.  False: its message is printed. */
typedef bool (*value_read)(const char *text, uint64_t *ret_value);

static bool block_bytes_read(const char *text, uint64_t *ret_value)
{
    uint64_t bytes;

    if (!option_size(place("--block-bytes"), text, BLOCK_BYTES_MIN, BLOCK_BYTES_MAX, &bytes)) {
        return false;
    }
    if (bytes % 8) {
        fprintf(stderr, "baton bench: --block-bytes %s is not a multiple of 8\n", text);
        return false;
    }
    *ret_value = bytes;
    return true;
}

static bool handoffs_read(const char *text, uint64_t *ret_value)
{
    return option_number(place("--handoffs"), text, 1, BENCH_HANDOFFS_MAX, ret_value);
}

static bool movers_read(const char *text, uint64_t *ret_value)
{
    return option_number(place("--movers"), text, 0, BATON_MOVERS_MAX, ret_value);
}

static bool section_read(const char *text, uint64_t *ret_value)
{
    unsigned index;

    if (!option_choice(place("--only"), text, section_names, &index)) {
        return false;
    }
    *ret_value = index;
    return true;
}

/* Values with commas between them. */
static bool list_read(const char *option, const char *text, value_read read,
                      uint64_t ret_values[BENCH_LIST_MAX], unsigned *ret_count)
{
    unsigned count = 0;

    for (;;) {
        size_t length = strcspn(text, ",");
        char one[32];

        if (count == BENCH_LIST_MAX) {
            fprintf(stderr, "baton bench: %s takes at most %d values\n", option, BENCH_LIST_MAX);
            return false;
        }
        snprintf(one, sizeof(one), "%.*s", (int)(length < 31 ? length : 31), text);
        if (!read(one, &ret_values[count])) {
            return false;
        }
        count++;
        if (!text[length]) {
            break;
        }
        text += length + 1;
    }
    *ret_count = count;
    return true;
}

static bool sections_read(const char *text, struct bench_options *options)
{
    uint64_t sections[BENCH_LIST_MAX];
    unsigned count;

    if (!list_read("--only", text, section_read, sections, &count)) {
        return false;
    }
    memset(options->sections, 0, sizeof(options->sections));
    for (unsigned i = 0; i < count; i++) {
        options->sections[sections[i]] = true;
    }
    return true;
}

static bool number_read(const char *option, const char *text, uint64_t min, uint64_t max,
                        unsigned *ret_number)
{
    uint64_t number;

    if (!option_number(place(option), text, min, max, &number)) {
        return false;
    }
    *ret_number = (unsigned)number;
    return true;
}

static bool transport_read(const char *text, struct bench_options *options)
{
    unsigned index;

    if (!option_choice(place("--transport"), text, bench_transport_names, &index)) {
        return false;
    }
    memset(options->wanted, 0, sizeof(options->wanted));
    options->wanted[index] = true;
    options->all = false;
    return true;
}

static bool mode_read(const char *text, struct bench_options *options)
{
    static const char *const modes[] = {"pull", "push", NULL};
    unsigned index;

    if (!option_choice(place("--mode"), text, modes, &index)) {
        return false;
    }
    options->push = index == 1;
    return true;
}

static bool host_read(const char *text, struct bench_options *options)
{
    /* As baton_host counts. */
    static const char *const hosts[] = {"auto", "in-process", "helper", NULL};

    return option_choice(place("--host"), text, hosts, &options->host);
}

/* One option with its value.  False: its message is printed. */
static bool option_take(int name, const char *text, struct bench_options *options)
{
    unsigned channel;

    switch (name) {
    case 't':
        return transport_read(text, options);
    case 'o':
        return sections_read(text, options);
    case 'p':
        return mode_read(text, options);
    case 'H':
        return host_read(text, options);
    case 'l':
        return lanes_read(place("--lanes"), text, options->lanes);
    case 'b':
        return list_read("--block-bytes", text, block_bytes_read, options->block_bytes,
                         &options->sizes);
    case 'B':
        return option_size(place("--bytes"), text, 1 << 20, UINT64_C(1) << 36, &options->bytes);
    case 's':
        return option_size(place("--slice-bytes"), text, 4096, 1 << 30, &options->slice_bytes);
    case 'n':
        return list_read("--handoffs", text, handoffs_read, options->handoffs,
                         &options->handoffs_count);
    case 'c':
        return number_read("--cancel-handoffs", text, 1, BENCH_HANDOFFS_MAX,
                           &options->cancel_handoffs);
    case 'r':
        return number_read("--runs", text, 1, BENCH_RUNS_MAX, &options->runs);
    case 'm':
        return list_read("--movers", text, movers_read, options->movers, &options->movers_count);
    case 'j':
        options->json_path = text;
        return true;
    case 'R':
        if (!number_read("--role-channel", text, 3, 1 << 20, &channel)) {
            return false;
        }
        options->channel = (int)channel;
        return true;
    default:
        fputs("Try `baton bench --help`.\n", stderr);
        return false;
    }
}

size_t bench_blocks_each(uint64_t bytes, size_t block_bytes, unsigned handoffs)
{
    uint64_t each = bytes / block_bytes / handoffs;

    if (each > BATON_HANDOFF_BLOCKS_MAX) {
        each = BATON_HANDOFF_BLOCKS_MAX;
    }
    return each ? each : 1;
}

unsigned bench_movers(enum bench_transport transport, uint64_t wanted)
{
    /* process_vm_readv may wait, so a thread that drives an engine never calls it. */
    return transport == BENCH_PROCESS && wanted == 0 ? 1 : (unsigned)wanted;
}

static bool push_fits(const struct bench_options *options)
{
    bool others = options->wanted[BENCH_SHM] || options->wanted[BENCH_PROCESS];

    for (unsigned i = 0; i < BENCH_SECTIONS; i++) {
        bool fits = i == BENCH_THROUGHPUT || (i == BENCH_CANCEL && options->wanted[BENCH_NIXL]);

        others = others || (!fits && options->sections[i]);
    }
    return !others;
}

/* Values that are right alone and wrong together. */
static bool combination_check(const struct bench_options *options)
{
    for (unsigned i = 0; i < options->sizes * options->handoffs_count; i++) {
        uint64_t block_bytes = options->block_bytes[i % options->sizes];
        uint64_t handoffs = options->handoffs[i / options->sizes];

        if (options->bytes < block_bytes * handoffs) {
            fprintf(stderr,
                    "baton bench: --bytes %llu is less than one block of %llu bytes for each of "
                    "%llu handoffs\n",
                    (unsigned long long)options->bytes, (unsigned long long)block_bytes,
                    (unsigned long long)handoffs);
            return false;
        }
    }
    if (options->push && !push_fits(options)) {
        fputs("baton bench: --mode push is measured with --transport tcp --only throughput, and "
              "with --transport nixl --only throughput,cancel\n",
              stderr);
        return false;
    }
    if (!options->wanted[BENCH_NIXL] && (options->host || options->lanes[0])) {
        fputs("baton bench: --host and --lanes are for --transport nixl\n", stderr);
        return false;
    }
    return true;
}

static const struct bench_options defaults = {
    .wanted = {true, true, true},
    .all = true,
    .sections = {true, true, true, true, true},
    .block_bytes = {16 << 10, 64 << 10, 256 << 10},
    .sizes = 3,
    .handoffs = {4},
    .handoffs_count = 1,
    .movers = {1},
    .movers_count = 1,
    .bytes = 256 << 20,
    .cancel_handoffs = 128,
    .runs = 7,
    .channel = -1,
};

int bench_options_read(int argc, char **argv, struct bench_options *ret_options)
{
    static const struct option names[] = {
        {"transport", required_argument, NULL, 't'},
        {"only", required_argument, NULL, 'o'},
        {"mode", required_argument, NULL, 'p'},
        {"host", required_argument, NULL, 'H'},
        {"lanes", required_argument, NULL, 'l'},
        {"block-bytes", required_argument, NULL, 'b'},
        {"bytes", required_argument, NULL, 'B'},
        {"handoffs", required_argument, NULL, 'n'},
        {"cancel-handoffs", required_argument, NULL, 'c'},
        {"runs", required_argument, NULL, 'r'},
        {"movers", required_argument, NULL, 'm'},
        {"slice-bytes", required_argument, NULL, 's'},
        {"json", required_argument, NULL, 'j'},
        {"role-channel", required_argument, NULL, 'R'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {0},
    };
    struct bench_options options = defaults;
    int name;

    optind = 0; /* glibc: start anew, also when the arguments of the main command were parsed */
    while ((name = getopt_long(argc, argv, "h", names, NULL)) != -1) {
        if (name == 'h') {
            fputs(help_text, stdout);
            return EXIT_OK;
        }
        if (name == 'V') {
            printf("baton %s\n", baton_version());
            return EXIT_OK;
        }
        if (!option_take(name, optarg, &options)) {
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "baton bench: unexpected argument \"%s\"\n", argv[optind]);
        return EXIT_USAGE;
    }
    if (!combination_check(&options)) {
        return EXIT_USAGE;
    }
    *ret_options = options;
    return -1;
}
