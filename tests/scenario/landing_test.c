/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pushes over shm whose sink is broken or hostile: what it names is checked, what it did not name
 * stays as it is, and the source goes on.
 */
#include "scenario/pair.h"
#include "scenario/raw_link.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    BLOCKS = 4, /* of the offer */
    LANDING_BLOCKS = 8,
    LANDING_BYTES = LANDING_BLOCKS * PAIR_BLOCK_BYTES,
    REGION = 1,
    FETCH = 5,
    CONTENT = 3,
    TOO_MANY = 400, /* grants at once */
};

struct scene {
    struct pair pair;
    struct end offer;
    struct raw_link raw;
    int memfd;
    unsigned char *landing;
    uint64_t attempt;
};

static struct frame region_frame(void)
{
    return (struct frame){.type = FRAME_REGION,
                          .region = {.region = REGION,
                                     .kind = REGION_MEMFD,
                                     .length = LANDING_BYTES,
                                     .block_bytes = PAIR_BLOCK_BYTES}};
}

static void scene_begin(struct scene *s)
{
    struct pair_setup setup = {.kind = plain_shm, .source.on_log = raw_on_log};

    memset(s, 0, sizeof(*s));
    raw_closed = NULL;
    pair_open(&s->pair, &setup);
    CHECK(offer_start(&s->pair, &s->offer, BLOCKS, CONTENT, NULL) == BATON_OK);
    CHECK(raw_dial_rings(&s->raw, s->pair.source));
    s->memfd = raw_memfd(LANDING_BYTES, RAW_SEALS);
    s->landing = mmap(NULL, LANDING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, s->memfd, 0);
    CHECK(s->landing != MAP_FAILED);
}

static void scene_end(struct scene *s)
{
    raw_close(&s->raw);
    baton_handoff_cancel(s->offer.handoff, BATON_CANCEL_OFFER);
    end_finish(&s->offer);
    pair_close(&s->pair);
    munmap(s->landing, LANDING_BYTES);
    close(s->memfd);
}

static void tell_region(struct scene *s)
{
    struct frame region = region_frame();

    CHECK(raw_bell(&s->raw, s->memfd) && raw_say(&s->raw, &region));
}

/* Blocks 0 to `count` - 1 of the offer into these runs. */
static struct frame open_frame(const struct scene *s, uint32_t region, uint32_t count,
                               const uint8_t *runs, uint32_t runs_bytes)
{
    struct frame cancel = raw_cancel(s->offer.ticket.bytes, s->offer.ticket.length);
    struct frame open = {.type = FRAME_OPEN,
                         .open = {.offer_id = cancel.cancel.offer_id,
                                  .fetch_id = FETCH,
                                  .transports = WIRE_TRANSPORT_SHM,
                                  .block_bytes = PAIR_BLOCK_BYTES,
                                  .block_count = count,
                                  .mode = OPEN_PUSH,
                                  .region = region},
                         .payload = runs,
                         .payload_length = runs_bytes};

    memcpy(open.open.secret, cancel.cancel.secret, ID_BYTES);
    return open;
}

/* Returns the answer. */
static struct frame tell_open(struct scene *s, uint32_t region, uint32_t count, const uint8_t *runs,
                              uint32_t runs_bytes)
{
    struct frame open = open_frame(s, region, count, runs, runs_bytes), answer = {0};

    CHECK(raw_say(&s->raw, &open) && raw_hear(&s->raw, &answer));
    s->attempt = answer.type == FRAME_ACCEPT ? answer.accept.attempt : 0;
    return answer;
}

static struct frame grant_frame(const struct scene *s, uint64_t offset, uint64_t length)
{
    struct frame cancel = raw_cancel(s->offer.ticket.bytes, s->offer.ticket.length);

    return (struct frame){.type = FRAME_GRANT,
                          .grant = {.offer_id = cancel.cancel.offer_id,
                                    .fetch_id = FETCH,
                                    .attempt = s->attempt,
                                    .offset = offset,
                                    .length = length}};
}

static bool is_zero(const struct scene *s, size_t block)
{
    const unsigned char *bytes = s->landing + block * PAIR_BLOCK_BYTES;

    return bytes[0] == 0 && memcmp(bytes, bytes + 1, PAIR_BLOCK_BYTES - 1) == 0;
}

static bool holds(const struct scene *s, size_t landing, size_t block)
{
    return block_holds(s->landing + landing * PAIR_BLOCK_BYTES, PAIR_BLOCK_BYTES, CONTENT, block);
}

static const uint8_t two_runs[] = {6, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0};

/* Blocks 6, 7, 1, 2 are written, each when it was granted, and nothing else; QUIESCE is answered
 * with its nonce. */
TEST(grants_are_written_where_they_say)
{
    struct scene s;
    struct frame f, quiesce;

    scene_begin(&s);
    tell_region(&s);
    CHECK(tell_open(&s, REGION, 4, two_runs, sizeof(two_runs)).type == FRAME_ACCEPT);
    f = grant_frame(&s, 0, 3 * PAIR_BLOCK_BYTES);
    CHECK(raw_say(&s.raw, &f) && raw_hear(&s.raw, &f) && f.type == FRAME_WRITTEN);
    CHECK(f.written.end == 3 * PAIR_BLOCK_BYTES && f.written.attempt == s.attempt);
    CHECK(holds(&s, 6, 0) && holds(&s, 7, 1) && holds(&s, 1, 2));
    CHECK(is_zero(&s, 0) && is_zero(&s, 2) && is_zero(&s, 3) && is_zero(&s, 4) && is_zero(&s, 5));
    quiesce = (struct frame){.type = FRAME_QUIESCE,
                             .quiesce = {.offer_id = grant_frame(&s, 0, 1).grant.offer_id,
                                         .fetch_id = FETCH,
                                         .attempt = s.attempt,
                                         .nonce = 99}};
    CHECK(raw_say(&s.raw, &quiesce) && raw_hear(&s.raw, &f) && f.type == FRAME_QUIESCED);
    CHECK(f.quiesced.nonce == 99 && f.quiesced.attempt == s.attempt);
    f = grant_frame(&s, 3 * PAIR_BLOCK_BYTES, 1); /* too late: it is inert */
    CHECK(raw_say(&s.raw, &f) && raw_say(&s.raw, &quiesce) && raw_hear(&s.raw, &f));
    CHECK(f.type == FRAME_QUIESCED && is_zero(&s, 2));
    scene_end(&s);
}

/* Blocks that the region does not have, too few or too many of them, a region that nobody named. */
TEST(opens_that_name_no_blocks_are_refused)
{
    static const struct {
        uint8_t runs[16];
        uint32_t bytes, region;
        baton_cause cause;
    } bad[] = {
        {{5, 0, 0, 0, 4, 0, 0, 0}, 8, REGION, BATON_CAUSE_LAYOUT},
        {{0xfd, 0xff, 0xff, 0xff, 4, 0, 0, 0}, 8, REGION, BATON_CAUSE_LAYOUT},
        {{0, 0, 0, 0, 3, 0, 0, 0}, 8, REGION, BATON_CAUSE_LAYOUT},
        {{0, 0, 0, 0, 5, 0, 0, 0}, 8, REGION, BATON_CAUSE_LAYOUT},
        {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0}, 16, REGION, BATON_CAUSE_LAYOUT},
        {{0}, 0, REGION, BATON_CAUSE_LAYOUT},
        {{0, 0, 0, 0, 4, 0, 0, 0}, 8, REGION + 1, BATON_CAUSE_TRANSPORT},
        {{0, 0, 0, 0, 4, 0, 0, 0}, 8, REGION + BATON_POOLS_MAX, BATON_CAUSE_TRANSPORT},
    };
    struct scene s;
    struct frame f;

    scene_begin(&s);
    tell_region(&s);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        f = tell_open(&s, bad[i].region, 4, bad[i].runs, bad[i].bytes);
        CHECK(f.type == FRAME_REFUSED && f.refused.cause == bad[i].cause);
    }
    CHECK(tell_open(&s, REGION, 4, two_runs, sizeof(two_runs)).type == FRAME_ACCEPT);
    scene_end(&s);
}

/* Memory that could be taken away under the source's movers is not written to. */
TEST(landing_without_seals_is_refused)
{
    struct scene s;
    struct frame f = region_frame();
    int loose;

    scene_begin(&s);
    loose = raw_memfd(LANDING_BYTES, 0);
    CHECK(raw_bell(&s.raw, loose) && raw_say(&s.raw, &f));
    f = tell_open(&s, REGION, 4, two_runs, sizeof(two_runs));
    CHECK(f.type == FRAME_REFUSED && f.refused.cause == BATON_CAUSE_TRANSPORT);
    close(loose);
    scene_end(&s);
}

/* An address is no memory that a source would write to. */
TEST(landing_by_address_closes_the_link)
{
    struct scene s;
    struct frame f = region_frame();

    scene_begin(&s);
    f.region.kind = REGION_PROCESS;
    f.region.base = f.region.nonce_base = 4096;
    CHECK(raw_say(&s.raw, &f) && raw_gone(&s.raw));
    scene_end(&s);
}

/* Below the watermark, before or beyond the blocks that the sink named: nothing is written, and the
 * lease ends. */
TEST(grants_outside_of_the_named_blocks)
{
    static const uint64_t outside[][2] = {{0, 1}, {0, 2}, {2, 2}, {3, 1}}; /* in blocks */

    for (unsigned i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
        struct scene s;
        struct frame f;

        scene_begin(&s);
        tell_region(&s);
        f = open_frame(&s, REGION, 2, two_runs, 8);
        f.open.first_block = 1;
        CHECK(raw_say(&s.raw, &f) && raw_hear(&s.raw, &f) && f.type == FRAME_ACCEPT);
        s.attempt = f.accept.attempt;
        f = grant_frame(&s, outside[i][0] * PAIR_BLOCK_BYTES, outside[i][1] * PAIR_BLOCK_BYTES);
        CHECK(raw_say(&s.raw, &f) && raw_hear(&s.raw, &f) && f.type == FRAME_ENDED);
        for (size_t block = 0; block < LANDING_BLOCKS; block++) {
            CHECK(is_zero(&s, block));
        }
        scene_end(&s);
    }
}

static int gate[2]; /* a pipe */

static void hold(struct end *end, enum moment moment, baton_stage to)
{
    char byte;

    (void)end;
    if (moment == MOMENT_TRACE && to == BATON_STAGE_LEASED) {
        CHECK(read(gate[0], &byte, 1) == 1);
    }
}

/* More at once than any engine grants: the link goes, the memory of the source does not. */
TEST(too_many_grants_close_the_link)
{
    struct scene s;
    struct frame f, open;

    CHECK(pipe(gate) == 0);
    scene_begin(&s);
    s.offer.hook = hold;
    tell_region(&s);
    open = open_frame(&s, REGION, 4, two_runs, sizeof(two_runs));
    CHECK(raw_say(&s.raw, &open)); /* the engine is held when it has given the lease */
    s.attempt = 1;
    for (uint64_t i = 0; i < TOO_MANY; i++) {
        f = grant_frame(&s, i, 1);
        CHECK(raw_say(&s.raw, &f));
    }
    CHECK(write(gate[1], "", 1) == 1);
    CHECK(raw_gone(&s.raw));
    scene_end(&s);
    close(gate[0]);
    close(gate[1]);
}

/* ---- a source that is the test ---- */

/* The link is lost while the source may write.  The sink dials again, and asks, until the source
 * has said its word with the nonce; neither another word nor another loss is one. */
TEST(doubt_ends_over_a_later_link)
{
    const struct baton_fetch_args push = {.mode = BATON_PUSH, .transport = "shm"};
    struct pair_setup setup = {.kind = plain_shm, .sink.doubt_ms = 1};
    struct pair pair;
    struct end fetch = {0};
    struct ticket ticket;
    struct raw_link raw;
    struct frame f;

    pair_open(&pair, &setup);
    CHECK(raw_listen(&raw));
    ticket.length = raw_ticket(&raw, PAIR_BLOCK_BYTES, BLOCKS, ticket.bytes);
    CHECK(fetch_start(&pair, &fetch, &ticket, BLOCKS, &push) == BATON_OK);
    if (CHECK(raw_accept_push(&raw, PAIR_BLOCK_BYTES, BLOCKS, &f))) {
        raw_hang_up(&raw);
        CHECK(end_wait_outcome(&fetch) && fetch.result.outcome == BATON_LINK_LOST);
        for (int i = 0; i < 2; i++) {
            CHECK(raw_accept(&raw) && raw_hear(&raw, &f) && f.type == FRAME_QUIESCE);
            CHECK(f.quiesce.attempt == RAW_ATTEMPT && fetch.quiets == 0);
            if (i == 0) {
                raw_hang_up(&raw);
            }
        }
        f = (struct frame){
            .type = FRAME_QUIESCED,
            .quiesced = {f.quiesce.fetch_id, f.quiesce.attempt, f.quiesce.nonce ^ 1}};
        CHECK(raw_say(&raw, &f));
        f.quiesced.nonce ^= 1;
        CHECK(raw_say(&raw, &f));
        CHECK(end_wait_quiet(&fetch) && fetch.receipt.proof == BATON_PROOF_PEER_DRAIN);
        CHECK(fetch.doubts == 1);
    }
    end_finish(&fetch);
    raw_close(&raw);
    pair_close(&pair);
}

/* All places for links are taken, one of them by a link that nobody uses: it makes room. */
TEST(an_idle_link_makes_room)
{
    struct pair_setup setup = {.kind = plain_shm, .source.links_max = 1};
    struct end offer = {0}, fetch = {0};
    struct raw_link raw;
    struct pair pair;

    pair_open(&pair, &setup);
    CHECK(raw_dial_rings(&raw, pair.source));
    CHECK(offer_start(&pair, &offer, 2, CONTENT, NULL) == BATON_OK);
    CHECK(fetch_start(&pair, &fetch, &offer.ticket, 2, NULL) == BATON_OK);
    end_finish(&fetch);
    CHECK(fetch.result.outcome == BATON_COMPLETED && raw_gone(&raw));
    end_finish(&offer);
    raw_close(&raw);
    pair_close(&pair);
}

static void ask_unknown(struct raw_link *raw)
{
    struct frame f = {.type = FRAME_QUIESCE, .quiesce = {1, 2, 3, .nonce = 99}};

    CHECK(raw_say(raw, &f) && raw_hear(raw, &f));
    CHECK(f.type == FRAME_QUIESCED && f.quiesced.nonce == 99 && f.quiesced.attempt == 3);
    f = raw_open(7);
    CHECK(raw_say(raw, &f) && raw_hear(raw, &f) && f.type == FRAME_REFUSED);
    CHECK(f.refused.cause == BATON_CAUSE_GONE);
}

/* An engine that closes, and waits for the source of a fetch of its own: a sink in doubt of *it*
 * finds it and has its answer, and no work is taken.  Once it has drained, nobody gets in. */
TEST(a_closing_engine_is_asked_until_it_has_drained)
{
    const struct baton_fetch_args push = {.mode = BATON_PUSH, .transport = "shm"};
    struct raw_link source, sink;
    struct end fetch = {0};
    struct ticket ticket;
    struct pair pair;
    struct frame f;

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    CHECK(raw_listen(&source));
    ticket.length = raw_ticket(&source, PAIR_BLOCK_BYTES, BLOCKS, ticket.bytes);
    CHECK(fetch_start(&pair, &fetch, &ticket, BLOCKS, &push) == BATON_OK);
    if (raw_accept_push(&source, PAIR_BLOCK_BYTES, BLOCKS, &f)) {
        baton_engine_close(pair.sink);
        CHECK(end_wait_outcome(&fetch) && fetch.result.outcome == BATON_CANCELLED);
        CHECK(baton_engine_drain(pair.sink, 1) == BATON_ETIMEOUT);
        CHECK(raw_dial_rings(&sink, pair.sink));
        ask_unknown(&sink);
        raw_close(&sink);
        f = (struct frame){.type = FRAME_QUIESCED, .quiesced = {f.grant.fetch_id, RAW_ATTEMPT, 0}};
        CHECK(raw_say(&source, &f));
    }
    end_finish(&fetch);
    CHECK(fetch.receipt.proof == BATON_PROOF_PEER_DRAIN);
    CHECK(baton_engine_drain(pair.sink, PAIR_WAIT_MS) == BATON_OK);
    CHECK(!raw_dial_rings(&sink, pair.sink));
    raw_close(&sink);
    raw_close(&source);
    pair_close(&pair);
}
