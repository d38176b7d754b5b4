/* SPDX-License-Identifier: Apache-2.0 */
/* The books of a burst: see burst_account.h. */
#include "burst/account.h"

#include <stdio.h>

#include "lanes.h"

enum {
    CONCURRENCY_TO_HOLD_MIN = 16, /* at these, half of the concurrency must be in flight */
    CONCURRENCY_TO_HOLD_MAX = 48,
    REQUESTS_FOR_SHARES = 64, /* fewer requests have no meaningful shares */
    SAMPLES_FOR_HOLD = 50,
};

static const double completed_share = 0.3; /* at a cancel rate of 0.5 and below */

static const char *const end_names[REQUEST_ENDS] = {
    "completed", "cancelled", "timed_out", "lost", "failed", "refused",
};

static const char *const place_names[CANCELLED_INS] = {
    "queue", "opening", "reading", "reading_partial", "committing", "other",
};

const char *request_end_name(enum request_end end)
{
    return end_names[end];
}

const char *cancelled_in_name(enum cancelled_in place)
{
    return place_names[place];
}

/* What the source's end alone says, for a request that decode did not end itself. */
static enum request_end end_by_source(const struct message_ended *source,
                                      enum request_end otherwise)
{
    if (source->outcome == BATON_CANCELLED || source->outcome == BATON_PEER_CANCELLED) {
        return REQUEST_CANCELLED;
    }
    return source->outcome == BATON_TIMED_OUT ? REQUEST_TIMED_OUT : otherwise;
}

enum request_end account_end_of(const struct request_reports *reports)
{
    if (reports->sink_lost || (reports->source_lost && !reports->fetched)) {
        return REQUEST_LOST;
    }
    if (!reports->fetched) {
        return end_by_source(&reports->source, REQUEST_FAILED);
    }
    if (reports->sink.limited && reports->sink.outcome == BATON_REFUSED) {
        return REQUEST_REFUSED;
    }
    switch ((baton_outcome)reports->sink.outcome) {
    case BATON_COMPLETED:
        return REQUEST_COMPLETED;
    case BATON_CANCELLED:
        return REQUEST_CANCELLED;
    case BATON_TIMED_OUT:
        return REQUEST_TIMED_OUT;
    case BATON_PEER_CANCELLED:
        if (reports->sink.cause >= BATON_CAUSE_CLOCK_READER &&
            reports->sink.cause <= BATON_CAUSE_CLOCK_WHOLE) {
            return REQUEST_TIMED_OUT;
        }
        return end_by_source(&reports->source, REQUEST_CANCELLED);
    case BATON_REFUSED:
        /* The offer was gone because the request itself had ended. */
        return end_by_source(&reports->source,
                             reports->source_lost ? REQUEST_LOST : REQUEST_REFUSED);
    case BATON_LINK_LOST:
        return reports->hit ? REQUEST_LOST : REQUEST_FAILED;
    case BATON_FAILED:
    case BATON_UNDECIDED:
        break;
    }
    return REQUEST_FAILED;
}

static bool partial(const struct request_reports *reports)
{
    return reports->sink.bytes_landed > 0 && reports->sink.bytes_landed < reports->bytes;
}

static enum cancelled_in place_of(const struct request_reports *reports)
{
    if (!reports->fetched || !reports->sink.started) {
        return CANCELLED_IN_QUEUE;
    }
    switch ((baton_stage)reports->sink.stage) {
    case BATON_STAGE_NONE:
    case BATON_STAGE_OPENING:
        return CANCELLED_IN_OPENING;
    case BATON_STAGE_READING:
        return CANCELLED_IN_READING;
    case BATON_STAGE_COMMITTING:
        return CANCELLED_IN_COMMITTING;
    default:
        return CANCELLED_IN_OTHER;
    }
}

/* Did the plan's cause really happen, as planned? */
static bool occurred(const struct request_reports *reports, enum request_end end)
{
    const struct message_ended *source = &reports->source, *sink = &reports->sink;
    enum cancelled_in place = place_of(reports);
    bool by_decode = reports->fetched && sink->outcome == BATON_CANCELLED;

    switch ((enum burst_cause)reports->plan.cause) {
    case BURST_GONE_BEFORE_PREFILL:
        return !reports->fetched && source->outcome == BATON_CANCELLED;
    case BURST_GONE_WAITING:
        return end == REQUEST_CANCELLED && sink->bytes_landed == 0;
    case BURST_GONE_OPENING:
        return by_decode && place == CANCELLED_IN_OPENING;
    case BURST_GONE_READING:
        return by_decode && place == CANCELLED_IN_READING && partial(reports);
    case BURST_GONE_COMMITTING:
        return by_decode && place == CANCELLED_IN_COMMITTING;
    case BURST_GONE_AFTER_COMPLETION:
        return end == REQUEST_COMPLETED && sink->too_late;
    case BURST_PREFILL_READING:
        return source->outcome == BATON_CANCELLED && reports->fetched &&
               sink->outcome == BATON_PEER_CANCELLED && place == CANCELLED_IN_READING;
    case BURST_PREFILL_DEADLINE:
        return source->outcome == BATON_TIMED_OUT && end == REQUEST_TIMED_OUT;
    case BURST_DECODE_DEADLINE:
        return reports->fetched && sink->outcome == BATON_TIMED_OUT;
    case BURST_BOTH_SIDES:
        return end == REQUEST_CANCELLED && sink->cancels && source->cancels;
    case BURST_TWICE:
        return by_decode && sink->too_late && place == CANCELLED_IN_READING;
    case BURST_ATTEMPT_REFETCHED:
        return end == REQUEST_COMPLETED && sink->refetched;
    case BURST_PLAIN:
        return end == REQUEST_COMPLETED;
    case BURST_CAUSES:
        break;
    }
    return false;
}

static void account_bytes(struct account *account, const struct request_reports *reports,
                          enum request_end end)
{
    if (!reports->fetched) {
        return;
    }
    account->bytes_wasted += reports->sink.bytes_wasted;
    if (end != REQUEST_COMPLETED) {
        account->bytes_wasted += reports->sink.bytes_landed;
        return;
    }
    account->bytes_completed += reports->bytes;
    account->wrong_bytes += reports->sink.wrong_bytes;
    account->verify_errors += reports->sink.wrong_bytes > 0;
    account->disagreements +=
        !reports->source_lost && reports->source.slot_stage != BATON_STAGE_COMMITTED;
}

void account_request(struct account *account, const struct request_reports *reports)
{
    enum request_end end = account_end_of(reports);

    account->ends[end]++;
    account->limited += reports->fetched && reports->sink.limited && end == REQUEST_REFUSED;
    account->planned[reports->plan.cause]++;
    account->occurred[reports->plan.cause] += occurred(reports, end);
    account_bytes(account, reports, end);
    if (end == REQUEST_CANCELLED || end == REQUEST_TIMED_OUT) {
        enum cancelled_in place = place_of(reports);
        account->cancelled_in[place]++;
        if (place == CANCELLED_IN_READING && partial(reports)) {
            account->cancelled_in[CANCELLED_IN_READING_PARTIAL]++;
        }
    }
    if (reports->source.cancel_to_quiet_ns) {
        samples_add(&account->source_reclaim_us, (double)reports->source.cancel_to_quiet_ns / 1e3);
    }
    if (reports->fetched && reports->sink.cancel_to_quiet_ns) {
        samples_add(&account->cancel_to_quiet_us, (double)reports->sink.cancel_to_quiet_ns / 1e3);
    }
}

void account_probe(struct account *account, const struct request_reports *reports)
{
    enum request_end end = account_end_of(reports);

    account->probes_ok += end == REQUEST_COMPLETED && !reports->sink.wrong_bytes;
    account_bytes(account, reports, end);
}

uint64_t account_late_bytes(const struct account *account)
{
    return account->prefill.pool.late_bytes + account->decode.pool.late_bytes;
}

static uint64_t leaked(const struct baton_pool_stats *pool)
{
    uint64_t back = pool->free_blocks + pool->quarantine_blocks;

    return pool->blocks > back ? pool->blocks - back : 0;
}

uint64_t account_leaked_blocks(const struct account *account)
{
    return leaked(&account->prefill.pool) + leaked(&account->decode.pool);
}

uint64_t account_quarantined_blocks(const struct account *account)
{
    return account->prefill.pool.quarantine_blocks + account->decode.pool.quarantine_blocks;
}

/* ---------------------------------------------------------------------------------------------
 * checks */

struct check_list {
    struct account_check *checks;
    size_t count;
};

static struct account_check *add(struct check_list *list, const char *name, bool ok, double value)
{
    struct account_check *check = &list->checks[list->count++];

    *check = (struct account_check){.name = name, .ok = ok, .value = value};
    return check;
}

static void must_be_zero(struct check_list *list, const char *name, uint64_t value)
{
    struct account_check *check = add(list, name, value == 0, (double)value);

    snprintf(check->wanted, sizeof(check->wanted), "0");
}

static void must_be_least(struct check_list *list, const char *name, double value, double least,
                          const char *unit)
{
    struct account_check *check = add(list, name, value >= least, value);

    snprintf(check->wanted, sizeof(check->wanted), "at least %g%s", least, unit);
}

static void check_shares(struct check_list *list, struct account *account,
                         const struct burst_config *config)
{
    double requests = (double)(account->requests - account->ends[REQUEST_LOST] - account->limited);
    double share = config->cancel_rate > 0.5 ? completed_share * 2 * (1 - config->cancel_rate)
                                             : completed_share;

    if (account->requests >= REQUESTS_FOR_SHARES) {
        must_be_least(list, "completed", (double)account->ends[REQUEST_COMPLETED], share * requests,
                      " (a share of the requests)");
    }
    if (config->concurrency >= CONCURRENCY_TO_HOLD_MIN &&
        config->concurrency <= CONCURRENCY_TO_HOLD_MAX && config->speed == 0 && !config->fault &&
        account->in_flight.seen >= SAMPLES_FOR_HOLD) {
        must_be_least(list, "in_flight.p50", samples_percentile(&account->in_flight, 50),
                      config->concurrency / 2.0, " (half of the concurrency)");
    }
}

/* Of a burst without faults nothing is lost, nothing is refused and all is proven; with them, what
 * their kind explains. */
static void check_faults(struct check_list *list, struct account *account,
                         const struct burst_config *config)
{
    uint64_t quarantined = account_quarantined_blocks(account), hits = 0;
    bool unproven = fault_unproven(config, lanes_own(config->lanes));

    must_be_zero(list, "quarantined_blocks",
                 unproven && quarantined == account->unproven_blocks ? 0 : quarantined);
    must_be_zero(list, "refused", account->ends[REQUEST_REFUSED] - account->limited);
    if (!fault_loses(config)) {
        must_be_zero(list, "lost", account->ends[REQUEST_LOST]);
    }
    if (!config->fault || account->interrupted) {
        return;
    }
    for (unsigned i = 0; i < account->faults; i++) {
        hits += account->fault[i].moving > 0;
    }
    must_be_least(list, "faults", account->faults, BURST_FAULTS, "");
    must_be_least(list, "faults_in_transfer", (double)hits, 1, "");
}

size_t account_checks(struct account *account, const struct burst_config *config,
                      struct account_check ret_checks[ACCOUNT_CHECKS_MAX])
{
    struct check_list list = {ret_checks, 0};
    uint64_t sum = 0;

    for (unsigned i = 0; i < REQUEST_ENDS; i++) {
        sum += account->ends[i];
    }
    must_be_zero(&list, "verify_errors", account->verify_errors);
    must_be_zero(&list, "late_bytes", account_late_bytes(account));
    must_be_zero(&list, "leaked_blocks", account_leaked_blocks(account));
    must_be_zero(&list, "double_outcomes",
                 account->prefill.double_outcomes + account->decode.double_outcomes);
    must_be_zero(&list, "receipt_errors",
                 account->prefill.receipt_errors + account->decode.receipt_errors);
    must_be_zero(&list, "api_errors", account->prefill.api_errors + account->decode.api_errors);
    must_be_zero(&list, "disagreements", account->disagreements);
    must_be_zero(&list, "untold", account->untold);
    must_be_zero(&list, "failed", account->ends[REQUEST_FAILED]);
    check_faults(&list, account, config);
    must_be_zero(&list, "unaccounted",
                 account->requests > sum ? account->requests - sum : sum - account->requests);
    must_be_zero(&list, "children_lost", account->children_lost);
    must_be_zero(&list, "stuck", account->stuck);
    must_be_least(&list, "stats_received", account->have_stats ? 2 : 0, 2, "");
    must_be_least(&list, "probes_ok", (double)account->probes_ok, BURST_PROBES, "");
    struct account_check *check =
        add(&list, "probes_ms", account->probes_ms <= BURST_PROBES_MS, (double)account->probes_ms);
    snprintf(check->wanted, sizeof(check->wanted), "at most %d", BURST_PROBES_MS);
    check_shares(&list, account, config);
    return list.count;
}

void account_fini(struct account *account)
{
    samples_fini(&account->in_flight);
    samples_fini(&account->cancel_to_quiet_us);
    samples_fini(&account->source_reclaim_us);
    samples_fini(&account->bare_wakeup_us);
}
