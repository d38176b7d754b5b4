/* SPDX-License-Identifier: Apache-2.0 */
/* The checkers of check.h, safety.  They look at what the simulator noted itself, and at the real
 * book of blocks; never at what the core says of itself, but where that is what they check. */
#include "sim/check.h"

#include <string.h>

#define FAIL(s, ...) sim_fail((s), __func__ + sizeof("check_") - 1, __VA_ARGS__)

static unsigned long long ull(uint64_t value)
{
    return value;
}

void check_S1_no_late_write(struct sim *s, const struct life *life, unsigned block,
                            const struct handoff *fetch, unsigned at)
{
    const struct node *n = &s->world->nodes[life->node];
    const struct block_shadow *b = &life->block[block];

    if (fetch->quiets > 0) {
        FAIL(s, "a piece of fetch %llu lands in block %u after the fetch was quiet", ull(fetch->id),
             block);
    }
    if (b->owner != number_of(s, fetch) || fetch->retired) {
        FAIL(s, "a piece of fetch %llu lands in block %u, which is not lent to it", ull(fetch->id),
             block);
    }
    if (pool_block_state(n->pool, block) != BLOCK_LENT ||
        pool_block_generation(n->pool, block) != fetch->generations[at]) {
        FAIL(s, "a piece of fetch %llu lands in block %u of another generation", ull(fetch->id),
             block);
    }
}

void check_S2_no_reuse_before_proof(struct sim *s, const struct life *life, unsigned block)
{
    const struct block_shadow *b = &life->block[block];

    if (b->inflight > 0) {
        FAIL(s, "block %u of node %u is reused with %u pieces under way to it", block, life->node,
             b->inflight);
    }
    if (b->refs > 0) {
        FAIL(s, "block %u of node %u is reused, and %u receipts for it were not used", block,
             life->node, b->refs);
    }
    for (unsigned p = 0; p < PIECES; p++) {
        if (b->covered[p] > 0) {
            FAIL(s, "block %u of node %u is reused under an offer that is not over", block,
                 life->node);
        }
    }
}

void check_S3_proof_soundness(struct sim *s, const struct handoff *offer)
{
    if (offer->quiets > 0 && offer->proof != BATON_PROOF_REVOKED) {
        FAIL(s, "offer %llu is read after it was quiet by %s", ull(offer->id),
             baton_proof_name(offer->proof));
    }
}

void check_S4_accounting(struct sim *s, unsigned node)
{
    const struct node *n = &s->world->nodes[node];
    const struct life *life = &s->world->life[n->life];

    for (unsigned i = 0; i < s->world->options.blocks; i++) {
        const struct block_shadow *b = &life->block[i];
        enum block_state state = pool_block_state(n->pool, i);
        bool held = b->users > 0 && !s->world->options.wrapped;
        enum block_state want = b->refs ? BLOCK_LENT : held ? BLOCK_HELD : BLOCK_FREE;

        if (state != want) {
            FAIL(s, "block %u of node %u has %u loans and %u users, and the book says state %d", i,
                 node, b->refs, b->users, (int)state);
        }
        if (pool_block_generation(n->pool, i) != b->generation) {
            FAIL(s, "block %u of node %u is of generation %llu, not %llu", i, node,
                 ull(pool_block_generation(n->pool, i)), ull(b->generation));
        }
        if (b->owner >= 0 && b->refs != 1) {
            FAIL(s, "block %u of node %u is lent to a fetch and to others", i, node);
        }
    }
}

void check_S5_generation_grows(struct sim *s, struct life *life, unsigned block,
                               uint64_t generation)
{
    if (generation <= life->block[block].generation) {
        FAIL(s, "block %u of node %u was granted at generation %llu after %llu", block, life->node,
             ull(generation), ull(life->block[block].generation));
    }
    life->block[block].generation = generation;
}

void check_S5_attempts_grow(struct sim *s, struct life *life, uint64_t attempt)
{
    if (attempt <= life->attempt) {
        FAIL(s, "node %u gave attempt %llu after %llu", life->node, ull(attempt),
             ull(life->attempt));
    }
    life->attempt = attempt;
}

void check_S6_one_outcome(struct sim *s, const struct handoff *h)
{
    if (h->outcomes > 1 || h->quiets > h->outcomes || h->doubts > h->outcomes ||
        h->forgets > h->quiets) {
        FAIL(s, "handoff %llu was told %u outcomes, %u doubts, %u receipts, %u ends", ull(h->id),
             h->outcomes, h->doubts, h->quiets, h->forgets);
    }
}

void check_S7_integrity(struct sim *s, const struct handoff *fetch)
{
    const struct handoff *offer = handoff_at(s, fetch->offer);
    const struct life *life = life_of(s, fetch);

    if (!fetch->aux_came) {
        FAIL(s, "fetch %llu completed without the offer's aux", ull(fetch->id));
    }
    for (unsigned i = 0; i < fetch->count; i++) {
        uint64_t base = offer->base[fetch->first_block + i];

        if (fetch->aux[fetch->first_block + i] != base) {
            FAIL(s, "fetch %llu completed with the aux of something else", ull(fetch->id));
        }
        for (unsigned p = 0; p < PIECES; p++) {
            if (life->block[fetch->blocks[i]].tag[p] != mix(base, p)) {
                FAIL(s, "fetch %llu completed, and piece %u of its block %u is not the source's",
                     ull(fetch->id), p, i);
            }
        }
    }
}

void check_S8_no_post_after_end(struct sim *s, const struct handoff *fetch)
{
    if (fetch->outcomes > 0 || fetch->stage != BATON_STAGE_READING) {
        FAIL(s, "a window of fetch %llu was started in stage %s", ull(fetch->id),
             baton_stage_name((baton_stage)fetch->stage));
    }
}

void check_S9_never_exposed(struct sim *s, const struct handoff *h)
{
    bool exposed = h->side == CORE_OFFER ? h->attempts > 0 || h->accepted_sent
                                         : h->posted > 0 || h->grants > 0;

    if (h->proof == BATON_PROOF_NEVER_EXPOSED && exposed) {
        FAIL(s, "handoff %llu was exposed, and its receipt says that it never was", ull(h->id));
    }
}

void check_S10_epoch(struct sim *s, const struct handoff *offer, const struct handoff *fetch,
                     unsigned slot)
{
    if (fetch->offer != number_of(s, offer) || fetch->want_slot != slot) {
        FAIL(s, "slot %u of offer %llu was leased to fetch %llu, which wants another", slot,
             ull(offer->id), ull(fetch->id));
    }
    if (fetch->lease != LEASE_NONE) {
        FAIL(s, "fetch %llu was given a second lease", ull(fetch->id));
    }
}

void check_S12_timeout_never_frees(struct sim *s, const struct handoff *h, bool wrong_receipt,
                                   baton_err err)
{
    if (wrong_receipt && err != BATON_ERECEIPT) {
        FAIL(s, "the blocks of handoff %llu were retired with a wrong receipt", ull(h->id));
    }
    if (!wrong_receipt && err != BATON_OK) {
        FAIL(s, "the receipt of handoff %llu was refused: %s", ull(h->id), baton_strerror(err));
    }
    if (!wrong_receipt && h->quiets != 1) {
        FAIL(s, "the blocks of handoff %llu were retired before its quiet", ull(h->id));
    }
}

void check_S13_all_lanes(struct sim *s, const struct handoff *h)
{
    if (h->windows > 0 || h->serves > 0 || h->coming > 0) {
        FAIL(s, "handoff %llu is quiet with %u windows, %u serves and %u pieces under way",
             ull(h->id), h->windows, h->serves, h->coming);
    }
}

void check_S15_authenticity(struct sim *s, const struct handoff *fetch)
{
    if (fetch->wrong_secret) {
        FAIL(s, "fetch %llu has a wrong secret and was leased a slot", ull(fetch->id));
    }
}

void check_S15_honest_reader(struct sim *s, const struct handoff *fetch)
{
    if (fetch->cause == BATON_CAUSE_SECRET && !fetch->wrong_secret) {
        FAIL(s, "fetch %llu has the right secret and was refused for it", ull(fetch->id));
    }
}

void check_S16_bounds(struct sim *s, const struct handoff *fetch, uint64_t offset, uint64_t length)
{
    if (length == 0 || offset < fetch->begin || offset + length > fetch->end) {
        FAIL(s, "bytes %llu to %llu of fetch %llu, which wants %u to %u", ull(offset),
             ull(offset + length), ull(fetch->id), fetch->begin, fetch->end);
    }
}

void check_S18_bounded(struct sim *s, unsigned node)
{
    const struct core_limits *limits = &s->world->options.limits;
    struct core_gauges g;

    core_gauges(s->world->nodes[node].core, &g);
    if (g.offers > limits->offers || g.fetches > limits->fetches || g.links > limits->links ||
        g.windows > limits->windows + limits->links ||
        g.inflight_bytes > limits->inflight_bytes + limits->links * limits->window_bytes) {
        FAIL(s, "node %u has %u offers, %u fetches, %u links, %u windows", node, g.offers,
             g.fetches, g.links, g.windows);
    }
}

void check_S19_conservation(struct sim *s, unsigned node)
{
    struct pool_counts c;

    pool_counts(s->world->nodes[node].pool, &c);
    if (c.free + c.held + c.lent + c.scrub != c.total || c.total != s->world->options.blocks) {
        FAIL(s, "the blocks of node %u do not add up", node);
    }
}

void check_P1_no_torn_commit(struct sim *s, const struct handoff *fetch)
{
    if (fetch->torn) {
        FAIL(s, "fetch %llu completed with a piece that was read without a valid lease",
             ull(fetch->id));
    }
}

void check_P2_no_commit_after_revoke(struct sim *s, const struct handoff *fetch)
{
    if (fetch->lease == LEASE_OVER || fetch->lease == LEASE_NONE) {
        FAIL(s, "fetch %llu completed, and its lease %s", ull(fetch->id),
             fetch->lease == LEASE_NONE ? "never was" : "ended before");
    }
}

void check_P3_agreement(struct sim *s, const struct handoff *fetch)
{
    const struct handoff *offer = handoff_at(s, fetch->offer);
    const struct slot_shadow *slot = &offer->slot[fetch->want_slot];

    if (slot->committed != fetch->attempt || fetch->attempt == 0) {
        FAIL(s, "fetch %llu completed attempt %llu, and its slot committed %llu", ull(fetch->id),
             ull(fetch->attempt), ull(slot->committed));
    }
    if (slot->completed != 1) {
        FAIL(s, "slot %u of offer %llu was completed by %u sinks", fetch->want_slot, ull(offer->id),
             slot->completed);
    }
}

/* A card of this side still writes for the offer. */
static bool has_card(const struct sim *s, const struct node *n, const struct handoff *offer)
{
    bool any = false;

    for (unsigned i = 0; i < SERVES_MAX; i++) {
        any = any || (n->serves[i].used && n->serves[i].card &&
                      n->serves[i].handoff == number_of(s, offer));
    }
    return any;
}

/* What peers write themselves is not this side's to end. */
static bool is_written(const struct handoff *h)
{
    return h->side == CORE_FETCH && h->transport == BY_PUSH_LIBRARY && h->grants > 0;
}

void check_P4_free_at_once(struct sim *s, unsigned node)
{
    const struct node *n = &s->world->nodes[node];

    for (unsigned side = 0; side < 2; side++) {
        for (unsigned i = 0; i < OFFERS_MAX; i++) {
            const struct handoff *h =
                n->table[side][i] < 0 ? NULL : handoff_at(s, n->table[side][i]);

            if (h && h->outcomes && !h->quiets && !h->windows && !h->serves && !is_written(h)) {
                FAIL(s, "handoff %llu is over, nothing of it is under way, and it is not quiet",
                     ull(h->id));
            }
            if (h && h->outcomes && !h->quiets && side == CORE_OFFER && !has_card(s, n, h)) {
                FAIL(s, "offer %llu is over and waits for somebody else's movers", ull(h->id));
            }
        }
    }
}

void check_P4_stopped_at_once(struct sim *s, const struct handoff *fetch)
{
    if (fetch->outcomes > 0) {
        FAIL(s, "fetch %llu is over, and its movers go on", ull(fetch->id));
    }
}

void check_P5_newest_link(struct sim *s, unsigned node, uint64_t newest, uint64_t dial)
{
    if (dial < newest) {
        FAIL(s, "node %u let dial %llu in while %llu of the same peer stood", node, ull(dial),
             ull(newest));
    }
}

void check_P5_others_stay(struct sim *s, unsigned node, const bool up_before[LINKS_MAX],
                          unsigned life)
{
    for (unsigned i = 0; i < LINKS_MAX; i++) {
        const struct sim_link *l = &s->world->nodes[node].links[i];

        if (up_before[i] && !l->up && l->closed_cause == BATON_CAUSE_LINK_CLOSED &&
            (l->sink || l->peer_life != life)) {
            FAIL(s, "node %u closed its link with life %u for a HELLO of life %u", node,
                 l->peer_life, life);
        }
    }
}

void check_P5_one_reader(struct sim *s, const struct handoff *offer, unsigned slot)
{
    const struct slot_shadow *t = &offer->slot[slot];

    if (t->holder >= 0 && handoff_at(s, t->holder)->lease == LEASE_VALID) {
        FAIL(s, "slot %u of offer %llu has two leases at once", slot, ull(offer->id));
    }
    if (t->stage != BATON_STAGE_OFFERED) {
        FAIL(s, "slot %u of offer %llu was leased in stage %s", slot, ull(offer->id),
             baton_stage_name((baton_stage)t->stage));
    }
}

void check_P6_read_stays_inside(struct sim *s, const struct handoff *offer, unsigned slot,
                                uint64_t attempt, unsigned at)
{
    const struct slot_shadow *t = &offer->slot[slot];

    if (t->stage != BATON_STAGE_LEASED || t->attempt != attempt || offer->outcomes > 0) {
        FAIL(s, "the source of offer %llu reads for attempt %llu, whose lease is over",
             ull(offer->id), ull(attempt));
    }
    if (at >= offer->watermark) {
        FAIL(s, "the source of offer %llu reads byte %u, above its watermark", ull(offer->id), at);
    }
}

void check_P6_read_alone(struct sim *s, const struct core_actions *actions, bool more)
{
    enum core_action_type type = actions->list[0].type;

    if (more || actions->count != 1 ||
        (type != CORE_ACTION_SERVE && type != CORE_ACTION_SERVE_REFUSE)) {
        FAIL(s, "a read brought %u actions, the first of type %d", actions->count, (int)type);
    }
}

void check_P7_watermark(struct sim *s, const struct handoff *offer, uint64_t end)
{
    if (end > offer->watermark) {
        FAIL(s, "byte %llu of offer %llu is read, and its watermark is %u", ull(end),
             ull(offer->id), offer->watermark);
    }
}

void check_P7_watermark_agrees(struct sim *s, const struct handoff *offer)
{
    const struct offer *o = &core_offers(s->world->nodes[offer->node].core)[offer->index];

    if (o->state != OFFER_FREE && o->id == offer->id && o->watermark != offer->watermark) {
        FAIL(s, "offer %llu is at %llu, not at %u", ull(offer->id), ull(o->watermark),
             offer->watermark);
    }
}

void check_P8_shared_blocks(struct sim *s, const struct life *life, unsigned block, unsigned piece)
{
    if (life->block[block].covered[piece] > 0) {
        FAIL(s, "piece %u of block %u of node %u is rewritten under an offer", piece, block,
             life->node);
    }
}

void check_P9_clean_landing(struct sim *s, const struct handoff *fetch)
{
    for (unsigned i = 0; i < fetch->count; i++) {
        if (life_of(s, fetch)->block[fetch->blocks[i]].inflight > 0) {
            FAIL(s, "fetch %llu completed with pieces under way to its blocks", ull(fetch->id));
        }
    }
}

/* Whether a window of anybody still loads from the offer's memory by itself. */
static bool read_by_peer(struct sim *s, const struct handoff *offer)
{
    for (unsigned i = 0; i < s->world->options.nodes; i++) {
        const struct node *n = &s->world->nodes[i];

        for (unsigned w = 0; n->alive && w < WINDOWS_MAX; w++) {
            const struct window *window = &n->windows[w];

            if (window->state == WINDOW_POSTED && reads_itself(window->transport) &&
                handoff_at(s, window->handoff)->offer == number_of(s, offer)) {
                return true;
            }
        }
    }
    return false;
}

void check_P10_receipts(struct sim *s, const struct handoff *h)
{
    for (unsigned i = 0; h->side == CORE_OFFER && i < h->slots; i++) {
        const struct slot_shadow *t = &h->slot[i];

        if (t->stage != BATON_STAGE_COMMITTED && t->stage != BATON_STAGE_REVOKED) {
            FAIL(s, "offer %llu has a receipt, and its slot %u is %s", ull(h->id), i,
                 baton_stage_name((baton_stage)t->stage));
        }
    }
    if (h->proof == BATON_PROOF_NONE) {
        FAIL(s, "handoff %llu has a receipt without a proof", ull(h->id));
    }
    if (h->side == CORE_OFFER && h->proof != BATON_PROOF_REVOKED && read_by_peer(s, h)) {
        FAIL(s, "offer %llu is quiet by %s, and a peer reads it", ull(h->id),
             baton_proof_name((baton_proof)h->proof));
    }
}

void check_P10_exposed(struct sim *s, const struct handoff *offer, unsigned proof)
{
    for (unsigned i = 0; i < s->world->handoff_count; i++) {
        const struct handoff *f = handoff_at(s, (int)i);

        if (f->offer == number_of(s, offer) && f->lease != LEASE_NONE &&
            reads_itself(f->transport) && proof != BATON_PROOF_REVOKED &&
            proof != BATON_PROOF_PEER_DRAIN) {
            FAIL(s, "offer %llu was read by a peer itself, and its proof is %s", ull(offer->id),
                 baton_proof_name((baton_proof)proof));
        }
    }
}

void check_P10_landed(struct sim *s, const struct handoff *h, const struct core_action *outcome)
{
    uint64_t total = h->side == CORE_FETCH ? h->end - h->begin : h->total;
    bool bounds = h->side == CORE_FETCH && h->transport == BY_PUSH_LIBRARY;

    if (bounds) {
        check_P10_bounds(s, h, outcome->outcome.landed, false);
    }
    if (outcome->outcome.total != total || (!bounds && outcome->outcome.landed != h->landed)) {
        FAIL(s, "the outcome of handoff %llu tells of %llu bytes of %llu, not of %u of %llu",
             ull(h->id), ull(outcome->outcome.landed), ull(outcome->outcome.total), h->landed,
             ull(total));
    }
}

void check_P10_evidence(struct sim *s, const struct handoff *h, const struct core_action *quiet)
{
    bool fetch = h->side == CORE_FETCH;
    uint64_t attempts = fetch ? h->attempt > 0 : h->attempts;
    uint64_t last = fetch ? h->attempt : h->last_attempt;
    bool bounds = fetch && h->transport == BY_PUSH_LIBRARY;

    if (bounds) {
        check_P10_bounds(s, h, quiet->quiet.landed, true);
    }
    if (quiet->quiet.attempts != attempts || quiet->quiet.last_attempt != last ||
        (!bounds && quiet->quiet.landed != h->landed)) {
        FAIL(s,
             "the receipt of handoff %llu tells of %llu attempts up to %llu and of %llu bytes, not "
             "of %llu up to %llu and %u",
             ull(h->id), ull(quiet->quiet.attempts), ull(quiet->quiet.last_attempt),
             ull(quiet->quiet.landed), ull(attempts), ull(last), h->landed);
    }
    if (!fetch && attempts > 0 &&
        memcmp(quiet->quiet.peer, s->world->life[h->last_reader].incarnation, ID_BYTES) != 0) {
        FAIL(s, "the receipt of offer %llu does not name its last reader", ull(h->id));
    }
}

void check_P10_told_exposed(struct sim *s, const struct handoff *offer,
                            const struct core_action *accept)
{
    for (unsigned i = 0; i < offer->slots; i++) {
        const struct slot_shadow *t = &offer->slot[i];

        if (t->stage == BATON_STAGE_LEASED && t->attempt == accept->frame.accept.attempt &&
            accept->exported != reads_itself(handoff_at(s, t->holder)->transport)) {
            FAIL(s, "attempt %llu of offer %llu is %s to be let into the memory", ull(t->attempt),
                 ull(offer->id), accept->exported ? "said" : "not said");
        }
    }
}

void check_P10_final_slot(struct sim *s, const struct handoff *offer, unsigned slot)
{
    unsigned stage = offer->slot[slot].stage;

    if (stage == BATON_STAGE_COMMITTED || stage == BATON_STAGE_REVOKED) {
        FAIL(s, "slot %u of offer %llu was final and changes", slot, ull(offer->id));
    }
}

static void check_offer(struct sim *s, const struct handoff *h)
{
    const struct offer *o = &core_offers(s->world->nodes[h->node].core)[h->index];

    if (o->state == OFFER_FREE || o->id != h->id) {
        sim_fail(s, "S4_accounting", "the record of offer %llu is gone", ull(h->id));
    }
    check_P7_watermark_agrees(s, h);
    for (unsigned i = 0; i < h->slots; i++) {
        struct core_slot_view view;

        core_slot_view(s->world->nodes[h->node].core, h->index, i, &view);
        if (view.stage != (baton_stage)h->slot[i].stage) {
            sim_fail(s, "P10_final_slot", "slot %u of offer %llu changed without a word", i,
                     ull(h->id));
        }
    }
}

void check_all(struct sim *s)
{
    for (unsigned i = 0; i < s->world->options.nodes; i++) {
        const struct node *n = &s->world->nodes[i];

        if (!n->alive) {
            continue;
        }
        check_S4_accounting(s, i);
        check_S18_bounded(s, i);
        check_S19_conservation(s, i);
        check_P4_free_at_once(s, i);
        for (unsigned o = 0; o < OFFERS_MAX; o++) {
            if (n->table[CORE_OFFER][o] >= 0 && handoff_at(s, n->table[CORE_OFFER][o])->started) {
                check_offer(s, handoff_at(s, n->table[CORE_OFFER][o]));
            }
        }
    }
}
