/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine's stats object in Prometheus' text exposition format.  A name is "baton_" and the name
 * in the JSON object, so that docs/METRICS.md serves both; counters end in _total, gauges of the
 * engine begin with baton_current_ because a counter may have the same name.  What a newer engine
 * adds is printed too, with a help line that says where to look.
 */
#include "top/format.h"

#include <inttypes.h>
#include <string.h>

struct metric_help {
    const char *name;
    const char *text;
};

static const struct metric_help helps[] = {
    {"offers_total", "Offers made."},
    {"fetches_total", "Fetches started."},
    {"outcomes_total", "Handoffs whose outcome was decided, by end and outcome."},
    {"causes_total", "Handoffs whose outcome was decided, by cause."},
    {"cancels_requested_total", "Calls of cancel before the outcome was decided."},
    {"cancels_won_total", "Handoffs that this side's cancel ended."},
    {"receipts_total", "Receipts given, by proof."},
    {"retired_total", "Receipts used."},
    {"doubts_total", "Handoffs whose quiet was not proven soon after the outcome."},
    {"links_fenced_total", "Links that this side closed because of on_doubt."},
    {"peers_killed_total", "Processes of peers that this side killed because of on_doubt."},
    {"bytes_landed_total", "Bytes copied into blocks by fetches."},
    {"bytes_useful_total", "Bytes landed in fetches that completed."},
    {"bytes_wasted_total", "Bytes landed in fetches that did not complete."},
    {"bytes_served_total",
     "Bytes of windows that this engine's own code began to send to readers."},
    {"late_messages_total", "Messages that came too late for their handoff and were ignored."},
    {"leases_total", "Leases given to readers."},
    {"links_made_total", "Links made."},
    {"links_lost_total", "Links lost."},
    {"links_refused_total", "Links refused."},
    {"frames_in_total", "Control frames received."},
    {"frames_out_total", "Control frames sent."},
    {"protocol_errors_total", "Messages that the protocol forbids; each ended its link."},
    {"current_offers", "Offers that have not ended."},
    {"current_fetches", "Fetches that have not ended."},
    {"current_links", "Links that are up or being made."},
    {"current_inflight_bytes", "Bytes of all windows under way."},
    {"current_windows", "Windows under way."},
    {"time_to_quiet_us", "Microseconds from the call of a cancel to the receipt."},
    {"fetch_us", "Microseconds from the start of a fetch to its outcome."},
    {"pool_blocks", "Blocks of the pool."},
    {"pool_block_bytes", "Bytes of one block."},
    {"pool_free_blocks", "Blocks neither held nor lent."},
    {"pool_held_blocks", "Blocks held by the caller and not lent."},
    {"pool_lent_blocks", "Blocks in a handoff whose receipt was not used yet."},
    {"pool_quarantine_blocks", "Lent blocks whose outcome is decided and quiet is not proven."},
    {"pool_quarantine_bytes", "Bytes of the blocks in quarantine."},
    {"pool_quarantine_oldest_us", "Age in microseconds of the oldest block in quarantine."},
    {"pool_late_bytes_total", "Bytes found changed in free blocks."},
    {"pool_late_blocks_total", "Free blocks that were found changed."},
};

static const char *help_find(const char *name)
{
    for (size_t i = 0; i < sizeof(helps) / sizeof(*helps); i++) {
        if (!strcmp(helps[i].name, name)) {
            return helps[i].text;
        }
    }
    return "See docs/METRICS.md.";
}

/* The two comment lines of a family.  `stem` and `suffix` make the name after "baton_". */
static void family_print(const char *stem, const char *suffix, const char *type, FILE *out)
{
    char name[128];

    snprintf(name, sizeof(name), "%s%s", stem, suffix);
    fprintf(out, "# HELP baton_%s %s\n# TYPE baton_%s %s\n", name, help_find(name), name, type);
}

/* A label's value may hold anything the socket's other end sent: quoted as the format wants it. */
static void label_print(const char *name, const char *value, FILE *out)
{
    fprintf(out, "%s=\"", name);
    for (const char *c = value ? value : ""; *c; c++) {
        if (*c == '\n') {
            fputs("\\n", out);
        } else {
            if (*c == '"' || *c == '\\') {
                fputc('\\', out);
            }
            fputc(*c, out);
        }
    }
    fputc('"', out);
}

static bool is_name(const char *text)
{
    size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_");

    return length > 0 && !text[length];
}

static void plain_counter_print(const char *name, const json_t *value, FILE *out)
{
    family_print(name, "_total", "counter", out);
    fprintf(out, "baton_%s_total %" JSON_INTEGER_FORMAT "\n", name, json_integer_value(value));
}

/* A counter whose members are values of one label, such as causes and receipts. */
static void labelled_counter_print(const char *name, const char *label, const json_t *members,
                                   FILE *out)
{
    const char *key;
    json_t *value;

    family_print(name, "_total", "counter", out);
    json_object_foreach((json_t *)members, key, value)
    {
        fprintf(out, "baton_%s_total{", name);
        label_print(label, key, out);
        fprintf(out, "} %" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
    }
}

static void outcomes_print(const json_t *ends, FILE *out)
{
    const char *end, *outcome;
    json_t *outcomes, *value;

    family_print("outcomes", "_total", "counter", out);
    json_object_foreach((json_t *)ends, end, outcomes)
    {
        json_object_foreach(outcomes, outcome, value)
        {
            fputs("baton_outcomes_total{", out);
            label_print("end", end, out);
            fputc(',', out);
            label_print("outcome", outcome, out);
            fprintf(out, "} %" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
        }
    }
}

static void counters_print(const json_t *counters, FILE *out)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)counters, name, value)
    {
        if (!is_name(name)) {
            continue;
        }
        if (!strcmp(name, "outcomes")) {
            outcomes_print(value, out);
        } else if (json_is_object(value)) {
            const char *label = !strcmp(name, "receipts") ? "proof"
                                : !strcmp(name, "causes") ? "cause"
                                                          : "kind";
            labelled_counter_print(name, label, value, out);
        } else if (json_is_integer(value)) {
            plain_counter_print(name, value, out);
        }
    }
}

static void gauges_print(const json_t *gauges, FILE *out)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)gauges, name, value)
    {
        char full[128];

        if (!is_name(name) || !json_is_integer(value)) {
            continue;
        }
        snprintf(full, sizeof(full), "current_%s", name);
        family_print(full, "", "gauge", out);
        fprintf(out, "baton_%s %" JSON_INTEGER_FORMAT "\n", full, json_integer_value(value));
    }
}

/* The object's counts are of one bucket each; Prometheus wants them cumulative. */
static void histogram_print(const char *name, const json_t *histogram, FILE *out)
{
    json_t *buckets = json_object_get(histogram, "buckets"), *bucket;
    json_int_t below = 0;
    size_t i;

    family_print(name, "", "histogram", out);
    json_array_foreach(buckets, i, bucket)
    {
        json_t *bound = json_array_get(bucket, 0);

        below += json_integer_value(json_array_get(bucket, 1));
        if (json_is_integer(bound)) {
            fprintf(out,
                    "baton_%s_bucket{le=\"%" JSON_INTEGER_FORMAT "\"} %" JSON_INTEGER_FORMAT "\n",
                    name, json_integer_value(bound), below);
        }
    }
    /* The format demands that _count and the last bucket agree, so both are the sum of the
     * buckets. */
    fprintf(out, "baton_%s_bucket{le=\"+Inf\"} %" JSON_INTEGER_FORMAT "\n", name, below);
    fprintf(out, "baton_%s_sum %" JSON_INTEGER_FORMAT "\n", name,
            json_integer_value(json_object_get(histogram, "sum")));
    fprintf(out, "baton_%s_count %" JSON_INTEGER_FORMAT "\n", name, below);
}

static void pools_print(const json_t *pools, FILE *out)
{
    static const struct {
        const char *name, *suffix, *type;
    } fields[] = {
        {"blocks", "", "gauge"},
        {"block_bytes", "", "gauge"},
        {"free_blocks", "", "gauge"},
        {"held_blocks", "", "gauge"},
        {"lent_blocks", "", "gauge"},
        {"quarantine_blocks", "", "gauge"},
        {"quarantine_bytes", "", "gauge"},
        {"quarantine_oldest_us", "", "gauge"},
        {"late_bytes", "_total", "counter"},
        {"late_blocks", "_total", "counter"},
    };
    size_t index;
    json_t *pool;

    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields) && json_array_size(pools); i++) {
        char stem[64];

        snprintf(stem, sizeof(stem), "pool_%s", fields[i].name);
        family_print(stem, fields[i].suffix, fields[i].type, out);
        json_array_foreach(pools, index, pool)
        {
            fprintf(out, "baton_%s%s{pool=\"%" JSON_INTEGER_FORMAT "\"} %" JSON_INTEGER_FORMAT "\n",
                    stem, fields[i].suffix, json_integer_value(json_object_get(pool, "id")),
                    json_integer_value(json_object_get(pool, fields[i].name)));
        }
    }
}

/* Links come and go with their peers: only how many there are of a kind is a stable series. */
static void links_print(const json_t *links, FILE *out)
{
    static const char *const roles[] = {"sink", "source"};
    static const char *const kinds[] = {"unix", "tcp"};
    size_t index;
    json_t *link;

    fputs("# HELP baton_links_up Links that are up, by this engine's role and by kind.\n"
          "# TYPE baton_links_up gauge\n",
          out);
    for (unsigned i = 0; i < 4; i++) {
        const char *role = roles[i / 2], *kind = kinds[i % 2];
        unsigned up = 0;

        json_array_foreach(links, index, link)
        {
            const char *its_role = json_string_value(json_object_get(link, "role"));
            const char *its_kind = json_string_value(json_object_get(link, "kind"));
            const char *state = json_string_value(json_object_get(link, "state"));

            up += its_role && its_kind && state && !strcmp(its_role, role) &&
                  !strcmp(its_kind, kind) && !strcmp(state, "up");
        }
        fprintf(out, "baton_links_up{role=\"%s\",kind=\"%s\"} %u\n", role, kind, up);
    }
}

void top_prometheus(const json_t *stats, FILE *out)
{
    const char *name;
    json_t *histogram;

    fputs("# HELP baton_engine_info The engine that was asked.\n"
          "# TYPE baton_engine_info gauge\nbaton_engine_info{",
          out);
    label_print("version", json_string_value(json_object_get(stats, "version")), out);
    fputc(',', out);
    label_print("incarnation", json_string_value(json_object_get(stats, "incarnation")), out);
    fprintf(out,
            "} 1\n# HELP baton_uptime_us Age of the engine in microseconds.\n"
            "# TYPE baton_uptime_us gauge\nbaton_uptime_us %" JSON_INTEGER_FORMAT "\n",
            json_integer_value(json_object_get(stats, "uptime_us")));
    counters_print(json_object_get(stats, "counters"), out);
    gauges_print(json_object_get(stats, "gauges"), out);
    json_object_foreach(json_object_get(stats, "histograms"), name, histogram)
    {
        if (is_name(name)) {
            histogram_print(name, histogram, out);
        }
    }
    pools_print(json_object_get(stats, "pools"), out);
    links_print(json_object_get(stats, "links"), out);
}
