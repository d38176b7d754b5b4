/* SPDX-License-Identifier: Apache-2.0 */
/* Two engines that are source and sink to each other: two links, which know nothing of one another.
 */
#include "scenario/pair.h"

#include <string.h>

/* The same engines and pools, seen from the other side.  It is not closed: the first pair is. */
static void turn(const struct pair *pair, struct pair *back)
{
    *back = *pair;
    back->source = pair->sink;
    back->sink = pair->source;
    back->source_pool = pair->sink_pool;
    back->sink_pool = pair->source_pool;
    pthread_mutex_init(&back->lock, NULL);
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
        struct pair pair, back;

        if (kinds[k].wrapped) {
            continue;
        }
        pair_open(&pair, &(struct pair_setup){.kind = &kinds[k]});
        turn(&pair, &back);
        CHECK(offer_start(&pair, &there, 8, 1, &half) == BATON_OK);
        CHECK(offer_start(&back, &here, 8, 2, &half) == BATON_OK);
        CHECK(fetch_start(&pair, &there_read, &there.ticket, 8, NULL) == BATON_OK);
        CHECK(fetch_start(&back, &here_read, &here.ticket, 8, NULL) == BATON_OK);
        CHECK_ON(&pair, end_wait_landed(&there_read, 4 * PAIR_BLOCK_BYTES));
        baton_handoff_cancel(there_read.handoff, BATON_CANCEL_OFFER);
        baton_offer_advance(here.handoff, BATON_WATERMARK_END);
        end_finish(&there_read);
        end_finish(&there);
        end_finish(&here_read);
        end_finish(&here);
        CHECK_ON(&pair, there_read.result.outcome == BATON_CANCELLED);
        CHECK_ON(&back, here_read.result.outcome == BATON_COMPLETED);
        CHECK_ON(&pair, there.hook_value == 2 && there_read.hook_value == 2);
        pthread_mutex_destroy(&back.lock);
        pair_close(&pair);
    }
}
