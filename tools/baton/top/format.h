/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine's stats object as text: a table for people, the exposition format for Prometheus.
 * Pure: no sockets, no terminal, no clock; the object and the time between two of them come in.
 */
#ifndef BATON_TOOLS_TOP_FORMAT_H
#define BATON_TOOLS_TOP_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <jansson.h>

/*
 * Read what an engine answered.  False when it is not the stats of an engine; `ret_why` then says
 * what is wrong with it.  `*ret_stats` is the caller's to json_decref().
 */
bool top_parse(const char *text, size_t length, json_t **ret_stats, char *ret_why, size_t why_size);

/* The text exposition format, one sample a line, with HELP and TYPE lines. */
void top_prometheus(const json_t *stats, FILE *out);

/*
 * The tables.  With `before`, an older object of the same engine, and the `seconds` between the
 * two, also rates; `before` may be NULL.
 */
void top_table(const json_t *stats, const json_t *before, double seconds, FILE *out);

/* The smallest upper bound that at least `percent` % of a histogram's samples do not exceed, in its
 * unit: -1 when they are above the last bound, 0 when there is no sample. */
double top_histogram_percentile(const json_t *histogram, double percent);

#endif
