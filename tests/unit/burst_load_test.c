/* SPDX-License-Identifier: Apache-2.0 */
/* tools/baton/burst/load.c: traces, good and malformed, and the generator. */
#include "../../tools/baton/burst/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test.h"

#define GOOD "{\"timestamp\": 5, \"input_length\": 900, \"output_length\": 3, \"hash_ids\": [0, 1]}"

/* A file of `text`; the caller unlinks `ret_path`. */
static bool write_trace(const char *text, char ret_path[32])
{
    memcpy(ret_path, "/tmp/baton_trace_XXXXXX", 24);
    int fd = mkstemp(ret_path);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

/* The fields of a line; others are ignored. */
TEST(load_parses_a_line)
{
    struct load_request request = {0};
    char why[LOAD_ERROR_BYTES];

    CHECK(load_parse_line(GOOD, strlen(GOOD), &request, why));
    CHECK(request.timestamp_ms == 5 && request.input_tokens == 900 && request.output_tokens == 3);
}

/* Each malformed line has an error that says what is wrong. */
TEST(load_names_what_is_wrong_with_a_line)
{
    static const struct {
        const char *line, *why;
    } cases[] = {
        {"{\"timestamp\": 5", "column"},
        {"not json", "column"},
        {"[1, 2]", "not a JSON object"},
        {GOOD GOOD, "column"},
        {"{\"input_length\": 1, \"output_length\": 1, \"hash_ids\": []}",
         "\"timestamp\" is missing"},
        {"{\"timestamp\": 0, \"output_length\": 1, \"hash_ids\": []}",
         "\"input_length\" is missing"},
        {"{\"timestamp\": 0, \"input_length\": \"9\", \"output_length\": 1, \"hash_ids\": []}",
         "\"input_length\" is not a whole number"},
        {"{\"timestamp\": 0, \"input_length\": 0, \"output_length\": 1, \"hash_ids\": []}",
         "\"input_length\" is 0"},
        {"{\"timestamp\": 0, \"input_length\": -4, \"output_length\": 1, \"hash_ids\": []}",
         "\"input_length\" is -4"},
        {"{\"timestamp\": 0, \"input_length\": 99999999999, \"output_length\": 1, \"hash_ids\": "
         "[]}",
         "allowed are"},
        {"{\"timestamp\": 0, \"input_length\": 1.5, \"output_length\": 1, \"hash_ids\": []}",
         "\"input_length\" is not a whole number"},
        {"{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 1}",
         "\"hash_ids\" is missing"},
        {"{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 1, \"hash_ids\": 3}",
         "not an array"},
        {"{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 1, \"hash_ids\": [\"a\"]}",
         "no number"},
        {"{\"timestamp\": 0, \"timestamp\": 0}", "column"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct load_request request = {0};
        char why[LOAD_ERROR_BYTES] = "";
        CHECK(!load_parse_line(cases[i].line, strlen(cases[i].line), &request, why));
        if (!CHECK(strstr(why, cases[i].why) != NULL)) {
            printf("  %s: %s\n", cases[i].line, why);
        }
    }
}

/* A trace is read in order, empty lines apart, and starts anew after its end while time goes on. */
TEST(load_reads_a_trace)
{
    struct load load = {0};
    char path[32], why[LOAD_ERROR_BYTES];

    CHECK(write_trace(GOOD "\n\n"
                           "{\"timestamp\": 9, \"input_length\": 100, \"output_length\": 1, "
                           "\"hash_ids\": []}\n",
                      path));
    bool ok = load_read_trace(path, &load, why);
    unlink(path);
    if (!CHECK(ok)) {
        return;
    }
    CHECK(load.trace_count == 2 && load.mean_tokens == 500);
    CHECK(load.largest_tokens == 900 && load.largest_line == 1);
    CHECK(load_request_at(&load, 1).input_tokens == 100);
    CHECK(load_request_at(&load, 2).input_tokens == 900);
    CHECK(load_request_at(&load, 3).timestamp_ms == 19);
    load_fini(&load);
}

/* An error in a trace names the file and the line; nothing is kept. */
TEST(load_names_the_place_of_a_malformed_line)
{
    struct load load = {0};
    char path[32], place[64], why[LOAD_ERROR_BYTES] = "";

    CHECK(write_trace(GOOD "\n" GOOD "\n{\"timestamp\": 1\n" GOOD "\n", path));
    bool ok = load_read_trace(path, &load, why);
    unlink(path);
    snprintf(place, sizeof(place), "%s:3: ", path);
    CHECK(!ok && strstr(why, place) == why);
    CHECK(load.trace == NULL && load.trace_count == 0);
}

/* No file, and an empty one. */
TEST(load_refuses_a_trace_without_requests)
{
    struct load load = {0};
    char path[32], why[LOAD_ERROR_BYTES] = "";

    CHECK(!load_read_trace("/nonexistent/trace", &load, why) && strstr(why, "No such file"));
    CHECK(write_trace("\n", path));
    CHECK(!load_read_trace(path, &load, why) && strstr(why, "no requests"));
    unlink(path);
}

/* The generator keeps to the lengths that it was fitted to, and to its seed. */
TEST(load_generator_has_the_fitted_lengths)
{
    enum { COUNT = 20000 };
    struct load load, again;
    double sum = 0;
    unsigned below_median = 0, outside = 0, different = 0;

    load_init_generator(&load, 42);
    load_init_generator(&again, 42);
    for (unsigned i = 0; i < COUNT; i++) {
        struct load_request request = load_request_at(&load, i);
        sum += request.input_tokens;
        below_median += request.input_tokens < 6910;
        outside += request.input_tokens < 890 || request.input_tokens > load.largest_tokens;
        different += request.input_tokens != load_request_at(&again, i).input_tokens;
    }
    CHECK(sum / COUNT > load.mean_tokens * 0.97 && sum / COUNT < load.mean_tokens * 1.03);
    CHECK(below_median > COUNT * 0.48 && below_median < COUNT * 0.52);
    CHECK(outside == 0 && different == 0);
}

/* Cut prompts are no longer than asked, and the mean follows. */
TEST(load_cuts_long_prompts)
{
    struct load load;
    unsigned longer = 0;

    load_init_generator(&load, 1);
    load_cut(&load, 2000);
    for (unsigned i = 0; i < 1000; i++) {
        longer += load_request_at(&load, i).input_tokens > 2000;
    }
    CHECK(longer == 0 && load.largest_tokens == 2000);
    CHECK(load.mean_tokens > 1500 && load.mean_tokens < 2000);
}
