/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of numbers: see scale_table.h. */
#include "table.h"

#include "util/assert.h"

#include <string.h>

double *table_row(struct table *table, double count)
{
    double *row = table->cell[table->rows];

    BATON_ASSERT(table->rows < TABLE_ROWS_MAX);
    memset(row, 0, sizeof(table->cell[0]));
    row[0] = count;
    table->rows++;
    return row;
}

double table_at(const struct table *table, double count, unsigned column)
{
    unsigned row = 0;

    while (table->cell[row][0] < count) {
        row++;
    }
    BATON_ASSERT(row < table->rows);
    return table->cell[row][column];
}

static unsigned columns_of(const struct table *table)
{
    unsigned count = 0;

    while (count < TABLE_COLUMNS_MAX && table->columns[count]) {
        count++;
    }
    return count;
}

void table_print(const struct table *table, FILE *out)
{
    unsigned columns = columns_of(table);

    fprintf(out, "\n%s: %s\n", table->name, table->text);
    for (unsigned c = 0; c < columns; c++) {
        fprintf(out, " %16s", table->columns[c]);
    }
    for (unsigned r = 0; r < table->rows; r++) {
        fprintf(out, "\n %16.0f", table->cell[r][0]);
        for (unsigned c = 1; c < columns; c++) {
            fprintf(out, table->cell[r][c] < 1000 ? " %16.3f" : " %16.0f", table->cell[r][c]);
        }
    }
    fprintf(out, "\n");
    fflush(out);
}

void table_json(const struct table *table, FILE *out)
{
    unsigned columns = columns_of(table);

    fprintf(out, "  \"%s\": [", table->name);
    for (unsigned r = 0; r < table->rows; r++) {
        fprintf(out, "%s\n    {", r ? "," : "");
        for (unsigned c = 0; c < columns; c++) {
            fprintf(out, "%s\"%s\": %.9g", c ? ", " : "", table->columns[c], table->cell[r][c]);
        }
        fprintf(out, "}");
    }
    fprintf(out, "\n  ]");
}

bool table_is_linear(const struct table *table, unsigned column)
{
    double lowest = table->cell[0][column];
    bool linear = true;

    for (unsigned r = 1; r < table->rows; r++) {
        double cell = table->cell[r][column];

        if (cell > TABLE_GROWTH_MAX * lowest) {
            fprintf(stderr,
                    "scale: %s: %s is %.3f for %.0f, more than %d times the %.3f for fewer: that "
                    "is worse than linear\n",
                    table->name, table->columns[column], cell, table->cell[r][0], TABLE_GROWTH_MAX,
                    lowest);
            linear = false;
        }
        lowest = cell < lowest ? cell : lowest;
    }
    return linear;
}
