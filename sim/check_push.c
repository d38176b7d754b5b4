/* SPDX-License-Identifier: Apache-2.0 */
/* The checkers of check.h that look at pushes. */
#include "sim/check.h"

#define FAIL(s, ...) sim_fail((s), __func__ + sizeof("check_") - 1, __VA_ARGS__)

static unsigned long long ull(uint64_t value)
{
    return value;
}

void check_P5_pushes_over(struct sim *s, const struct handoff *offer, unsigned slot)
{
    const struct node *n = &s->world->nodes[offer->node];

    for (unsigned i = 0; i < SERVES_MAX; i++) {
        const struct serve *v = &n->serves[i];

        if (v->used && v->push && v->handoff == number_of(s, offer) && v->slot == slot) {
            FAIL(s, "slot %u of offer %llu is leased anew, and attempt %llu is still written", slot,
                 ull(offer->id), ull(v->attempt));
        }
    }
}

void check_S8_no_push_after_end(struct sim *s, const struct handoff *fetch)
{
    if (fetch->quiesced_said) {
        FAIL(s, "a piece of fetch %llu is posted after QUIESCED was said", ull(fetch->id));
    }
    if (fetch->quiets > 0) {
        FAIL(s, "a piece of fetch %llu is posted after the fetch was quiet", ull(fetch->id));
    }
}

void check_S14_pushed_once(struct sim *s, const struct handoff *fetch,
                           const struct core_action *serve)
{
    if (fetch->id != serve->serve.fetch_id) {
        FAIL(s, "a push for fetch %llu, and the slot is of fetch %llu", ull(serve->serve.fetch_id),
             ull(fetch->id));
    }
    if (fetch->served > serve->serve.offset) {
        FAIL(s, "byte %llu of fetch %llu is pushed twice", ull(serve->serve.offset),
             ull(fetch->id));
    }
    check_S16_granted(s, fetch, serve->serve.offset, serve->serve.length);
}

void check_S16_window(struct sim *s, const struct handoff *fetch)
{
    if (fetch->transport == BY_PUSH_STREAM && fetch->posted <= fetch->grants) {
        FAIL(s, "fetch %llu grants more than the %u windows that it has", ull(fetch->id),
             fetch->posted);
    }
}

void check_S16_granted(struct sim *s, const struct handoff *fetch, uint64_t offset, uint64_t length)
{
    check_S16_bounds(s, fetch, offset, length);
    if (offset + length > fetch->granted) {
        FAIL(s, "bytes up to %llu of fetch %llu are written, and %u were granted",
             ull(offset + length), ull(fetch->id), fetch->granted);
    }
}

void check_S13_written(struct sim *s, const struct handoff *fetch, uint64_t end)
{
    for (uint64_t at = fetch->begin; at < end; at++) {
        if (at >= fetch->end || !(fetch->set >> at & 1)) {
            FAIL(s, "WRITTEN up to %llu of fetch %llu, and byte %llu has not landed", ull(end),
                 ull(fetch->id), ull(at));
        }
    }
}

void check_S13_quiesced(struct sim *s, unsigned node, const struct handoff *fetch)
{
    const struct node *n = &s->world->nodes[node];

    if (fetch->coming > 0) {
        FAIL(s, "QUIESCED of fetch %llu, and %u pieces of it are on their way", ull(fetch->id),
             fetch->coming);
    }
    for (unsigned i = 0; i < SERVES_MAX; i++) {
        if (n->serves[i].used && n->serves[i].push && handoff_at(s, n->serves[i].fetch) == fetch) {
            FAIL(s, "QUIESCED of fetch %llu, and a push of it is under way", ull(fetch->id));
        }
    }
}

void check_P11_last_word(struct sim *s, const struct conn *conn)
{
    for (unsigned i = 0; i < s->world->handoff_count; i++) {
        const struct handoff *h = handoff_at(s, (int)i);

        if (h->side == CORE_FETCH && h->life == conn->life[SINK] && h->lane == conn->serial &&
            h->transport == BY_PUSH_LIBRARY && h->grants > 0 && h->quiets == 0) {
            FAIL(s,
                 "the source of fetch %llu has ended in order, and did not say that it writes "
                 "no more",
                 ull(h->id));
        }
    }
}

/* By the frames that came and by what the drivers of both ends did; SIM_NEVER: by nothing. */
static enum sim_end end_of(struct sim *s, const struct handoff *fetch)
{
    switch ((int)fetch->proof) {
    case BATON_PROOF_PEER_DRAIN:
        return fetch->written >= fetch->granted ? SIM_WRITTEN
               : fetch->quiesced_heard          ? SIM_QUIESCED
                                                : SIM_NEVER;
    case BATON_PROOF_LINK_FENCED:
        return fetch->fenced ? SIM_FENCED : SIM_NEVER;
    case BATON_PROOF_PEER_EXITED:
        return s->world->options.exits && !life_of(s, handoff_at(s, fetch->offer))->alive
                   ? SIM_EXITED
                   : SIM_NEVER;
    default:
        return SIM_NEVER;
    }
}

void check_P10_proof(struct sim *s, const struct handoff *fetch)
{
    bool unexposed = fetch->proof == BATON_PROOF_NEVER_EXPOSED;
    bool sound = unexposed || fetch->proof == BATON_PROOF_LOCAL_DRAIN;

    if (fetch->transport == BY_PUSH_LIBRARY) {
        enum sim_end end = end_of(s, fetch);

        sound = unexposed || end != SIM_NEVER;
        s->world->result.ends[end] += !unexposed;
    }
    if (!sound) {
        FAIL(s, "fetch %llu is quiet by %s, for which there is no reason", ull(fetch->id),
             baton_proof_name((baton_proof)fetch->proof));
    }
}

/* Of what somebody else's card wrote the sink knows bounds: what it granted, and what it heard. */
void check_P10_bounds(struct sim *s, const struct handoff *fetch, uint64_t said, bool receipt)
{
    uint32_t landed = (uint32_t)__builtin_popcount(fetch->set);
    uint32_t most = fetch->grants ? fetch->granted - fetch->begin : 0;

    if (receipt ? said < landed || said > most : said > landed) {
        FAIL(s, "the %s of fetch %llu tells of %llu bytes; %u landed, %u were granted",
             receipt ? "receipt" : "outcome", ull(fetch->id), ull(said), landed, most);
    }
}
