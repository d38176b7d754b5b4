/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of what `baton bench` makes of its samples.  Nothing is measured. */
#include "test.h"

#include "../tools/baton/bench/baseline.h"
#include "../tools/baton/bench/report.h"

#include <stdlib.h>
#include <string.h>

static void add_all(struct samples *samples, double a, double b, double c)
{
    samples_add(samples, a);
    samples_add(samples, b);
    samples_add(samples, c);
}

static double number(json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* A row over tcp: its ratios are those of the runs, and what was not measured there is null. */
TEST(bench_report_row_has_the_runs_ratios)
{
    struct bench_row row = {.transport = BENCH_TCP, .block_bytes = 16384, .handoffs = 4};
    struct bench_json json;
    json_t *object, *ratio;

    json_init(&json);
    add_all(&row.ours.gb_per_s, 3, 1, 2);
    add_all(&row.baselines[BENCH_RAW_POLLED].gb_per_s, 2, 2, 2);
    add_all(&row.baselines[BENCH_RAW_POLLED].ratio, 1.5, 0.5, 1);
    json_add_row(&json, &row);
    object = json_array_get(json.rows, 0);
    ratio = json_object_get(object, "ratio_baseline");
    CHECK(number(json_object_get(object, "gb_per_s"), "min") == 1);
    CHECK(number(object, "ratio_raw_tcp") == 1 && number(ratio, "max") == 1.5);
    CHECK(!strcmp(json_string_value(json_object_get(object, "baseline")), "raw_tcp_polled"));
    CHECK(json_is_null(json_object_get(object, "ratio_memcpy")));
    CHECK(json_is_null(json_object_get(object, "post_ns_per_block")));
    CHECK(json_object_size(json_object_get(object, "baselines")) == 1);
    bench_row_fini(&row);
    json_fini(&json);
}

/* Two movers are judged by two threads, and ratio_memcpy is to these. */
TEST(bench_report_row_of_two_movers)
{
    struct bench_row row = {.transport = BENCH_SHM, .movers = 2};
    struct bench_json json;
    json_t *object;

    json_init(&json);
    add_all(&row.baselines[BENCH_MEMCPY].ratio, 1.9, 1.9, 1.9);
    add_all(&row.baselines[BENCH_MEMCPY_THREADS].ratio, 0.9, 0.9, 0.9);
    json_add_row(&json, &row);
    object = json_array_get(json.rows, 0);
    CHECK(number(object, "ratio_memcpy") == 0.9);
    CHECK(bench_baseline_judge(BENCH_SHM, 1) == BENCH_MEMCPY);
    CHECK(bench_baseline_judge(BENCH_PROCESS, 2) == BENCH_READV);
    bench_row_fini(&row);
    json_fini(&json);
}

/* A fetch over a TCP link needs three round trips: two small ones, and one that brings the block.
 */
TEST(bench_report_latency_over_a_tcp_link)
{
    struct bench_latency latency = {.transport = BENCH_TCP, .link_tcp = true};
    struct bench_json json;
    json_t *as_is, *busy;

    json_init(&json);
    add_all(&latency.polled[BENCH_IDLE_MACHINE], 60, 60, 60);
    add_all(&latency.raw_small[BENCH_IDLE_MACHINE], 10, 10, 10);
    add_all(&latency.raw_block[BENCH_IDLE_MACHINE], 20, 20, 20);
    json_add_latency(&json, &latency);
    as_is = json_object_get(json_object_get(json.latency, "tcp_link"), "as_is");
    busy = json_object_get(json_object_get(json.latency, "tcp_link"), "busy");
    CHECK(number(as_is, "raw_tcp_needed") == 40 && number(as_is, "ratio_raw_tcp_needed") == 1.5);
    CHECK(json_is_null(json_object_get(busy, "polled")));
    CHECK(json_is_null(json_object_get(busy, "ratio_raw_tcp_needed")));
    CHECK(json_array_size(json.latencies) == 0);
    bench_latency_fini(&latency);
    json_fini(&json);
}

/* Everything that a program reads is there, under its name. */
TEST(bench_report_whole)
{
    static const char *const keys[] = {"rows",           "raw_tcp_sweep",      "post_ns_per_block",
                                       "latency_us",     "cancel_to_quiet_us", "source_reclaim_us",
                                       "bare_wakeup_us", "idle_cores",         "machine",
                                       "lanes"};
    struct bench_cancels cancels = {.transport = BENCH_SHM, .handoffs = 128};
    struct bench_options options = {.runs = 7};
    struct machine machine = {.cpus = 2};
    struct bench_json json;
    json_t *whole, *live;

    json_init(&json);
    add_all(&cancels.of[0][0].us, 20, 30, 10);
    json_add_cancels(&json, &cancels);
    whole = json_whole(&json, &options, &machine);
    for (unsigned i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
        CHECK(json_object_get(whole, keys[i]));
    }
    live = json_object_get(json_object_get(json_object_get(whole, "cancel_to_quiet_us"), "shm"),
                           "live");
    CHECK(number(live, "p50") == 20 && number(live, "max") == 30 &&
          number(live, "handoffs") == 128);
    json_decref(whole);
    bench_cancels_fini(&cancels);
    json_fini(&json);
}

/* The table of a row has a line for Baton and one for each baseline, the judge marked. */
TEST(bench_report_row_as_text)
{
    struct bench_row row = {.transport = BENCH_SHM, .block_bytes = 256, .handoffs = 4};
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);

    add_all(&row.ours.gb_per_s, 3, 1, 2);
    add_all(&row.baselines[BENCH_MEMCPY].gb_per_s, 4, 4, 4);
    add_all(&row.baselines[BENCH_CONTIGUOUS].gb_per_s, 8, 8, 8);
    report_row(&row, out);
    fclose(out);
    CHECK(strstr(text, "256 B") && strstr(text, "memcpy, contiguous"));
    CHECK(strstr(text, "memcpy                 *") && !strstr(text, "raw tcp"));
    free(text);
    bench_row_fini(&row);
}

/* A push over NIXL is judged by NIXL with its lists at hand, and both of its ways are told. */
TEST(bench_report_row_of_nixl)
{
    struct bench_row row = {
        .transport = BENCH_NIXL, .push = true, .block_bytes = 65536, .handoffs = 1};
    struct bench_json json;
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    json_t *object;

    add_all(&row.ours.gb_per_s, 3, 1, 2);
    add_all(&row.baselines[BENCH_RAW_NIXL].gb_per_s, 4, 4, 4);
    add_all(&row.baselines[BENCH_RAW_NIXL].ratio, 0.75, 0.25, 0.5);
    add_all(&row.baselines[BENCH_RAW_NIXL_PREPARING].gb_per_s, 3, 3, 3);
    report_row(&row, out);
    fclose(out);
    CHECK(strstr(text, "nixl push   64 KiB") && strstr(text, "NIXL, preparing"));
    CHECK(strstr(text, "NIXL                   *"));
    json_init(&json);
    json_add_row(&json, &row);
    object = json_array_get(json.rows, 0);
    CHECK(!strcmp(json_string_value(json_object_get(object, "baseline")), "nixl"));
    CHECK(number(json_object_get(object, "ratio_baseline"), "med") == 0.5);
    json_fini(&json);
    free(text);
    bench_row_fini(&row);
}

/* Which baselines stand beside which transport. */
TEST(bench_report_baselines_of_a_transport)
{
    struct bench_setup shm = {.transport = BENCH_SHM, .movers = 2};
    struct bench_setup tcp = {.transport = BENCH_TCP, .movers = 1};
    struct bench_setup nixl = {.transport = BENCH_NIXL, .movers = 1};

    CHECK(baseline_applies(BENCH_MEMCPY_THREADS, &shm) && baseline_applies(BENCH_CONTIGUOUS, &shm));
    CHECK(!baseline_applies(BENCH_READV, &shm) && !baseline_applies(BENCH_RAW_POLLED, &shm));
    CHECK(baseline_applies(BENCH_RAW_POLLED, &tcp) && baseline_applies(BENCH_RAW_BLOCKING, &tcp));
    CHECK(baseline_applies(BENCH_MEMCPY, &tcp) && !baseline_applies(BENCH_CONTIGUOUS, &tcp));
    CHECK(!baseline_applies(BENCH_RAW_NIXL, &tcp) && baseline_applies(BENCH_RAW_NIXL, &nixl) &&
          baseline_applies(BENCH_RAW_NIXL_PREPARING, &nixl));
    shm.movers = 1;
    CHECK(!baseline_applies(BENCH_MEMCPY_THREADS, &shm));
}
