/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that was wrapped and is not there any more, a file cut under its mapping: over shm it
 * fails what touches it, at either side, and nobody's process.
 */
#include "scenario/pair.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    BLOCKS = 4,
    BYTES = BLOCKS * PAIR_BLOCK_BYTES,
    CONTENT = 3,
};

/* One end of a handoff, whose pool wraps the mapping of a file. */
struct wrapped {
    struct end end;
    void *memory;
    int fd;
};

static void wrap(struct wrapped *w, struct pair *pair, baton_engine *engine)
{
    struct baton_pool_options options = {
        .size = sizeof(options), .block_bytes = PAIR_BLOCK_BYTES, .block_count = BLOCKS};

    *w = (struct wrapped){
        .end = {.pair = pair, .blocks = {0, 1, 2, 3}, .block_count = BLOCKS},
        .fd = memfd_create("wrapped", MFD_CLOEXEC),
    };
    CHECK(ftruncate(w->fd, BYTES) == 0);
    w->memory = options.memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, 0);
    CHECK(w->memory != MAP_FAILED);
    CHECK(baton_pool_create(engine, &options, &w->end.pool, NULL) == BATON_OK);
}

static void unwrap(struct wrapped *w)
{
    CHECK(baton_pool_destroy(w->end.pool, NULL) == BATON_OK);
    CHECK(munmap(w->memory, BYTES) == 0);
    close(w->fd);
}

static void offer(struct wrapped *w)
{
    const struct baton_offer_args args = {.size = sizeof(args),
                                          .pool = w->end.pool,
                                          .blocks = w->end.blocks,
                                          .block_count = BLOCKS,
                                          .watermark_bytes = BATON_WATERMARK_END,
                                          .notices = end_notices(&w->end)};

    CHECK(baton_offer(w->end.pair->source, &args, &w->end.handoff, NULL) == BATON_OK);
    w->end.ticket = offer_ticket(&w->end, 0);
}

static void fetch(struct wrapped *w, const struct ticket *ticket)
{
    const struct baton_fetch_args args = {.size = sizeof(args),
                                          .ticket = ticket->bytes,
                                          .ticket_length = ticket->length,
                                          .pool = w->end.pool,
                                          .blocks = w->end.blocks,
                                          .block_count = BLOCKS,
                                          .notices = end_notices(&w->end)};

    w->end.outcomes = w->end.quiets = 0;
    w->end.handoff = NULL;
    CHECK(baton_fetch(w->end.pair->sink, &args, &w->end.handoff, NULL) == BATON_OK);
}

/* Pushed from: the lease ends, and the offer is there for the next one, who finds the file whole.
 */
static void pushed(struct pair *pair, unsigned good)
{
    const struct baton_fetch_args push = {.mode = BATON_PUSH};
    struct end to = {0}, next = {0};
    struct wrapped w;

    wrap(&w, pair, pair->source);
    offer(&w);
    CHECK(ftruncate(w.fd, good * PAIR_BLOCK_BYTES) == 0);
    CHECK_ON(pair, fetch_start(pair, &to, &w.end.ticket, BLOCKS, &push) == BATON_OK);
    end_finish(&to);
    CHECK_ON(pair, to.result.outcome == BATON_PEER_CANCELLED);
    CHECK_ON(pair, to.result.cause == BATON_CAUSE_READ);
    CHECK_ON(pair, to.receipt.proof == BATON_PROOF_PEER_DRAIN && w.end.outcomes == 0);
    CHECK(ftruncate(w.fd, BYTES) == 0);
    end_fill(&w.end, CONTENT);
    CHECK_ON(pair, fetch_start(pair, &next, &w.end.ticket, BLOCKS, &push) == BATON_OK);
    end_retire(&next);
    CHECK_ON(pair, next.result.outcome == BATON_COMPLETED && end_holds(&next, CONTENT, 0));
    end_drop(&next);
    end_retire(&w.end);
    baton_handoff_unref(w.end.handoff);
    unwrap(&w);
}

/* Pulled into: the fetch fails, and the next one, into the file as it should be, does not. */
static void pulled(struct pair *pair, unsigned good)
{
    struct end from = {0};
    struct wrapped w;

    wrap(&w, pair, pair->sink);
    CHECK_ON(pair, offer_start(pair, &from, BLOCKS, CONTENT, NULL) == BATON_OK);
    CHECK(ftruncate(w.fd, good * PAIR_BLOCK_BYTES) == 0);
    fetch(&w, &from.ticket);
    end_retire(&w.end);
    CHECK_ON(pair, w.end.result.outcome == BATON_FAILED && w.end.result.cause == BATON_CAUSE_READ);
    CHECK_ON(pair, w.end.receipt.proof == BATON_PROOF_LOCAL_DRAIN && from.outcomes == 0);
    baton_handoff_unref(w.end.handoff);
    CHECK(ftruncate(w.fd, BYTES) == 0);
    fetch(&w, &from.ticket);
    end_retire(&w.end);
    CHECK_ON(pair, w.end.result.outcome == BATON_COMPLETED && end_holds(&w.end, CONTENT, 0));
    baton_handoff_unref(w.end.handoff);
    end_finish(&from);
    unwrap(&w);
}

static void each_kind(void (*story)(struct pair *pair, unsigned good))
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair_setup setup = {.kind = &kinds[i]};
        struct pair pair;

        if (kinds[i].wrapped || strcmp(kinds[i].transport, "shm") != 0) {
            continue;
        }
        for (unsigned slices = 0; slices < 2; slices++) {
            setup.source.slice_bytes = setup.sink.slice_bytes = slices ? 4096 : 0;
            pair_open(&pair, &setup);
            for (unsigned good = 0; good < BLOCKS; good++) {
                story(&pair, good);
            }
            pair_close(&pair);
        }
    }
}

TEST(a_push_from_a_cut_file_fails)
{
    each_kind(pushed);
}

TEST(a_pull_into_a_cut_file_fails)
{
    each_kind(pulled);
}
