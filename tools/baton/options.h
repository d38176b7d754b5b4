/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of command line options.  Each function takes the whole of `text`; on an error it prints
 * one line to stderr that names the command, the option, the value and what is allowed, and returns
 * false with `*ret_value` untouched: the caller exits with EXIT_USAGE.
 */
#ifndef BATON_TOOLS_OPTIONS_H
#define BATON_TOOLS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

/* Where a value stands, for messages: "burst" and "--seed". */
struct option_place {
    const char *command;
    const char *option;
};

/* A whole number from `min` to `max`, decimal or 0x hexadecimal. */
bool option_number(struct option_place place, const char *text, uint64_t min, uint64_t max,
                   uint64_t *ret_value);

/* A number with a fraction from `min` to `max`. */
bool option_fraction(struct option_place place, const char *text, double min, double max,
                     double *ret_value);

/* A time: "30" (seconds), "1.5s", "200ms", "2m".  In ms, from `min_ms` to `max_ms`. */
bool option_duration(struct option_place place, const char *text, uint64_t min_ms, uint64_t max_ms,
                     uint64_t *ret_ms);

/* A size: "4096", "64k", "1.5MiB", "2g"; the units are powers of 1024. */
bool option_size(struct option_place place, const char *text, uint64_t min, uint64_t max,
                 uint64_t *ret_bytes);

/* One of `choices` (closed by NULL): its index. */
bool option_choice(struct option_place place, const char *text, const char *const *choices,
                   unsigned *ret_index);

#endif
