/* SPDX-License-Identifier: Apache-2.0 */
/* What a receipt says, and that it is used once, by its own handoff only. */
#include "scenario/pair.h"

#include <string.h>

/* A whole handoff, not retired. */
static void complete(struct pair *pair, struct end *offer, struct end *fetch)
{
    CHECK_ON(pair, offer_start(pair, offer, 3, 8, NULL) == BATON_OK);
    CHECK_ON(pair, fetch_start(pair, fetch, &offer->ticket, 3, NULL) == BATON_OK);
    CHECK_ON(pair, end_wait_quiet(fetch) && end_wait_quiet(offer));
    CHECK_ON(pair, fetch->result.outcome == BATON_COMPLETED);
    CHECK_ON(pair, offer->result.outcome == BATON_COMPLETED);
}

/* Every member of both receipts of a whole handoff is what happened. */
TEST(receipts_say_what_happened)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair pair;
        struct end offer = {0}, fetch = {0};
        uint64_t start = now_ns();
        uint8_t source[16], sink[16];

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        complete(&pair, &offer, &fetch);
        baton_engine_incarnation(pair.source, source);
        baton_engine_incarnation(pair.sink, sink);
        CHECK_ON(&pair, memcmp(source, sink, 16) != 0);
        CHECK_ON(&pair, offer.receipt.handoff_id == baton_handoff_id(offer.handoff));
        CHECK_ON(&pair, fetch.receipt.handoff_id == baton_handoff_id(fetch.handoff));
        CHECK_ON(&pair, memcmp(offer.receipt.incarnation, source, 16) == 0);
        CHECK_ON(&pair, memcmp(offer.receipt.peer, sink, 16) == 0);
        CHECK_ON(&pair, memcmp(fetch.receipt.incarnation, sink, 16) == 0);
        CHECK_ON(&pair, memcmp(fetch.receipt.peer, source, 16) == 0);
        CHECK_ON(&pair, strcmp(offer.receipt.transport, kinds[i].transport) == 0);
        CHECK_ON(&pair, strcmp(fetch.receipt.transport, kinds[i].transport) == 0);
        CHECK_ON(&pair, offer.receipt.attempts == 1 && fetch.receipt.attempts == 1);
        CHECK_ON(&pair, offer.receipt.last_attempt != 0);
        CHECK_ON(&pair, offer.receipt.last_attempt == fetch.receipt.last_attempt);
        CHECK_ON(&pair, fetch.receipt.bytes_landed == 3 * PAIR_BLOCK_BYTES);
        CHECK_ON(&pair, fetch.result.bytes_landed == 3 * PAIR_BLOCK_BYTES);
        CHECK_ON(&pair, fetch.result.bytes_total == 3 * PAIR_BLOCK_BYTES);
        CHECK_ON(&pair, offer.result.bytes_total == 3 * PAIR_BLOCK_BYTES);
        CHECK_ON(&pair, offer.result.bytes_landed == 0 && offer.receipt.nonce != 0);
        CHECK_ON(&pair, fetch.receipt.time_ns >= start && fetch.receipt.time_ns <= now_ns());
        CHECK_ON(&pair, fetch.receipt.proof == BATON_PROOF_LOCAL_DRAIN);
        CHECK_ON(&pair, offer.receipt.proof == BATON_PROOF_PEER_DRAIN ||
                            (strcmp(kinds[i].transport, "tcp") == 0 &&
                             offer.receipt.proof == BATON_PROOF_LOCAL_DRAIN));
        end_finish(&offer);
        end_finish(&fetch);
        pair_close(&pair);
    }
}

/* Blocks revoked under a reader: REVOKED where it may still read them, a drain where we sent them.
 */
TEST(revoked_blocks_say_so)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair pair;
        struct end offer = {0}, fetch = {0};
        bool is_tcp = strcmp(kinds[i].transport, "tcp") == 0;

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        CHECK_ON(&pair, offer_start(&pair, &offer, 2, 1,
                                    &(struct baton_offer_args){.watermark_bytes =
                                                                   PAIR_BLOCK_BYTES}) == BATON_OK);
        CHECK_ON(&pair, fetch_start(&pair, &fetch, &offer.ticket, 2, NULL) == BATON_OK);
        CHECK_ON(&pair, end_wait_landed(&fetch, PAIR_BLOCK_BYTES));
        baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
        end_finish(&offer);
        end_finish(&fetch);
        CHECK_ON(&pair,
                 offer.receipt.proof == (is_tcp ? BATON_PROOF_LOCAL_DRAIN : BATON_PROOF_REVOKED));
        CHECK_ON(&pair, offer.receipt.attempts == 1);
        pair_close(&pair);
    }
}

static void refuse(struct end *end, const struct baton_receipt *receipt)
{
    struct baton_error error = {0};
    uint32_t last[END_BLOCKS_MAX] = {4711};
    size_t last_count = 4712;

    CHECK(baton_retire(end->handoff, receipt, last, &last_count, &error) == BATON_ERECEIPT);
    CHECK(error.code == BATON_ERECEIPT && error.text[0]);
    CHECK(last[0] == 4711 && last_count == 4712);
    CHECK(baton_retire(end->handoff, receipt, NULL, NULL, NULL) == BATON_ERECEIPT);
}

/* A receipt that is empty, foreign or changed in any member that binds it changes nothing. */
TEST(wrong_receipts_change_nothing)
{
    struct pair pair;
    struct end offer = {0}, fetch = {0}, offer2 = {0}, fetch2 = {0};
    struct baton_receipt changed;
    struct baton_error error = {0};
    char id[24];

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    complete(&pair, &offer, &fetch);
    complete(&pair, &offer2, &fetch2);
    refuse(&fetch, NULL);
    refuse(&fetch, &(struct baton_receipt){0});
    refuse(&fetch, &fetch2.receipt);
    refuse(&fetch, &offer.receipt);
    refuse(&offer, &offer2.receipt);
    refuse(&offer, &fetch.receipt);
    CHECK(baton_retire(fetch.handoff, &fetch2.receipt, NULL, NULL, &error) == BATON_ERECEIPT);
    snprintf(id, sizeof(id), "%llu", (unsigned long long)baton_handoff_id(fetch2.handoff));
    CHECK(strstr(error.text, id));
    snprintf(id, sizeof(id), "%llu", (unsigned long long)baton_handoff_id(fetch.handoff));
    CHECK(strstr(error.text, id));
    changed = fetch.receipt;
    changed.nonce ^= 1;
    refuse(&fetch, &changed);
    changed = fetch.receipt;
    changed.incarnation[3] ^= 1;
    refuse(&fetch, &changed);
    changed = fetch.receipt;
    changed.handoff_id++;
    refuse(&fetch, &changed);
    changed = fetch.receipt;
    changed.proof = BATON_PROOF_NONE;
    refuse(&fetch, &changed);
    CHECK(pool_stats(pair.sink_pool).lent_blocks == 6);
    end_finish(&offer);
    end_finish(&fetch);
    end_finish(&offer2);
    end_finish(&fetch2);
    pair_close(&pair);
}

/* The second use is an error, and does not give back the blocks' next owner's. */
TEST(a_receipt_used_twice_changes_nothing)
{
    struct pair pair;
    struct end offer = {0}, fetch = {0}, again = {0};

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm, .block_count = 3});
    complete(&pair, &offer, &fetch);
    end_retire(&fetch);
    end_retire(&offer);
    CHECK(pool_stats(pair.source_pool).held_blocks == 3);
    CHECK(baton_pool_free(pair.source_pool, offer.blocks, 3, NULL) == BATON_OK);
    CHECK(offer_start(&pair, &again, 3, 9, NULL) == BATON_OK);
    refuse(&offer, &offer.receipt);
    refuse(&fetch, &fetch.receipt);
    CHECK(pool_stats(pair.source_pool).lent_blocks == 3);
    baton_handoff_unref(offer.handoff);
    end_drop(&fetch);
    baton_handoff_cancel(again.handoff, BATON_CANCEL_OFFER);
    end_finish(&again);
    pair_close(&pair);
}

/* Before the end there is no receipt, and a guessed one is none. */
TEST(no_receipt_before_quiet)
{
    struct pair pair;
    struct end offer = {0};
    struct baton_receipt guess = {.proof = BATON_PROOF_LOCAL_DRAIN, .transport = "none"};

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    CHECK(offer_start(&pair, &offer, 3, 9, NULL) == BATON_OK);
    guess.handoff_id = baton_handoff_id(offer.handoff);
    baton_engine_incarnation(pair.source, guess.incarnation);
    refuse(&offer, &guess);
    CHECK(pool_stats(pair.source_pool).lent_blocks == 3);
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_finish(&offer);
    pair_close(&pair);
}

static void retire_in_quiet(struct end *end, enum moment moment, baton_stage to)
{
    (void)to;
    if (moment == MOMENT_QUIET) {
        end->hook_calls +=
            baton_retire(end->seen, &end->receipt, NULL, NULL, NULL) == BATON_OK &&
            baton_pool_free(end->pool, end->blocks, end->block_count, NULL) == BATON_OK;
    }
}

static bool has_hooked(const void *arg)
{
    const struct end *end = arg;

    return end->calling == 0 && end->hook_calls == 1;
}

/* A receipt may be used within on_quiet, without any reference kept, and the blocks let go there.
 */
TEST(receipts_can_be_used_within_on_quiet)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair pair;
        struct end offer = {.hook = retire_in_quiet}, fetch = {.hook = retire_in_quiet};

        if (kinds[i].wrapped) {
            continue;
        }
        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        CHECK_ON(&pair, offer_start(&pair, &offer, 3, 8, NULL) == BATON_OK);
        CHECK_ON(&pair, fetch_start(&pair, &fetch, &offer.ticket, 3, NULL) == BATON_OK);
        baton_handoff_unref(offer.handoff);
        baton_handoff_unref(fetch.handoff);
        CHECK_ON(&pair, end_wait_quiet(&fetch) && end_wait_quiet(&offer));
        CHECK_ON(&pair, pair_until(&pair, has_hooked, &offer));
        CHECK_ON(&pair, pair_until(&pair, has_hooked, &fetch));
        pair_close(&pair);
    }
}

struct rival {
    struct end *end;
    baton_err err;
};

static void *retire_as_rival(void *arg)
{
    struct rival *rival = arg;

    rival->err = baton_retire(rival->end->handoff, &rival->end->receipt, NULL, NULL, NULL);
    return NULL;
}

/* Of four threads with one receipt, exactly one uses it. */
TEST(one_of_many_threads_uses_a_receipt)
{
    struct pair pair;

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    for (unsigned round = 0; round < 20; round++) {
        struct end offer = {0}, fetch = {0};
        struct rival rivals[4];
        pthread_t threads[4];
        unsigned used = 0;

        complete(&pair, &offer, &fetch);
        for (unsigned i = 0; i < 4; i++) {
            rivals[i] = (struct rival){.end = &fetch};
            CHECK(pthread_create(&threads[i], NULL, retire_as_rival, &rivals[i]) == 0);
        }
        for (unsigned i = 0; i < 4; i++) {
            CHECK(pthread_join(threads[i], NULL) == 0);
            used += rivals[i].err == BATON_OK;
            CHECK(rivals[i].err == BATON_OK || rivals[i].err == BATON_ERECEIPT);
        }
        CHECK(used == 1);
        end_drop(&fetch);
        end_finish(&offer);
    }
    pair_close(&pair);
}
