/* SPDX-License-Identifier: Apache-2.0 */
/* Two engines that are source and sink to each other: two links, which know nothing of one another.
 */
#include "scenario/pair.h"

#include <string.h>

/* From here on the pair's source is its sink, and the other way round. */
static void turn(struct pair *pair)
{
    baton_engine *engine = pair->source;
    baton_pool *pool = pair->source_pool;

    pair->source = pair->sink;
    pair->source_pool = pair->sink_pool;
    pair->sink = engine;
    pair->sink_pool = pool;
}

static uint64_t links_of(baton_engine *engine)
{
    static char text[65536];
    const char *at;
    uint64_t links = 0;

    baton_engine_stats_json(engine, text, sizeof(text));
    for (at = strstr(text, "\"role\""); at; at = strstr(at + 1, "\"role\"")) {
        links++;
    }
    return links;
}

/* On the engine's own thread the numbers are of this moment. */
static void count_links(struct end *end, enum moment moment, baton_stage to)
{
    (void)to;
    if (moment == MOMENT_OUTCOME) {
        end->hook_value = (unsigned)links_of(end->hook_value ? end->pair->source : end->pair->sink);
    }
}

/* Each fetches from the other; one direction is cancelled, and the other never hears of it. */
TEST(both_directions_are_independent)
{
    const struct baton_offer_args half = {.watermark_bytes = 4 * PAIR_BLOCK_BYTES};

    for (unsigned k = 0; k < kinds_count; k++) {
        struct end there = {.hook = count_links, .hook_value = 1};
        struct end there_read = {.hook = count_links};
        struct end here = {0}, here_read = {0};
        struct pair pair;

        if (kinds[k].wrapped) {
            continue;
        }
        pair_open(&pair, &(struct pair_setup){.kind = &kinds[k]});
        CHECK(offer_start(&pair, &here, 8, 2, &half) == BATON_OK);
        CHECK(fetch_start(&pair, &here_read, &here.ticket, 8, NULL) == BATON_OK);
        turn(&pair);
        CHECK(offer_start(&pair, &there, 8, 1, &half) == BATON_OK);
        CHECK(fetch_start(&pair, &there_read, &there.ticket, 8, NULL) == BATON_OK);
        CHECK_ON(&pair, end_wait_landed(&here_read, 4 * PAIR_BLOCK_BYTES));
        CHECK_ON(&pair, end_wait_landed(&there_read, 4 * PAIR_BLOCK_BYTES));
        baton_handoff_cancel(there_read.handoff, BATON_CANCEL_OFFER);
        baton_offer_advance(here.handoff, BATON_WATERMARK_END);
        end_finish(&there_read);
        end_finish(&there);
        end_finish(&here_read);
        end_finish(&here);
        CHECK_ON(&pair, there_read.result.outcome == BATON_CANCELLED);
        CHECK_ON(&pair, here_read.result.outcome == BATON_COMPLETED);
        CHECK_ON(&pair, there.hook_value == 2 && there_read.hook_value == 2);
        pair_close(&pair);
    }
}
