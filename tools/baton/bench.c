/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `baton bench`: which configurations are measured, in which order, and what becomes of the
 * results.  bench_pair.c has the two processes, bench_baseline.c what they are compared with,
 * bench_latency.c the times of single things.
 */
#include "bench.h"
#include "bench_baseline.h"
#include "bench_latency.h"
#include "bench_pair.h"
#include "bench_report.h"
#include "command.h"

#include "baton.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* One configuration, set up in two processes. */
struct station {
    struct pair pair;
    struct baseline baseline;
    struct watched watched[BENCH_HANDOFFS_MAX];
    unsigned watched_made;
};

static baton_err station_init(struct station *station, const struct bench_setup *setup,
                              struct baton_error *ret_error)
{
    baton_err err = BATON_OK;

    memset(station, 0, sizeof(*station));
    while (station->watched_made < setup->handoffs && !err) {
        err = watched_init(&station->watched[station->watched_made], ret_error);
        station->watched_made += !err;
    }
    if (!err) {
        err = pair_start(&station->pair, setup, ret_error);
    }
    if (!err) {
        err = baseline_init(&station->baseline, &station->pair, ret_error);
        if (err) {
            pair_end(&station->pair, NULL);
        }
    }
    for (unsigned i = 0; err && i < station->watched_made; i++) {
        watched_fini(&station->watched[i]);
    }
    return err;
}

static baton_err station_fini(struct station *station, struct baton_error *ret_error)
{
    baton_err err;

    baseline_fini(&station->baseline, &station->pair);
    err = pair_end(&station->pair, ret_error);
    for (unsigned i = 0; i < station->watched_made; i++) {
        watched_fini(&station->watched[i]);
    }
    return err;
}

static baton_err move(struct station *station, bool ours, double *ret_seconds,
                      struct baton_error *ret_error)
{
    return ours ? pair_move(&station->pair, station->watched, ret_seconds, ret_error)
                : baseline_move(&station->baseline, &station->pair, ret_seconds, ret_error);
}

/* One move, with its rate and its CPU time. */
static baton_err timed_move(struct station *station, bool ours, struct bench_row *row,
                            double *ret_rate, struct baton_error *ret_error)
{
    const struct bench_setup *setup = &station->pair.side.setup;
    double bytes = (double)setup->blocks * (double)setup->block_bytes;
    double seconds = 0, cpu_before = 0, cpu_after = 0;
    baton_err err = pair_usage(&station->pair, &cpu_before, ret_error);

    if (!err) {
        err = move(station, ours, &seconds, ret_error);
    }
    if (!err) {
        err = pair_usage(&station->pair, &cpu_after, ret_error);
    }
    if (!err) {
        *ret_rate = bytes / 1e9 / seconds;
        samples_add(ours ? &row->ours : &row->baseline, *ret_rate);
        samples_add(ours ? &row->cpu : &row->baseline_cpu,
                    (cpu_after - cpu_before) / (bytes / (1 << 30)));
    }
    return err;
}

/* Each way once, untimed, into wiped blocks: touches all memory and proves that both do the same.
 */
static baton_err both_verify(struct station *station, struct baton_error *ret_error)
{
    baton_err err = BATON_OK;

    for (unsigned ours = 0; ours < 2 && !err; ours++) {
        double seconds;

        side_wipe(&station->pair.side);
        err = move(station, ours, &seconds, ret_error);
        if (!err) {
            err = side_verify(&station->pair.side, ours ? "handoffs" : "baseline", ret_error);
        }
    }
    return err;
}

static baton_err row_measure(const struct bench_setup *setup, unsigned runs, struct bench_row *row,
                             struct baton_error *ret_error)
{
    static struct station station;
    baton_err end_err, err = station_init(&station, setup, ret_error);

    if (err) {
        return err;
    }
    err = both_verify(&station, ret_error);
    for (unsigned run = 0; run < runs && !err; run++) {
        double rates[2] = {0};

        /* Who comes first changes, so that a machine that slows down favours neither. */
        for (unsigned turn = 0; turn < 2 && !err; turn++) {
            bool ours = turn == run % 2;

            err = timed_move(&station, ours, row, &rates[ours], ret_error);
        }
        if (!err) {
            samples_add(&row->paired, rates[true] / rates[false]);
        }
    }
    end_err = station_fini(&station, err ? NULL : ret_error);
    return err ? err : end_err;
}

/* What the machine refuses is not a failed check. */
static int exit_code_of(baton_err err)
{
    switch (err) {
    case BATON_OK:
        return EXIT_OK;
    case BATON_ESYSTEM:
    case BATON_ENOMEM:
    case BATON_EADDRESS:
        return EXIT_ENVIRONMENT;
    default:
        return EXIT_CHECK;
    }
}

/* What is written while it runs. */
struct report {
    FILE *table; /* standard output, or standard error where the JSON goes to the former */
    FILE *json;  /* NULL: none is wanted */
    json_t *rows;
    json_t *latencies;
};

static baton_err transport_rows(const struct bench_options *options, enum bench_transport transport,
                                const struct report *report, struct baton_error *ret_error)
{
    baton_err err = BATON_OK;

    report_heading(options, transport, report->table);
    for (unsigned i = 0; i < options->sizes && !err; i++) {
        size_t each = options->bytes / options->block_bytes[i] / options->handoffs;
        struct bench_setup setup = {.transport = transport,
                                    .handoffs = options->handoffs,
                                    .movers = options->movers,
                                    .block_bytes = options->block_bytes[i],
                                    .blocks = each * options->handoffs,
                                    .seed = i + 1};
        struct bench_row row = {.transport = transport,
                                .block_bytes = options->block_bytes[i],
                                .handoffs = options->handoffs};

        err = row_measure(&setup, options->runs, &row, ret_error);
        if (!err) {
            report_row(&row, report->table);
            json_array_append_new(report->rows, report_row_json(&row));
        }
        bench_row_fini(&row);
    }
    return err;
}

static baton_err transport_times(const struct bench_options *options,
                                 enum bench_transport transport, const struct report *report,
                                 struct baton_error *ret_error)
{
    struct bench_times times;
    baton_err err = latency_measure(transport, options, &times, ret_error);

    if (!err) {
        report_times(&times, report->table);
        json_array_append_new(report->latencies, report_times_json(&times));
    }
    bench_times_fini(&times);
    return err;
}

/* Everything, transport by transport.  Returns an exit code. */
static int measure(const struct bench_options *options, const struct report *report)
{
    for (unsigned transport = 0; transport < BENCH_TRANSPORTS; transport++) {
        struct baton_error error = {0};
        baton_err err;

        if (!options->wanted[transport]) {
            continue;
        }
        err = transport_rows(options, transport, report, &error);
        if (!err) {
            err = transport_times(options, transport, report, &error);
        }
        if (err == BATON_ESYSTEM && options->all && transport == BENCH_PROCESS) {
            fprintf(report->table, "left out: %s\n", error.text);
        } else if (err) {
            fflush(stdout);
            fprintf(stderr, "baton bench: %s: %s\n", bench_transport_names[transport], error.text);
            return exit_code_of(err);
        }
    }
    return EXIT_OK;
}

/* The first transport's times stand at the top, all of them under "latencies". */
static json_t *whole_json(const struct bench_options *options, const struct report *report)
{
    json_t *whole =
        json_pack("{s:s, s:I, s:i, s:i, s:O, s:O}", "version", baton_version(), "bytes",
                  (json_int_t)options->bytes, "runs", (int)options->runs, "movers",
                  (int)options->movers, "rows", report->rows, "latencies", report->latencies);
    json_t *first = json_array_get(report->latencies, 0), *value;
    const char *key;

    json_object_foreach(first, key, value)
    {
        json_object_set(whole, strcmp(key, "transport") ? key : "latency_transport", value);
    }
    return whole;
}

/* The file is opened first: a path that can not be written must not cost a whole run. */
static int report_open(const char *json_path, struct report *ret_report)
{
    struct report report = {.table = stdout};

    if (json_path && !strcmp(json_path, "-")) {
        report.table = stderr;
        report.json = stdout;
    } else if (json_path) {
        report.json = fopen(json_path, "w");
        if (!report.json) {
            fprintf(stderr, "baton bench: --json %s: %s\n", json_path, strerror(errno));
            return EXIT_ENVIRONMENT;
        }
    }
    report.rows = json_array();
    report.latencies = json_array();
    *ret_report = report;
    return EXIT_OK;
}

/* Writes the JSON unless the measurement failed.  Returns the exit code of the command. */
static int report_finish(const struct bench_options *options, struct report *report, int code)
{
    bool written = true;

    if (report->json && code == EXIT_OK) {
        json_t *whole = whole_json(options, report);

        written = whole &&
                  !json_dumpf(whole, report->json, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) &&
                  fputc('\n', report->json) != EOF;
        json_decref(whole);
    }
    if (report->json) {
        written &= !(report->json == stdout ? fflush(stdout) : fclose(report->json));
    }
    json_decref(report->rows);
    json_decref(report->latencies);
    if (!written) {
        fprintf(stderr, "baton bench: --json %s: could not be written\n", options->json_path);
        return EXIT_ENVIRONMENT;
    }
    return code;
}

int bench_command(int argc, char **argv)
{
    struct bench_options options;
    struct report report;
    int code = bench_options_read(argc, argv, &options);

    if (code >= 0) {
        return code;
    }
    if (options.channel >= 0) {
        return peer_serve(options.channel);
    }
    code = report_open(options.json_path, &report);
    if (code != EXIT_OK) {
        return code;
    }
    return report_finish(&options, &report, measure(&options, &report));
}
