/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does anything grow worse than linearly?  Handoffs in flight, links of one engine, blocks of a
 * pool: what each costs in time, processor and memory, as curves.  Two processes on one host, the
 * bytes of every handoff spot-checked.  Compares with no baseline: `baton bench` does.
 *
 * Status 1: a handoff failed, a cost per unit grew (the rule stands at table_is_linear()), or idle
 * links were not idle.
 */
#include "end.h"
#include "table.h"

#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RUNS_MAX = 64,
    FLIGHT_HANDOFFS = 10000, /* of a round, whatever number is in flight */
    FLIGHT_BLOCKS = 4,       /* of 64 KiB each */
    FLIGHT_BLOCK_BYTES = 64 << 10,
    SMALL_BLOCK_BYTES = 4096,
    LINK_HANDOFFS = 6400, /* of a round, all links together */
    LINK_AT_ONCE = 64,
    LOAN_BLOCKS = 1000,
    IDLE_MS = 2000,
    TABLES_MAX = 8,
};

/* Of a core: what an engine may use whose links are idle.  0.1 is wanted; a shared machine's noise
 * gets the same again. */
#define IDLE_PERCENT_MAX 0.2
/* Beside its list of block numbers. */
#define HANDOFF_BYTES_MAX 4096.0

struct scale {
    unsigned runs;
    unsigned tables;
    struct table table[TABLES_MAX];
    bool failed;
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, unsigned count)
{
    qsort(values, count, sizeof(*values), compare);
    return values[count / 2];
}

static struct table *table_new(struct scale *scale, const struct table *table)
{
    struct table *t = &scale->table[scale->tables++];

    *t = *table;
    return t;
}

static void judge(struct scale *scale, const struct table *table, unsigned first, unsigned last)
{
    table_print(table, stdout);
    for (unsigned column = first; column <= last; column++) {
        scale->failed = !table_is_linear(table, column) || scale->failed;
    }
}

/* ---- handoffs in flight ---- */

static const uint32_t at_once[] = {1, 16, 128, 1000, 10000};

enum {
    POINTS = sizeof(at_once) / sizeof(at_once[0]),
};

/* The numbers in flight take turns, so that a noisy moment does not hit one of them alone. */
static void rounds(struct pair *pair, unsigned runs, struct cost ret_cost[POINTS])
{
    static double wall[POINTS][RUNS_MAX], source[POINTS][RUNS_MAX], sink[POINTS][RUNS_MAX];

    for (unsigned run = 0; run < runs; run++) {
        for (unsigned i = 0; i < POINTS; i++) {
            struct cost cost;

            pair_round(pair, FLIGHT_HANDOFFS, at_once[i], &cost);
            wall[i][run] = cost.wall_s;
            source[i][run] = cost.source_cpu_s;
            sink[i][run] = cost.sink_cpu_s;
        }
    }
    for (unsigned i = 0; i < POINTS; i++) {
        ret_cost[i].wall_s = median(wall[i], runs);
        ret_cost[i].source_cpu_s = median(source[i], runs);
        ret_cost[i].sink_cpu_s = median(sink[i], runs);
    }
}

static void measure_flight(struct scale *scale, const char *name, const char *transport)
{
    const struct setup setup = {.transport = transport,
                                .sinks = 1,
                                .handoffs = FLIGHT_HANDOFFS,
                                .block_bytes = FLIGHT_BLOCK_BYTES,
                                .blocks = FLIGHT_BLOCKS};
    const double bytes = (double)FLIGHT_HANDOFFS * FLIGHT_BLOCKS * FLIGHT_BLOCK_BYTES;
    struct table *table = table_new(
        scale, &(struct table){
                   .name = name,
                   .text = "10,000 handoffs of 4 blocks of 64 KiB, so many at once",
                   .columns = {"at_once", "gb_per_s", "wall_us", "source_cpu_us", "sink_cpu_us"}});
    struct pair *pair = pair_make(&setup);
    struct cost cost[POINTS];
    double ratio;

    pair_round(pair, FLIGHT_HANDOFFS, 16, &cost[0]); /* touches all memory */
    rounds(pair, scale->runs, cost);
    pair_end(pair);
    for (unsigned i = 0; i < POINTS; i++) {
        double *row = table_row(table, at_once[i]);

        row[1] = bytes / cost[i].wall_s / 1e9;
        row[2] = cost[i].wall_s / FLIGHT_HANDOFFS * 1e6;
        row[3] = cost[i].source_cpu_s / FLIGHT_HANDOFFS * 1e6;
        row[4] = cost[i].sink_cpu_s / FLIGHT_HANDOFFS * 1e6;
    }
    judge(scale, table, 2, 4);
    ratio = table_at(table, 10000, 1) / table_at(table, 16, 1);
    printf("throughput with 10,000 in flight is %.2f of that with 16 (wanted: 0.8 or more)\n",
           ratio);
}

static void measure_small(struct scale *scale, const char *name, const char *transport)
{
    const struct setup setup = {.transport = transport,
                                .sinks = 1,
                                .handoffs = FLIGHT_HANDOFFS,
                                .block_bytes = SMALL_BLOCK_BYTES,
                                .blocks = 1};
    struct table *table = table_new(
        scale, &(struct table){.name = name,
                               .text = "10,000 handoffs of 1 block of 4 KiB; heap bytes of one",
                               .columns = {"at_once", "wall_us", "source_cpu_us", "sink_cpu_us",
                                           "source_bytes", "sink_bytes"}});
    struct pair *pair = pair_make(&setup);
    struct cost cost[POINTS];

    pair_round(pair, FLIGHT_HANDOFFS, 16, &cost[0]);
    rounds(pair, scale->runs, cost);
    for (unsigned i = 0; i < POINTS; i++) {
        double *row = table_row(table, at_once[i]);

        row[1] = cost[i].wall_s / FLIGHT_HANDOFFS * 1e6;
        row[2] = cost[i].source_cpu_s / FLIGHT_HANDOFFS * 1e6;
        row[3] = cost[i].sink_cpu_s / FLIGHT_HANDOFFS * 1e6;
        pair_hold(pair, at_once[i], &row[4], &row[5]);
        row[4] /= at_once[i];
        row[5] /= at_once[i];
    }
    pair_end(pair);
    judge(scale, table, 1, 5);
}

/* ---- memory of one handoff ---- */

/* What an engine allocates that is made with room for so many of them. */
static double table_bytes(uint32_t offers, uint32_t fetches, unsigned links)
{
    const char *transport = "shm";
    struct baton_engine_options options = {.size = sizeof(options),
                                           .progress = BATON_PROGRESS_CALLER,
                                           .transports = &transport,
                                           .transports_count = 1,
                                           .movers = -1,
                                           .offers_max = offers,
                                           .fetches_max = fetches,
                                           .links_max = links};
    double before = usage_now().heap_bytes, after;
    baton_engine *engine = NULL;

    must(baton_engine_create(&options, &engine, NULL), "an engine", NULL);
    after = usage_now().heap_bytes;
    engine_end(engine);
    return after - before;
}

static void measure_memory(struct scale *scale, const char *name, const char *transport)
{
    static const uint32_t blocks[] = {1, 4, 64, 1024};
    const uint32_t handoffs = 100, records = 10000;
    const double small = table_bytes(1, 1, 1);
    const double offer = (table_bytes(1 + records, 1, 1) - small) / records;
    const double fetch = (table_bytes(1, 1 + records, 1) - small) / records;
    struct table *table = table_new(
        scale,
        &(struct table){.name = name,
                        .text = "bytes of one handoff of so many blocks: its part of the engine's "
                                "tables, and what it allocates beside its block list",
                        .columns = {"blocks", "offer_table", "offer_heap", "fetch_table",
                                    "fetch_heap", "heap_per_block"}});

    for (unsigned i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
        const struct setup setup = {.transport = transport,
                                    .sinks = 1,
                                    .movers = -1,
                                    .handoffs = handoffs,
                                    .block_bytes = 64,
                                    .blocks = blocks[i]};
        struct pair *pair = pair_make(&setup);
        double *row = table_row(table, blocks[i]), list = (double)blocks[i] * sizeof(uint32_t);
        struct cost cost;

        pair_round(pair, handoffs, handoffs, &cost);
        pair_hold(pair, handoffs, &row[2], &row[4]);
        pair_end(pair);
        row[1] = offer;
        row[2] = row[2] / handoffs - list;
        row[3] = fetch;
        row[4] = row[4] / handoffs - list;
        row[5] = (row[4] > row[2] ? row[4] : row[2]) / blocks[i];
    }
    table_print(table, stdout);
    for (unsigned side = 1; side <= 3; side += 2) {
        double bytes = table_at(table, 4, side) + table_at(table, 4, side + 1);

        printf("%s of 256 KiB: %.0f bytes beside its block list (wanted: under %.0f)\n",
               side == 1 ? "an offer" : "a fetch", bytes, HANDOFF_BYTES_MAX);
        scale->failed = scale->failed || bytes >= HANDOFF_BYTES_MAX;
    }
}

/* ---- links ---- */

static void measure_links(struct scale *scale, const char *name, const char *transport)
{
    static const unsigned links[] = {1, 8, 64};
    struct table *table = table_new(
        scale, &(struct table){
                   .name = name,
                   .text = "one source, so many sinks; 6,400 handoffs of 1 block of 4 KiB, 64 "
                           "at once; heap and table bytes of a link; % of a core of an idle engine "
                           "(wanted: 0.1)",
                   .columns = {"links", "wall_us", "source_cpu_us", "sink_cpu_us", "source_bytes",
                               "sink_bytes", "table_bytes", "idle_source_pct", "idle_sink_pct"}});

    for (unsigned i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
        const struct setup setup = {.transport = transport,
                                    .movers = -1,
                                    .sinks = links[i],
                                    .handoffs = LINK_HANDOFFS,
                                    .block_bytes = SMALL_BLOCK_BYTES,
                                    .blocks = 1};
        double wall[RUNS_MAX], source[RUNS_MAX], sink[RUNS_MAX];
        double *row = table_row(table, links[i]);
        struct usage from[2], to[2];
        struct pair *pair = pair_make(&setup);
        struct cost cost;

        pair_look(pair, &from[0], &from[1]);
        pair_round(pair, links[i], 1, &cost);
        pair_look(pair, &to[0], &to[1]);
        for (unsigned run = 0; run < scale->runs; run++) {
            pair_round(pair, LINK_HANDOFFS, LINK_AT_ONCE, &cost);
            wall[run] = cost.wall_s;
            source[run] = cost.source_cpu_s;
            sink[run] = cost.sink_cpu_s;
        }
        row[1] = median(wall, scale->runs) / LINK_HANDOFFS * 1e6;
        row[2] = median(source, scale->runs) / LINK_HANDOFFS * 1e6;
        row[3] = median(sink, scale->runs) / LINK_HANDOFFS * 1e6;
        row[4] = (to[0].heap_bytes - from[0].heap_bytes) / links[i];
        row[5] = (to[1].heap_bytes - from[1].heap_bytes) / links[i];
        row[6] = (table_bytes(1, 1, 65) - table_bytes(1, 1, 1)) / 64;
        pair_idle(pair, IDLE_MS / 1000.0, &cost);
        row[7] = 100 * cost.source_cpu_s / cost.wall_s;
        row[8] = 100 * cost.sink_cpu_s / cost.wall_s / links[i];
        pair_end(pair);
        for (unsigned side = 7; side <= 8; side++) {
            scale->failed = scale->failed || row[side] > IDLE_PERCENT_MAX;
        }
    }
    judge(scale, table, 1, 5);
}

/* ---- pools ---- */

struct loan {
    baton_handoff *handoff;
    struct baton_receipt receipt;
    bool quiet;
};

static void on_outcome(baton_handoff *handoff, void *arg, const struct baton_result *result)
{
    (void)handoff;
    (void)arg;
    (void)result; /* it was cancelled */
}

static void on_quiet(baton_handoff *handoff, void *arg, const struct baton_receipt *receipt)
{
    struct loan *loan = arg;

    (void)handoff;
    loan->receipt = *receipt;
    loan->quiet = true;
}

/* Lends all blocks by offers of LOAN_BLOCKS, cancels them, retires them. */
static void lend_all(baton_engine *engine, baton_pool *pool, const uint32_t *blocks,
                     struct loan *loans, uint32_t count, double ret_s[2])
{
    struct baton_error error = {0};
    double start_s = now_s();

    for (uint32_t i = 0; i < count; i++) {
        const struct baton_offer_args args = {
            .size = sizeof(args),
            .pool = pool,
            .blocks = blocks + (size_t)i * LOAN_BLOCKS,
            .block_count = LOAN_BLOCKS,
            .watermark_bytes = BATON_WATERMARK_END,
            .notices = {.on_outcome = on_outcome, .on_quiet = on_quiet, .arg = &loans[i]}};

        loans[i].quiet = false;
        must(baton_offer(engine, &args, &loans[i].handoff, &error), "offer", &error);
    }
    ret_s[0] = now_s() - start_s;
    for (uint32_t i = 0; i < count; i++) {
        baton_handoff_cancel(loans[i].handoff, BATON_CANCEL_OFFER);
        while (!loans[i].quiet) {
            must(baton_engine_step(engine, 0), "step", NULL);
        }
    }
    start_s = now_s();
    for (uint32_t i = 0; i < count; i++) {
        must(baton_retire(loans[i].handoff, &loans[i].receipt, NULL, NULL, &error), "retire",
             &error);
        baton_handoff_unref(loans[i].handoff);
    }
    ret_s[1] = now_s() - start_s;
}

/* In the order of their numbers, or at random: then each block is a cache miss once the book is
 * larger than the caches, whatever the code. */
static void lend_runs(const struct scale *scale, baton_engine *engine, baton_pool *pool,
                      const uint32_t *blocks, uint32_t count, double ret_ns[2])
{
    const uint32_t loans_count = count / LOAN_BLOCKS;
    struct loan *loans = calloc(loans_count, sizeof(*loans));
    double lend[RUNS_MAX], retire[RUNS_MAX], seconds[2];

    if (!loans) {
        die("no memory for %u loans", loans_count);
    }
    for (unsigned run = 0; run < scale->runs; run++) {
        lend_all(engine, pool, blocks, loans, loans_count, seconds);
        lend[run] = seconds[0];
        retire[run] = seconds[1];
    }
    ret_ns[0] = median(lend, scale->runs) / count * 1e9;
    ret_ns[1] = median(retire, scale->runs) / count * 1e9;
    free(loans);
}

static void measure_pools(struct scale *scale, const char *name, const char *transport)
{
    static const uint32_t sizes[] = {1000, 10000, 100000, 1000000};
    const struct setup setup = {.transport = transport, .movers = -1};
    struct table *table = table_new(
        scale, &(struct table){.name = name,
                               .text = "a pool of so many blocks of 4 KiB, all lent by offers of "
                                       "1,000, in order and at random; ns and heap bytes of one",
                               .columns = {"blocks", "lend_ns", "retire_ns", "heap_bytes",
                                           "random_lend_ns", "random_retire_ns"}});

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint32_t *blocks = malloc(sizes[i] * sizeof(*blocks));
        baton_engine *engine = engine_make(&setup, sizes[i] / LOAN_BLOCKS, 1);
        double *row = table_row(table, sizes[i]), before = usage_now().heap_bytes;
        baton_pool *pool;

        if (!blocks) {
            die("no memory for the numbers of %u blocks", sizes[i]);
        }
        pool = pool_make(engine, SMALL_BLOCK_BYTES, sizes[i], 1, blocks);
        row[3] = (usage_now().heap_bytes - before) / sizes[i];
        lend_runs(scale, engine, pool, blocks, sizes[i], &row[4]);
        for (uint32_t b = 0; b < sizes[i]; b++) {
            blocks[b] = b;
        }
        lend_runs(scale, engine, pool, blocks, sizes[i], &row[1]);
        engine_end(engine);
        free(blocks);
    }
    judge(scale, table, 1, 3);
}

/* ---- the program ---- */

static void write_json(const struct scale *scale, const char *path)
{
    FILE *out = fopen(path, "w");

    if (!out) {
        die("can not write %s", path);
    }
    fprintf(out, "{\n");
    for (unsigned i = 0; i < scale->tables; i++) {
        table_json(&scale->table[i], out);
        fprintf(out, i + 1 < scale->tables ? ",\n" : "\n");
    }
    fprintf(out, "}\n");
    if (fclose(out)) {
        die("can not write %s", path);
    }
}

static const struct measure {
    const char *name;
    void (*run)(struct scale *scale, const char *name, const char *transport);
    const char *transport;
} measures[] = {
    {"memory", measure_memory, "shm"},     {"pools", measure_pools, "shm"},
    {"small_shm", measure_small, "shm"},   {"small_tcp", measure_small, "tcp"},
    {"links_shm", measure_links, "shm"},   {"links_tcp", measure_links, "tcp"},
    {"flight_shm", measure_flight, "shm"}, {"flight_tcp", measure_flight, "tcp"},
};

enum {
    MEASURES = sizeof(measures) / sizeof(measures[0]),
};

_Static_assert((int)MEASURES <= (int)TABLES_MAX, "each has a table");

static _Noreturn void usage(void)
{
    fprintf(stderr, "usage: scale [--runs 1..%d] [--json FILE] [NAME...]\nnames:", RUNS_MAX);
    for (unsigned i = 0; i < MEASURES; i++) {
        fprintf(stderr, " %s", measures[i].name);
    }
    fprintf(stderr, "\n");
    exit(2);
}

/* All of them when none is named. */
static bool is_wanted(const char *name, char *const *names)
{
    bool wanted = !*names;

    for (; *names; names++) {
        wanted = wanted || strcmp(*names, name) == 0;
    }
    return wanted;
}

static bool is_known(const char *name)
{
    bool known = false;

    for (unsigned i = 0; i < MEASURES; i++) {
        known = known || strcmp(measures[i].name, name) == 0;
    }
    return known;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"runs", required_argument, NULL, 'r'}, {"json", required_argument, NULL, 'j'}, {0}};
    static struct scale scale = {.runs = 7};
    const char *json = NULL;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'r' && atoi(optarg) >= 1 && atoi(optarg) <= RUNS_MAX) {
            scale.runs = (unsigned)atoi(optarg);
        } else if (option == 'j') {
            json = optarg;
        } else {
            usage();
        }
    }
    for (int i = optind; i < argc; i++) {
        if (!is_known(argv[i])) {
            usage();
        }
    }
    /* Memory that is freed stays ours: page faults are the kernel's to be measured. */
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    for (unsigned i = 0; i < MEASURES; i++) {
        if (is_wanted(measures[i].name, argv + optind)) {
            measures[i].run(&scale, measures[i].name, measures[i].transport);
        }
    }
    if (json) {
        write_json(&scale, json);
    }
    printf("\n%s\n", scale.failed ? "something failed or grew worse than linearly"
                                  : "nothing grew worse than linearly");
    return scale.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
