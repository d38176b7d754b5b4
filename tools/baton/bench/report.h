/* SPDX-License-Identifier: Apache-2.0 */
/* The results of `baton bench`, for people and as JSON. */
#ifndef BATON_TOOLS_BENCH_REPORT_H
#define BATON_TOOLS_BENCH_REPORT_H

#include "bench/bench.h"
#include "bench/machine.h"
#include "bench/sweep.h"

#include <stdio.h>

#include <jansson.h>

/* Tables: a heading, then lines for each result. */
void report_machine(const struct machine *machine, FILE *out);
void report_sweep(const struct raw_choice choices[RAW_PLACES], FILE *out);
void report_row_heading(const struct bench_options *options, FILE *out);
void report_row(struct bench_row *row, FILE *out);
void report_post_heading(FILE *out);
void report_post(struct bench_post *post, FILE *out);
void report_latency_heading(FILE *out);
void report_latency(struct bench_latency *latency, FILE *out);
void report_cancels_heading(const struct bench_options *options, FILE *out);
void report_cancels(struct bench_cancels *cancels, FILE *out);
void report_idle(const struct bench_idle *idle, FILE *out);

/* "tcp", or "tcp, TCP link": how a pair is connected. */
const char *report_way(enum bench_transport transport, bool link_tcp);

/* The median of what the raw round trips take that a fetch over a TCP link needs; 0: none was made.
 */
double report_trips_needed(struct bench_latency *latency, unsigned machine);

/* The whole of it, section by section.  What was not measured is null. */
struct bench_json {
    json_t *rows, *sweep, *post, *latency, *latencies, *cancel, *reclaim, *bare, *idle, *lanes;
};

void json_init(struct bench_json *ret_json);
void json_fini(struct bench_json *json);
/* NIXL's; else null. */
void json_set_lanes(struct bench_json *json, const char *lanes);
void json_add_sweep(struct bench_json *json, const struct raw_choice choices[RAW_PLACES]);
void json_add_row(struct bench_json *json, struct bench_row *row);
void json_add_post(struct bench_json *json, struct bench_post *post);
void json_add_latency(struct bench_json *json, struct bench_latency *latency);
void json_add_cancels(struct bench_json *json, struct bench_cancels *cancels);
void json_add_idle(struct bench_json *json, const struct bench_idle *idle);
/* One new object; NULL without memory. */
json_t *json_whole(const struct bench_json *json, const struct bench_options *options,
                   const struct machine *machine);

#endif
