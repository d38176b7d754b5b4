/* SPDX-License-Identifier: Apache-2.0 */
/* Scenes: see scene.h. */
#include "fault/scene.h"

#include <stdlib.h>

#include "test.h"

enum { CANARY = 7 };

bool scene_has_nixl(void)
{
    if (!getenv("BATON_NIXL_LIBRARY")) {
        test_skip("BATON_NIXL_LIBRARY is not set: see docs/NIXL.md");
        return false;
    }
    return true;
}

static struct scene parties(const struct party_options *options, unsigned gate_from)
{
    struct party_options source = *options, sink = *options;

    source.commit_timeout_ms = source.progress_timeout_ms = 0;
    sink.gate = PARTY_GATE_LANDED;
    sink.gate_from = gate_from;
    return (struct scene){.source = party_start(&source), .sink = party_start(&sink)};
}

struct scene scene_make(const struct party_options *options)
{
    struct scene s = parties(options, 0);

    s.ticket = party_offer(s.source, 0, 1, BATON_WATERMARK_END);
    party_fetch(s.sink, 0, &s.ticket);
    party_await_gate(s.sink);
    return s;
}

struct scene scene_stalled(const struct party_options *options, uint32_t clock_ms)
{
    struct scene s = parties(options, 1);
    struct party_ticket first = party_offer(s.source, 0, 2, BATON_WATERMARK_END);

    s.ticket = party_offer(s.source, 1, 1, BATON_WATERMARK_END);
    party_fetch(s.sink, 0, &first);
    party_await_end(s.sink, 0);
    party_await_end(s.source, 0);
    party_free(s.sink);
    party_fetch_timed(s.sink, 1, &s.ticket, clock_ms);
    party_await_gate(s.sink);
    party_stop(s.source);
    return s;
}

void scene_stays_quiet(const struct scene *s, unsigned handoff)
{
    party_rewrite(s->sink, handoff, CANARY);
    party_cancel(s->source, handoff, BATON_CANCEL_OFFER);
    party_await_end(s->source, handoff);
    CHECK(party_wrong_bytes(s->sink, handoff, CANARY) == 0);
}

void scene_end(const struct scene *s)
{
    party_finish(s->sink);
    party_finish(s->source);
}
