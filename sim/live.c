/* SPDX-License-Identifier: Apache-2.0 */
/* The checkers of check.h, liveness: what must be true some time after all faults are over. */
#include "sim/check.h"

#define FAIL(s, ...) sim_fail((s), __func__ + sizeof("check_") - 1, __VA_ARGS__)

/* Both ends are nodes that were healed, in the lives that they have. */
static bool is_inside(struct sim *s, const struct handoff *fetch)
{
    const struct handoff *offer = handoff_at(s, fetch->offer);

    return lives(s, fetch) && lives(s, offer) && !s->world->nodes[fetch->node].outside &&
           !s->world->nodes[offer->node].outside;
}

void check_L1_silence(struct sim *s, unsigned node)
{
    const struct options *o = &s->world->options;
    const uint64_t cancels = (UINT64_C(1) << (SIM_CANCEL_LATE + 1)) - 1;

    if (!(o->faults & ~cancels) && !o->forked && !s->world->healing &&
        o->link_timeout_us > 12 * o->delay_us) {
        FAIL(s, "node %u closed a link for silence, and nothing was ever wrong", node);
    }
}

void check_L1_silence_was(struct sim *s, unsigned node, const struct sim_link *link)
{
    uint64_t now = node_now(s, node);

    if (now < link->heard + s->world->options.link_timeout_us) {
        FAIL(s, "node %u closed a link for silence, and had heard of its peer %lld us before", node,
             (long long)(now - link->heard));
    }
}

bool is_stuck(struct sim *s, const struct handoff *h)
{
    const struct options *o = &s->world->options;
    const struct handoff *offer = h->side == CORE_FETCH ? handoff_at(s, h->offer) : NULL;

    if (!offer || h->transport != BY_PUSH_LIBRARY || !h->grants || !h->outcomes || h->quiets) {
        return false;
    }
    return !o->fences && (lives(s, offer) ? s->world->nodes[offer->node].outside
                                          : !(o->exits && !life_of(s, offer)->alive));
}

struct stuck stuck_of(struct sim *s, unsigned node)
{
    struct stuck stuck = {0};

    for (unsigned i = 0; i < s->world->handoff_count; i++) {
        const struct handoff *h = handoff_at(s, (int)i);

        if (h->node == node && lives(s, h) && is_stuck(s, h)) {
            stuck.fetches++;
            stuck.blocks += h->count;
        }
    }
    return stuck;
}

void check_L1_terminal(struct sim *s)
{
    for (unsigned i = 0; i < s->world->handoff_count; i++) {
        const struct handoff *h = handoff_at(s, (int)i);

        if (!lives(s, h) || s->world->nodes[h->node].outside || is_stuck(s, h)) {
            continue;
        }
        if (h->outcomes == 0 || h->quiets == 0) {
            FAIL(s, "handoff %llu of node %u was cancelled, and it has %s",
                 (unsigned long long)h->id, h->node, h->outcomes ? "no receipt" : "no outcome");
        }
    }
}

void check_P11_nobody_forgotten(struct sim *s)
{
    for (unsigned i = 0; i < s->world->handoff_count; i++) {
        const struct handoff *h = handoff_at(s, (int)i);

        if (h->side == CORE_FETCH && is_inside(s, h) && h->outcomes == 0) {
            FAIL(s, "fetch %llu of node %u waits in stage %s, all faults being over",
                 (unsigned long long)h->id, h->node, baton_stage_name((baton_stage)h->stage));
        }
        if (h->side == CORE_FETCH && is_inside(s, h) && h->lease == LEASE_VALID) {
            FAIL(s, "a slot is leased to fetch %llu of node %u, which is over (%s, %s)",
                 (unsigned long long)h->id, h->node, baton_outcome_name((baton_outcome)h->outcome),
                 baton_cause_name((baton_cause)h->cause));
        }
    }
}

void check_L2_free(struct sim *s, unsigned node)
{
    struct core_gauges g;
    struct pool_counts c;
    bool alone = true;
    struct stuck stuck = stuck_of(s, node);

    for (unsigned i = 0; i < s->world->options.nodes; i++) {
        alone = alone && !s->world->nodes[i].outside;
    }
    pool_counts(s->world->nodes[node].pool, &c);
    if (c.free + stuck.blocks != c.total || c.loans != stuck.fetches ||
        c.quarantined != stuck.blocks) {
        FAIL(s, "node %u has %llu of %llu blocks free at the end, %llu in quarantine, %u for good",
             node, (unsigned long long)c.free, (unsigned long long)c.total,
             (unsigned long long)c.quarantined, stuck.blocks);
    }
    s->world->result.ends[SIM_NEVER] += stuck.fetches;
    core_gauges(s->world->nodes[node].core, &g);
    if (alone && (g.offers > 0 || g.fetches != stuck.fetches || g.windows > 0)) {
        FAIL(s, "node %u has %u offers, %u fetches and %u windows at the end", node, g.offers,
             g.fetches, g.windows);
    }
}

void check_L4_no_livelock(struct sim *s, uint64_t events)
{
    if (events > 20000) {
        FAIL(s, "%llu events after all faults were over, and no end", (unsigned long long)events);
    }
}

static const struct {
    const char *name, *why;
} not_checked[] = {
    {"S11", "attacked, not compared: clocks jump, run fast and slow in most seeds, and every other "
            "checker must hold; a replay with other time stamps is not made"},
    {"S17", "the core has no allocator to call; the engine's path is tests/scenario/no_memory"},
    {"L3", "a time of a real machine: baton bench measures it"},
    {"L5", "a throughput of a real machine: baton burst measures it"},
    {"L6", "half of it: what waits for a proof that never comes stays in quarantine, and is "
           "counted; that baton top shows it is not looked at"},
    {"G1, G2", "groups of ranks are to come"},
};

const char *sim_not_checked(unsigned n, const char **ret_why)
{
    if (n >= sizeof(not_checked) / sizeof(not_checked[0])) {
        return NULL;
    }
    *ret_why = not_checked[n].why;
    return not_checked[n].name;
}
