/* SPDX-License-Identifier: Apache-2.0 */
/* `baton demo late-bytes`: its options, the order of its runs, the table and the verdict. */
#include "command.h"
#include "demo/late.h"
#include "lanes.h"
#include "options.h"

#include <getopt.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "transport/nixl_api.h"

#define TRIED "1.5.1"

struct demo_options {
    const char *json, *library;
    uint64_t bytes;
};

struct demo {
    char version[32]; /* of NIXL; "" without it */
    bool nixl;
    struct baton_error missing; /* why there is no NIXL */
    unsigned count;
    struct late_run runs[LATE_NIXL_RUNS + LATE_BATON_RUNS];
};

static const char help_text[] =
    "Usage: baton demo late-bytes [--bytes SIZE] [--nixl FILE] [--json FILE]\n"
    "\n"
    "Shows, on this machine, what lands in memory after its transfer was said to be over.\n"
    "A transfer between two processes is ended in the middle; the memory is poisoned for its next\n"
    "owner; everything goes on; bytes that changed are counted.  First NIXL, which is asked to\n"
    "release the transfer and to deregister the memory; then Baton's fetch over tcp, shm and\n"
    "NIXL, which is cancelled and gives a receipt.  With a live peer (NIXL's polls its library\n"
    "again after the poison), and with one that is stopped until then.\n"
    "Takes less than a minute and some hundred MiB.\n"
    "\n"
    "  --bytes SIZE    of each transfer: 1MiB to 1GiB (default 64MiB)\n"
    "  --nixl FILE     NIXL's libnixl_capi.so (default: $BATON_NIXL_LIBRARY, then where the "
    "system\n"
    "                  looks); without one, Baton's part alone is run\n"
    "  --json FILE     also write the results there; - for the output, in place of the table\n"
    "  --help          print this text\n"
    "\n"
    "Exit codes: 0 no late byte with Baton; 1 a late byte, or no receipt; 2 usage; 3 "
    "environment.\n";

/* Returns an exit code, or -1 to go on. */
static int options_read(int argc, char **argv, struct demo_options *ret_options)
{
    static const struct option names[] = {
        {"bytes", required_argument, NULL, 'b'},
        {"nixl", required_argument, NULL, 'n'},
        {"json", required_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    struct demo_options options = {.bytes = 64 << 20};
    int name;

    optind = 0; /* glibc: start anew, also when the arguments of the main command were parsed */
    while ((name = getopt_long(argc, argv, "h", names, NULL)) != -1) {
        switch (name) {
        case 'b':
            if (!option_size((struct option_place){"demo", "--bytes"}, optarg, 1 << 20, 1 << 30,
                             &options.bytes)) {
                return EXIT_USAGE;
            }
            break;
        case 'n':
            options.library = optarg;
            break;
        case 'j':
            options.json = optarg;
            break;
        case 'h':
            fputs(help_text, stdout);
            return EXIT_OK;
        default:
            fputs("Try `baton demo --help`.\n", stderr);
            return EXIT_USAGE;
        }
    }
    if (argc - optind != 1 || strcmp(argv[optind], "late-bytes") != 0) {
        fputs("baton demo: there is one demo: baton demo late-bytes\n", stderr);
        return EXIT_USAGE;
    }
    options.bytes -= options.bytes % LATE_BLOCK_BYTES;
    *ret_options = options;
    return -1;
}

static bool is_baton(const struct late_run *run)
{
    return !strcmp(run->who, "Baton");
}

static const char *verdict(const struct late_run *run)
{
    if (run->failure[0]) {
        return is_baton(run) ? "FAILED" : "not run";
    }
    if (is_baton(run)) {
        return run->late ? "LATE BYTES" : "quiet";
    }
    return run->late ? "late bytes" : "not reproduced";
}

static void run_print(const struct late_run *run)
{
    const double mib = 1 << 20;

    printf("%-6s %-12s %-6s %-8s ", run->who, run->lane, run->way,
           run->stopped ? "stopped" : "live");
    if (run->failure[0]) {
        printf("%s: %s\n", verdict(run), run->failure);
        return;
    }
    printf("%9.1f %9.2f %12llu  %-14s %s\n", run->answer_us, (double)run->before / mib,
           (unsigned long long)run->late, verdict(run), run->answer);
    fflush(stdout);
}

static json_t *run_json(const struct late_run *run)
{
    return json_pack("{s:s, s:s, s:s, s:b, s:I, s:f, s:I, s:I, s:s, s:s, s:s}", "who", run->who,
                     "lane", run->lane, "way", run->way, "peer_stopped", run->stopped, "bytes",
                     (json_int_t)run->bytes, "answer_us", run->answer_us, "landed_before",
                     (json_int_t)run->before, "late_bytes", (json_int_t)run->late, "answer",
                     run->answer, "verdict", verdict(run), "failure", run->failure);
}

static bool json_write(const struct demo *demo, const char *path)
{
    json_t *runs = json_array(), *root;
    bool ok;

    for (unsigned i = 0; i < demo->count; i++) {
        json_array_append_new(runs, run_json(&demo->runs[i]));
    }
    root = json_pack("{s:s, s:s, s:s, s:o}", "baton", baton_version(), "nixl", demo->version,
                     "nixl_missing", demo->nixl ? "" : demo->missing.text, "runs", runs);
    ok = root && !(strcmp(path, "-") ? json_dump_file(root, path, JSON_INDENT(2))
                                     : json_dumpf(root, stdout, JSON_INDENT(2)));
    json_decref(root);
    if (!ok) {
        fprintf(stderr, "baton demo: --json: %s can not be written\n", path);
    }
    return ok;
}

static void head_print(const struct demo *demo, uint64_t bytes)
{
    if (demo->nixl) {
        printf("NIXL %s%s and Baton %s; ", demo->version[0] ? demo->version : "of unknown version",
               strcmp(demo->version, TRIED) ? " (tried with " TRIED ")" : "", baton_version());
    } else {
        printf("Without NIXL: %s\n\nBaton %s; ", demo->missing.text, baton_version());
    }
    printf("%llu bytes a transfer.\n\n%-6s %-12s %-6s %-8s %9s %9s %12s\n",
           (unsigned long long)bytes, "who", "lane", "way", "peer", "told, us", "before", "late");
    printf("%-6s %-12s %-6s %-8s %9s %9s %12s\n", "", "", "", "", "", "MiB", "bytes");
    fflush(stdout);
}

static void demo_run(struct demo *demo, const struct demo_options *options, bool table)
{
    unsigned nixl = demo->nixl ? LATE_NIXL_RUNS : 0;
    unsigned baton = demo->nixl ? LATE_BATON_RUNS : LATE_BATON_RUNS - LATE_BATON_RUNS_NIXL;

    for (unsigned i = 0; i < nixl + baton; i++) {
        struct late_run *run = &demo->runs[demo->count++];

        if (i < nixl) {
            late_nixl_run(options->library, i, options->bytes, run);
        } else {
            late_baton_run(i - nixl, options->bytes, run);
        }
        if (table) {
            run_print(run);
        }
    }
}

int demo_command(int argc, char **argv)
{
    struct demo_options options;
    struct demo demo = {0};
    int code = options_read(argc, argv, &options);
    bool table;

    if (code >= 0) {
        return code;
    }
    table = !options.json || strcmp(options.json, "-") != 0;
    demo.nixl = !late_nixl_find(options.library, demo.version, &demo.missing);
    if (!demo.nixl && options.library) {
        fprintf(stderr, "baton demo: %s\n", demo.missing.text);
        return EXIT_ENVIRONMENT;
    }
    lanes_set("tcp"); /* of Baton's runs over it */
    if (options.library) {
        setenv(NIXL_LIBRARY_VARIABLE, options.library, true);
    }
    if (table) {
        head_print(&demo, options.bytes);
    }
    demo_run(&demo, &options, table);
    code = EXIT_OK;
    for (unsigned i = 0; i < demo.count; i++) {
        if (is_baton(&demo.runs[i]) && (demo.runs[i].failure[0] || demo.runs[i].late)) {
            code = EXIT_CHECK;
        }
    }
    if (options.json && !json_write(&demo, options.json)) {
        return EXIT_ENVIRONMENT;
    }
    return code;
}
