/* SPDX-License-Identifier: Apache-2.0 */
/* The burst's progress, summary and JSON: see burst_report.h. */
#include "burst/report.h"

#include <inttypes.h>
#include <jansson.h>
#include <unistd.h>

#include "lanes.h"

static bool progress_shown;

void report_init(struct report *report, const struct burst_config *config, const char *model,
                 struct account *account, bool whole)
{
    *report = (struct report){.config = config, .model = model, .account = account, .ok = whole};
    report->check_count = account_checks(account, config, report->checks);
    for (size_t i = 0; i < report->check_count; i++) {
        report->ok = report->ok && report->checks[i].ok;
    }
}

static double percent(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0;
}

static uint64_t ended(const struct account *account)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < REQUEST_ENDS; i++) {
        sum += account->ends[i];
    }
    return sum;
}

void report_progress(const struct burst_progress *progress)
{
    const struct account *account = progress->account;
    uint64_t done = ended(account);
    bool terminal = isatty(STDERR_FILENO);

    fprintf(stderr,
            "%s%5.0f s  %" PRIu64 " requests, %.0f/s  in flight %" PRIu64 " (+%" PRIu64
            " waiting)  completed %.0f%%  cancelled %.0f%%  timed out %.0f%%  %.2f GB/s%s",
            terminal ? "\r\033[K" : "", progress->seconds, done, (double)done / progress->seconds,
            progress->in_flight, progress->waiting, percent(account->ends[REQUEST_COMPLETED], done),
            percent(account->ends[REQUEST_CANCELLED], done),
            percent(account->ends[REQUEST_TIMED_OUT], done),
            (double)account->bytes_completed / progress->seconds / 1e9, terminal ? "" : "\n");
    fflush(stderr);
    progress_shown = terminal;
}

void report_progress_end(void)
{
    if (progress_shown) {
        fputs("\r\033[K", stderr);
        progress_shown = false;
    }
}

/* --------------------------------------------------------------------------------------- for a
 * person */

static void print_ends(const struct account *account, FILE *file)
{
    for (unsigned i = 0; i < REQUEST_ENDS; i++) {
        fprintf(file, "  %-12s %8" PRIu64 "  %5.1f %%\n", request_end_name(i), account->ends[i],
                percent(account->ends[i], account->requests));
    }
}

static void print_places(const struct account *account, FILE *file)
{
    fprintf(file, "\n  cancelled or timed out in");
    for (unsigned i = 0; i < CANCELLED_INS; i++) {
        fprintf(file, "%s %s %" PRIu64, i ? "," : "", cancelled_in_name(i),
                account->cancelled_in[i]);
    }
    fprintf(file, "\n\n  %-30s %9s %9s\n", "cause", "planned", "occurred");
    for (unsigned i = BURST_PLAIN + 1; i < BURST_CAUSES; i++) {
        fprintf(file, "  %-30s %9" PRIu64 " %9" PRIu64 "\n", burst_cause_name(i),
                account->planned[i], account->occurred[i]);
    }
}

static const char *other_name(const struct burst_config *config)
{
    return config->fault_decode ? "prefill" : "decode";
}

static void print_receipts(const char *side, const struct message_stats *stats, FILE *file)
{
    const char *before = "";

    fprintf(file, "  receipts     %s: ", side);
    for (unsigned i = BATON_PROOF_NONE + 1; i < BATON_PROOF_COUNT_; i++) {
        if (stats->receipts[i]) {
            fprintf(file, "%s%s %" PRIu64, before, baton_proof_name((baton_proof)i),
                    stats->receipts[i]);
            before = ", ";
        }
    }
    fputc('\n', file);
}

static void print_fault(const struct burst_config *config, const struct fault *fault, FILE *file)
{
    fprintf(file,
            "  %-12s %s: %" PRIu64 " fetches under way, %" PRIu64
            " in mid transfer; %s had at most %" PRIu64 " blocks in quarantine, %.1f ms after it",
            config->fault == BURST_FAULT_KILL ? "killed" : "stopped",
            config->fault_decode ? "decode" : "prefill", fault->under_way, fault->moving,
            other_name(config), fault->quarantined, (double)fault_quarantine_us(fault) / 1e3);
    if (config->fault == BURST_FAULT_STOP) {
        fprintf(file, "; stopped for %.1f s%s", (double)(fault->end_ns - fault->start_ns) / 1e9,
                fault->died ? ", and ended by it" : "");
    }
    fputc('\n', file);
}

static void print_faults(const struct account *account, const struct burst_config *config,
                         FILE *file)
{
    uint64_t left = account_quarantined_blocks(account);

    if (!config->fault) {
        return;
    }
    fputc('\n', file);
    for (unsigned i = 0; i < account->faults; i++) {
        print_fault(config, &account->fault[i], file);
    }
    fprintf(file, "  quarantine   %" PRIu64 " blocks at the end%s\n", left,
            left && left == account->unproven_blocks &&
                    fault_unproven(config, lanes_own(config->lanes))
                ? ", as expected: nobody can prove what the helper of a dead prefill writes"
                : "");
    print_receipts("prefill", &account->prefill, file);
    print_receipts("decode", &account->decode, file);
}

static void print_times(const char *name, struct samples *samples, FILE *file)
{
    fprintf(file, "  %-30s %9.1f %9.1f %9.1f %9" PRIu64 "\n", name, samples_percentile(samples, 50),
            samples_percentile(samples, 99), samples_max(samples), samples->seen);
}

static void print_checks(const struct report *report, FILE *file)
{
    for (size_t i = 0; i < report->check_count; i++) {
        const struct account_check *check = &report->checks[i];
        if (!check->ok) {
            fprintf(file, "  FAILED: %s is %g, must be %s\n", check->name, check->value,
                    check->wanted);
        }
    }
    fprintf(file, "  %s\n", report->ok ? "ok" : "NOT ok");
}

void report_summary(struct report *report, FILE *file)
{
    struct account *account = report->account;
    const struct burst_config *config = report->config;
    double seconds = account->seconds > 0 ? account->seconds : 1;

    fprintf(
        file,
        "baton burst: %s%s%s%s%s, %" PRIu32 " at once, model %s (%" PRIu32
        " bytes a token, blocks of %" PRIu64 " KiB, %" PRIu64 " a pool), seed %" PRIu64 "%s\n\n",
        burst_transport_names[config->transport], config->lanes[0] ? " by " : "", config->lanes,
        config->push ? ", pushed" : "", config->link_tcp ? " over a tcp link" : "",
        config->concurrency, report->model, config->kv_bytes_per_token, config->block_bytes >> 10,
        config->pool_blocks, config->seed, account->interrupted ? ", interrupted" : "");
    fprintf(file,
            "  requests     %8" PRIu64 "  in %.1f s: %.0f a second, %.2f GB/s delivered, %.2f GB "
            "wasted\n",
            account->requests, account->seconds, (double)account->requests / seconds,
            (double)account->bytes_completed / seconds / 1e9, (double)account->bytes_wasted / 1e9);
    print_ends(account, file);
    fprintf(file, "  in flight    p50 %.0f, max %.0f\n",
            samples_percentile(&account->in_flight, 50), samples_max(&account->in_flight));
    print_places(account, file);
    fprintf(file, "\n  %-30s %9s %9s %9s %9s\n", "time in us", "p50", "p99", "max", "samples");
    print_times("cancel to quiet, at decode", &account->cancel_to_quiet_us, file);
    print_times("cancel to reclaim, at prefill", &account->source_reclaim_us, file);
    print_times("bare wake-up", &account->bare_wakeup_us, file);
    fprintf(file,
            "\n  blocks reused under a reader %" PRIu64 "; recovery probes %" PRIu64 " of %" PRIu64
            " in %" PRIu64 " ms\n",
            account->reused_under_reader, account->probes_ok, account->probes, account->probes_ms);
    print_faults(account, config, file);
    print_checks(report, file);
}

/* ----------------------------------------------------------------------------------------------
 * JSON */

static void put(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

static void put_real(json_t *object, const char *key, double value)
{
    json_object_set_new(object, key, json_real(value));
}

static void put_times(json_t *object, const char *key, struct samples *samples)
{
    json_t *times = json_object();

    put_real(times, "p50", samples_percentile(samples, 50));
    put_real(times, "p99", samples_percentile(samples, 99));
    put_real(times, "max", samples_max(samples));
    put(times, "samples", samples->seen);
    json_object_set_new(object, key, times);
}

static void put_counts(json_t *object, const struct account *account)
{
    put(object, "requests", account->requests);
    for (unsigned i = 0; i < REQUEST_ENDS; i++) {
        put(object, request_end_name(i), account->ends[i]);
    }
    put(object, "verify_errors", account->verify_errors);
    put(object, "wrong_bytes", account->wrong_bytes);
    put(object, "late_bytes", account_late_bytes(account));
    put(object, "leaked_blocks", account_leaked_blocks(account));
    put(object, "quarantined_blocks", account_quarantined_blocks(account));
    put(object, "double_outcomes",
        account->prefill.double_outcomes + account->decode.double_outcomes);
    put(object, "receipt_errors", account->prefill.receipt_errors + account->decode.receipt_errors);
    put(object, "api_errors", account->prefill.api_errors + account->decode.api_errors);
    put(object, "disagreements", account->disagreements);
    put(object, "untold", account->untold);
    put(object, "doubts", account->prefill.doubts + account->decode.doubts);
    put(object, "children_lost", account->children_lost);
    put(object, "probes_ok", account->probes_ok);
    put(object, "probes", account->probes);
    put(object, "probes_ms", account->probes_ms);
}

static void put_tables(json_t *object, const struct account *account)
{
    json_t *places = json_object(), *causes = json_object(), *planned = json_object();

    for (unsigned i = 0; i < CANCELLED_INS; i++) {
        put(places, cancelled_in_name(i), account->cancelled_in[i]);
    }
    for (unsigned i = BURST_PLAIN + 1; i < BURST_CAUSES; i++) {
        put(causes, burst_cause_name(i), account->occurred[i]);
        put(planned, burst_cause_name(i), account->planned[i]);
    }
    json_object_set_new(object, "cancelled_in", places);
    json_object_set_new(object, "causes", causes);
    json_object_set_new(object, "causes_planned", planned);
}

static void put_receipts(json_t *object, const struct account *account)
{
    json_t *receipts = json_object(), *prefill = json_object(), *decode = json_object();

    for (unsigned i = BATON_PROOF_NONE + 1; i < BATON_PROOF_COUNT_; i++) {
        put(prefill, baton_proof_name((baton_proof)i), account->prefill.receipts[i]);
        put(decode, baton_proof_name((baton_proof)i), account->decode.receipts[i]);
    }
    json_object_set_new(receipts, "prefill", prefill);
    json_object_set_new(receipts, "decode", decode);
    json_object_set_new(object, "receipts", receipts);
}

static void put_faults(json_t *object, const struct account *account,
                       const struct burst_config *config)
{
    static const char *const names[] = {"none", "stop", "kill"};
    json_t *faults = json_array();

    for (unsigned i = 0; i < account->faults; i++) {
        const struct fault *fault = &account->fault[i];
        json_t *one = json_object();

        put(one, "under_way", fault->under_way);
        put(one, "in_transfer", fault->moving);
        put(one, "stopped_us", (fault->end_ns - fault->start_ns) / 1000);
        json_object_set_new(one, "ended_by_peer", json_boolean(fault->died));
        put(one, "quarantined_blocks_max", fault->quarantined);
        put(one, "quarantine_us", fault_quarantine_us(fault));
        json_array_append_new(faults, one);
    }
    json_object_set_new(object, "fault", json_string(names[config->fault]));
    json_object_set_new(object, "fault_peer",
                        config->fault ? json_string(config->fault_decode ? "decode" : "prefill")
                                      : json_null());
    json_object_set_new(object, "faults", faults);
    put(object, "limited", account->limited);
    put(object, "unproven_blocks", account->unproven_blocks);
    json_object_set_new(object, "unproven_expected",
                        json_boolean(fault_unproven(config, lanes_own(config->lanes))));
}

static void put_checks(json_t *object, const struct report *report)
{
    json_t *failed = json_array();

    for (size_t i = 0; i < report->check_count; i++) {
        if (!report->checks[i].ok) {
            json_array_append_new(failed, json_string(report->checks[i].name));
        }
    }
    json_object_set_new(object, "checks_failed", failed);
    json_object_set_new(object, "ok", json_boolean(report->ok));
}

bool report_json(struct report *report, FILE *file)
{
    struct account *account = report->account;
    const struct burst_config *config = report->config;
    json_t *object = json_object(), *in_flight = json_object();
    double seconds = account->seconds;

    put_counts(object, account);
    put_real(object, "seconds", seconds);
    put_real(object, "gb_per_s",
             seconds > 0 ? (double)account->bytes_completed / seconds / 1e9 : 0);
    put_real(in_flight, "p50", samples_percentile(&account->in_flight, 50));
    put_real(in_flight, "max", samples_max(&account->in_flight));
    json_object_set_new(object, "in_flight", in_flight);
    put_tables(object, account);
    put_receipts(object, account);
    put_faults(object, account, config);
    put(object, "bytes_wasted", account->bytes_wasted);
    put(object, "reused_under_reader", account->reused_under_reader);
    put_times(object, "cancel_to_quiet_us", &account->cancel_to_quiet_us);
    put_times(object, "source_reclaim_us", &account->source_reclaim_us);
    put_times(object, "bare_wakeup_us", &account->bare_wakeup_us);
    json_object_set_new(object, "transport", json_string(burst_transport_names[config->transport]));
    json_object_set_new(object, "lanes",
                        config->lanes[0] ? json_string(config->lanes) : json_null());
    json_object_set_new(object, "mode", json_string(config->push ? "push" : "pull"));
    json_object_set_new(object, "link", json_string(config->link_tcp ? "tcp" : "auto"));
    json_object_set_new(object, "model", json_string(report->model));
    put(object, "concurrency", config->concurrency);
    put_real(object, "cancel_rate", config->cancel_rate);
    put(object, "seed", config->seed);
    put_checks(object, report);
    bool ok = json_dumpf(object, file, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0 &&
              fputc('\n', file) != EOF && fflush(file) == 0;
    json_decref(object);
    return ok;
}
