/* SPDX-License-Identifier: Apache-2.0 */
/* The burst's requests: of a trace file, or made by a generator.  Which request comes at which
 * place depends on the file, or on the seed, only. */
#ifndef BATON_TOOLS_BURST_LOAD_H
#define BATON_TOOLS_BURST_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LOAD_TOKENS_MAX = 1 << 24,         /* of one request */
    LOAD_TRACE_REQUESTS_MAX = 1 << 24, /* lines of a trace file */
    LOAD_ERROR_BYTES = 512,
};

struct load_request {
    uint64_t timestamp_ms;
    uint32_t input_tokens;
    uint32_t output_tokens;
};

struct load {
    struct load_request *trace; /* NULL: generated */
    size_t trace_count;
    uint64_t seed;
    double mean_tokens;      /* prompt tokens */
    uint32_t largest_tokens; /* of any request that can come */
    size_t largest_line;     /* of the trace, from 1 */
    uint32_t tokens_max;     /* longer prompts are cut; 0: none is */
};

/* One line of a trace.  On an error `ret_error` says what is wrong with it, without its place. */
bool load_parse_line(const char *line, size_t length, struct load_request *ret_request,
                     char ret_error[LOAD_ERROR_BYTES]);

/* Read a trace.  On an error `ret_error` names file and line.  Free with load_fini(). */
bool load_read_trace(const char *path, struct load *ret_load, char ret_error[LOAD_ERROR_BYTES]);

void load_init_generator(struct load *load, uint64_t seed);

/* Cut prompts that are longer than `tokens_max`. */
void load_cut(struct load *load, uint32_t tokens_max);

/* The request at place `index`, from 0.  A trace starts anew after its end, its time goes on. */
struct load_request load_request_at(const struct load *load, uint64_t index);

void load_fini(struct load *load);

#endif
