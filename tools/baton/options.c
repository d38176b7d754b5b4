/* SPDX-License-Identifier: Apache-2.0 */
/* Option values and their error messages: see options.h. */
#include "options.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct unit {
    const char *name;
    double factor;
};

static const struct unit times[] = {{"", 1000},   {"s", 1000},    {"ms", 1},
                                    {"m", 60000}, {"min", 60000}, {NULL, 0}};

static const struct unit sizes[] = {
    {"", 1},           {"b", 1},           {"k", 1024},         {"kb", 1024},
    {"kib", 1024},     {"m", 1048576},     {"mb", 1048576},     {"mib", 1048576},
    {"g", 1073741824}, {"gb", 1073741824}, {"gib", 1073741824}, {NULL, 0},
};

static bool wrong(struct option_place place, const char *text, const char *wanted)
{
    fprintf(stderr, "baton %s: %s: \"%s\" is not %s; see baton %s --help\n", place.command,
            place.option, text, wanted, place.command);
    return false;
}

static bool out_of_range(struct option_place place, const char *text, const char *range)
{
    fprintf(stderr, "baton %s: %s: %s is out of range: give %s\n", place.command, place.option,
            text, range);
    return false;
}

bool option_number(struct option_place place, const char *text, uint64_t min, uint64_t max,
                   uint64_t *ret_value)
{
    char *end = NULL;
    char range[96];
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');

    if (text[0] < '0' || text[0] > '9') {
        return wrong(place, text, "a whole number");
    }
    errno = 0;
    unsigned long long value = strtoull(text, &end, hex ? 16 : 10);
    if (*end || end == text) {
        return wrong(place, text, "a whole number");
    }
    if (errno || value < min || value > max) {
        snprintf(range, sizeof(range), "%" PRIu64 " to %" PRIu64, min, max);
        return out_of_range(place, text, range);
    }
    *ret_value = value;
    return true;
}

/* A number that is not negative, and where it ends. */
static bool decimal(const char *text, double *ret_value, const char **ret_end)
{
    char *end = NULL;

    if (!((text[0] >= '0' && text[0] <= '9') || text[0] == '.')) {
        return false;
    }
    double value = strtod(text, &end);
    if (end == text || !isfinite(value)) {
        return false;
    }
    *ret_value = value;
    *ret_end = end;
    return true;
}

bool option_fraction(struct option_place place, const char *text, double min, double max,
                     double *ret_value)
{
    double value = 0;
    const char *end = text;
    char range[96];

    if (!decimal(text, &value, &end) || *end) {
        return wrong(place, text, "a number");
    }
    if (value < min || value > max) {
        snprintf(range, sizeof(range), "%g to %g", min, max);
        return out_of_range(place, text, range);
    }
    *ret_value = value;
    return true;
}

static bool with_unit(const char *text, const struct unit *units, double *ret_value)
{
    double value = 0;
    const char *end = text;

    if (!decimal(text, &value, &end)) {
        return false;
    }
    for (const struct unit *unit = units; unit->name; unit++) {
        if (!strcasecmp(end, unit->name)) {
            *ret_value = value * unit->factor;
            return true;
        }
    }
    return false;
}

bool option_duration(struct option_place place, const char *text, uint64_t min_ms, uint64_t max_ms,
                     uint64_t *ret_ms)
{
    double value = 0;
    char range[96];

    if (!with_unit(text, times, &value)) {
        return wrong(place, text, "a time such as 30, 1.5s, 200ms or 2m");
    }
    if (value < (double)min_ms || value > (double)max_ms) {
        snprintf(range, sizeof(range), "%" PRIu64 "ms to %" PRIu64 "ms", min_ms, max_ms);
        return out_of_range(place, text, range);
    }
    *ret_ms = (uint64_t)value;
    return true;
}

bool option_size(struct option_place place, const char *text, uint64_t min, uint64_t max,
                 uint64_t *ret_bytes)
{
    double value = 0;
    char range[96];

    if (!with_unit(text, sizes, &value)) {
        return wrong(place, text, "a size such as 4096, 64k, 1.5m or 2g");
    }
    if (value < (double)min || value > (double)max) {
        snprintf(range, sizeof(range), "%" PRIu64 " to %" PRIu64 " bytes", min, max);
        return out_of_range(place, text, range);
    }
    *ret_bytes = (uint64_t)value;
    return true;
}

bool option_choice(struct option_place place, const char *text, const char *const *choices,
                   unsigned *ret_index)
{
    char wanted[256] = "one of";

    for (unsigned i = 0; choices[i]; i++) {
        if (!strcmp(text, choices[i])) {
            *ret_index = i;
            return true;
        }
        size_t used = strlen(wanted);
        snprintf(wanted + used, sizeof(wanted) - used, "%s %s", i ? "," : "", choices[i]);
    }
    return wrong(place, text, wanted);
}
