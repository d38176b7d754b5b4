/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of a trace file or of the built-in generator: see burst_load.h. */
#include "burst/load.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dice.h"

/*
 * The generator's distributions of prompt and answer lengths, as inverse distribution functions:
 * knots (probability, tokens), with tokens growing exponentially between two knots.
 *
 * They were fitted to the conversation trace published with the Mooncake paper (one hour, 12,031
 * requests) by taking the trace's empirical quantiles at these probabilities, rounded to ten
 * tokens, with more knots in the tail, where most of the bytes are.  The fit's mean prompt is
 * 12,052 tokens (the trace's: 12,035), its mean answer 342 (343).  Prompt and answer are drawn
 * independently.
 */
struct knot {
    double probability;
    double tokens;
};

static const struct knot prompt_knots[] = {
    {0, 890},       {0.04, 900},     {0.08, 920},     {0.125, 1090},  {0.1875, 1540},
    {0.25, 2310},   {0.3125, 3540},  {0.375, 4600},   {0.4375, 5630}, {0.5, 6910},
    {0.5625, 8520}, {0.625, 10330},  {0.6875, 12590}, {0.75, 15370},  {0.8125, 18590},
    {0.875, 24400}, {0.9, 27370},    {0.925, 31520},  {0.95, 39550},  {0.97, 52220},
    {0.985, 73950}, {0.995, 100890}, {1, 126200},
};

static const struct knot answer_knots[] = {
    {0, 1},       {0.06, 13},  {0.12, 30},   {0.25, 156}, {0.375, 275}, {0.5, 350},
    {0.625, 410}, {0.75, 472}, {0.875, 566}, {0.95, 698}, {0.99, 1120}, {1, 2000},
};

enum {
    PROMPT_KNOTS = sizeof(prompt_knots) / sizeof(prompt_knots[0]),
    ANSWER_KNOTS = sizeof(answer_knots) / sizeof(answer_knots[0]),
};

static const double generator_mean_tokens = 12052;

static uint32_t draw(const struct knot *knots, size_t count, double probability)
{
    size_t i = 1;

    while (i + 1 < count && knots[i].probability < probability) {
        i++;
    }
    const struct knot *low = &knots[i - 1], *high = &knots[i];
    double share = (probability - low->probability) / (high->probability - low->probability);

    return (uint32_t)lround(low->tokens * pow(high->tokens / low->tokens, share));
}

void load_init_generator(struct load *load, uint64_t seed)
{
    *load = (struct load){
        .seed = seed,
        .mean_tokens = generator_mean_tokens,
        .largest_tokens = (uint32_t)prompt_knots[PROMPT_KNOTS - 1].tokens,
    };
}

static bool whole_number(const json_t *object, const char *key, json_int_t min, json_int_t max,
                         uint64_t *ret_value, char ret_error[LOAD_ERROR_BYTES])
{
    const json_t *value = json_object_get(object, key);

    if (!json_is_integer(value)) {
        snprintf(ret_error, LOAD_ERROR_BYTES,
                 value ? "\"%s\" is not a whole number" : "\"%s\" is missing", key);
        return false;
    }
    json_int_t number = json_integer_value(value);
    if (number < min || number > max) {
        snprintf(ret_error, LOAD_ERROR_BYTES,
                 "\"%s\" is %" JSON_INTEGER_FORMAT ", allowed are %" JSON_INTEGER_FORMAT
                 " to %" JSON_INTEGER_FORMAT,
                 key, number, min, max);
        return false;
    }
    *ret_value = (uint64_t)number;
    return true;
}

/* The burst shares no prefixes; the ids are only checked for their form. */
static bool hash_ids(const json_t *object, char ret_error[LOAD_ERROR_BYTES])
{
    const json_t *ids = json_object_get(object, "hash_ids");

    if (!json_is_array(ids)) {
        snprintf(ret_error, LOAD_ERROR_BYTES,
                 ids ? "\"hash_ids\" is not an array" : "\"hash_ids\" is missing");
        return false;
    }
    for (size_t i = 0; i < json_array_size(ids); i++) {
        if (!json_is_integer(json_array_get(ids, i))) {
            snprintf(ret_error, LOAD_ERROR_BYTES, "\"hash_ids\" has an item that is no number");
            return false;
        }
    }
    return true;
}

static bool fields(const json_t *object, struct load_request *ret_request,
                   char ret_error[LOAD_ERROR_BYTES])
{
    uint64_t timestamp = 0, input = 0, output = 0;

    if (!json_is_object(object)) {
        snprintf(ret_error, LOAD_ERROR_BYTES, "not a JSON object");
        return false;
    }
    if (!whole_number(object, "timestamp", 0, INT64_C(1) << 48, &timestamp, ret_error) ||
        !whole_number(object, "input_length", 1, LOAD_TOKENS_MAX, &input, ret_error) ||
        !whole_number(object, "output_length", 0, LOAD_TOKENS_MAX, &output, ret_error) ||
        !hash_ids(object, ret_error)) {
        return false;
    }
    *ret_request = (struct load_request){timestamp, (uint32_t)input, (uint32_t)output};
    return true;
}

bool load_parse_line(const char *line, size_t length, struct load_request *ret_request,
                     char ret_error[LOAD_ERROR_BYTES])
{
    json_error_t error;
    json_t *object = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);

    if (!object) {
        snprintf(ret_error, LOAD_ERROR_BYTES, "column %d: %s", error.column, error.text);
        return false;
    }
    bool ok = fields(object, ret_request, ret_error);
    json_decref(object);
    return ok;
}

static bool append(struct load *load, size_t *room, struct load_request request)
{
    if (load->trace_count == *room) {
        size_t wanted = *room ? *room * 2 : 1024;
        struct load_request *trace = realloc(load->trace, wanted * sizeof(*trace));

        if (!trace) {
            return false;
        }
        load->trace = trace;
        *room = wanted;
    }
    load->trace[load->trace_count++] = request;
    return true;
}

/* The trace's lines; `*ret_line` is the one that an error is about, 0 when it is about the file. */
static bool read_lines(FILE *file, struct load *load, size_t *ret_line,
                       char ret_error[LOAD_ERROR_BYTES])
{
    char *line = NULL;
    size_t size = 0, room = 0;
    ssize_t length;
    bool ok = true;
    double sum = 0;

    for (*ret_line = 1; ok && (length = getline(&line, &size, file)) >= 0; ++*ret_line) {
        struct load_request request;
        if (strspn(line, " \t\r\n") == (size_t)length) {
            continue;
        }
        ok = load_parse_line(line, (size_t)length, &request, ret_error);
        if (ok && (load->trace_count == LOAD_TRACE_REQUESTS_MAX || !append(load, &room, request))) {
            snprintf(ret_error, LOAD_ERROR_BYTES, "too many requests for this machine");
            ok = false;
        }
        if (!ok) {
            break;
        }
        sum += request.input_tokens;
        if (request.input_tokens > load->largest_tokens) {
            load->largest_tokens = request.input_tokens;
            load->largest_line = *ret_line;
        }
    }
    free(line);
    if (ok && (ferror(file) || !load->trace_count)) {
        snprintf(ret_error, LOAD_ERROR_BYTES, "%s",
                 ferror(file) ? strerror(errno) : "it has no requests");
        *ret_line = 0;
        return false;
    }
    load->mean_tokens = ok ? sum / (double)load->trace_count : 0;
    return ok;
}

bool load_read_trace(const char *path, struct load *ret_load, char ret_error[LOAD_ERROR_BYTES])
{
    struct load load = {0};
    char why[LOAD_ERROR_BYTES];
    size_t line = 0;
    FILE *file = fopen(path, "re");

    if (!file) {
        snprintf(ret_error, LOAD_ERROR_BYTES, "%.200s: %s", path, strerror(errno));
        return false;
    }
    bool ok = read_lines(file, &load, &line, why);
    fclose(file);
    if (!ok) {
        load_fini(&load);
        if (line) {
            snprintf(ret_error, LOAD_ERROR_BYTES, "%.200s:%zu: %.260s", path, line, why);
        } else {
            snprintf(ret_error, LOAD_ERROR_BYTES, "%.200s: %.260s", path, why);
        }
        return false;
    }
    *ret_load = load;
    return true;
}

void load_cut(struct load *load, uint32_t tokens_max)
{
    enum { SAMPLE = 10000 };
    size_t count = load->trace ? load->trace_count : SAMPLE;
    double sum = 0;

    load->tokens_max = tokens_max;
    if (load->largest_tokens <= tokens_max) {
        return;
    }
    load->largest_tokens = tokens_max;
    for (size_t i = 0; i < count; i++) {
        sum += load_request_at(load, i).input_tokens;
    }
    load->mean_tokens = sum / (double)count;
}

static uint32_t cut(const struct load *load, uint32_t tokens)
{
    return load->tokens_max && tokens > load->tokens_max ? load->tokens_max : tokens;
}

struct load_request load_request_at(const struct load *load, uint64_t index)
{
    if (load->trace) {
        struct load_request request = load->trace[index % load->trace_count];
        uint64_t span_ms = load->trace[load->trace_count - 1].timestamp_ms + 1;

        request.input_tokens = cut(load, request.input_tokens);
        request.timestamp_ms += index / load->trace_count * span_ms;
        return request;
    }
    struct dice dice = dice_of(load->seed, index);
    return (struct load_request){
        .input_tokens = cut(load, draw(prompt_knots, PROMPT_KNOTS, dice_fraction(&dice))),
        .output_tokens = draw(answer_knots, ANSWER_KNOTS, dice_fraction(&dice)),
    };
}

void load_fini(struct load *load)
{
    free(load->trace);
    *load = (struct load){0};
}
