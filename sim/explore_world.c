/* SPDX-License-Identifier: Apache-2.0 */
/* The explorer's worlds: which there are, how one begins, and what its users and crashes do. */
#include "sim/explore_world.h"

#include <stdlib.h>
#include <string.h>

const struct explore_rules explore_rules[] = {
    {.name = "tiny",
     .about = "1 source, 1 sink, 1 offer of 1 block: cancels, a cut, a retry",
     .sinks = 1,
     .plans = 1,
     .slots = 1,
     .units = 1,
     .blocks = 1,
     .windows = 1,
     .queue = 2,
     .split = true,
     .rewrites = true,
     .attempts = 8,
     .cancels_offer = 1,
     .cancels_fetch = 1,
     .breaks = 1,
     .retries = 1},
    {.name = "stream",
     .about = "1 source whose code sends the bytes, 1 sink, 2 blocks, links as between hosts",
     .sinks = 1,
     .plans = 1,
     .slots = 1,
     .units = 2,
     .blocks = 2,
     .block = {{0, 1}},
     .streams = 1,
     .windows = 2,
     .queue = 3,
     .ping = true,
     .rewrites = true,
     .attempts = 8,
     .cancels_offer = 1,
     .cancels_fetch = 1,
     .clocks = 1,
     .breaks = 1,
     .retries = 1},
    {.name = "busy",
     .about = "1 source, 2 sinks that want the same slot: REFUSED and retry, a clock",
     .sinks = 2,
     .plans = 1,
     .slots = 1,
     .units = 1,
     .blocks = 1,
     .windows = 1,
     .queue = 2,
     .rewrites_at_once = true,
     .attempts = 2,
     .cancels_offer = 1,
     .cancels_fetch = 1,
     .clocks = 1,
     .retries = 1},
    {.name = "slots",
     .about = "1 source, 2 sinks, 1 offer of 2 slots and 2 blocks, watermark in two steps, cancels",
     .sinks = 2,
     .plans = 1,
     .slots = 2,
     .units = 2,
     .blocks = 2,
     .block = {{0, 1}},
     .slot = {0, 1},
     .windows = 1,
     .queue = 3,
     .rewrites = true,
     .attempts = 8,
     .cancels_offer = 1,
     .cancels_fetch = 1},
    {.name = "shared",
     .about = "1 source, 2 sinks, 2 offers that share a block, cancels, one a stream",
     .sinks = 2,
     .plans = 2,
     .slots = 1,
     .units = 2,
     .blocks = 3,
     .block = {{0, 1}, {0, 2}},
     .start = {1, 1},
     .plan = {0, 1},
     .streams = 2,
     .windows = 1,
     .queue = 2,
     .rewrites = true,
     .attempts = 8,
     .cancels_offer = 2,
     .cancels_fetch = 1},
    {.name = "single",
     .about = "1 source, 1 sink, 1 offer of 1 block, and one of each fault",
     .sinks = 1,
     .plans = 1,
     .slots = 1,
     .units = 1,
     .blocks = 1,
     .windows = 1,
     .queue = 2,
     .split = true,
     .reoffers = true,
     .rewrites = true,
     .attempts = 8,
     .cancels_offer = 1,
     .cancels_fetch = 1,
     .clocks = 1,
     .breaks = 1,
     .crashes = 1,
     .retries = 1,
     .reopens = 1,
     .failures = 1},
    {.name = "late",
     .about = "1 source that writes into the block of 1 sink: a cancel, a cut, a crash",
     .sinks = 1,
     .plans = 1,
     .slots = 1,
     .units = 1,
     .blocks = 1,
     .pushes = 1,
     .windows = 1,
     .queue = 2,
     .rewrites_at_once = true,
     .attempts = 8,
     .cancels_offer = 1,
     .cancels_fetch = 1,
     .breaks = 1,
     .crashes = 1,
     .retries = 1},
    {.name = "push",
     .about = "1 source that writes into the blocks of 1 sink, 2 blocks, and one of each fault",
     .sinks = 1,
     .plans = 1,
     .slots = 1,
     .units = 2,
     .blocks = 2,
     .block = {{0, 1}},
     .start = {1},
     .pushes = 1,
     .windows = 2,
     .queue = 3,
     .rewrites_at_once = true,
     .attempts = 8,
     .cancels_offer = 1,
     .cancels_fetch = 1,
     .breaks = 2,
     .crashes = 1,
     .retries = 1,
     .reopens = 1},
    {.name = "pushes",
     .about = "1 source that writes into the blocks of 2 sinks which want the same slot",
     .sinks = 2,
     .plans = 1,
     .slots = 1,
     .units = 1,
     .blocks = 1,
     .start = {1},
     .pushes = 3,
     .windows = 1,
     .queue = 2,
     .rewrites_at_once = true,
     .attempts = 8,
     .cancels_offer = 1,
     .cancels_fetch = 1,
     .breaks = 1,
     .retries = 1,
     .reopens = 1},
    {.name = "issue",
     .about = "1 source, 2 sinks, 1 offer of 2 slots and 2 blocks: cancels of either side, one "
              "crash-restart, one cut with reopening, REFUSED and retry, watermark in two steps",
     .sinks = 2,
     .plans = 1,
     .slots = 2,
     .units = 2,
     .blocks = 2,
     .block = {{0, 1}},
     .slot = {0, 1},
     .windows = 1,
     .queue = 2,
     .rewrites_at_once = true,
     .attempts = 8,
     .cancels_offer = 1,
     .cancels_fetch = 1,
     .breaks = 1,
     .crashes = 1,
     .retries = 1,
     .reopens = 1},
    {.name = "large",
     .about = "the issue's world with clocks, 2 windows a sink, one sink a stream",
     .sinks = 2,
     .plans = 1,
     .slots = 2,
     .units = 2,
     .blocks = 2,
     .block = {{0, 1}},
     .slot = {0, 1},
     .streams = 2,
     .windows = 2,
     .queue = 3,
     .split = true,
     .reoffers = true,
     .rewrites_at_once = true,
     .attempts = 8,
     .cancels_offer = 1,
     .cancels_fetch = 1,
     .clocks = 1,
     .breaks = 1,
     .crashes = 1,
     .retries = 1,
     .reopens = 1,
     .failures = 1},
    {.name = NULL},
};

const struct explore_rules *explore_rules_of(const char *name)
{
    for (const struct explore_rules *r = explore_rules; r->name; r++) {
        if (name && strcmp(r->name, name) == 0) {
            return r;
        }
    }
    return NULL;
}

const char *explore_world_name(unsigned i)
{
    return explore_rules[i].name;
}

const char *explore_world_about(unsigned i)
{
    return explore_rules[i].about;
}

/* ---- where things lie ---- */

static struct core_limits limits_of(const struct explore_rules *rules, int node)
{
    return (struct core_limits){.offers = node ? 0 : rules->plans,
                                .fetches = node ? 2 : 0,
                                .links = node ? 2 : rules->sinks + 2U,
                                .slots = node ? 1 : rules->slots,
                                .attempts = rules->attempts,
                                .replies = 3,
                                .windows = rules->windows,
                                .windows_per_fetch = rules->windows,
                                .window_bytes = 1,
                                .inflight_bytes = UNITS_MAX,
                                .link_timeout_us = 3000000,
                                .doubt_us = 1000000,
                                .first_attempt = 1};
}

bool explorer_init(struct explorer *x, const struct explore_rules *rules)
{
    size_t most = 0;

    memset(x, 0, sizeof(*x));
    x->rules = rules;
    x->bytes = sizeof(struct world);
    for (int node = 0; node <= rules->sinks; node++) {
        uint32_t blocks = node ? rules->units : rules->blocks;

        x->limits[node] = limits_of(rules, node);
        x->core_bytes[node] = core_state_bytes(&x->limits[node]);
        x->core_at[node] = x->bytes;
        x->bytes += (x->core_bytes[node] + 7) & ~(size_t)7;
        x->pool_at[node] = x->bytes;
        x->bytes += (pool_state_bytes(blocks) + 7) & ~(size_t)7;
        most = x->core_bytes[node] > most ? x->core_bytes[node] : most;
    }
    x->symmetric = rules->sinks == 2 && rules->plans == 1 && rules->slot[0] != rules->slot[1] &&
                   (rules->streams == 0 || rules->streams == 3) &&
                   (rules->pushes == 0 || rules->pushes == 3);
    for (unsigned sink = 0; sink < rules->sinks; sink++) {
        x->sink_of[rules->slot[sink]] = (uint8_t)sink;
    }
    x->scratch = malloc(most);
    return x->scratch != NULL;
}

void explorer_fini(struct explorer *x)
{
    free(x->scratch);
    x->scratch = NULL;
}

void explore_incarnation_of(unsigned node, unsigned life, uint8_t ret_id[ID_BYTES])
{
    memset(ret_id, (int)(0x10 * (node + 1) + life), ID_BYTES);
}

uint8_t explore_secret_of(unsigned life, unsigned plan, unsigned slot)
{
    return (uint8_t)(1 + (life * PLANS_MAX + plan) * READERS_MAX + slot);
}

/* The caller holds all of a pool's blocks: they are lent from there. */
void explore_world_node_init(struct explorer *x, struct world *w, int node)
{
    uint32_t blocks[BLOCKS_MAX], count = node ? x->rules->units : x->rules->blocks;
    baton_err err;

    core_init(core_of(x, w, node), &x->limits[node]);
    pool_init(pool_of(x, w, node), count, false, 1);
    err = pool_alloc(pool_of(x, w, node), count, blocks, NULL);
    BATON_ASSERT(!err && blocks[0] == 0);
    x->touched |= 1U << node;
}

void explore_world_begin(struct explorer *x, struct world *w)
{
    const struct explore_rules *r = x->rules;

    memset(w, 0, x->bytes);
    x->w = w;
    x->before = w;
    x->touched = 0;
    w->cancels_offer = r->cancels_offer;
    w->clocks = r->clocks;
    w->breaks = r->breaks;
    w->crashes = r->crashes;
    w->retries = r->retries;
    w->reopens = r->reopens;
    w->failures = r->failures;
    for (int node = 0; node <= r->sinks; node++) {
        explore_world_node_init(x, w, node);
    }
    for (unsigned plan = 0; plan < r->plans; plan++) {
        explore_world_offer_make(x, plan);
    }
    for (unsigned sink = 0; sink < r->sinks; sink++) {
        w->cancels_fetch[sink] = r->cancels_fetch;
        explore_world_fetch_make(x, sink, 0);
    }
    for (int node = 0; node <= r->sinks; node++) {
        explore_node_key(x, w, node);
    }
}

/* ---- offers and fetches ---- */

static uint32_t clock_ms(const struct explorer *x)
{
    return x->rules->clocks ? 1000 : 0;
}

void explore_world_offer_make(struct explorer *x, unsigned plan)
{
    const struct explore_rules *r = x->rules;
    unsigned life = x->w->life[0];
    struct offer_book *o = &x->w->offers[life][plan];
    struct core_event event = {.type = CORE_EVENT_OFFER};
    uint32_t blocks[UNITS_MAX];

    *o = (struct offer_book){
        .made = 1, .id = (plan + 1) << CORE_INDEX_BITS | plan, .watermark = r->start[plan]};
    for (unsigned unit = 0; unit < r->start[plan]; unit++) {
        uint8_t *content = &x->w->content[life][r->block[plan][unit]];

        *content = *content ? *content : 1;
        o->content[unit] = *content;
    }
    event.offer.index = plan;
    event.offer.id = o->id;
    event.offer.slots = r->slots;
    event.offer.total = r->units;
    event.offer.watermark = r->start[plan];
    event.offer.reader_ms = event.offer.lease_ms = event.offer.whole_ms = clock_ms(x);
    event.offer.exported = x->w->exported[life];
    for (unsigned slot = 0; slot < r->slots; slot++) {
        event.offer.secret[slot][0] = explore_secret_of(life, plan, slot);
    }
    explore_offer_blocks(x, plan, blocks);
    if (!explore_debt_lend(x, 0, &o->debt, blocks, o->id)) {
        explore_broken(x, "S4 accounting", "the source can not lend blocks that it holds");
    }
    explore_world_event(x, 0, &event);
}

struct fetch_book *explore_fetch_last(const struct world *w, unsigned sink)
{
    struct fetch_book *f = NULL;

    if (w->fetched[sink] > 0) {
        f = (struct fetch_book *)(uintptr_t)&w->fetches[sink][w->fetched[sink] - 1];
    }
    return f && f->sink_life == w->life[sink + 1] ? f : NULL;
}

struct fetch_book *explore_fetch_book_of(const struct world *w, unsigned sink, uint64_t id,
                                         unsigned *ret_fetch)
{
    for (unsigned i = 0; i < w->fetched[sink]; i++) {
        const struct fetch_book *f = &w->fetches[sink][i];

        if (f->made && f->id == id && f->sink_life == w->life[sink + 1]) {
            *ret_fetch = i;
            return (struct fetch_book *)(uintptr_t)f;
        }
    }
    return NULL;
}

struct offer_book *explore_offer_book_of(const struct world *w, unsigned life, uint64_t id,
                                         unsigned *ret_plan)
{
    for (unsigned plan = 0; plan < PLANS_MAX; plan++) {
        const struct offer_book *o = &w->offers[life][plan];

        if (o->made && o->id == id) {
            *ret_plan = plan;
            return (struct offer_book *)(uintptr_t)o;
        }
    }
    return NULL;
}

static uint32_t free_index(const struct core *core)
{
    uint32_t index = 0;

    while (index < core->limits.fetches && core_fetches(core)[index].state != FETCH_FREE) {
        index++;
    }
    return index;
}

/* The serial number of a sink's next fetch in this life. */
static uint32_t next_serial(const struct world *w, unsigned sink)
{
    uint32_t serial = 1;

    for (unsigned i = 0; i < w->fetched[sink]; i++) {
        serial += w->fetches[sink][i].sink_life == w->life[sink + 1];
    }
    return serial;
}

static uint32_t link_to(struct explorer *x, unsigned sink, unsigned source_life)
{
    uint8_t source[ID_BYTES];
    int32_t link;
    const struct wire *wire;

    explore_incarnation_of(0, source_life, source);
    link = core_link_to(core_of(x, x->w, (int)sink + 1), source);
    if (link != CORE_NONE) {
        return (uint32_t)link;
    }
    wire = explore_wire_dial(x, sink, source_life);
    return wire ? wire->link[SINK_END] : CORE_NO_LINK;
}

void explore_world_fetch_make(struct explorer *x, unsigned sink, unsigned source_life)
{
    struct world *w = x->w;
    const struct explore_rules *r = x->rules;
    uint32_t index = free_index(core_of(x, w, (int)sink + 1)), blocks[UNITS_MAX];
    struct fetch_book *f = &w->fetches[sink][w->fetched[sink]];
    struct core_event event = {.type = CORE_EVENT_FETCH};
    const struct wire *wire;

    BATON_ASSERT(w->fetched[sink] < FETCHES_MAX && index < 2);
    *f = (struct fetch_book){.made = 1,
                             .id = next_serial(w, sink) << CORE_INDEX_BITS | index,
                             .sink_life = w->life[sink + 1],
                             .source_life = (uint8_t)source_life,
                             .plan = r->plan[sink],
                             .slot = r->slot[sink]};
    w->fetched[sink]++;
    w->fresh[sink] = 0;
    explore_fetch_blocks(x, blocks);
    if (!explore_debt_lend(x, (int)sink + 1, &f->debt, blocks, f->id)) {
        explore_broken(x, "P9 clean landing", "blocks of a fetch that is quiet can not be lent");
    }
    event.fetch.index = index;
    event.fetch.id = f->id;
    event.fetch.link = link_to(x, sink, source_life);
    wire = event.fetch.link == CORE_NO_LINK
               ? NULL
               : explore_world_wire_of(w, (int)sink + 1, event.fetch.link);
    f->wire = wire ? wire_name(wire) : 0;
    event.fetch.offer_id = (f->plan + 1U) << CORE_INDEX_BITS | f->plan;
    event.fetch.slot = f->slot;
    event.fetch.end = event.fetch.total = r->units;
    event.fetch.opening_ms = event.fetch.bytes_ms = event.fetch.progress_ms = clock_ms(x);
    event.fetch.commit_ms = event.fetch.whole_ms = clock_ms(x);
    event.fetch.secret[0] = explore_secret_of(source_life, f->plan, f->slot);
    event.fetch.push = is_push(x, sink);
    event.fetch.nonce = f->id >> CORE_INDEX_BITS;
    explore_world_event(x, (int)sink + 1, &event);
}

/* ---- crashes ---- */

static void crash_sink(struct explorer *x, unsigned sink)
{
    struct world *w = x->w;

    for (unsigned i = 0; i < SERVES_MAX; i++) {
        w->serves[i].orphan |= w->serves[i].state != SERVE_NONE && w->serves[i].sink == sink;
    }
    memset(w->windows[sink], 0, sizeof(w->windows[sink]));
    for (unsigned i = 0; i < w->fetched[sink]; i++) {
        struct fetch_book *f = &w->fetches[sink][i];

        *f = (struct fetch_book){.sink_life = f->sink_life};
    }
    w->fresh[sink] = 1;
    w->dials[sink] = 0;
}

/* All is quiet at the source and all is said: to end now is to end in order. */
static bool is_orderly(const struct explorer *x, const struct wire *wire)
{
    const struct core *core = core_of(x, x->w, 0);

    for (uint32_t i = 0; i < core->limits.offers; i++) {
        uint8_t state = core_offers(core)[i].state;

        if (state != OFFER_FREE && state != OFFER_QUIET) {
            return false;
        }
    }
    return core_link(core, wire->link[SOURCE_END])->say.count == 0;
}

/* Bytes that a process has sent may arrive after its death; what was sent to it is lost. */
void explore_world_crash(struct explorer *x, int node)
{
    struct world *w = x->w;

    for (unsigned i = 0; i < WIRES_MAX; i++) {
        struct wire *wire = &w->wires[i];

        if (!wire->used) {
            continue;
        }
        if (node == 0 && wire->end[SOURCE_END] == END_UP) {
            wire->orderly = is_orderly(x, wire);
            explore_world_close(x, wire, SOURCE_END);
        } else if (node == wire->sink + 1 && wire->sink_life == w->life[node] &&
                   wire->end[SINK_END] == END_UP) {
            explore_world_close(x, wire, SINK_END);
        }
    }
    if (node > 0) {
        crash_sink(x, (unsigned)node - 1);
    } else {
        for (unsigned i = 0; i < SERVES_MAX; i++) {
            if (w->serves[i].state != SERVE_NONE && !w->serves[i].orphan) {
                w->windows[w->serves[i].sink][w->serves[i].window].state = WINDOW_REFUSED;
            }
        }
        memset(w->serves, 0, sizeof(w->serves));
        explore_push_crash(w);
        memset(w->greeted, 0, sizeof(w->greeted));
        memset(w->rewritten, 0, sizeof(w->rewritten));
    }
    w->life[node]++;
    explore_world_node_init(x, w, node);
}
