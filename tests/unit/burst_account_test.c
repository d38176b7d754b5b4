/* SPDX-License-Identifier: Apache-2.0 */
/* tools/baton/burst/account.c and burst_reuse.c: how requests are counted, and what fails a run. */
#include "../../tools/baton/burst/account.h"

#include <string.h>

#include "../../tools/baton/burst/reuse.h"
#include "test.h"

static struct request_reports both(baton_outcome source, baton_outcome sink)
{
    return (struct request_reports){
        .bytes = 1000,
        .fetched = true,
        .source = {.started = true, .outcome = source},
        .sink = {.started = true, .outcome = sink, .stage = BATON_STAGE_READING},
    };
}

static struct request_reports unfetched(baton_outcome source)
{
    return (struct request_reports){.bytes = 1000, .source = {.outcome = source}};
}

/* Every pair of ends is exactly one end of the request. */
TEST(account_ends_each_request_one_way)
{
    struct request_reports r;

    r = both(BATON_COMPLETED, BATON_COMPLETED);
    CHECK(account_end_of(&r) == REQUEST_COMPLETED);
    r = both(BATON_COMPLETED, BATON_CANCELLED);
    CHECK(account_end_of(&r) == REQUEST_CANCELLED);
    r = both(BATON_CANCELLED, BATON_TIMED_OUT);
    CHECK(account_end_of(&r) == REQUEST_TIMED_OUT);
    r = both(BATON_CANCELLED, BATON_PEER_CANCELLED);
    CHECK(account_end_of(&r) == REQUEST_CANCELLED);
    r = both(BATON_TIMED_OUT, BATON_PEER_CANCELLED);
    CHECK(account_end_of(&r) == REQUEST_TIMED_OUT);
    r = both(BATON_CANCELLED, BATON_REFUSED);
    CHECK(account_end_of(&r) == REQUEST_CANCELLED);
    r = both(BATON_TIMED_OUT, BATON_REFUSED);
    CHECK(account_end_of(&r) == REQUEST_TIMED_OUT);
    r = both(BATON_COMPLETED, BATON_REFUSED);
    CHECK(account_end_of(&r) == REQUEST_REFUSED);
    r = both(BATON_CANCELLED, BATON_LINK_LOST);
    CHECK(account_end_of(&r) == REQUEST_FAILED);
    r = unfetched(BATON_CANCELLED);
    CHECK(account_end_of(&r) == REQUEST_CANCELLED);
    r = unfetched(BATON_TIMED_OUT);
    CHECK(account_end_of(&r) == REQUEST_TIMED_OUT);
    r = unfetched(BATON_FAILED);
    CHECK(account_end_of(&r) == REQUEST_FAILED);
}

/* What was with a process that died is lost, unless its end at the other side is known; a link that
 * breaks without a fault is still a failure. */
TEST(account_ends_of_what_a_fault_hit)
{
    struct request_reports r = both(BATON_UNDECIDED, BATON_LINK_LOST);

    r.hit = r.source_lost = true;
    CHECK(account_end_of(&r) == REQUEST_LOST);
    r.source_lost = false; /* a link that was given up */
    CHECK(account_end_of(&r) == REQUEST_LOST);
    r.hit = false;
    CHECK(account_end_of(&r) == REQUEST_FAILED);
    r = both(BATON_UNDECIDED, BATON_COMPLETED);
    r.hit = r.source_lost = true;
    CHECK(account_end_of(&r) == REQUEST_COMPLETED);
    r.sink.outcome = BATON_TIMED_OUT;
    CHECK(account_end_of(&r) == REQUEST_TIMED_OUT);
    r.sink.outcome = BATON_REFUSED;
    CHECK(account_end_of(&r) == REQUEST_LOST);
    r.sink.outcome = BATON_FAILED;
    CHECK(account_end_of(&r) == REQUEST_FAILED);
    r.fetched = false;
    CHECK(account_end_of(&r) == REQUEST_LOST);
    r = both(BATON_COMPLETED, BATON_UNDECIDED);
    r.hit = r.sink_lost = true;
    CHECK(account_end_of(&r) == REQUEST_LOST);
}

/* What decode completed of a prefill that died before it could say so is no disagreement. */
TEST(account_trusts_decode_when_prefill_died)
{
    struct account account = {0};
    struct request_reports r = both(BATON_UNDECIDED, BATON_COMPLETED);

    account_request(&account, &r);
    CHECK(account.disagreements == 1);
    r.hit = r.source_lost = true;
    account_request(&account, &r);
    CHECK(account.disagreements == 1 && account.ends[REQUEST_COMPLETED] == 2);
    account_fini(&account);
}

/* A fetch that the engine itself refuses, because of what the peer holds, is counted apart. */
TEST(account_counts_what_is_limited)
{
    struct account account = {0};
    struct request_reports r = both(BATON_CANCELLED, BATON_REFUSED);

    r.sink.limited = true;
    account_request(&account, &r);
    CHECK(account.ends[REQUEST_REFUSED] == 1 && account.limited == 1);
    account_fini(&account);
}

/* A cause counts as occurred only when the request ended where the plan wanted it. */
TEST(account_counts_causes_that_occurred)
{
    struct account account = {0};
    struct request_reports r = both(BATON_PEER_CANCELLED, BATON_CANCELLED);

    r.plan.cause = BURST_GONE_READING;
    r.sink.bytes_landed = 500;
    account_request(&account, &r);
    r.sink.bytes_landed = 0;
    account_request(&account, &r);
    r.sink.stage = BATON_STAGE_COMMITTING;
    r.sink.bytes_landed = 1000;
    account_request(&account, &r);
    CHECK(account.planned[BURST_GONE_READING] == 3 && account.occurred[BURST_GONE_READING] == 1);
    CHECK(account.cancelled_in[CANCELLED_IN_READING] == 2);
    CHECK(account.cancelled_in[CANCELLED_IN_READING_PARTIAL] == 1);
    CHECK(account.cancelled_in[CANCELLED_IN_COMMITTING] == 1);
    CHECK(account.bytes_wasted == 1500 && account.bytes_completed == 0);
    account_fini(&account);
}

/* A run that is well, then with one thing wrong at a time: the right check fails. */
TEST(account_checks_name_what_is_wrong)
{
    struct burst_config config = {.concurrency = 48, .cancel_rate = 0.5};
    struct account_check checks[ACCOUNT_CHECKS_MAX];
    struct account well = {.have_stats = true, .probes = BURST_PROBES, .probes_ok = BURST_PROBES};
    static const char *const names[] = {"verify_errors",      "late_bytes",  "leaked_blocks",
                                        "quarantined_blocks", "refused",     "double_outcomes",
                                        "probes_ok",          "unaccounted", "receipt_errors"};

    well.prefill.pool = (struct baton_pool_stats){.blocks = 8, .free_blocks = 8};
    well.decode.pool = well.prefill.pool;
    for (size_t i = 0; i <= sizeof(names) / sizeof(names[0]); i++) {
        struct account a = well;
        const char *name = i ? names[i - 1] : NULL;
        a.verify_errors = i == 1;
        a.decode.pool.late_bytes = i == 2;
        a.prefill.pool.free_blocks -= i == 3 || i == 4;
        a.prefill.pool.quarantine_blocks = i == 4;
        a.ends[REQUEST_REFUSED] = i == 5;
        a.requests = i == 5 || i == 8;
        a.prefill.double_outcomes = i == 6;
        a.probes_ok -= i == 7;
        a.decode.receipt_errors = i == 9;
        size_t count = account_checks(&a, &config, checks), failed = 0, named = 0;
        for (size_t k = 0; k < count; k++) {
            failed += !checks[k].ok;
            named += !checks[k].ok && name && !strcmp(checks[k].name, name);
        }
        CHECK(failed == (i ? 1 : 0) && named == failed);
    }
}

/* How many checks fail; `name` is one of those. */
static size_t failed_checks(struct account *account, const struct burst_config *config,
                            const char *name, bool *ret_named)
{
    struct account_check checks[ACCOUNT_CHECKS_MAX];
    size_t count = account_checks(account, config, checks), failed = 0;

    *ret_named = false;
    for (size_t i = 0; i < count; i++) {
        failed += !checks[i].ok;
        *ret_named = *ret_named || (!checks[i].ok && !strcmp(checks[i].name, name));
    }
    return failed;
}

static struct account after_faults(void)
{
    struct account account = {.have_stats = true,
                              .probes = BURST_PROBES,
                              .probes_ok = BURST_PROBES,
                              .requests = 2,
                              .ends = {[REQUEST_COMPLETED] = 1, [REQUEST_LOST] = 1},
                              .faults = BURST_FAULTS,
                              .fault = {{.moving = 1}}};

    account.prefill.pool = (struct baton_pool_stats){.blocks = 8, .free_blocks = 8};
    account.decode.pool = account.prefill.pool;
    return account;
}

/* With faults, requests may be lost by a kill and not by a stop; each fault has to have come, and
 * one of them in the middle of a transfer. */
TEST(account_checks_of_faults)
{
    struct burst_config config = {.concurrency = 48, .fault = BURST_FAULT_KILL};
    struct account account = after_faults();
    bool named;

    CHECK(failed_checks(&account, &config, "", &named) == 0);
    account.fault[0].moving = 0;
    CHECK(failed_checks(&account, &config, "faults_in_transfer", &named) == 1 && named);
    account = after_faults();
    account.faults = 1;
    CHECK(failed_checks(&account, &config, "faults", &named) == 1 && named);
    account = after_faults();
    config.fault = BURST_FAULT_STOP;
    CHECK(failed_checks(&account, &config, "lost", &named) == 1 && named);
}

/* Blocks may stay in quarantine only where no proof exists, and only those of requests that are
 * known to wait for one. */
TEST(account_checks_what_stays_in_quarantine)
{
    struct burst_config config = {.concurrency = 48,
                                  .fault = BURST_FAULT_KILL,
                                  .transport = BURST_NIXL,
                                  .push = true,
                                  .host = BATON_HOST_HELPER,
                                  .lanes = "shm"};
    struct account account = after_faults();
    bool named;

    account.decode.pool.free_blocks = 5;
    account.decode.pool.quarantine_blocks = 3;
    account.unproven_blocks = 3;
    CHECK(failed_checks(&account, &config, "", &named) == 0);
    account.unproven_blocks = 2;
    CHECK(failed_checks(&account, &config, "quarantined_blocks", &named) == 1 && named);
    account.unproven_blocks = 3;
    strcpy(config.lanes, "tcp");
    CHECK(failed_checks(&account, &config, "quarantined_blocks", &named) == 1 && named);
}

/* A block counts when it was rewritten before its old reader was quiet, whoever tells first. */
TEST(reuse_is_counted_in_either_order)
{
    struct reuse *reuse = reuse_create();

    if (!CHECK(reuse != NULL)) {
        return;
    }
    CHECK(reuse_rewritten(reuse, 1, 100, 3) == 0);
    CHECK(reuse_rewritten(reuse, 1, 300, 4) == 0);
    CHECK(reuse_reader_quiet(reuse, 1, 200) == 3);
    CHECK(reuse_rewritten(reuse, 1, 150, 5) == 5);
    CHECK(reuse_rewritten(reuse, 1, 250, 6) == 0);
    CHECK(reuse_reader_quiet(reuse, 2, 200) == 0);
    reuse_destroy(reuse);
}
