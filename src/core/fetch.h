/* SPDX-License-Identifier: Apache-2.0 */
/* The lifecycle of fetches (fetch.c), for those whose events move it (push.c). */
#ifndef BATON_CORE_FETCH_H
#define BATON_CORE_FETCH_H

#include "core/state.h"

/* What the end of a fetch tells the source. */
enum fetch_tell {
    TELL_NOBODY, /* it knows, or can not be told */
    TELL_ATTEMPT,
    TELL_OFFER,
};

/* The fetch of that id, and its index; NULL when it is unknown, or forgotten. */
struct fetch *fetch_find(const struct core *core, uint64_t id, uint32_t *ret_index);
/* The outcome is decided, unless it was already. */
void fetch_end(struct core *core, uint32_t index, baton_outcome outcome, baton_cause cause,
               enum fetch_tell tell, uint64_t now_us, struct core_actions *out);
/* Nothing moves bytes for it any more, and its outcome is decided. */
void fetch_quiet(struct core *core, uint32_t index, struct core_actions *out);
/* `length` wanted bytes have landed. */
void fetch_landed(struct core *core, uint32_t index, uint64_t length, uint64_t now_us,
                  struct core_actions *out);
/* `length` bytes less are under way: the budget has room for others. */
void fetch_window_over(struct core *core, uint32_t index, uint64_t length);

#endif
