/* SPDX-License-Identifier: Apache-2.0 */
/* The CLI: a table of commands, and nothing else. */
#include <stdio.h>
#include <string.h>

#include "baton.h"
#include "command.h"

static const struct command commands[] = {
    {"burst", "hand over the KV cache of many requests under cancels, and check all of it",
     burst_command},
    {"bench", "measure throughput and time to quiet against baselines", bench_command},
    {"top", "show the stats of a running engine", top_command},
    {"sim", "run clusters in virtual time under all faults, and check every invariant",
     sim_command},
    {"demo", "show what lands in memory after a transfer was said to be over", demo_command},
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void print_help(FILE *file)
{
    fputs("usage: baton COMMAND [options]\n"
          "\n"
          "Hands the KV cache of LLM requests from prefill to decode servers, cancellable at any\n"
          "moment, with a receipt that proves when memory is quiet.\n"
          "\n",
          file);
    for (unsigned i = 0; i < COMMANDS; i++) {
        fprintf(file, "  %-8s %s\n", commands[i].name, commands[i].summary);
    }
    fputs("\n"
          "  baton COMMAND --help    the options of a command\n"
          "  baton --version\n"
          "\n"
          "Exit codes: 0 ok; 1 a check failed; 2 usage; 3 environment.\n",
          file);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        print_help(stdout);
        return EXIT_OK;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("baton %s\n", baton_version());
        return EXIT_OK;
    }
    for (unsigned i = 0; i < COMMANDS; i++) {
        if (!strcmp(argv[1], commands[i].name)) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "baton: \"%s\" is not a command; see baton --help\n", argv[1]);
    return EXIT_USAGE;
}
