/* SPDX-License-Identifier: Apache-2.0 */
/* The results of `baton bench`, for people and as JSON. */
#ifndef BATON_TOOLS_BENCH_REPORT_H
#define BATON_TOOLS_BENCH_REPORT_H

#include "bench.h"

#include <stdio.h>

#include <jansson.h>

/* The heading of a transport's table, then a line for each row. */
void report_heading(const struct bench_options *options, enum bench_transport transport, FILE *out);
void report_row(struct bench_row *row, FILE *out);
void report_times(struct bench_times *times, FILE *out);

/* One new object; NULL without memory. */
json_t *report_row_json(struct bench_row *row);
json_t *report_times_json(struct bench_times *times);

#endif
