/* SPDX-License-Identifier: Apache-2.0 */
/* Reading an engine's stats object, and the tables of `baton top`.  No sockets, no terminal. */
#include "top/format.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

enum { NAME_COLUMNS = 24, TEXT_BYTES = 40 };

/* Text of the other end of a socket, for a terminal: what could steer it becomes a '?'. */
static const char *shown(const json_t *object, const char *key, char text[TEXT_BYTES])
{
    const char *value = json_string_value(json_object_get(object, key));

    snprintf(text, TEXT_BYTES, "%s", value ? value : "?");
    for (char *c = text; *c; c++) {
        if (*c < 0x20 || *c > 0x7e) {
            *c = '?';
        }
    }
    return text;
}

static json_int_t number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* "1.5 MiB" */
static const char *size_text(double bytes, char text[TEXT_BYTES])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    unsigned unit = 0;

    while (bytes >= 1024 && unit + 1 < sizeof(units) / sizeof(*units)) {
        bytes /= 1024;
        unit++;
    }
    snprintf(text, TEXT_BYTES, unit && bytes < 100 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
    return text;
}

/* "12 us", "3.4 ms", "2.0 s", "1h02m" */
static const char *time_text(double us, char text[TEXT_BYTES])
{
    if (us < 1000) {
        snprintf(text, TEXT_BYTES, "%.0f us", us);
    } else if (us < 1e6) {
        snprintf(text, TEXT_BYTES, "%.1f ms", us / 1e3);
    } else if (us < 60e6) {
        snprintf(text, TEXT_BYTES, "%.1f s", us / 1e6);
    } else if (us < 3600e6) {
        snprintf(text, TEXT_BYTES, "%um%02us", (unsigned)(us / 60e6), (unsigned)(us / 1e6) % 60);
    } else {
        snprintf(text, TEXT_BYTES, "%" PRIu64 "h%02um", (uint64_t)(us / 3600e6),
                 (unsigned)((uint64_t)(us / 60e6) % 60));
    }
    return text;
}

static bool member_check(const json_t *stats, const char *key, json_type type, char *why,
                         size_t size)
{
    const json_t *member = json_object_get(stats, key);

    if (member && json_typeof(member) == type) {
        return true;
    }
    snprintf(why, size, "not the stats of a baton engine: \"%s\" is %s", key,
             member ? "of the wrong type" : "missing");
    return false;
}

bool top_parse(const char *text, size_t length, json_t **ret_stats, char *ret_why, size_t why_size)
{
    static const struct {
        const char *key;
        json_type type;
    } members[] = {
        {"version", JSON_STRING},    {"incarnation", JSON_STRING}, {"pid", JSON_INTEGER},
        {"uptime_us", JSON_INTEGER}, {"counters", JSON_OBJECT},    {"gauges", JSON_OBJECT},
        {"histograms", JSON_OBJECT}, {"pools", JSON_ARRAY},        {"links", JSON_ARRAY},
    };
    json_error_t error;
    json_t *stats = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);

    if (!stats) {
        snprintf(ret_why, why_size, "not JSON: %s (byte %d)", error.text, error.position);
        return false;
    }
    for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++) {
        if (!member_check(stats, members[i].key, members[i].type, ret_why, why_size)) {
            json_decref(stats);
            return false;
        }
    }
    *ret_stats = stats;
    return true;
}

double top_histogram_percentile(const json_t *histogram, double percent)
{
    json_t *buckets = json_object_get(histogram, "buckets"), *bucket;
    json_int_t all = 0, below = 0;
    size_t i;

    json_array_foreach(buckets, i, bucket)
    {
        all += json_integer_value(json_array_get(bucket, 1));
    }
    if (all <= 0) {
        return 0;
    }
    json_array_foreach(buckets, i, bucket)
    {
        below += json_integer_value(json_array_get(bucket, 1));
        if ((double)below >= (double)all * percent / 100) {
            json_t *bound = json_array_get(bucket, 0);

            return json_is_integer(bound) ? (double)json_integer_value(bound) : -1;
        }
    }
    return -1;
}

/* One counter: its total and, when there is something to compare with, its rate. */
static void counter_line(const json_t *now, const json_t *before, double seconds, const char *key,
                         FILE *out)
{
    json_int_t total = number(now, key);

    fprintf(out, "  %-*.*s %14" JSON_INTEGER_FORMAT, NAME_COLUMNS, NAME_COLUMNS, key, total);
    if (before && seconds > 0) {
        double rate = (double)(total - number(before, key)) / seconds;

        fprintf(out, " %14.*f", rate < 100 ? 1 : 0, rate);
    }
    fputc('\n', out);
}

/* The same for bytes, in units that a person reads. */
static void bytes_line(const json_t *now, const json_t *before, double seconds, const char *key,
                       FILE *out)
{
    char text[TEXT_BYTES];
    double total = (double)number(now, key);

    fprintf(out, "  %-*s %14s", NAME_COLUMNS, key, size_text(total, text));
    if (before && seconds > 0) {
        double rate = (total - (double)number(before, key)) / seconds;

        fprintf(out, " %14s", size_text(rate > 0 ? rate : 0, text));
    }
    fputc('\n', out);
}

static void head_line(const char *title, bool rates, FILE *out)
{
    fprintf(out, "\n%-*s %14s", NAME_COLUMNS + 2, title, "total");
    if (rates) {
        fprintf(out, " %14s", "per second");
    }
    fputc('\n', out);
}

static void counters_table(const json_t *now, const json_t *before, double seconds, FILE *out)
{
    static const char *const plain[] = {
        "offers",       "fetches",    "leases",        "cancels_requested",
        "cancels_won",  "retired",    "doubts",        "late_messages",
        "links_made",   "links_lost", "links_refused", "links_fenced",
        "peers_killed", "frames_in",  "frames_out",    "protocol_errors",
    };
    static const char *const bytes[] = {"bytes_landed", "bytes_useful", "bytes_wasted",
                                        "bytes_served"};

    head_line("COUNTERS", before && seconds > 0, out);
    for (size_t i = 0; i < sizeof(plain) / sizeof(*plain); i++) {
        counter_line(now, before, seconds, plain[i], out);
    }
    for (size_t i = 0; i < sizeof(bytes) / sizeof(*bytes); i++) {
        bytes_line(now, before, seconds, bytes[i], out);
    }
}

/* Members of a counter that are not zero: most causes never occur. */
static void members_table(const char *title, const json_t *now, const json_t *before,
                          double seconds, FILE *out)
{
    bool any = false;
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)now, key, value)
    {
        if (!json_integer_value(value) ||
            strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(key)) {
            continue;
        }
        if (!any) {
            head_line(title, before && seconds > 0, out);
        }
        any = true;
        counter_line(now, before, seconds, key, out);
    }
}

static void outcomes_table(const json_t *now, const json_t *before, double seconds, FILE *out)
{
    static const char *const names[] = {"completed", "cancelled", "peer_cancelled", "timed_out",
                                        "link_lost", "refused",   "failed"};
    const json_t *offers = json_object_get(now, "offer"), *fetches = json_object_get(now, "fetch");
    bool rates = before && seconds > 0;

    fprintf(out, "\n%-*s %14s %14s", NAME_COLUMNS + 2, "OUTCOMES", "offers", "fetches");
    fputs(rates ? "     offers/s    fetches/s\n" : "\n", out);
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        json_int_t offer = number(offers, names[i]), fetch = number(fetches, names[i]);

        fprintf(out, "  %-*s %14" JSON_INTEGER_FORMAT " %14" JSON_INTEGER_FORMAT, NAME_COLUMNS,
                names[i], offer, fetch);
        if (rates) {
            json_int_t old_offer = number(json_object_get(before, "offer"), names[i]);
            json_int_t old_fetch = number(json_object_get(before, "fetch"), names[i]);

            fprintf(out, " %12.1f %12.1f", (double)(offer - old_offer) / seconds,
                    (double)(fetch - old_fetch) / seconds);
        }
        fputc('\n', out);
    }
}

static const char *bound_text(double us, char text[TEXT_BYTES])
{
    char time[TEXT_BYTES];

    if (us < 0) {
        snprintf(text, TEXT_BYTES, "past the last");
    } else if (us == 0) {
        snprintf(text, TEXT_BYTES, "-");
    } else {
        /* A time is at most 24 characters; the bound keeps the compiler sure of it. */
        snprintf(text, TEXT_BYTES, "<= %.30s", time_text(us, time));
    }
    return text;
}

static void histograms_table(const json_t *histograms, FILE *out)
{
    char p50[TEXT_BYTES], p99[TEXT_BYTES], mean[TEXT_BYTES], name_text[TEXT_BYTES];
    const char *name;
    json_t *histogram;

    fprintf(out, "\n%-*s %14s %14s %14s %14s\n", NAME_COLUMNS + 2, "TIMES", "count", "mean", "p50",
            "p99");
    json_object_foreach((json_t *)histograms, name, histogram)
    {
        json_int_t count = number(histogram, "count");
        double sum = (double)number(histogram, "sum");
        size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");

        snprintf(name_text, sizeof(name_text), "%.*s", (int)(length < 24 ? length : 24), name);
        fprintf(out, "  %-*s %14" JSON_INTEGER_FORMAT " %14s %14s %14s\n", NAME_COLUMNS, name_text,
                count, count > 0 ? time_text(sum / (double)count, mean) : "-",
                bound_text(top_histogram_percentile(histogram, 50), p50),
                bound_text(top_histogram_percentile(histogram, 99), p99));
    }
}

static void pools_table(const json_t *pools, FILE *out)
{
    size_t i;
    json_t *pool;

    if (!json_array_size(pools)) {
        return;
    }
    fprintf(out, "\n%-6s %10s %10s %10s %10s %10s %10s %10s %10s %12s\n", "POOL", "block", "blocks",
            "free", "held", "lent", "quarantine", "of bytes", "oldest", "late bytes");
    json_array_foreach(pools, i, pool)
    {
        char block[TEXT_BYTES], bytes[TEXT_BYTES], oldest[TEXT_BYTES];

        fprintf(out, "%-6" JSON_INTEGER_FORMAT " %10s", number(pool, "id"),
                size_text((double)number(pool, "block_bytes"), block));
        fprintf(out,
                " %10" JSON_INTEGER_FORMAT " %10" JSON_INTEGER_FORMAT " %10" JSON_INTEGER_FORMAT
                " %10" JSON_INTEGER_FORMAT " %10" JSON_INTEGER_FORMAT,
                number(pool, "blocks"), number(pool, "free_blocks"), number(pool, "held_blocks"),
                number(pool, "lent_blocks"), number(pool, "quarantine_blocks"));
        fprintf(out, " %10s %10s %12" JSON_INTEGER_FORMAT "\n",
                size_text((double)number(pool, "quarantine_bytes"), bytes),
                time_text((double)number(pool, "quarantine_oldest_us"), oldest),
                number(pool, "late_bytes"));
    }
}

static void links_table(const json_t *links, FILE *out)
{
    size_t i;
    json_t *link;

    if (!json_array_size(links)) {
        return;
    }
    fprintf(out, "\n%-34s %-8s %-6s %-8s %10s %10s\n", "LINK TO", "role", "kind", "state", "age",
            "handoffs");
    json_array_foreach(links, i, link)
    {
        char peer[TEXT_BYTES], role[TEXT_BYTES], kind[TEXT_BYTES], state[TEXT_BYTES];
        char age[TEXT_BYTES];

        fprintf(out, "%-34s %-8s %-6s %-8s %10s %10" JSON_INTEGER_FORMAT "\n",
                shown(link, "peer", peer), shown(link, "role", role), shown(link, "kind", kind),
                shown(link, "state", state), time_text((double)number(link, "age_us"), age),
                number(link, "handoffs"));
    }
}

static void title_lines(const json_t *stats, FILE *out)
{
    const json_t *gauges = json_object_get(stats, "gauges");
    char version[TEXT_BYTES], incarnation[TEXT_BYTES], age[TEXT_BYTES], bytes[TEXT_BYTES];

    fprintf(out, "baton %s  engine %s  pid %" JSON_INTEGER_FORMAT "  up %s\n",
            shown(stats, "version", version), shown(stats, "incarnation", incarnation),
            number(stats, "pid"), time_text((double)number(stats, "uptime_us"), age));
    fprintf(out,
            "now: %" JSON_INTEGER_FORMAT " offers, %" JSON_INTEGER_FORMAT
            " fetches, %" JSON_INTEGER_FORMAT " links, %s in flight in %" JSON_INTEGER_FORMAT
            " windows\n",
            number(gauges, "offers"), number(gauges, "fetches"), number(gauges, "links"),
            size_text((double)number(gauges, "inflight_bytes"), bytes), number(gauges, "windows"));
}

void top_table(const json_t *stats, const json_t *before, double seconds, FILE *out)
{
    const json_t *now = json_object_get(stats, "counters");
    const json_t *old = json_object_get(before, "counters");

    title_lines(stats, out);
    pools_table(json_object_get(stats, "pools"), out);
    outcomes_table(json_object_get(now, "outcomes"), json_object_get(old, "outcomes"), seconds,
                   out);
    histograms_table(json_object_get(stats, "histograms"), out);
    counters_table(now, old, seconds, out);
    members_table("CAUSES", json_object_get(now, "causes"), json_object_get(old, "causes"), seconds,
                  out);
    members_table("RECEIPTS", json_object_get(now, "receipts"), json_object_get(old, "receipts"),
                  seconds, out);
    links_table(json_object_get(stats, "links"), out);
}
