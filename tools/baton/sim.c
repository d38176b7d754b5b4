/* SPDX-License-Identifier: Apache-2.0 */
/* baton sim: its options.  The campaign and the explorer are in sim/. */
#include "command.h"
#include "options.h"
#include "sim_explore.h"

#include "baton.h"
#include "sim/sim.h"

#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define SEED_MAX (UINT64_MAX - 1)

enum {
    MINUTES_MAX = 100000,
    EXPLORE_MIB_MAX = 1 << 20,
    OFFERS_OPTION_MAX = 1000,
    OPTIONS_MAX = 64
};

static const char help_text[] =
    "Usage: baton sim [--seeds A..B | --seed N] [--minutes M] [--world NAME] [--json FILE] "
    "[--shrink]\n"
    "       baton sim --explore WORLD [--memory MIB]\n"
    "\n"
    "Run whole clusters in virtual time over the real protocol core, one seed after the other,\n"
    "with every fault, and check every invariant after every event.  Or look at all\n"
    "interleavings of a small world.\n"
    "\n"
    "  --seeds A..B      the seeds (default 1..10000; with --minutes, from 1 on)\n"
    "  --seed N          one seed: prints what it drew and the hash of its last state\n"
    "  --minutes M       stop after M minutes\n"
    "  --world NAME      what part of the draw is fixed; see below\n"
    "  --shrink          make a run that fails smaller before it is printed\n"
    "  --json FILE       write the sums, and a failed run, to FILE\n"
    "  --quiet           no progress\n"
    "  --without A,B     faults that never happen\n"
    "  --offers N        at most N offers\n"
    "  --skip A,B        faults that are left out, by their number in the run\n"
    "  --explore WORLD   all interleavings of a world\n"
    "  --memory MIB      of the explorer's table (default 1024)\n"
    "  --help            print this text\n"
    "  --version         print the version\n"
    "\n"
    "A violation prints the checker that found it, the last events as a sequence chart, and the\n"
    "command that runs it again.  An interrupt ends a run after the seed, and prints the sums.\n"
    "Exit codes: 0 ok; 1 a violation; 2 usage; 3 environment.\n";

struct sim_command {
    struct sim_campaign campaign;
    struct sim_explore explore;
    char given[OPTIONS_MAX]; /* the options, by what getopt_long() calls them */
    unsigned given_count;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static void print_help(void)
{
    fputs(help_text, stdout);
    fputs("\nWorlds to simulate:\n", stdout);
    for (unsigned i = 0; sim_world_name(i); i++) {
        printf("  %-10s %s\n", sim_world_name(i), sim_world_text(i));
    }
    sim_explore_print_worlds(stdout);
}

static bool read_seeds(char *text, struct sim_command *c)
{
    const struct option_place place = {"sim", "--seeds"};
    char *dots = strstr(text, "..");

    if (!dots) {
        fprintf(stderr, "baton sim: --seeds \"%s\": two numbers are needed, such as 1..1000\n",
                text);
        return false;
    }
    *dots = '\0';
    return option_number(place, text, 0, SEED_MAX, &c->campaign.first) &&
           option_number(place, dots + 2, c->campaign.first, SEED_MAX, &c->campaign.last);
}

static bool read_world(const char *name, struct sim_command *c)
{
    for (unsigned i = 0; sim_world_name(i); i++) {
        if (!strcmp(sim_world_name(i), name)) {
            c->campaign.plan.world = sim_world_name(i);
            return true;
        }
    }
    fprintf(stderr, "baton sim: \"%s\" is not a world; see baton sim --help\n", name);
    return false;
}

/* Names or numbers, with commas between them. */
static bool read_list(char *text, bool names, struct sim_plan *plan)
{
    char *rest = NULL;

    for (char *item = strtok_r(text, ",", &rest); item; item = strtok_r(NULL, ",", &rest)) {
        uint64_t number = names ? sim_fault_find(item) : 0;

        if (names && number == SIM_FAULTS) {
            fprintf(stderr, "baton sim: \"%s\" is not a fault; a run prints their names\n", item);
            return false;
        }
        if (!names &&
            (plan->skips == SIM_SKIPS_MAX || !option_number((struct option_place){"sim", "--skip"},
                                                            item, 0, UINT32_MAX, &number))) {
            return false;
        }
        if (names) {
            plan->without |= UINT64_C(1) << number;
        } else {
            plan->skip[plan->skips++] = (uint32_t)number;
        }
    }
    return true;
}

static bool read_number(const char *option, const char *text, uint64_t max, uint64_t *ret_number)
{
    return option_number((struct option_place){"sim", option}, text, option[2] == 's' ? 0 : 1, max,
                         ret_number);
}

/* Returns an exit code, or -1 to go on. */
static int option_read(int name, struct sim_command *c)
{
    uint64_t number = 0;
    bool ok = true;

    switch (name) {
    case 's':
        ok = read_seeds(optarg, c);
        break;
    case 'n':
        ok = read_number("--seed", optarg, SEED_MAX, &c->campaign.first);
        c->campaign.last = c->campaign.first;
        break;
    case 'm':
        ok = read_number("--minutes", optarg, MINUTES_MAX, &number);
        c->campaign.minutes = (unsigned)number;
        break;
    case 'w':
        ok = read_world(optarg, c);
        break;
    case 'S':
        c->campaign.shrink = true;
        break;
    case 'q':
        c->campaign.quiet = c->explore.quiet = true;
        break;
    case 'j':
        c->campaign.json_path = optarg;
        break;
    case 'o':
        ok = read_list(optarg, true, &c->campaign.plan);
        break;
    case 'k':
        ok = read_list(optarg, false, &c->campaign.plan);
        break;
    case 'f':
        ok = read_number("--offers", optarg, OFFERS_OPTION_MAX, &number);
        c->campaign.plan.handoffs = (unsigned)number;
        break;
    case 'e':
        c->explore.world = optarg;
        break;
    case 'M':
        ok = read_number("--memory", optarg, EXPLORE_MIB_MAX, &number);
        c->explore.memory_bytes = number << 20;
        break;
    case 'h':
        print_help();
        return EXIT_OK;
    case 'V':
        printf("baton %s\n", baton_version());
        return EXIT_OK;
    default:
        fputs("Try `baton sim --help`.\n", stderr);
        return EXIT_USAGE;
    }
    return ok ? -1 : EXIT_USAGE;
}

static bool is_given(const struct sim_command *c, int name)
{
    return memchr(c->given, name, c->given_count) != NULL;
}

/* Options that say nothing together are mistakes, not to be passed over. */
static bool options_fit(const struct sim_command *c)
{
    static const char of_seeds[] = "snmwSjokf";

    for (const char *name = of_seeds; *name && c->explore.world; name++) {
        if (is_given(c, *name)) {
            fputs("baton sim: --explore looks at everything: --memory and --quiet go with it, "
                  "nothing else\n",
                  stderr);
            return false;
        }
    }
    if (is_given(c, 'n') && (is_given(c, 's') || is_given(c, 'm'))) {
        fputs("baton sim: --seed is one run: neither --seeds nor --minutes goes with it\n", stderr);
        return false;
    }
    if (is_given(c, 'M') && !c->explore.world) {
        fputs("baton sim: --memory is of the explorer: give --explore WORLD, too\n", stderr);
        return false;
    }
    return true;
}

static int options_read(int argc, char **argv, struct sim_command *c)
{
    static const struct option names[] = {
        {"seeds", required_argument, NULL, 's'},
        {"seed", required_argument, NULL, 'n'},
        {"minutes", required_argument, NULL, 'm'},
        {"world", required_argument, NULL, 'w'},
        {"shrink", no_argument, NULL, 'S'},
        {"json", required_argument, NULL, 'j'},
        {"quiet", no_argument, NULL, 'q'},
        {"without", required_argument, NULL, 'o'},
        {"skip", required_argument, NULL, 'k'},
        {"offers", required_argument, NULL, 'f'},
        {"explore", required_argument, NULL, 'e'},
        {"memory", required_argument, NULL, 'M'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {0},
    };
    int name, code;

    optind = 0; /* glibc: start anew, also when the arguments of the main command were parsed */
    while ((name = getopt_long(argc, argv, "h", names, NULL)) != -1) {
        code = option_read(name, c);
        if (code >= 0) {
            return code;
        }
        if (c->given_count < OPTIONS_MAX) {
            c->given[c->given_count++] = (char)name;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "baton sim: \"%s\" is not an option; see baton sim --help\n", argv[optind]);
        return EXIT_USAGE;
    }
    return options_fit(c) ? -1 : EXIT_USAGE;
}

int sim_command(int argc, char **argv)
{
    const struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};
    struct sim_command c = {.campaign = {.first = 1, .last = 10000, .interrupted = &interrupted},
                            .explore = {.interrupted = &interrupted}};
    struct sim_totals totals;
    int code = options_read(argc, argv, &c);

    if (code >= 0) {
        return code;
    }
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (c.explore.world) {
        return sim_explore_run(&c.explore);
    }
    if (c.campaign.minutes && !is_given(&c, 's')) {
        c.campaign.last = SEED_MAX;
    }
    return sim_campaign_run(&c.campaign, &totals);
}
