/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is to be said on a link.  Whoever has something to say sets a bit: a node of the link's
 * list, one for each thing that a handoff can say, so setting it needs no memory and can not fail.
 * Frames leave in the order in which their bits were first set, and are built from the state at
 * that time; what has lost its sense by then is not built.
 *
 * Answers without a record (REFUSED) lie in the link's fixed buffer; while that is full the
 * link is not read.
 */
#include "core/state.h"

static uint32_t slots_base(const struct core *core)
{
    return core->limits.fetches * SAY_FETCH_END_;
}

static uint32_t links_base(const struct core *core)
{
    return slots_base(core) + core->limits.offers * core->limits.slots * SAY_SLOT_END_;
}

/* Nodes of one link: its ping and pong, then its replies. */
static uint32_t per_link(const struct core *core)
{
    return SAY_LINK_END_ + core->limits.replies;
}

uint32_t say_of_link(const struct core *core, uint32_t link, enum say_link what)
{
    BATON_ASSERT(link < core->limits.links);
    return links_base(core) + link * per_link(core) + what;
}

uint32_t say_of_fetch(const struct core *core, uint32_t fetch, enum say_fetch what)
{
    BATON_ASSERT(fetch < core->limits.fetches);
    return fetch * SAY_FETCH_END_ + what;
}

uint32_t say_of_slot(const struct core *core, uint32_t slot, enum say_slot what)
{
    BATON_ASSERT(slot < core->limits.offers * core->limits.slots);
    return slots_base(core) + slot * SAY_SLOT_END_ + what;
}

bool say_has(const struct core *core, uint32_t node)
{
    return ilist_has(core_say(core), node);
}

void say_set(struct core *core, uint32_t link, uint32_t node, struct core_actions *out)
{
    struct link *l = core_link(core, link);

    BATON_ASSERT(l->state == LINK_UP || l->state == LINK_DIALING);
    if (say_has(core, node)) {
        return;
    }
    ilist_push(&l->say, core_say(core), node);
    if (l->state == LINK_UP && l->say.count == 1) {
        action_add(out, CORE_ACTION_FLUSH)->link = link;
    }
}

void say_clear(struct core *core, uint32_t link, uint32_t node)
{
    if (say_has(core, node)) {
        ilist_remove(&core_link(core, link)->say, core_say(core), node);
    }
}

/* The node of an unused reply of the link; ILIST_NONE. */
static uint32_t reply_unused(const struct core *core, uint32_t link, uint32_t skip)
{
    const struct reply *replies = &core_replies(core)[link * core->limits.replies];

    for (uint32_t i = 0; i < core->limits.replies; i++) {
        if (!replies[i].type && skip-- == 0) {
            return i;
        }
    }
    return ILIST_NONE;
}

bool core_link_reads(const struct core *core, uint32_t link)
{
    /* One for the answer to the frame, one for the last word of a lease that the frame may
     * displace. */
    return core_link(core, link)->state != LINK_UP || reply_unused(core, link, 1) != ILIST_NONE;
}

bool say_reply(struct core *core, uint32_t link, const struct reply *reply,
               struct core_actions *out)
{
    uint32_t i = reply_unused(core, link, 0);

    if (i == ILIST_NONE) {
        return false;
    }
    core_replies(core)[link * core->limits.replies + i] = *reply;
    say_set(core, link, say_of_link(core, link, SAY_LINK_END_) + i, out);
    return true;
}

void say_clear_all(struct core *core, uint32_t link)
{
    struct link *l = core_link(core, link);

    while (ilist_pop(&l->say, core_say(core)) != ILIST_NONE) {
    }
    for (uint32_t i = 0; i < core->limits.replies; i++) {
        core_replies(core)[link * core->limits.replies + i].type = 0;
    }
}

static void reply_build(struct reply *reply, struct frame *ret_frame)
{
    *ret_frame = (struct frame){.type = (enum frame_type)reply->type};
    if (reply->type == FRAME_REFUSED) {
        ret_frame->refused = (struct frame_refused){
            .fetch_id = reply->fetch_id, .cause = reply->cause, .revoked = reply->revoked};
    } else if (reply->type == FRAME_QUIESCED) {
        ret_frame->quiesced = (struct frame_quiesced){
            .fetch_id = reply->fetch_id, .attempt = reply->attempt, .nonce = reply->nonce};
    } else {
        BATON_ASSERT(reply->type == FRAME_ENDED);
        ret_frame->ended = (struct frame_ended){
            .fetch_id = reply->fetch_id, .attempt = reply->attempt, .cause = reply->cause};
    }
    reply->type = 0;
}

static struct core_action *frame_action(uint32_t link, const struct frame *frame,
                                        struct core_actions *out)
{
    struct core_action *action = action_add(out, CORE_ACTION_FRAME);

    action->link = link;
    action->frame = *frame;
    return action;
}

/*
 * Build the frame of `node`, which has just left the list.  Returns false when it has lost its
 * sense.  The frame's action comes before the end of a record that had nothing else to say.
 */
static bool build(struct core *core, uint32_t link, uint32_t node, struct core_actions *out)
{
    struct frame frame = {.type = FRAME_PING};
    bool built = true;

    if (node < slots_base(core)) {
        uint32_t fetch = node / SAY_FETCH_END_;

        built = fetch_builds(core, fetch, node % SAY_FETCH_END_, &frame);
        if (built) {
            frame_action(link, &frame, out)->index = fetch;
        }
        fetch_said(core, fetch, node % SAY_FETCH_END_, built, out);
        return built;
    }
    if (node < links_base(core)) {
        uint32_t n = node - slots_base(core), slot = n / SAY_SLOT_END_;

        built = slot_builds(core, slot, n % SAY_SLOT_END_, &frame);
        if (built) {
            struct core_action *action = frame_action(link, &frame, out);

            action->index = slot / core->limits.slots;
            action->exported = core_slots(core)[slot].exported;
        }
        slot_said(core, slot, out);
        return built;
    }
    node = (node - links_base(core)) % per_link(core);
    if (node >= SAY_LINK_END_) {
        reply_build(&core_replies(core)[link * core->limits.replies + node - SAY_LINK_END_],
                    &frame);
    } else if (node == SAY_PONG) {
        frame.type = FRAME_PONG;
    }
    frame_action(link, &frame, out);
    return true;
}

void say_next(struct core *core, uint32_t link, struct core_actions *out)
{
    struct link *l = core_link(core, link);

    while (l->state == LINK_UP && l->say.count > 0) {
        if (!action_room(out)) {
            /* Many in a row had lost their sense; the rest waits for the next step. */
            action_add(out, CORE_ACTION_FLUSH)->link = link;
            return;
        }
        if (build(core, link, ilist_pop(&l->say, core_say(core)), out)) {
            return;
        }
    }
}
