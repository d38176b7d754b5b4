/* SPDX-License-Identifier: Apache-2.0 */
/* The options of `baton bench`.  Starts nothing. */
#include "bench.h"
#include "command.h"
#include "options.h"

#include "baton.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

const char *const bench_transport_names[BENCH_TRANSPORTS + 1] = {"shm", "tcp", "process", NULL};

enum {
    BLOCK_BYTES_MIN = 64,
    BLOCK_BYTES_MAX = 1 << 30,
};

static const char help_text[] =
    "Usage: baton bench [--transport shm|tcp|process] [--block-bytes N[,N...]] [--bytes N]\n"
    "                   [--handoffs N] [--runs N] [--movers N] [--json FILE]\n"
    "\n"
    "Throughput of uncancelled handoffs between two processes, blocks scattered on both sides, "
    "next\n"
    "to what the same bytes cost without Baton, measured in the same run, in turns:\n"
    "  shm      a plain memcpy of the same blocks by one thread\n"
    "  tcp      one loopback connection, polled, writev and readv of the same blocks\n"
    "  process  process_vm_readv of the same blocks, 64 a call\n"
    "Then the time of one small fetch, and of cancels up to their receipts, next to an eventfd\n"
    "round trip between two threads.\n"
    "\n"
    "  --transport NAME      only this one (default: all that work here)\n"
    "  --block-bytes N,...   block sizes, multiples of 8 (default 16KiB,64KiB,256KiB)\n"
    "  --bytes N             bytes of one run (default 256MiB)\n"
    "  --handoffs N          handoffs at once, which share those bytes (default 4)\n"
    "  --runs N              runs of each; 30 cancels of each kind a run (default 7)\n"
    "  --movers N            threads that copy, 0 to 16 (default 1)\n"
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

/* "16KiB,64KiB": sizes with commas between them. */
static bool sizes_read(const char *text, struct bench_options *options)
{
    unsigned count = 0;

    for (;;) {
        size_t length = strcspn(text, ",");
        uint64_t bytes;
        char one[32];

        if (count == BENCH_SIZES_MAX) {
            fprintf(stderr, "baton bench: --block-bytes takes at most %d sizes\n", BENCH_SIZES_MAX);
            return false;
        }
        snprintf(one, sizeof(one), "%.*s", (int)(length < 31 ? length : 31), text);
        if (!option_size(place("--block-bytes"), one, BLOCK_BYTES_MIN, BLOCK_BYTES_MAX, &bytes)) {
            return false;
        }
        if (bytes % 8) {
            fprintf(stderr, "baton bench: --block-bytes %s is not a multiple of 8\n", one);
            return false;
        }
        options->block_bytes[count++] = bytes;
        if (!text[length]) {
            break;
        }
        text += length + 1;
    }
    options->sizes = count;
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

/* One option with its value.  False: its message is printed. */
static bool option_take(int name, const char *text, struct bench_options *options)
{
    unsigned channel;

    switch (name) {
    case 't':
        return transport_read(text, options);
    case 'b':
        return sizes_read(text, options);
    case 'B':
        return option_size(place("--bytes"), text, 1 << 20, UINT64_C(1) << 36, &options->bytes);
    case 'n':
        return number_read("--handoffs", text, 1, BENCH_HANDOFFS_MAX, &options->handoffs);
    case 'r':
        return number_read("--runs", text, 1, BENCH_RUNS_MAX, &options->runs);
    case 'm':
        return number_read("--movers", text, 0, BATON_MOVERS_MAX, &options->movers);
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

/* Values that are right alone and wrong together. */
static bool combination_check(const struct bench_options *options)
{
    for (unsigned i = 0; i < options->sizes; i++) {
        uint64_t least = options->block_bytes[i] * options->handoffs;
        uint64_t blocks = options->bytes / options->block_bytes[i];

        if (options->bytes < least) {
            fprintf(stderr,
                    "baton bench: --bytes %llu is less than one block of %zu bytes for each of %u "
                    "handoffs\n",
                    (unsigned long long)options->bytes, options->block_bytes[i], options->handoffs);
            return false;
        }
        if (blocks / options->handoffs > BATON_HANDOFF_BLOCKS_MAX ||
            blocks > BATON_POOL_BLOCKS_MAX) {
            fprintf(stderr,
                    "baton bench: --bytes %llu in blocks of %zu bytes is more than %d blocks a "
                    "handoff: larger blocks, or more handoffs\n",
                    (unsigned long long)options->bytes, options->block_bytes[i],
                    BATON_HANDOFF_BLOCKS_MAX);
            return false;
        }
    }
    return true;
}

int bench_options_read(int argc, char **argv, struct bench_options *ret_options)
{
    static const struct option names[] = {
        {"transport", required_argument, NULL, 't'},
        {"block-bytes", required_argument, NULL, 'b'},
        {"bytes", required_argument, NULL, 'B'},
        {"handoffs", required_argument, NULL, 'n'},
        {"runs", required_argument, NULL, 'r'},
        {"movers", required_argument, NULL, 'm'},
        {"json", required_argument, NULL, 'j'},
        {"role-channel", required_argument, NULL, 'R'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {0},
    };
    struct bench_options options = {
        .wanted = {true, true, true},
        .all = true,
        .block_bytes = {16 << 10, 64 << 10, 256 << 10},
        .sizes = 3,
        .bytes = 256 << 20,
        .handoffs = 4,
        .runs = 7,
        .movers = 1,
        .channel = -1,
    };
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
