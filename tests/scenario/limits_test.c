/* SPDX-License-Identifier: Apache-2.0 */
/* The stated limits of an engine: reached, refused as such, and gone again. */
#include "scenario/pair.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { MANY = 1000 };

/* Offers and fetches once there is room: the driver lets go of an ended handoff after its last
 * callback. */
static baton_err offer_in_time(struct pair *pair, struct end *end, uint64_t content)
{
    uint64_t until = now_ns() + (uint64_t)PAIR_WAIT_MS * 1000000;
    baton_err err;

    do {
        *end = (struct end){0};
        err = offer_start(pair, end, 1, content, &(struct baton_offer_args){0});
    } while (err == BATON_ELIMIT && now_ns() < until && sched_yield() == 0);
    return err;
}

static baton_err fetch_in_time(struct pair *pair, struct end *end, const struct ticket *ticket)
{
    uint64_t until = now_ns() + (uint64_t)PAIR_WAIT_MS * 1000000;
    baton_err err;

    do {
        *end = (struct end){0};
        err = fetch_start(pair, end, ticket, 1, NULL);
    } while (err == BATON_ELIMIT && now_ns() < until && sched_yield() == 0);
    return err;
}

/* One offer above offers_max is ELIMIT and names the option; when one has gone, there is room. */
TEST(the_limit_of_offers_is_a_limit)
{
    struct pair pair;
    struct end offers[3] = {{0}};

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm, .source.offers_max = 2});
    for (unsigned round = 0; round < 3; round++) {
        struct baton_offer_args args = {
            .size = sizeof(args), .pool = pair.source_pool, .block_count = 1};
        struct baton_error error = {0};
        baton_handoff *none = NULL;

        memset(offers, 0, sizeof(offers));
        CHECK(offer_in_time(&pair, &offers[0], 1) == BATON_OK);
        CHECK(offer_in_time(&pair, &offers[1], 1) == BATON_OK);
        args.blocks = offers[0].blocks;
        CHECK(baton_offer(pair.source, &args, &none, &error) == BATON_ELIMIT && !none);
        CHECK(strstr(error.text, "2") && strstr(error.text, "offers_max"));
        for (unsigned i = 0; i < 2; i++) {
            baton_handoff_cancel(offers[i].handoff, BATON_CANCEL_OFFER);
            end_finish(&offers[i]);
        }
    }
    pair_close(&pair);
}

/* The same for fetches, whose offers go on. */
TEST(the_limit_of_fetches_is_a_limit)
{
    struct pair pair;

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm, .sink.fetches_max = 2});
    for (unsigned round = 0; round < 3; round++) {
        struct end offers[3] = {{0}}, fetches[3] = {{0}};

        for (unsigned i = 0; i < 3; i++) {
            CHECK(offer_start(&pair, &offers[i], 1, i, &(struct baton_offer_args){0}) == BATON_OK);
        }
        CHECK(fetch_in_time(&pair, &fetches[0], &offers[0].ticket) == BATON_OK);
        CHECK(fetch_in_time(&pair, &fetches[1], &offers[1].ticket) == BATON_OK);
        CHECK(fetch_start(&pair, &fetches[2], &offers[2].ticket, 1, NULL) == BATON_ELIMIT);
        for (unsigned i = 0; i < 2; i++) {
            baton_offer_advance(offers[i].handoff, BATON_WATERMARK_END);
            end_finish(&fetches[i]);
            end_finish(&offers[i]);
            CHECK(fetches[i].result.outcome == BATON_COMPLETED);
        }
        baton_offer_advance(offers[2].handoff, BATON_WATERMARK_END);
        CHECK(fetch_in_time(&pair, &fetches[2], &offers[2].ticket) == BATON_OK);
        end_finish(&fetches[2]);
        end_finish(&offers[2]);
        CHECK(fetches[2].result.outcome == BATON_COMPLETED);
    }
    pair_close(&pair);
}

/* A sink that may have one link takes from a second source by giving up the first's, and back. */
TEST(the_limit_of_links_is_a_limit)
{
    struct pair one, two;
    struct end offer = {0}, foreign = {0}, second = {0}, fetch = {0}, offer2 = {0};

    pair_open(&one, &(struct pair_setup){.kind = plain_shm, .sink.links_max = 1});
    pair_open(&two, &(struct pair_setup){.kind = plain_shm});
    CHECK(offer_start(&one, &offer, 1, 1, NULL) == BATON_OK);
    CHECK(fetch_start(&one, &fetch, &offer.ticket, 1, NULL) == BATON_OK);
    end_finish(&fetch);
    end_finish(&offer);
    CHECK(fetch.result.outcome == BATON_COMPLETED);
    CHECK(offer_start(&two, &foreign, 1, 1, NULL) == BATON_OK);
    CHECK(fetch_start(&one, &second, &foreign.ticket, 1, NULL) == BATON_OK);
    end_finish(&second);
    CHECK(second.result.outcome == BATON_COMPLETED);
    CHECK(offer_start(&one, &offer2, 1, 1, NULL) == BATON_OK);
    fetch = (struct end){0};
    CHECK(fetch_start(&one, &fetch, &offer2.ticket, 1, NULL) == BATON_OK);
    end_finish(&fetch);
    CHECK(fetch.result.outcome == BATON_COMPLETED);
    end_finish(&offer2);
    baton_handoff_cancel(foreign.handoff, BATON_CANCEL_OFFER);
    end_finish(&foreign);
    pair_close(&one);
    pair_close(&two);
}

/* A sink that may have one link gives it up, when it idles, for the next fetch's source, at once
 * and each time; while it is in use the fetch fails, and the link stays. */
TEST(an_idle_link_gives_its_place)
{
    for (unsigned k = 0; k < kinds_count; k++) {
        struct pair_setup setup = {.kind = &kinds[k], .sink.links_max = 1};
        struct end offer[2] = {{0}}, fetch[2] = {{0}};
        struct pair one, two;

        if (kinds[k].progress == BATON_PROGRESS_CALLER) {
            continue; /* the other pair's source is not driven */
        }
        pair_open(&one, &setup);
        pair_open(&two, &setup);
        for (unsigned i = 0; i < 20; i++) {
            memset(fetch, 0, sizeof(fetch));
            CHECK_ON(&one, offer_start(i % 2 ? &two : &one, &offer[0], 1, i, NULL) == BATON_OK);
            CHECK_ON(&one, fetch_in_time(&one, &fetch[0], &offer[0].ticket) == BATON_OK);
            end_retire(&fetch[0]);
            CHECK_ON(&one, fetch[0].result.outcome == BATON_COMPLETED);
            end_drop(&fetch[0]);
            end_finish(&offer[0]);
            memset(offer, 0, sizeof(offer));
        }
        memset(fetch, 0, sizeof(fetch));
        CHECK_ON(&one, offer_start(&one, &offer[0], 1, 1, &(struct baton_offer_args){0}) == 0);
        CHECK_ON(&one, offer_start(&two, &offer[1], 1, 1, NULL) == BATON_OK);
        CHECK_ON(&one, fetch_in_time(&one, &fetch[0], &offer[0].ticket) == BATON_OK);
        CHECK_ON(&one, end_wait_stage(&fetch[0], BATON_STAGE_READING));
        CHECK_ON(&one, fetch_start(&one, &fetch[1], &offer[1].ticket, 1, NULL) == BATON_OK);
        end_finish(&fetch[1]);
        CHECK_ON(&one, fetch[1].result.outcome == BATON_LINK_LOST);
        CHECK_ON(&one, fetch[1].result.cause == BATON_CAUSE_UNREACHABLE);
        baton_offer_advance(offer[0].handoff, BATON_WATERMARK_END);
        end_finish(&fetch[0]);
        CHECK_ON(&one, fetch[0].result.outcome == BATON_COMPLETED);
        end_finish(&offer[0]);
        baton_handoff_cancel(offer[1].handoff, BATON_CANCEL_OFFER);
        end_finish(&offer[1]);
        pair_close(&one);
        pair_close(&two);
    }
}

/* A source with one link turns a second sink away, and takes it once the first has gone. */
TEST(a_source_takes_another_sink_when_one_has_gone)
{
    struct pair one, two;
    struct end offer = {0}, fetch = {0}, refused = {0}, next = {0};
    struct pair_setup setup = {.kind = plain_shm, .source.links_max = 1};

    pair_open(&one, &setup);
    pair_open(&two, &(struct pair_setup){.kind = plain_shm});
    CHECK(offer_start(&one, &offer, 1, 1, &(struct baton_offer_args){0}) == BATON_OK);
    CHECK(fetch_start(&one, &fetch, &offer.ticket, 1, NULL) == BATON_OK);
    CHECK(end_wait_stage(&fetch, BATON_STAGE_READING));
    CHECK(fetch_start(&two, &refused, &offer.ticket, 1, NULL) == BATON_OK);
    end_finish(&refused);
    CHECK(refused.result.outcome == BATON_LINK_LOST || refused.result.outcome == BATON_REFUSED);
    CHECK(fetch.outcomes == 0);
    baton_engine_close(one.sink);
    end_finish(&fetch);
    CHECK(fetch.result.outcome == BATON_CANCELLED && fetch.result.cause == BATON_CAUSE_CLOSING);
    CHECK(baton_engine_drain(one.sink, PAIR_WAIT_MS) == BATON_OK);
    CHECK(baton_engine_destroy(one.sink, NULL) == BATON_OK);
    one.sink = two.sink; /* for pair_close() below, which is told what remains */
    if (offer.outcomes == 0) {
        baton_offer_advance(offer.handoff, BATON_WATERMARK_END);
        for (unsigned i = 0; i < 1000 && next.result.outcome != BATON_COMPLETED; i++) {
            next = (struct end){0};
            CHECK(fetch_start(&two, &next, &offer.ticket, 1, NULL) == BATON_OK);
            end_finish(&next);
        }
        CHECK(next.result.outcome == BATON_COMPLETED);
    }
    end_finish(&offer);
    baton_engine_close(one.source);
    CHECK(baton_engine_drain(one.source, PAIR_WAIT_MS) == BATON_OK);
    CHECK(baton_engine_destroy(one.source, NULL) == BATON_OK);
    pair_close(&two);
}

/* A thousand fetches wait at once; then their bytes come, in the other order, and all complete. */
TEST(a_thousand_fetches_in_flight)
{
    static const unsigned many_kinds[] = {0, 1, 2, 4, 7, 9};

    for (unsigned k = 0; k < sizeof(many_kinds) / sizeof(many_kinds[0]); k++) {
        struct pair pair;
        struct end *offers = calloc(MANY, sizeof(*offers));
        struct end *fetches = calloc(MANY, sizeof(*fetches));

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[many_kinds[k]],
                                              .block_bytes = 512,
                                              .block_count = MANY});
        for (unsigned i = 0; i < MANY; i++) {
            CHECK_ON(&pair, offer_start(&pair, &offers[i], 1, i,
                                        &(struct baton_offer_args){.watermark_bytes = i % 2 * 8}) ==
                                BATON_OK);
            CHECK_ON(&pair,
                     fetch_start(&pair, &fetches[i], &offers[i].ticket, 1, NULL) == BATON_OK);
        }
        for (unsigned i = 0; i < MANY; i++) {
            CHECK_ON(&pair, end_wait_stage(&fetches[i], BATON_STAGE_READING));
        }
        for (unsigned i = MANY; i-- > 0;) {
            baton_offer_advance(offers[i].handoff, BATON_WATERMARK_END);
        }
        for (unsigned i = 0; i < MANY; i++) {
            end_retire(&fetches[i]);
            CHECK_ON(&pair, fetches[i].result.outcome == BATON_COMPLETED);
            CHECK_ON(&pair, end_holds(&fetches[i], i, 0));
            end_drop(&fetches[i]);
            end_finish(&offers[i]);
        }
        pair_close(&pair);
        free(offers);
        free(fetches);
    }
}

/* BATON_POOLS_MAX pools and no more; a destroyed one makes room. */
TEST(the_limit_of_pools_is_a_limit)
{
    struct pair pair;
    struct baton_pool_options options = {
        .size = sizeof(options), .block_bytes = 64, .block_count = 2};
    struct baton_error error = {0};
    baton_pool *pools[BATON_POOLS_MAX] = {0}, *none = NULL;

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    for (unsigned i = 0; i < BATON_POOLS_MAX - 1; i++) {
        CHECK(baton_pool_create(pair.source, &options, &pools[i], NULL) == BATON_OK);
    }
    CHECK(baton_pool_create(pair.source, &options, &none, &error) == BATON_ELIMIT && !none);
    CHECK(strstr(error.text, "64"));
    CHECK(baton_pool_destroy(pools[7], NULL) == BATON_OK);
    CHECK(baton_pool_create(pair.source, &options, &pools[7], NULL) == BATON_OK);
    CHECK(baton_pool_destroy(NULL, NULL) == BATON_OK);
    pair_close(&pair);
}
