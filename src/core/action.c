/* SPDX-License-Identifier: Apache-2.0 */
/* The list of actions that one step fills. */
#include "core/state.h"

struct core_action *action_add(struct core_actions *out, enum core_action_type type)
{
    struct core_action *action = &out->list[out->count];

    /* Every event and every resumed piece of work needs at most CORE_UNIT_ACTIONS. */
    BATON_ASSERT(out->count < CORE_ACTIONS_MAX);
    out->count++;
    *action = (struct core_action){.type = type};
    return action;
}

bool action_room(const struct core_actions *out)
{
    return out->count + CORE_UNIT_ACTIONS <= CORE_ACTIONS_MAX;
}

void action_trace(struct core_actions *out, enum core_side side, uint32_t index, uint32_t slot,
                  baton_stage from, baton_stage to, uint64_t landed, uint64_t total)
{
    struct core_action *action = action_add(out, CORE_ACTION_TRACE);

    action->side = side;
    action->index = index;
    action->slot = slot;
    action->trace.from = from;
    action->trace.to = to;
    action->trace.landed = landed;
    action->trace.total = total;
}
