/* SPDX-License-Identifier: Apache-2.0 */
/* Pushes that can not be: told at the call where this side knows, else by the outcome. */
#include "scenario/pair.h"

#include <string.h>

static const struct kind both = {.name = "shm and tcp"};

/* What baton_fetch() says to a fetch of this mode and transport; it starts none. */
static baton_err refusal(struct pair *pair, const struct end *offer, unsigned mode,
                         const char *transport, struct baton_error *ret_error)
{
    uint32_t block = 0;
    struct baton_fetch_args args = {.size = sizeof(args),
                                    .ticket = offer->ticket.bytes,
                                    .ticket_length = offer->ticket.length,
                                    .pool = pair->sink_pool,
                                    .blocks = &block,
                                    .block_count = 1,
                                    .transport = transport,
                                    .mode = (baton_mode)mode};
    baton_handoff *none = NULL;
    baton_err err;

    CHECK(pair->kind->wrapped || baton_pool_alloc(pair->sink_pool, 1, &block, NULL) == BATON_OK);
    err = baton_fetch(pair->sink, &args, &none, ret_error);
    CHECK(!none &&
          (pair->kind->wrapped || baton_pool_free(pair->sink_pool, &block, 1, NULL) == BATON_OK));
    return err;
}

static void cancel_offer(struct end *offer)
{
    baton_handoff_cancel(offer->handoff, BATON_CANCEL_OFFER);
    end_finish(offer);
}

TEST(an_unknown_mode_is_an_error)
{
    struct baton_error error = {0};
    struct end offer = {0};
    struct pair pair;

    pair_open(&pair, &(struct pair_setup){.kind = &both});
    CHECK(offer_start(&pair, &offer, 1, 1, NULL) == BATON_OK);
    CHECK(refusal(&pair, &offer, 2, NULL, &error) == BATON_EINVAL && strstr(error.text, "mode"));
    cancel_offer(&offer);
    pair_close(&pair);
}

/* Without tcp the source must write into the sink's pool itself, which memory of the caller's is
 * not made for. */
TEST(a_push_into_wrapped_memory_without_tcp_is_an_error)
{
    static const struct kind kind = {.name = "shm, wrapped", .transport = "shm", .wrapped = true};
    struct baton_error error = {0};
    struct end offer = {0};
    struct pair pair;

    pair_open(&pair, &(struct pair_setup){.kind = &kind});
    CHECK(offer_start(&pair, &offer, 1, 1, NULL) == BATON_OK);
    CHECK(refusal(&pair, &offer, BATON_PUSH, NULL, &error) == BATON_EINVAL);
    CHECK(strstr(error.text, "pool that Baton makes"));
    cancel_offer(&offer);
    pair_close(&pair);
}

/* The source does not listen on TCP, its ticket says so, and shm is not allowed. */
TEST(a_push_from_a_source_without_tcp_address_is_an_error)
{
    char endpoint[BATON_ENDPOINT_BYTES_MAX];
    const char *listen = endpoint;
    struct pair_setup setup = {.kind = &both, .source = {.listen = &listen, .listen_count = 1}};
    struct baton_error error = {0};
    struct end offer = {0};
    struct pair pair;

    endpoint_new(endpoint);
    pair_open(&pair, &setup);
    CHECK(offer_start(&pair, &offer, 1, 1, NULL) == BATON_OK);
    CHECK(refusal(&pair, &offer, BATON_PUSH, "tcp", &error) == BATON_EINVAL);
    CHECK(strstr(error.text, "endpoint"));
    cancel_offer(&offer);
    pair_close(&pair);
}

/* Only the source knows that it does not allow tcp: the fetch fails, and the offer goes on. */
TEST(a_push_from_a_source_that_forbids_tcp_fails)
{
    static const char *const shm = "shm";
    struct pair_setup setup = {.kind = &both,
                               .source = {.transports = &shm, .transports_count = 1}};
    struct end offer = {0}, fetch = {0}, pull = {0};
    struct pair pair;

    pair_open(&pair, &setup);
    CHECK(offer_start(&pair, &offer, 4, 1, NULL) == BATON_OK);
    CHECK(fetch_start(&pair, &fetch, &offer.ticket, 4,
                      &(struct baton_fetch_args){.mode = BATON_PUSH}) == BATON_OK);
    end_finish(&fetch);
    CHECK(fetch.result.outcome == BATON_FAILED && fetch.result.cause == BATON_CAUSE_TRANSPORT);
    CHECK(fetch.receipt.proof == BATON_PROOF_NEVER_EXPOSED);
    CHECK(fetch_start(&pair, &pull, &offer.ticket, 4, NULL) == BATON_OK);
    end_finish(&pull);
    CHECK(pull.result.outcome == BATON_COMPLETED);
    end_finish(&offer);
    pair_close(&pair);
}

/* Where both are allowed a push takes tcp: nobody is let into the source's pool for it. */
TEST(a_push_exposes_no_pool)
{
    struct end offer = {0}, fetch = {0};
    struct pair pair;

    pair_open(&pair, &(struct pair_setup){.kind = &both});
    CHECK(offer_start(&pair, &offer, 4, 1, NULL) == BATON_OK);
    CHECK(fetch_start(&pair, &fetch, &offer.ticket, 4,
                      &(struct baton_fetch_args){.mode = BATON_PUSH}) == BATON_OK);
    end_retire(&fetch);
    CHECK(fetch.result.outcome == BATON_COMPLETED && end_holds(&fetch, 1, 0));
    end_retire(&offer);
    CHECK(strcmp(fetch.receipt.transport, "tcp") == 0);
    CHECK(strcmp(offer.receipt.transport, "tcp") == 0);
    CHECK(offer.receipt.proof == BATON_PROOF_LOCAL_DRAIN);
    end_drop(&fetch);
    end_drop(&offer);
    pair_close(&pair);
}
