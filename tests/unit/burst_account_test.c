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
