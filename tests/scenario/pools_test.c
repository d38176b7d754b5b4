/* SPDX-License-Identifier: Apache-2.0 */
/* Pools by themselves and wrapped: what is counted, what is found, and how wrapped memory is read.
 */
#include "scenario/pair.h"

#include <stdio.h>
#include <string.h>

/* Every block is in exactly one count, at each step of a handoff. */
TEST(the_counts_of_a_pool_add_up)
{
    struct pair pair;
    struct end offer = {0};
    struct baton_pool_stats stats;

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm, .pool_flags = BATON_POOL_CHECK});
    CHECK(offer_start(&pair, &offer, 5, 1, NULL) == BATON_OK);
    stats = pool_stats(pair.source_pool);
    CHECK(stats.blocks == PAIR_BLOCKS && stats.lent_blocks == 5 && stats.held_blocks == 0);
    CHECK(stats.free_blocks == PAIR_BLOCKS - 5 && stats.quarantine_blocks == 0);
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_retire(&offer);
    stats = pool_stats(pair.source_pool);
    CHECK(stats.lent_blocks == 0 && stats.held_blocks == 5 && stats.quarantine_blocks == 0);
    end_drop(&offer);
    CHECK(baton_pool_verify(pair.source_pool) == PAIR_BLOCKS);
    CHECK(pool_stats(pair.source_pool).late_bytes == 0);
    pair_close(&pair);
}

/* One byte written to a free block is found by a check, and counted once. */
TEST(late_bytes_are_found)
{
    struct pair pair;
    struct baton_pool_options options = {
        .size = sizeof(options), .block_bytes = 4096, .block_count = 4, .flags = BATON_POOL_CHECK};
    struct baton_pool_stats stats;
    baton_pool *pool = NULL;
    uint32_t blocks[4];

    pair_open(&pair, &(struct pair_setup){.kind = &kinds[6]}); /* no thread scans meanwhile */
    CHECK(baton_pool_create(pair.source, &options, &pool, NULL) == BATON_OK);
    ((char *)baton_pool_block(pool, 2))[4095] ^= 1;
    CHECK(baton_pool_verify(pool) == 4);
    stats = pool_stats(pool);
    CHECK(stats.late_bytes == 1 && stats.late_blocks == 1);
    CHECK(baton_pool_verify(pool) == 4 && pool_stats(pool).late_bytes == 1);
    ((char *)baton_pool_block(pool, 0))[0] ^= 1;
    CHECK(baton_pool_alloc(pool, 4, blocks, NULL) == BATON_OK);
    CHECK(pool_stats(pool).late_bytes == 2 && pool_stats(pool).late_blocks == 2);
    CHECK(baton_pool_destroy(pool, NULL) == BATON_EBUSY);
    CHECK(baton_pool_free(pool, blocks, 4, NULL) == BATON_OK);
    CHECK(baton_pool_destroy(pool, NULL) == BATON_OK);
    pair_close(&pair);
}

/* How often a memfd of a pool is mapped in this process. */
static unsigned pools_mapped(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    unsigned count = 0;

    while (CHECK(maps) && fgets(line, sizeof(line), maps)) {
        count += strstr(line, "memfd:baton-pool") != NULL;
    }
    fclose(maps);
    return count;
}

static baton_pool *pool_new(baton_engine *engine)
{
    struct baton_pool_options options = {
        .size = sizeof(options), .block_bytes = PAIR_BLOCK_BYTES, .block_count = 2};
    baton_pool *pool = NULL;

    CHECK(baton_pool_create(engine, &options, &pool, NULL) == BATON_OK);
    return pool;
}

/* One handoff between two pools of its own, which are destroyed then. */
static void hand_over_once(struct pair *pair, baton_mode mode, uint64_t content)
{
    baton_pool *pools[] = {pair->source_pool, pair->sink_pool};
    const struct baton_fetch_args args = {.mode = mode};
    struct end offer = {0}, fetch = {0};

    pair->source_pool = pool_new(pair->source);
    pair->sink_pool = pool_new(pair->sink);
    CHECK(offer_start(pair, &offer, 2, content, NULL) == BATON_OK);
    CHECK(fetch_start(pair, &fetch, &offer.ticket, 2, &args) == BATON_OK);
    end_retire(&fetch);
    CHECK(fetch.result.outcome == BATON_COMPLETED && end_holds(&fetch, content, 0));
    end_drop(&fetch);
    end_finish(&offer);
    CHECK(baton_pool_destroy(pair->source_pool, NULL) == BATON_OK);
    CHECK(baton_pool_destroy(pair->sink_pool, NULL) == BATON_OK);
    pair->source_pool = pools[0];
    pair->sink_pool = pools[1];
}

/* Pool after pool is destroyed and made anew on one link, read from and pushed into: the link
 * stays, and a peer maps no more of them than there are places. */
TEST(pools_come_and_go_on_one_link)
{
    static char text[65536];
    unsigned mapped = 0;
    struct pair pair;

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    for (unsigned i = 0; i < 200; i++) {
        hand_over_once(&pair, i % 2 ? BATON_PUSH : BATON_PULL, i);
        if (i == 3) {
            mapped = pools_mapped();
        }
    }
    CHECK(mapped > 0 && pools_mapped() <= mapped);
    CHECK(baton_engine_stats_json(pair.sink, text, sizeof(text)) < sizeof(text));
    CHECK(strstr(text, "\"links_made\": 1,"));
    pair_close(&pair);
}

/* The list of free blocks of wrapped memory is the user's; its blocks are the memory itself. */
TEST(wrapped_memory_is_the_users)
{
    struct pair pair;
    struct baton_error error = {0};
    uint32_t block = 4711;

    pair_open(&pair, &(struct pair_setup){.kind = &kinds[4]});
    CHECK(baton_pool_alloc(pair.source_pool, 1, &block, &error) == BATON_EINVAL && block == 4711);
    CHECK(error.code == BATON_EINVAL && error.text[0]);
    CHECK(baton_pool_block(pair.source_pool, 0) == pair.source_memory);
    CHECK(baton_pool_block(pair.source_pool, 3) ==
          (char *)pair.source_memory + 3 * PAIR_BLOCK_BYTES);
    CHECK(pool_stats(pair.source_pool).free_blocks == PAIR_BLOCKS);
    pair_close(&pair);
}

/* Without movers wrapped memory can not be read by process_vm_readv: tcp where allowed, else a
 * clear end. */
TEST(wrapped_memory_without_movers)
{
    static const struct kind both = {"wrapped, no movers",  NULL, BATON_LINK_AUTO,
                                     BATON_PROGRESS_THREAD, -1,   true};
    static const struct kind shm_only = {"wrapped, no movers, shm", "shm", BATON_LINK_AUTO,
                                         BATON_PROGRESS_THREAD,     -1,    true};
    struct pair pair;
    struct end offer = {0}, fetch = {0};

    pair_open(&pair, &(struct pair_setup){.kind = &both});
    CHECK(offer_start(&pair, &offer, 3, 9, NULL) == BATON_OK);
    CHECK(fetch_start(&pair, &fetch, &offer.ticket, 3, NULL) == BATON_OK);
    end_retire(&fetch);
    CHECK(fetch.result.outcome == BATON_COMPLETED && end_holds(&fetch, 9, 0));
    CHECK(strcmp(fetch.receipt.transport, "tcp") == 0);
    end_drop(&fetch);
    end_finish(&offer);
    pair_close(&pair);

    offer = fetch = (struct end){0};
    pair_open(&pair, &(struct pair_setup){.kind = &shm_only});
    CHECK(offer_start(&pair, &offer, 3, 9, NULL) == BATON_OK);
    CHECK(fetch_start(&pair, &fetch, &offer.ticket, 3, NULL) == BATON_OK);
    end_finish(&fetch);
    CHECK(fetch.result.outcome == BATON_FAILED && fetch.result.cause == BATON_CAUSE_TRANSPORT);
    CHECK(fetch.result.bytes_landed == 0);
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_finish(&offer);
    pair_close(&pair);
}

/* A fetch that insists on a transport gets that one, with both allowed. */
TEST(a_fetch_chooses_its_transport)
{
    static const struct kind both = {"both transports",     NULL, BATON_LINK_AUTO,
                                     BATON_PROGRESS_THREAD, 0,    false};
    static const char *const names[] = {"shm", "tcp", NULL};

    for (unsigned i = 0; i < 3; i++) {
        struct pair pair;
        struct end offer = {0}, fetch = {0};

        pair_open(&pair, &(struct pair_setup){.kind = &both});
        CHECK(offer_start(&pair, &offer, 3, 9, NULL) == BATON_OK);
        CHECK(fetch_start(&pair, &fetch, &offer.ticket, 3,
                          &(struct baton_fetch_args){.transport = names[i]}) == BATON_OK);
        end_retire(&fetch);
        CHECK(fetch.result.outcome == BATON_COMPLETED && end_holds(&fetch, 9, 0));
        CHECK(strcmp(fetch.receipt.transport, names[i] ? names[i] : "shm") == 0);
        end_drop(&fetch);
        end_finish(&offer);
        pair_close(&pair);
    }
}

/* An engine can fetch from itself, and serves others at the same time. */
TEST(an_engine_is_source_and_sink_at_once)
{
    for (unsigned i = 0; i < 3; i++) {
        struct pair pair;
        struct end there = {0}, here = {.block_count = 2}, self = {0}, back = {.block_count = 2};
        struct baton_fetch_args args = {.size = sizeof(args), .block_count = 2};

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        here.pair = &pair;
        here.pool = args.pool = pair.source_pool;
        args.blocks = here.blocks;
        args.notices = end_notices(&here);
        CHECK_ON(&pair, baton_pool_alloc(here.pool, 2, here.blocks, NULL) == BATON_OK);
        CHECK_ON(&pair, offer_start(&pair, &there, 2, 9, NULL) == BATON_OK);
        args.ticket = there.ticket.bytes;
        args.ticket_length = there.ticket.length;
        CHECK_ON(&pair, baton_fetch(pair.source, &args, &here.handoff, NULL) == BATON_OK);
        end_retire(&here);
        CHECK_ON(&pair, here.result.outcome == BATON_COMPLETED && end_holds(&here, 9, 0));
        end_drop(&here);
        end_finish(&there);
        CHECK_ON(&pair, offer_start(&pair, &self, 2, 7, NULL) == BATON_OK);
        CHECK_ON(&pair, fetch_start(&pair, &back, &self.ticket, 2, NULL) == BATON_OK);
        end_finish(&back);
        end_finish(&self);
        pair_close(&pair);
    }
}
