/* SPDX-License-Identifier: Apache-2.0 */
/* Offers, fetches and pool calls with arguments that are wrong: the code, the message, and nothing
 * changed. */
#include "scenario/pair.h"

#include <stdlib.h>
#include <string.h>

struct world {
    struct pair pair;
    struct end offer; /* a good one, of four blocks */
    uint32_t source[8], sink[8];
};

static void world_open(struct world *world)
{
    *world = (struct world){0};
    pair_open(&world->pair, &(struct pair_setup){.kind = plain_shm});
    CHECK(offer_start(&world->pair, &world->offer, 4, 3, NULL) == BATON_OK);
    CHECK(baton_pool_alloc(world->pair.source_pool, 8, world->source, NULL) == BATON_OK);
    CHECK(baton_pool_alloc(world->pair.sink_pool, 8, world->sink, NULL) == BATON_OK);
}

/* Nothing was changed: the good offer is fetched into blocks that the failed calls had named. */
static void world_close(struct world *world)
{
    struct end fetch = {0};

    CHECK(pool_stats(world->pair.source_pool).lent_blocks == 4);
    CHECK(pool_stats(world->pair.sink_pool).lent_blocks == 0);
    CHECK(baton_pool_free(world->pair.source_pool, world->source, 8, NULL) == BATON_OK);
    CHECK(baton_pool_free(world->pair.sink_pool, world->sink, 8, NULL) == BATON_OK);
    CHECK(fetch_start(&world->pair, &fetch, &world->offer.ticket, 4, NULL) == BATON_OK);
    end_finish(&world->offer);
    end_retire(&fetch);
    CHECK(fetch.result.outcome == BATON_COMPLETED && end_holds(&fetch, 3, 0));
    end_drop(&fetch);
    pair_close(&world->pair);
}

static void check_error(baton_err got, baton_err code, const struct baton_error *error,
                        const char *word, const char *word2)
{
    if (!CHECK(got == code) || !CHECK(error->code == code) || !CHECK(strstr(error->text, word)) ||
        !CHECK(strstr(error->text, word2))) {
        printf("    %s: \"%s\", expected %s, \"%s\" and \"%s\"\n", baton_strerror(got), error->text,
               baton_strerror(code), word, word2);
    }
}

static struct baton_offer_args good_offer(struct world *world)
{
    return (struct baton_offer_args){.size = sizeof(struct baton_offer_args),
                                     .pool = world->pair.source_pool,
                                     .blocks = world->source,
                                     .block_count = 4,
                                     .watermark_bytes = BATON_WATERMARK_END};
}

static void refuse_offer(struct world *world, const struct baton_offer_args *args, baton_err code,
                         const char *word, const char *word2)
{
    baton_handoff *handoff = NULL;
    struct baton_error error = {0};

    check_error(baton_offer(world->pair.source, args, &handoff, &error), code, &error, word, word2);
    CHECK(baton_offer(world->pair.source, args, &handoff, NULL) == code);
    CHECK(!handoff);
}

/* Offers of no blocks, too many, or of a struct of another size. */
TEST(offers_of_wrong_shape_are_named)
{
    struct world world;
    struct baton_offer_args args;
    char size[24];

    world_open(&world);
    snprintf(size, sizeof(size), "%zu", sizeof(args));
    args = good_offer(&world);
    args.size = 24;
    refuse_offer(&world, &args, BATON_EINVAL, "24", size);
    args.size = sizeof(args) + 512;
    refuse_offer(&world, &args, BATON_EINVAL, size, "");
    args = good_offer(&world);
    args.block_count = 0;
    refuse_offer(&world, &args, BATON_EINVAL, "0", "block");
    args.block_count = BATON_HANDOFF_BLOCKS_MAX + 1;
    refuse_offer(&world, &args, BATON_EINVAL, "131073", "131072");
    args = good_offer(&world);
    args.blocks = NULL;
    refuse_offer(&world, &args, BATON_EINVAL, "block", "");
    args = good_offer(&world);
    args.pool = NULL;
    refuse_offer(&world, &args, BATON_EINVAL, "pool", "");
    args.pool = world.pair.sink_pool;
    refuse_offer(&world, &args, BATON_EINVAL, "pool", "");
    args = good_offer(&world);
    args.readers = BATON_READERS_MAX + 1;
    refuse_offer(&world, &args, BATON_EINVAL, "9", "8");
    world_close(&world);
}

/* Offers of blocks that are not there, or that nobody holds. */
TEST(offers_of_wrong_blocks_are_named)
{
    struct world world;
    struct baton_offer_args args;
    uint32_t blocks[4];

    world_open(&world);
    args = good_offer(&world);
    args.blocks = blocks;
    memcpy(blocks, world.source, sizeof(blocks));
    blocks[3] = PAIR_BLOCKS;
    refuse_offer(&world, &args, BATON_EINVAL, "64", "");
    blocks[3] = UINT32_MAX;
    refuse_offer(&world, &args, BATON_EINVAL, "4294967295", "64");
    memcpy(blocks, world.source, sizeof(blocks));
    CHECK(baton_pool_free(world.pair.source_pool, &world.source[3], 1, NULL) == BATON_OK);
    refuse_offer(&world, &args, BATON_EINVAL, "held", "");
    CHECK(baton_pool_alloc(world.pair.source_pool, 1, &world.source[3], NULL) == BATON_OK);
    world_close(&world);
}

static struct baton_fetch_args good_fetch(struct world *world)
{
    return (struct baton_fetch_args){.size = sizeof(struct baton_fetch_args),
                                     .ticket = world->offer.ticket.bytes,
                                     .ticket_length = world->offer.ticket.length,
                                     .pool = world->pair.sink_pool,
                                     .blocks = world->sink,
                                     .block_count = 4};
}

static void refuse_fetch(struct world *world, const struct baton_fetch_args *args, baton_err code,
                         const char *word, const char *word2)
{
    baton_handoff *handoff = NULL;
    struct baton_error error = {0};

    check_error(baton_fetch(world->pair.sink, args, &handoff, &error), code, &error, word, word2);
    CHECK(baton_fetch(world->pair.sink, args, &handoff, NULL) == code);
    CHECK(!handoff);
}

/* Fetches of wrong sizes, counts and ranges: both numbers are in the message. */
TEST(fetches_of_wrong_shape_are_named)
{
    struct world world;
    struct baton_fetch_args args;
    char size[24];

    world_open(&world);
    snprintf(size, sizeof(size), "%zu", sizeof(args));
    args = good_fetch(&world);
    args.size = 32;
    refuse_fetch(&world, &args, BATON_EINVAL, "32", size);
    args = good_fetch(&world);
    args.block_count = 0;
    refuse_fetch(&world, &args, BATON_EINVAL, "block", "0");
    args.block_count = 5;
    refuse_fetch(&world, &args, BATON_EINVAL, "5", "4");
    args.block_count = 2;
    args.first_block = 3;
    refuse_fetch(&world, &args, BATON_EINVAL, "3", "4");
    args.first_block = SIZE_MAX;
    refuse_fetch(&world, &args, BATON_EINVAL, "18446744073709551615", "4");
    args = good_fetch(&world);
    args.blocks = NULL;
    refuse_fetch(&world, &args, BATON_EINVAL, "block", "");
    args = good_fetch(&world);
    args.pool = NULL;
    refuse_fetch(&world, &args, BATON_EINVAL, "pool", "");
    args.pool = world.pair.source_pool;
    refuse_fetch(&world, &args, BATON_EINVAL, "pool", "");
    args = good_fetch(&world);
    args.transport = "rdma";
    refuse_fetch(&world, &args, BATON_EINVAL, "rdma", "");
    args.transport = "tcp";
    refuse_fetch(&world, &args, BATON_EINVAL, "tcp", "");
    args = good_fetch(&world);
    args.ticket = NULL;
    CHECK(baton_fetch(world.pair.sink, &args, &(baton_handoff *){NULL}, NULL) != BATON_OK);
    world_close(&world);
}

/* Fetches into blocks that are not there, named twice, or not held. */
TEST(fetches_into_wrong_blocks_are_named)
{
    struct world world;
    struct baton_fetch_args args;
    uint32_t blocks[4];
    char twice[16];

    world_open(&world);
    args = good_fetch(&world);
    args.blocks = blocks;
    memcpy(blocks, world.sink, sizeof(blocks));
    blocks[2] = PAIR_BLOCKS + 7;
    refuse_fetch(&world, &args, BATON_EINVAL, "71", "64");
    blocks[2] = blocks[0];
    snprintf(twice, sizeof(twice), "%u", blocks[0]);
    refuse_fetch(&world, &args, BATON_EINVAL, twice, "twice");
    memcpy(blocks, world.sink, sizeof(blocks));
    CHECK(baton_pool_free(world.pair.sink_pool, &world.sink[1], 1, NULL) == BATON_OK);
    refuse_fetch(&world, &args, BATON_EINVAL, "held", "");
    CHECK(baton_pool_alloc(world.pair.sink_pool, 1, &world.sink[1], NULL) == BATON_OK);
    world_close(&world);
}

/* A pool of another block size can not take the offer: both sizes are named at once. */
TEST(a_fetch_into_another_block_size_is_named)
{
    struct world world;
    struct baton_pool_options options = {
        .size = sizeof(options), .block_bytes = 4096, .block_count = 8};
    struct baton_fetch_args args;
    uint32_t blocks[4];

    world_open(&world);
    args = good_fetch(&world);
    CHECK(baton_pool_create(world.pair.sink, &options, &args.pool, NULL) == BATON_OK);
    CHECK(baton_pool_alloc(args.pool, 4, blocks, NULL) == BATON_OK);
    args.blocks = blocks;
    refuse_fetch(&world, &args, BATON_EINVAL, "4096", "8192");
    CHECK(baton_pool_free(args.pool, blocks, 4, NULL) == BATON_OK);
    CHECK(baton_pool_destroy(args.pool, NULL) == BATON_OK);
    world_close(&world);
}

/* The same block size cut in another way does not fit; the numbers that differ are named at once.
 */
static void refuse_layout(struct world *world, const struct baton_layout *offered,
                          const struct baton_layout *wanted, const char *word, const char *word2)
{
    struct baton_pool_options options = {
        .size = sizeof(options), .block_bytes = 8192, .block_count = 4, .layout = *offered};
    struct end offer = {.pair = &world->pair, .block_count = 4};
    struct baton_fetch_args args = good_fetch(world);
    struct baton_offer_args offer_args = good_offer(world);
    uint32_t blocks[4];

    CHECK(baton_pool_create(world->pair.source, &options, &offer.pool, NULL) == BATON_OK);
    options.layout = *wanted;
    CHECK(baton_pool_create(world->pair.sink, &options, &args.pool, NULL) == BATON_OK);
    CHECK(baton_pool_alloc(offer.pool, 4, offer.blocks, NULL) == BATON_OK);
    CHECK(baton_pool_alloc(args.pool, 4, blocks, NULL) == BATON_OK);
    offer_args.pool = offer.pool;
    offer_args.blocks = offer.blocks;
    offer_args.notices = end_notices(&offer);
    CHECK(baton_offer(world->pair.source, &offer_args, &offer.handoff, NULL) == BATON_OK);
    offer.ticket = offer_ticket(&offer, 0);
    args.blocks = blocks;
    args.ticket = offer.ticket.bytes;
    args.ticket_length = offer.ticket.length;
    refuse_fetch(world, &args, BATON_EINVAL, word, word2);
    CHECK(baton_pool_free(args.pool, blocks, 4, NULL) == BATON_OK);
    CHECK(baton_pool_destroy(args.pool, NULL) == BATON_OK);
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_finish(&offer);
    CHECK(baton_pool_destroy(offer.pool, NULL) == BATON_OK);
}

/* Layouts that differ in heads, or only in tokens and bytes an element. */
TEST(fetches_into_other_layouts_are_named)
{
    static const struct baton_layout layout = {4, 2, 16, 4, 8, 2};
    static const struct baton_layout other_heads = {4, 2, 16, 32, 1, 2};
    static const struct baton_layout other_tokens = {4, 2, 8, 4, 8, 4};
    struct world world;

    world_open(&world);
    refuse_layout(&world, &layout, &other_heads, "32", "layout");
    refuse_layout(&world, &layout, &other_tokens, "16", "token");
    world_close(&world);
}

/* Blocks that are freed twice, in one call or two, or that nobody holds: all or nothing. */
TEST(wrong_frees_change_nothing)
{
    struct world world;
    struct baton_error error = {0};
    uint32_t blocks[3];
    baton_pool *pool;

    world_open(&world);
    pool = world.pair.source_pool;
    memcpy(blocks, world.source, sizeof(blocks));
    blocks[2] = blocks[0];
    check_error(baton_pool_free(pool, blocks, 3, &error), BATON_EINVAL, &error, "twice", "");
    blocks[2] = PAIR_BLOCKS;
    check_error(baton_pool_free(pool, blocks, 3, &error), BATON_EINVAL, &error, "64", "");
    CHECK(pool_stats(pool).held_blocks == 8);
    CHECK(baton_pool_free(pool, blocks, 2, NULL) == BATON_OK);
    check_error(baton_pool_free(pool, world.source, 8, &error), BATON_EINVAL, &error, "held", "");
    CHECK(baton_pool_free(pool, world.source, 8, NULL) == BATON_EINVAL);
    CHECK(pool_stats(pool).held_blocks == 6);
    CHECK(baton_pool_alloc(pool, 2, world.source, NULL) == BATON_OK);
    CHECK(baton_pool_block(pool, PAIR_BLOCKS - 1) && !baton_pool_block(pool, PAIR_BLOCKS));
    world_close(&world);
}

/* Calls for the wrong kind of handoff, or with too much, are refused and inert. */
TEST(calls_on_the_wrong_end_are_refused)
{
    struct world world;
    struct ticket ticket = {.length = 99};
    static char aux[BATON_AUX_BYTES_MAX + 1];
    struct end fetch = {0}, open = {0};

    world_open(&world);
    CHECK(baton_offer_ticket(world.offer.handoff, 1, ticket.bytes, &ticket.length) == BATON_EINVAL);
    CHECK(baton_offer_aux(world.offer.handoff, aux, 4) == BATON_EINVAL);
    CHECK(offer_start(&world.pair, &open, 1, 1, &(struct baton_offer_args){0}) == BATON_OK);
    CHECK(baton_offer_aux(open.handoff, aux, sizeof(aux)) == BATON_EINVAL);
    CHECK(baton_offer_aux(open.handoff, aux, sizeof(aux) - 1) == BATON_OK);
    CHECK(fetch_start(&world.pair, &fetch, &open.ticket, 1, NULL) == BATON_OK);
    CHECK(baton_offer_ticket(fetch.handoff, 0, ticket.bytes, &ticket.length) == BATON_EINVAL);
    CHECK(baton_offer_aux(fetch.handoff, aux, 4) == BATON_EINVAL);
    baton_offer_advance(fetch.handoff, BATON_WATERMARK_END);
    CHECK(ticket.length == 99 && baton_engine_step(world.pair.sink, 0) == BATON_EINVAL);
    CHECK(baton_engine_fd(world.pair.sink) == -1);
    baton_offer_advance(open.handoff, BATON_WATERMARK_END);
    end_finish(&open);
    end_finish(&fetch);
    CHECK(fetch.result.outcome == BATON_COMPLETED && fetch.result.aux_bytes == sizeof(aux) - 1);
    world_close(&world);
}

/* Every name and sentence exists, and what is out of range has one as well. */
TEST(names_are_never_null)
{
    for (int i = -1; i < 64; i++) {
        CHECK(baton_strerror((baton_err)i) && baton_outcome_name((baton_outcome)i));
        CHECK(baton_cause_name((baton_cause)i) && baton_proof_name((baton_proof)i));
        CHECK(baton_stage_name((baton_stage)i));
    }
    CHECK(strcmp(baton_version(), "0.1.0") == 0);
}
