/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of numbers: what a curve of bench/scale is kept in, printed from and judged by. Measures
 * nothing. */
#ifndef BATON_BENCH_SCALE_TABLE_H
#define BATON_BENCH_SCALE_TABLE_H

#include <stdbool.h>
#include <stdio.h>

enum {
    TABLE_COLUMNS_MAX = 10,
    TABLE_ROWS_MAX = 8,
    TABLE_GROWTH_MAX = 4,
};

/* The first column is how many of something there are; the others are costs per one of them, or
 * what their names say. */
struct table {
    const char *name, *text;
    const char *columns[TABLE_COLUMNS_MAX];
    unsigned rows;
    double cell[TABLE_ROWS_MAX][TABLE_COLUMNS_MAX];
};

/* The next row, all zero; its first cell is `count`. */
double *table_row(struct table *table, double count);
/* The cell of the row that begins with `count`; asserts that there is one. */
double table_at(const struct table *table, double count, unsigned column);
void table_print(const struct table *table, FILE *out);
/* As a member of an object: "name": [{...}, ...] */
void table_json(const struct table *table, FILE *out);
/*
 * The rule.  A column holds a cost per unit: if all costs grow linearly with the units, it is flat.
 * A cell may be at most TABLE_GROWTH_MAX times the lowest cell of the same column for fewer units.
 * Says on stderr which is not, and returns false.
 */
bool table_is_linear(const struct table *table, unsigned column);

#endif
