/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `baton bench`: which configurations are measured, in which order, and what becomes of the
 * results.  Each section has a file: bench_throughput.c, bench_post.c, bench_latency.c,
 * bench_cancel.c; bench_pair.c has the two processes that they all measure.
 */
#include "bench/bench.h"
#include "bench/cancel.h"
#include "bench/latency.h"
#include "bench/machine.h"
#include "bench/pair.h"
#include "bench/post.h"
#include "bench/report.h"
#include "bench/sweep.h"
#include "bench/throughput.h"
#include "command.h"

#include "baton.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* What the sections share. */
struct bench {
    struct bench_options options;
    struct machine machine;
    struct raw_choice choices[RAW_PLACES];
    FILE *table; /* standard output, or standard error where the JSON goes to the former */
    FILE *file;  /* NULL: no JSON is wanted */
    struct bench_json json;
};

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

static baton_err one_row(struct bench *bench, const struct bench_setup *setup,
                         struct baton_error *ret_error)
{
    struct bench_row row;
    baton_err err = throughput_measure(setup, bench->options.runs, bench->choices, &row, ret_error);

    if (!err) {
        report_row(&row, bench->table);
        json_add_row(&bench->json, &row);
    }
    bench_row_fini(&row);
    return err;
}

/* Movers copy for shm and its kin only. */
static unsigned movers_count(const struct bench_options *options, enum bench_transport transport)
{
    return transport == BENCH_TCP || transport == BENCH_NIXL ? 1 : options->movers_count;
}

static baton_err throughput(struct bench *bench, enum bench_transport transport,
                            struct baton_error *ret_error)
{
    const struct bench_options *options = &bench->options;
    unsigned movers = movers_count(options, transport);
    unsigned rows = options->sizes * options->handoffs_count * movers;
    baton_err err = BATON_OK;

    if (transport == BENCH_TCP) {
        err = sweep(options, bench->choices, ret_error);
        if (!err) {
            report_sweep(bench->choices, bench->table);
            json_add_sweep(&bench->json, bench->choices);
        }
    }
    for (unsigned i = 0; i < rows && !err; i++) {
        unsigned handoffs =
            (unsigned)options->handoffs[i / options->sizes % options->handoffs_count];
        size_t block_bytes = options->block_bytes[i % options->sizes];
        struct bench_setup setup = {
            .transport = transport,
            .push = options->push,
            .host = options->host,
            .handoffs = handoffs,
            .movers = bench_movers(transport,
                                   options->movers[i / options->sizes / options->handoffs_count]),
            .slice_bytes = (uint32_t)options->slice_bytes,
            .block_bytes = block_bytes,
            .blocks = bench_blocks_each(options->bytes, block_bytes, handoffs) * handoffs,
            .seed = i + 1};

        err = one_row(bench, &setup, ret_error);
    }
    return err;
}

static baton_err post(struct bench *bench, enum bench_transport transport,
                      struct baton_error *ret_error)
{
    struct bench_post result;
    baton_err err = post_measure(transport, &bench->options, &result, ret_error);

    if (!err) {
        report_post(&result, bench->table);
        json_add_post(&bench->json, &result);
    }
    bench_post_fini(&result);
    return err;
}

/* Over tcp, also with links as between two hosts. */
static baton_err latency(struct bench *bench, enum bench_transport transport,
                         struct baton_error *ret_error)
{
    baton_err err = BATON_OK;

    for (unsigned link = 0; link < (transport == BENCH_TCP ? 2 : 1) && !err; link++) {
        struct bench_latency result;

        err = latency_measure(transport, link, &bench->options, &result, ret_error);
        if (!err) {
            report_latency(&result, bench->table);
            json_add_latency(&bench->json, &result);
        }
        bench_latency_fini(&result);
    }
    return err;
}

static baton_err cancel(struct bench *bench, enum bench_transport transport,
                        struct baton_error *ret_error)
{
    struct bench_cancels result;
    baton_err err = cancels_measure(transport, &bench->options, &result, ret_error);

    if (!err) {
        report_cancels(&result, bench->table);
        json_add_cancels(&bench->json, &result);
    }
    bench_cancels_fini(&result);
    return err;
}

static baton_err idle(struct bench *bench, enum bench_transport transport,
                      struct baton_error *ret_error)
{
    baton_err err = BATON_OK;

    for (unsigned link = 0; link < (transport == BENCH_TCP ? 2 : 1) && !err; link++) {
        struct bench_idle result;

        err = idle_measure(transport, link, &bench->options, &result, ret_error);
        if (!err) {
            report_idle(&result, bench->table);
            json_add_idle(&bench->json, &result);
        }
    }
    return err;
}

static void heading(const struct bench *bench, enum bench_section section)
{
    switch (section) {
    case BENCH_THROUGHPUT:
        report_row_heading(&bench->options, bench->table);
        break;
    case BENCH_POST:
        report_post_heading(bench->table);
        break;
    case BENCH_LATENCY:
        report_latency_heading(bench->table);
        break;
    case BENCH_CANCEL:
        report_cancels_heading(&bench->options, bench->table);
        break;
    default:
        fputc('\n', bench->table);
        break;
    }
}

/* Section by section, transport by transport.  Returns an exit code. */
static int measure(struct bench *bench)
{
    static baton_err (*const sections[BENCH_SECTIONS])(struct bench *, enum bench_transport,
                                                       struct baton_error *) = {
        [BENCH_THROUGHPUT] = throughput, [BENCH_POST] = post, [BENCH_LATENCY] = latency,
        [BENCH_CANCEL] = cancel,         [BENCH_IDLE] = idle,
    };
    const struct bench_options *options = &bench->options;

    for (unsigned i = 0; i < BENCH_SECTIONS * BENCH_TRANSPORTS; i++) {
        unsigned section = i / BENCH_TRANSPORTS, transport = i % BENCH_TRANSPORTS;
        struct baton_error error = {0};
        baton_err err;

        if (transport == 0 && options->sections[section]) {
            heading(bench, section);
        }
        if (!options->sections[section] || !options->wanted[transport]) {
            continue;
        }
        err = sections[section](bench, transport, &error);
        if (err == BATON_ESYSTEM && options->all && transport == BENCH_PROCESS) {
            fprintf(bench->table, "%s is left out: %s\n", bench_transport_names[transport],
                    error.text);
        } else if (err) {
            fflush(stdout);
            fprintf(stderr, "baton bench: %s: %s\n", bench_transport_names[transport], error.text);
            return exit_code_of(err);
        }
    }
    return EXIT_OK;
}

/* The file is opened first: a path that can not be written must not cost a whole run. */
static int report_open(struct bench *bench)
{
    const char *path = bench->options.json_path;

    bench->table = stdout;
    if (path && !strcmp(path, "-")) {
        bench->table = stderr;
        bench->file = stdout;
    } else if (path) {
        bench->file = fopen(path, "w");
        if (!bench->file) {
            fprintf(stderr, "baton bench: --json %s: %s\n", path, strerror(errno));
            return EXIT_ENVIRONMENT;
        }
    }
    return EXIT_OK;
}

/* Writes the JSON unless the measurement failed.  Returns the exit code of the command. */
static int report_finish(struct bench *bench, int code)
{
    FILE *file = bench->file;
    bool written = true;

    if (file && code == EXIT_OK) {
        json_t *whole = json_whole(&bench->json, &bench->options, &bench->machine);

        written = whole && !json_dumpf(whole, file, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) &&
                  fputc('\n', file) != EOF;
        json_decref(whole);
    }
    if (file) {
        written &= !(file == stdout ? fflush(stdout) : fclose(file));
    }
    if (!written) {
        fprintf(stderr, "baton bench: --json %s: could not be written\n", bench->options.json_path);
        return EXIT_ENVIRONMENT;
    }
    return code;
}

/* Each of many handoffs has descriptors; the other process inherits the limit. */
static void descriptors_allow(void)
{
    struct rlimit limit;

    if (!getrlimit(RLIMIT_NOFILE, &limit)) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int bench_command(int argc, char **argv)
{
    static struct bench bench;
    int code = bench_options_read(argc, argv, &bench.options);

    if (code >= 0) {
        return code;
    }
    if (bench.options.channel >= 0) {
        return peer_serve(bench.options.channel);
    }
    code = report_open(&bench);
    if (code != EXIT_OK) {
        return code;
    }
    descriptors_allow();
    machine_read(&bench.machine);
    report_machine(&bench.machine, bench.table);
    json_init(&bench.json);
    if (bench.options.wanted[BENCH_NIXL]) {
        const char *lanes = lanes_set(bench.options.lanes); /* the other process inherits it */

        fprintf(bench.table, "NIXL by UCX's %s\n", lanes);
        json_set_lanes(&bench.json, lanes);
    }
    code = report_finish(&bench, measure(&bench));
    json_fini(&bench.json);
    if (bench.options.wanted[BENCH_NIXL]) {
        lanes_exit(code);
    }
    return code;
}
