/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of what `baton top` makes of a stats object: the table, Prometheus' text, and refusals. */
#include "test.h"

#include "../tools/baton/top/format.h"

#include <stdlib.h>
#include <string.h>

static const char whole[] =
    "{\"version\": \"0.1.0\", \"incarnation\": \"00ff\", \"pid\": 7, \"uptime_us\": 61000000,"
    " \"counters\": {\"offers\": 30, \"fetches\": 20,"
    "  \"outcomes\": {\"offer\": {\"completed\": 9, \"cancelled\": 2},"
    "                \"fetch\": {\"completed\": 11, \"link_lost\": 4}},"
    "  \"causes\": {\"cancel\": 5, \"busy\": 0}, \"receipts\": {\"revoked\": 3},"
    "  \"links_fenced\": 6, \"peers_killed\": 2,"
    "  \"bytes_landed\": 3145728, \"something_new\": 17},"
    " \"gauges\": {\"offers\": 1, \"fetches\": 2, \"links\": 3, \"inflight_bytes\": 4096,"
    "             \"windows\": 4},"
    " \"histograms\": {\"time_to_quiet_us\": {\"count\": 10, \"sum\": 55,"
    "                 \"buckets\": [[1, 2], [2, 3], [4, 4], [null, 1]]}},"
    " \"pools\": [{\"id\": 0, \"block_bytes\": 16384, \"blocks\": 64, \"free_blocks\": 60,"
    "             \"held_blocks\": 1, \"lent_blocks\": 3, \"quarantine_blocks\": 2,"
    "             \"quarantine_bytes\": 32768, \"quarantine_oldest_us\": 1500,"
    "             \"late_bytes\": 0, \"late_blocks\": 0}],"
    " \"links\": [{\"peer\": \"ab\\u001b[2Jcd\", \"role\": \"sink\", \"kind\": \"unix\","
    "             \"state\": \"up\", \"age_us\": 2500, \"handoffs\": 2}]}";

static json_t *parsed(const char *text)
{
    json_t *stats = NULL;
    char why[200] = "";

    if (!CHECK(top_parse(text, strlen(text), &stats, why, sizeof(why)))) {
        printf("  %s\n", why);
    }
    return stats;
}

/* The text that a printer makes of `whole`; the caller's to free(). */
static char *prometheus_of(const json_t *stats)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);

    top_prometheus(stats, out);
    fclose(out);
    return text;
}

static char *table_of(const json_t *stats, const json_t *before, double seconds)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);

    top_table(stats, before, seconds, out);
    fclose(out);
    return text;
}

static bool has_line(const char *text, const char *line)
{
    size_t length = strlen(line);

    for (const char *at = strstr(text, line); at; at = strstr(at + 1, line)) {
        if ((at == text || at[-1] == '\n') && at[length] == '\n') {
            return true;
        }
    }
    return false;
}

/* Every kind of value in the object becomes the samples that Prometheus expects of it. */
TEST(top_prometheus_has_each_sample)
{
    json_t *stats = parsed(whole);
    char *text = prometheus_of(stats);

    CHECK(has_line(text, "# TYPE baton_offers_total counter"));
    CHECK(has_line(text, "# HELP baton_offers_total Offers made."));
    CHECK(has_line(text, "baton_offers_total 30"));
    CHECK(has_line(text, "baton_outcomes_total{end=\"fetch\",outcome=\"link_lost\"} 4"));
    CHECK(has_line(text, "baton_causes_total{cause=\"cancel\"} 5"));
    CHECK(has_line(text, "baton_receipts_total{proof=\"revoked\"} 3"));
    CHECK(has_line(text, "# HELP baton_links_fenced_total Links that this side closed because of "
                         "on_doubt."));
    CHECK(has_line(text, "baton_links_fenced_total 6"));
    CHECK(has_line(text, "# TYPE baton_peers_killed_total counter"));
    CHECK(has_line(text, "baton_peers_killed_total 2"));
    CHECK(has_line(text, "# TYPE baton_current_offers gauge"));
    CHECK(has_line(text, "baton_current_offers 1"));
    CHECK(has_line(text, "baton_pool_free_blocks{pool=\"0\"} 60"));
    CHECK(has_line(text, "baton_links_up{role=\"sink\",kind=\"unix\"} 1"));
    CHECK(has_line(text, "baton_links_up{role=\"source\",kind=\"tcp\"} 0"));
    free(text);
    json_decref(stats);
}

/* The object's buckets are counts of their own; Prometheus' include all those below. */
TEST(top_prometheus_histogram_is_cumulative)
{
    json_t *stats = parsed(whole);
    char *text = prometheus_of(stats);

    CHECK(has_line(text, "# TYPE baton_time_to_quiet_us histogram"));
    CHECK(has_line(text, "baton_time_to_quiet_us_bucket{le=\"1\"} 2"));
    CHECK(has_line(text, "baton_time_to_quiet_us_bucket{le=\"2\"} 5"));
    CHECK(has_line(text, "baton_time_to_quiet_us_bucket{le=\"4\"} 9"));
    CHECK(has_line(text, "baton_time_to_quiet_us_bucket{le=\"+Inf\"} 10"));
    CHECK(has_line(text, "baton_time_to_quiet_us_sum 55"));
    CHECK(has_line(text, "baton_time_to_quiet_us_count 10"));
    free(text);
    json_decref(stats);
}

/* A counter that this build does not know is shown, not dropped. */
TEST(top_prometheus_shows_unknown_counters)
{
    json_t *stats = parsed(whole);
    char *text = prometheus_of(stats);

    CHECK(has_line(text, "# HELP baton_something_new_total See docs/METRICS.md."));
    CHECK(has_line(text, "baton_something_new_total 17"));
    free(text);
    json_decref(stats);
}

/* Each family has one HELP and one TYPE line, before its samples, and no line is of another kind.
 */
TEST(top_prometheus_families_are_whole)
{
    json_t *stats = parsed(whole);
    char *text = prometheus_of(stats), *rest = text, *line;
    unsigned helps = 0, types = 0;

    while ((line = strsep(&rest, "\n")) && rest) {
        helps += !strncmp(line, "# HELP baton_", 13);
        types += !strncmp(line, "# TYPE baton_", 13);
        CHECK(helps == types || helps == types + 1);
        CHECK(line[0] == '#' || !strncmp(line, "baton_", 6));
    }
    CHECK(helps == types && helps > 20);
    free(text);
    json_decref(stats);
}

/* Quotes, backslashes and line ends of a peer do not break out of a label. */
TEST(top_prometheus_labels_are_quoted)
{
    json_t *stats = parsed(whole);
    char *text;

    json_object_set_new(stats, "version", json_string("a\"b\\c\nd"));
    text = prometheus_of(stats);
    CHECK(strstr(text, "version=\"a\\\"b\\\\c\\nd\"") != NULL);
    free(text);
    json_decref(stats);
}

/* The table names what is there, and nothing in it steers a terminal. */
TEST(top_table_shows_pools_and_links)
{
    json_t *stats = parsed(whole);
    char *text = table_of(stats, NULL, 0);

    CHECK(strstr(text, "engine 00ff  pid 7  up 1m01s") != NULL);
    CHECK(strstr(text, "16.0 KiB") != NULL);
    CHECK(strstr(text, "1.5 ms") != NULL);
    CHECK(strstr(text, "3.0 MiB") != NULL);
    CHECK(strstr(text, "ab?[2Jcd") != NULL && !strchr(text, '\033'));
    CHECK(!strstr(text, "per second"));
    free(text);
    json_decref(stats);
}

/* With two objects the table says how fast a counter moves. */
TEST(top_table_shows_rates)
{
    json_t *before = parsed(whole), *stats = parsed(whole);
    char *text;

    json_object_set_new(json_object_get(stats, "counters"), "offers", json_integer(80));
    text = table_of(stats, before, 2);
    CHECK(strstr(text, "per second") != NULL);
    CHECK(strstr(text, "25.0") != NULL);
    free(text);
    json_decref(before);
    json_decref(stats);
}

/* A percentile is a bucket's upper bound: none without samples, and none past the last bound. */
TEST(top_percentiles_of_a_histogram)
{
    json_t *stats = parsed(whole), *empty = json_object();
    json_t *times = json_object_get(json_object_get(stats, "histograms"), "time_to_quiet_us");

    CHECK(top_histogram_percentile(times, 20) == 1);
    CHECK(top_histogram_percentile(times, 50) == 2);
    CHECK(top_histogram_percentile(times, 90) == 4);
    CHECK(top_histogram_percentile(times, 99) == -1);
    CHECK(top_histogram_percentile(empty, 50) == 0);
    json_decref(empty);
    json_decref(stats);
}

static bool refused(const char *text, const char *reason)
{
    json_t *stats = NULL;
    char why[200] = "";

    return !top_parse(text, strlen(text), &stats, why, sizeof(why)) && !stats &&
           strstr(why, reason);
}

/* What is not the stats of an engine is refused with the reason. */
TEST(top_refuses_what_is_no_stats)
{
    CHECK(refused("", "not JSON"));
    CHECK(refused("hello", "not JSON"));
    CHECK(refused("{\"version\": \"0.1.0\"", "not JSON"));
    CHECK(refused("[]", "\"version\" is missing"));
    CHECK(refused("{}", "\"version\" is missing"));
    CHECK(refused("{\"version\": 1}", "\"version\" is of the wrong type"));
    CHECK(refused("{\"version\": \"1\", \"incarnation\": \"0\"}", "\"pid\" is missing"));
    CHECK(refused("{\"version\": \"1\", \"incarnation\": \"0\", \"pid\": 1, \"uptime_us\": 1,"
                  " \"counters\": 3}",
                  "\"counters\" is of the wrong type"));
}

/* Members of a wrong type within the object are shown as nothing; the program goes on. */
TEST(top_survives_wrong_members)
{
    static const char odd[] =
        "{\"version\": \"1\", \"incarnation\": \"0\", \"pid\": 1, \"uptime_us\": -5,"
        " \"counters\": {\"offers\": \"x\", \"outcomes\": 3, \"causes\": [1], \"a b\": 1,"
        "  \"receipts\": {\"x\": {}}},"
        " \"gauges\": {\"offers\": null}, \"histograms\": {\"h\": 4, \"fetch_us\": {\"buckets\":"
        "  [1, [2], [\"a\", \"b\"], []]}},"
        " \"pools\": [1, {}], \"links\": [null, {\"peer\": 3}]}";
    json_t *stats = parsed(odd);
    char *text = prometheus_of(stats), *table = table_of(stats, stats, 1);

    CHECK(!strstr(text, "a b"));
    CHECK(has_line(text, "baton_fetch_us_count 0"));
    CHECK(strlen(table) > 0);
    free(text);
    free(table);
    json_decref(stats);
}
