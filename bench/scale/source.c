/* SPDX-License-Identifier: Apache-2.0 */
/* The source of bench/scale: makes offers, so many at once, and retires them.  Checks no payload.
 */
#include "pair.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct source;

struct offer {
    struct source *source;
    baton_handoff *handoff;
};

struct source {
    const struct setup *setup;
    struct shared *shared;
    int channel, bell;
    baton_engine *engine;
    baton_pool *pool;
    uint32_t *blocks; /* of handoff 0, of handoff 1, ... */
    struct offer *offers;
    struct order order;
    bool at_work;        /* the order was not answered yet */
    uint32_t made, over; /* offers of this round */
};

static void on_outcome(baton_handoff *handoff, void *arg, const struct baton_result *result)
{
    (void)handoff;
    (void)arg;
    if (result->outcome != BATON_COMPLETED) {
        die("an offer that nobody cancelled ended as %s (%s)", baton_outcome_name(result->outcome),
            baton_cause_name(result->cause));
    }
}

static void on_quiet(baton_handoff *handoff, void *arg, const struct baton_receipt *receipt)
{
    struct offer *offer = arg;
    struct baton_error error = {0};

    must(baton_retire(handoff, receipt, NULL, NULL, &error), "retire an offer", &error);
    baton_handoff_unref(offer->handoff);
    offer->source->over++;
}

static void offer_next(struct source *s)
{
    struct offer *offer = &s->offers[s->made];
    struct shared_ticket *ticket = &s->shared->ticket[s->made];
    const struct baton_offer_args args = {
        .size = sizeof(args),
        .pool = s->pool,
        .blocks = s->blocks + (size_t)s->made * s->setup->blocks,
        .block_count = s->setup->blocks,
        .watermark_bytes = s->order.kind == ORDER_HOLD ? 0 : BATON_WATERMARK_END,
        .notices = {.on_outcome = on_outcome, .on_quiet = on_quiet, .arg = offer},
    };
    struct baton_error error = {0};
    size_t length = 0;

    offer->source = s;
    must(baton_offer(s->engine, &args, &offer->handoff, &error), "offer", &error);
    must(baton_offer_ticket(offer->handoff, 0, ticket->bytes, &length), "ticket", NULL);
    ticket->length = (uint32_t)length;
    s->made++;
}

static void offer_more(struct source *s)
{
    uint32_t before = s->made;

    while (s->made < s->order.handoffs && s->made - s->over < s->order.at_once) {
        offer_next(s);
    }
    if (s->made > before) {
        atomic_store(&s->shared->offered, s->made);
        eventfd_write(s->bell, 1);
    }
}

static void answer(struct source *s)
{
    const struct usage usage = usage_now();

    if (send(s->channel, &usage, sizeof(usage), MSG_NOSIGNAL) != sizeof(usage)) {
        die("the sink has ended");
    }
}

static void obey(struct source *s, const struct order *order)
{
    switch (order->kind) {
    case ORDER_ROUND:
    case ORDER_HOLD:
        s->order = *order;
        s->made = s->over = 0;
        s->at_work = true;
        break;
    case ORDER_ADVANCE:
        for (uint32_t i = 0; i < s->made; i++) {
            baton_offer_advance(s->offers[i].handoff, BATON_WATERMARK_END);
        }
        break;
    case ORDER_LOOK:
        answer(s);
        break;
    }
}

/* False: the sink has closed the channel. */
static bool turn(struct source *s)
{
    struct pollfd wait[] = {{.fd = baton_engine_fd(s->engine), .events = POLLIN},
                            {.fd = s->channel, .events = POLLIN}};
    struct order order;
    ssize_t got;

    offer_more(s);
    if (s->at_work && s->over == s->order.handoffs) {
        s->at_work = false;
        answer(s);
    }
    poll(wait, 2, -1);
    if (wait[1].revents) {
        got = recv(s->channel, &order, sizeof(order), 0);
        if (got <= 0) {
            return false;
        }
        obey(s, &order);
    }
    if (wait[0].revents) {
        must(baton_engine_step(s->engine, 0), "step", NULL);
    }
    return true;
}

static void fill(const struct source *s)
{
    const struct setup *setup = s->setup;

    for (uint32_t i = 0; i < setup->handoffs * setup->blocks; i++) {
        uint32_t handoff = i / setup->blocks, block = i % setup->blocks;
        uint64_t *words = baton_pool_block(s->pool, s->blocks[i]);

        memset(words, (int)(i & 0xff), setup->block_bytes);
        words[0] = payload_word(handoff, block, false);
        words[setup->block_bytes / sizeof(*words) - 1] = payload_word(handoff, block, true);
    }
}

void source_run(const struct setup *setup, struct shared *shared, int channel, int bell)
{
    const size_t blocks = (size_t)setup->handoffs * setup->blocks;
    struct source s = {.setup = setup, .shared = shared, .channel = channel, .bell = bell};

    s.blocks = malloc(blocks * sizeof(*s.blocks));
    s.offers = calloc(setup->handoffs, sizeof(*s.offers));
    if (!s.blocks || !s.offers) {
        die("no memory for the numbers of %zu blocks", blocks);
    }
    s.engine = engine_make(setup, setup->handoffs + ENGINE_SPARE, setup->sinks + 1);
    s.pool = pool_make(s.engine, setup->block_bytes, (uint32_t)blocks, 1, s.blocks);
    fill(&s);
    while (turn(&s)) {
    }
    engine_end(s.engine);
    free(s.blocks);
    free(s.offers);
    exit(EXIT_SUCCESS);
}
