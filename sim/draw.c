/* SPDX-License-Identifier: Apache-2.0 */
/* Swarm testing: what a seed draws before it starts, and the worlds that fix a part of it. */
#include "sim/world.h"

#include <inttypes.h>
#include <string.h>

#define BIT(n) (UINT64_C(1) << (n))
#define CANCELS                                                                                    \
    (BIT(SIM_CANCEL_FETCH) | BIT(SIM_CANCEL_REQUEST) | BIT(SIM_CANCEL_OFFER) |                     \
     BIT(SIM_CANCEL_BOTH) | BIT(SIM_CANCEL_LATE))
#define LIVES                                                                                      \
    (BIT(SIM_CRASH) | BIT(SIM_RESTART) | BIT(SIM_RESTART_FAST) | BIT(SIM_STALE_TICKET) |           \
     BIT(SIM_FEW_PEERS))
#define ALL (BIT(SIM_FAULTS) - 1)
#define PUSHES (BIT(BY_PUSH_STREAM) | BIT(BY_PUSH_LIBRARY))

static const struct preset {
    const char *name, *text;
    uint32_t nodes; /* 0: drawn */
    uint32_t transports;
    uint64_t faults;
} presets[] = {
    {"any", "everything is drawn", 0, 0, ALL},
    {"pair", "one source, one sink", 2, 0, ALL},
    {"tcp", "the source's own code sends", 0, BIT(BY_STREAM), ALL},
    {"shm", "the sink reads the source's memory", 0, BIT(BY_MAPPING), ALL},
    {"library", "one-sided reads that land late", 0, BIT(BY_LIBRARY), ALL},
    {"push", "the source writes what it is granted", 0, PUSHES, ALL},
    {"push-library", "one-sided writes that land late", 0, BIT(BY_PUSH_LIBRARY), ALL},
    {"calm", "no fault and no cancel", 0, 0, 0},
    {"cancels", "cancels are the only trouble", 0, 0, CANCELS},
    {"restarts", "processes die and come back", 0, 0, LIVES},
};

enum { PRESETS = sizeof(presets) / sizeof(presets[0]) };

static const char *const fault_names[SIM_FAULTS] = {
    "cancel-fetch",  "cancel-request", "cancel-offer",  "cancel-both",  "cancel-late",
    "pause",         "pause-long",     "crash",         "restart",      "restart-fast",
    "break",         "half-open",      "cut",           "clog",         "stall",
    "redial",        "delay",          "split",         "duplicate",    "forged",
    "jump-forward",  "jump-backward",  "skew",          "no-link",      "no-serve",
    "no-frame",      "read-fail",      "misfit",        "wrong-secret", "stale-ticket",
    "receipt-twice", "receipt-forged", "stolen-block",  "early-commit", "replay",
    "greedy-read",   "late-advance",   "near-wrap",     "few-peers",    "late-piece",
    "write-fail",    "greedy-grant",   "false-written", "leave",
};

const char *sim_fault_name(enum sim_fault fault)
{
    return fault_names[fault];
}

enum sim_fault sim_fault_find(const char *name)
{
    unsigned i = 0;

    while (i < SIM_FAULTS && strcmp(fault_names[i], name) != 0) {
        i++;
    }
    return (enum sim_fault)i;
}

const char *sim_world_name(unsigned n)
{
    return n < PRESETS ? presets[n].name : NULL;
}

const char *sim_world_text(unsigned n)
{
    return n < PRESETS ? presets[n].text : NULL;
}

static const struct preset *preset_of(const char *name)
{
    for (unsigned i = 0; name && i < PRESETS; i++) {
        if (!strcmp(presets[i].name, name)) {
            return &presets[i];
        }
    }
    return &presets[0];
}

static uint32_t between(struct prng *p, uint32_t low, uint32_t high)
{
    return low + below(p, high - low + 1);
}

static void draw_limits(struct prng *p, struct options *o)
{
    o->limits = (struct core_limits){.offers = between(p, 2, OFFERS_MAX),
                                     .fetches = between(p, 2, FETCHES_MAX),
                                     .links = between(p, 2, LINKS_MAX),
                                     .slots = SLOTS_FEW,
                                     .attempts = between(p, 2, 8),
                                     .replies = between(p, 2, 8),
                                     .windows = between(p, 1, WINDOWS_SHARED_MAX),
                                     .windows_per_fetch = between(p, 1, 4),
                                     .window_bytes = between(p, 1, 8),
                                     .inflight_bytes = between(p, 4, 32),
                                     .link_timeout_us = o->link_timeout_us,
                                     .doubt_us = between(p, 100, 5000),
                                     .first_attempt = 1};
}

/* Half of the faults are off in a seed, so that the others have their day. */
static uint64_t draw_faults(struct prng *p, const struct preset *preset)
{
    uint64_t faults = prng_next(p) & ALL;

    if (chance(p, 128)) {
        faults = 0;
    }
    if (chance(p, 700)) {
        faults |= BIT(SIM_CANCEL_FETCH) | BIT(SIM_CANCEL_OFFER);
    }
    return faults & preset->faults;
}

/* Bounds that are hardly ever met otherwise.  From a stream of its own. */
static void draw_extremes(struct sim *s, struct options *o)
{
    static const uint8_t bits[] = {31, 32, 63, 64};
    struct prng p;

    prng_init(&p, mix(s->plan.seed, 5));
    o->few_peers = chance(&p, 512) && (o->faults & BIT(SIM_FEW_PEERS));
    o->wrap_bits = bits[below(&p, sizeof(bits))];
    if (!chance(&p, 512) || !(o->faults & BIT(SIM_NEAR_WRAP))) {
        o->wrap_bits = 0;
    }
    o->crowded = chance(&p, 128);
    if (o->crowded) {
        o->answers = 1;
        o->limits.replies = 2;
    }
    if (chance(&p, 100)) {
        o->limits.slots = SLOTS_MAX;
    }
    o->narrow = chance(&p, 64) && o->nodes > 2 && (o->faults & BIT(SIM_PAUSE_LONG));
    if (o->narrow) {
        o->sources = o->sources < 2 ? 2 : o->sources;
        o->transports |= o->transports & PUSHES ? BIT(BY_PUSH_STREAM) : BIT(BY_STREAM);
        o->ping = o->clocks = false;
        o->limits.windows = 1;
    }
}

/* From a stream of its own. */
static void draw_pushes(struct sim *s, struct options *o, bool drawn)
{
    struct prng *p = &s->world->push;
    uint32_t pushes = chance(p, 512) ? between(p, 1, 3) << PULLS : 0;

    o->transports |= drawn ? pushes : 0;
    o->fences = chance(p, 300);
    o->exits = chance(p, 512) && !o->ping;
}

/* One of the sources ends in order, at some time.  From a stream of its own. */
static void draw_leave(struct sim *s, struct options *o)
{
    struct prng p;

    prng_init(&p, mix(s->plan.seed, 7));
    o->leaver = (uint8_t)below(&p, o->sources);
    o->leave_us = chance(&p, 512) ? 1 + below(&p, o->offers * o->work_us) : 0;
}

void options_draw(struct sim *s)
{
    struct options *o = &s->world->options;
    const struct preset *preset = preset_of(s->plan.world);
    struct prng p;

    prng_init(&p, s->plan.seed);
    o->nodes = preset->nodes ? preset->nodes : between(&p, 2, NODES_MAX);
    if (chance(&p, 400) || preset->nodes) {
        o->nodes = 2;
    }
    o->sources = o->nodes == 2 ? 1 : between(&p, 1, o->nodes);
    o->blocks = between(&p, 4, BLOCKS_MAX);
    o->offers = between(&p, 10, 52);
    o->transports = between(&p, 1, BIT(PULLS) - 1);
    if (preset->transports) {
        o->transports = preset->transports;
    }
    o->wrapped = chance(&p, 300);
    o->ping = chance(&p, 600);
    o->clocks = chance(&p, 700);
    o->silent_crash = o->ping && chance(&p, 300);
    o->deep = chance(&p, 64);
    o->forked = chance(&p, 64);
    o->delay_us = between(&p, 5, 400);
    o->move_us = between(&p, 5, 200);
    o->work_us = between(&p, 100, 1500);
    o->fault_us = between(&p, 400, 8000);
    o->strike = between(&p, 0, 300);
    o->cancel = between(&p, 0, 400);
    o->retry = between(&p, 200, 900);
    o->stall_compute = chance(&p, 300) ? 200 : 0;
    o->link_timeout_us = between(&p, 3000, 30000);
    o->handshake_us = between(&p, 5000, 20000);
    o->room = o->answers = between(&p, 1, QUEUE_MAX - 2);
    o->faults = draw_faults(&p, preset) & ~s->plan.without;
    draw_limits(&p, o);
    draw_pushes(s, o, preset->transports == 0);
    draw_extremes(s, o);
    draw_leave(s, o);
    if (s->plan.handoffs && s->plan.handoffs < o->offers) {
        o->offers = s->plan.handoffs;
    }
}

void sim_print_options(const struct sim *s, FILE *file)
{
    const struct options *o = &s->world->options;

    fprintf(
        file,
        "nodes %u, %u of them sources; %u blocks a pool (%s); %u offers\n"
        "transports:%s%s%s%s%s%s%s; links %s, timeout %u us; clocks of handoffs %s\n"
        "mean times: message %u us, piece %u us, work %u us, fault %u us\n"
        "of 1024: cancels %u, strikes %u, retries %u, computing stalls %u\n"
        "limits: offers %u of %u readers, fetches %u, links %u, attempts %u, replies %u, "
        "windows %u (%u a "
        "fetch) of %" PRIu64 " bytes, inflight %" PRIu64 " bytes%s, frames on the way %u (%u "
        "back%s), "
        "doubt %" PRIu64 " us; records of peers %s; numbers %s %u bits\nfaults on:",
        o->nodes, o->sources, o->blocks, o->wrapped ? "wrapped" : "own", o->offers,
        o->transports & BIT(BY_STREAM) ? " tcp" : "", o->transports & BIT(BY_MAPPING) ? " shm" : "",
        o->transports & BIT(BY_LIBRARY) ? " library" : "",
        o->transports & BIT(BY_PUSH_STREAM) ? " push-tcp" : "",
        o->transports & BIT(BY_PUSH_LIBRARY) ? " push-library" : "", o->fences ? ", fenced" : "",
        o->exits ? ", ended by an exit" : "", o->ping ? "tcp" : "unix", o->link_timeout_us,
        o->clocks ? "run" : "never run", o->delay_us, o->move_us, o->work_us, o->fault_us,
        o->cancel, o->strike, o->retry, o->stall_compute, o->limits.offers, o->limits.slots,
        o->limits.fetches, o->limits.links, o->limits.attempts, o->limits.replies,
        o->limits.windows, o->limits.windows_per_fetch, o->limits.window_bytes,
        o->limits.inflight_bytes, o->narrow ? ", one source stops" : "", o->room, o->answers,
        o->crowded ? ", crowded" : "", o->limits.doubt_us, o->few_peers ? "few" : "enough",
        o->wrap_bits ? "near the end of" : "from 1 in", o->wrap_bits ? o->wrap_bits : 64U);
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        fprintf(file, "%s%s", o->faults & BIT(i) ? " " : "",
                o->faults & BIT(i) ? fault_names[i] : "");
    }
    fprintf(file, "%s\n", o->faults ? "" : " none");
}
