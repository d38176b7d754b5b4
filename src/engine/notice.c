/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Telling the caller: by callback, or through the completion queue.  A handoff carries the three
 * places that its notices take in the queue, so telling needs no memory.
 */
#include "engine/engine.h"

#include <unistd.h>

static bool has_callbacks(const struct baton_notices *n)
{
    return n->on_outcome || n->on_doubt || n->on_quiet;
}

static void call(struct baton_handoff *h, baton_notice kind)
{
    const struct baton_notices *n = &h->notices;

    if (kind == BATON_NOTICE_OUTCOME && n->on_outcome) {
        n->on_outcome(h, n->arg, &h->result);
    } else if (kind == BATON_NOTICE_DOUBT && n->on_doubt) {
        n->on_doubt(h, n->arg, h->result.cause);
    } else if (kind == BATON_NOTICE_QUIET && n->on_quiet) {
        n->on_quiet(h, n->arg, &h->receipt);
    }
}

static void enqueue(struct baton_handoff *h, baton_notice kind)
{
    baton_engine *engine = h->engine;
    struct notice *notice = &h->notice[kind - 1];
    const uint64_t one = 1;
    bool first;

    handoff_ref(h);
    atomic_fetch_add(&h->user_refs, 1);
    atomic_fetch_add(&engine->user_refs, 1);
    pthread_mutex_lock(&engine->notices_lock);
    first = !engine->notices_first;
    notice->next = NULL;
    *engine->notices_last = notice;
    engine->notices_last = &notice->next;
    if (first) {
        ssize_t put = write(engine->completion_fd, &one, sizeof(one));

        (void)put; /* the counter can not be full: it is 0 or 1 */
    }
    pthread_mutex_unlock(&engine->notices_lock);
}

void notice_give(struct baton_handoff *h, baton_notice kind)
{
    if (has_callbacks(&h->notices)) {
        call(h, kind);
    } else {
        enqueue(h, kind);
    }
}

int baton_engine_completion_fd(baton_engine *engine)
{
    return engine_check(engine) ? -1 : engine->completion_fd;
}

size_t baton_engine_collect(baton_engine *engine, struct baton_completion *ret_completions,
                            size_t max)
{
    size_t count = 0;

    if (engine_check(engine) || max == 0) {
        return 0;
    }
    pthread_mutex_lock(&engine->notices_lock);
    while (count < max && engine->notices_first) {
        struct notice *notice = engine->notices_first;
        struct baton_handoff *h = notice->handoff;

        engine->notices_first = notice->next;
        ret_completions[count++] = (struct baton_completion){
            .notice = notice->kind,
            .handoff = h,
            .arg = h->notices.arg,
            .result = h->result,
            .receipt = notice->kind == BATON_NOTICE_QUIET ? h->receipt : (struct baton_receipt){0}};
    }
    if (!engine->notices_first && engine->notices_last != &engine->notices_first) {
        uint64_t waiting;
        ssize_t got = read(engine->completion_fd, &waiting, sizeof(waiting));

        (void)got;
        engine->notices_last = &engine->notices_first;
    }
    pthread_mutex_unlock(&engine->notices_lock);
    return count;
}
