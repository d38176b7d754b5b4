/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pushes over a bulk connection, each end against a raw socket: a sink that granted windows and
 * hears what it likes or does not, a source that was granted some.  What two honest ends do is the
 * conformance suite's.
 */
#include "unit/tcp_rig.h"

static const uint8_t preface[PREFACE_BYTES] = "preface";
static const uint32_t blocks[] = {9, 3, 4, 12};

/* The windows of the stories: two of one fetch, one of another. */
static const struct shape {
    uint64_t fetch_id, offset, length;
} shapes[] = {{FETCH, 0, 100}, {FETCH, 100, 100}, {FETCH + 1, 200, 56}};

enum { SHAPES = 3 };

static uint64_t granted = UINT64_MAX;

/* -------------------------------------------------------------------------------------------------
 * the sink */

static void post(struct rig *rig, unsigned index, bool pushed)
{
    rig->windows[index] = (struct transport_window){.link = rig->link,
                                                    .plan = &rig->plan,
                                                    .sink_base = rig->pool,
                                                    .stop = &rig->stop,
                                                    .granted = pushed ? &granted : NULL,
                                                    .offset = shapes[index].offset,
                                                    .length = shapes[index].length,
                                                    .fetch_id = shapes[index].fetch_id,
                                                    .offer_id = OFFER,
                                                    .attempt = ATTEMPT};
    transport_tcp.post(&rig->windows[index]);
}

/* A sink that has granted `count` windows, and has said nothing but its preface. */
static struct rig *sink_create(unsigned count)
{
    struct rig *rig = rig_create(WINDOW_BYTES);
    struct transport_link_args args = {.link = LINK_NUMBER,
                                       .sink = true,
                                       .tcp_address = rig->address,
                                       .preface = preface,
                                       .preface_length = sizeof preface};
    uint8_t bytes[PREFACE_BYTES];

    granted = UINT64_MAX;
    rig->plan = (struct plan){.block_bytes = BLOCK_BYTES, .block_count = 4, .sink = blocks};
    CHECK(!transport_tcp.link_open(rig->transport, &args, &rig->link, NULL));
    CHECK(!listen(rig->listener, 1));
    for (unsigned i = 0; i < count; i++) {
        post(rig, i, true);
    }
    rig->peer = accept(rig->listener, NULL, NULL);
    CHECK(hear(rig, bytes, PREFACE_BYTES) && !memcmp(bytes, preface, PREFACE_BYTES));
    CHECK(recv(rig->peer, bytes, 1, MSG_DONTWAIT) < 0);
    return rig;
}

enum {
    PUSH_BYTES_MAX = BULK_DATA_BYTES + POOL_BYTES + BULK_TRAILER_BYTES,
    AT_ATTEMPT = 16, /* places in a push */
    AT_OFFSET = 24,
    AT_LENGTH = 32,
};

/* DATA, payload and TRAILER. */
struct push {
    uint8_t bytes[PUSH_BYTES_MAX];
    size_t length;
};

static unsigned char sent_byte(uint64_t at)
{
    return (unsigned char)(at * 3 + 1);
}

static struct push push_of(uint64_t fetch_id, uint64_t offset, uint64_t length)
{
    struct bulk_data data = {BULK_PUSHED, fetch_id, ATTEMPT, offset, length};
    struct bulk_trailer trailer = {BULK_OK, length};
    struct push push = {.length = BULK_DATA_BYTES + length + BULK_TRAILER_BYTES};

    bulk_data_encode(&data, push.bytes);
    for (uint64_t i = 0; i < length; i++) {
        push.bytes[BULK_DATA_BYTES + i] = sent_byte(offset + i);
    }
    bulk_trailer_encode(&trailer, push.bytes + BULK_DATA_BYTES + length);
    return push;
}

static struct push push_for(unsigned index)
{
    return push_of(shapes[index].fetch_id, shapes[index].offset, shapes[index].length);
}

static void say_push(const struct rig *rig, struct push push)
{
    say(rig, push.bytes, push.length);
}

/* The bytes of the windows of the bit set, and no others, are in the pool. */
static bool pool_holds(const struct rig *rig, unsigned indices)
{
    unsigned char expected[POOL_BYTES];

    memset(expected, GUARD, sizeof expected);
    for (unsigned i = 0; i < SHAPES; i++) {
        for (uint64_t at = shapes[i].offset;
             indices & 1u << i && at < shapes[i].offset + shapes[i].length; at++) {
            expected[blocks[at / BLOCK_BYTES] * BLOCK_BYTES + at % BLOCK_BYTES] = sent_byte(at);
        }
    }
    return !memcmp(expected, rig->pool, POOL_BYTES);
}

static bool ended(const struct rig *rig, unsigned index, enum transport_status status)
{
    return rig->window_done[index] == 1 && rig->windows[index].status == status;
}

static bool all_done(struct rig *rig)
{
    return rig->window_done[0] && rig->window_done[1] && rig->window_done[2];
}

/* Byte by byte, the fetches in another order than they were granted: all land, unasked. */
TEST(granted_windows_land_unasked)
{
    static const unsigned order[SHAPES] = {2, 0, 1};
    struct rig *rig = sink_create(SHAPES);

    for (unsigned i = 0; i < SHAPES; i++) {
        struct push push = push_for(order[i]);

        for (size_t at = 0; at < push.length; at++) {
            say(rig, push.bytes + at, 1);
            step(rig, WAIT_MS);
        }
        CHECK(ended(rig, order[i], TRANSPORT_OK));
    }
    CHECK(pool_holds(rig, 7) && rig->broken == 0);
    rig_destroy(rig);
}

/* Pushes with one thing wrong.  The window that they name is the first one's but for that. */
static const struct {
    const char *what;
    unsigned at;
    uint8_t flip;
    uint64_t granted;
} lies[] = {
    {"another offset", AT_OFFSET, 1, UINT64_MAX},
    {"longer by one", AT_LENGTH, 100 ^ 101, UINT64_MAX},
    {"shorter by one", AT_LENGTH, 100 ^ 99, UINT64_MAX},
    {"the window after the next", AT_OFFSET, 100, UINT64_MAX},
    {"length 0", AT_LENGTH, 100, UINT64_MAX},
    {"more than a window", AT_LENGTH + 7, 0x80, UINT64_MAX},
    {"an offset that overflows", AT_OFFSET + 7, 0xff, UINT64_MAX},
    {"an unknown status", 4, 0x80, UINT64_MAX},
    {"an answer that nobody asked for", 4, BULK_PUSHED, UINT64_MAX},
    {"a window that was not granted yet", 0, 0, 99},
};

TEST(a_lying_push_breaks_the_link_and_touches_nothing)
{
    for (unsigned i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct rig *rig = sink_create(SHAPES);
        struct push push = push_for(0);
        bool ok;

        granted = lies[i].granted;
        push.bytes[lies[i].at] ^= lies[i].flip;
        say_push(rig, push);
        ok = CHECK(until(rig, is_broken)) && CHECK(strstr(rig->why, "protocol error")) &&
             CHECK(ended(rig, 0, TRANSPORT_ABORTED) && ended(rig, 1, TRANSPORT_ABORTED) &&
                   ended(rig, 2, TRANSPORT_ABORTED)) &&
             CHECK(pool_holds(rig, 0)) && CHECK(rig->broken == 1);
        if (!ok) {
            printf("  the lie: %s; why: %s\n", lies[i].what, rig->why);
        }
        rig_destroy(rig);
    }
}

/* Of a fetch that nobody knows, of another attempt, and the same twice: read, thrown away, and the
 * windows that were granted still land. */
TEST(a_push_for_no_window_is_thrown_away)
{
    struct rig *rig = sink_create(SHAPES);
    struct push stray = push_of(FETCH + 7, 0, 100), late = push_for(2), twice = push_for(2);

    late.bytes[AT_ATTEMPT] ^= 1;
    memset(late.bytes + BULK_DATA_BYTES, NEXT_OWNER, shapes[2].length);
    memset(twice.bytes + BULK_DATA_BYTES, NEXT_OWNER, shapes[2].length);
    say_push(rig, stray);
    say_push(rig, late);
    say_push(rig, push_for(2));
    say_push(rig, twice);
    say_push(rig, push_for(0));
    say_push(rig, push_for(1));
    CHECK(until(rig, all_done) && pool_holds(rig, 7) && rig->broken == 0);
    CHECK(ended(rig, 0, TRANSPORT_OK) && ended(rig, 1, TRANSPORT_OK) &&
          ended(rig, 2, TRANSPORT_OK));
    rig_destroy(rig);
}

static bool third_done(struct rig *rig)
{
    return rig->window_done[2] > 0;
}

/* Stopped after each number of bytes: back at once, nothing lands after it, and the window of the
 * other fetch is whole. */
TEST(a_stopped_push_is_quiet)
{
    struct push first = push_for(0), other = push_for(2);

    for (size_t length = 0; length < first.length; length++) {
        struct rig *rig = sink_create(SHAPES);

        say(rig, first.bytes, length);
        step(rig, length ? WAIT_MS : 0);
        transport_tcp.stop(rig->link, FETCH);
        CHECK(ended(rig, 0, TRANSPORT_ABORTED) && ended(rig, 1, TRANSPORT_ABORTED));
        memset(rig->pool, GUARD, sizeof rig->pool);
        say(rig, first.bytes + length, first.length - length);
        say_push(rig, other);
        CHECK(until(rig, third_done) && ended(rig, 2, TRANSPORT_OK) && pool_holds(rig, 4));
        CHECK(rig->window_done[0] == 1 && rig->window_done[1] == 1 && rig->broken == 0);
        rig_destroy(rig);
    }
}

/* Windows that were stopped and never come leave nothing behind: there is always room for more. */
TEST(a_push_that_never_comes_is_forgotten)
{
    struct rig *rig = sink_create(SHAPES);
    struct push first = push_for(0);

    for (unsigned round = 1; round < 100 * WINDOWS; round++) {
        transport_tcp.stop(rig->link, FETCH);
        CHECK(rig->window_done[0] == round);
        post(rig, 0, true);
    }
    say_push(rig, first);
    for (int steps = 0; rig->windows[0].landed < 100 && steps < STEPS_MAX; steps++) {
        step(rig, WAIT_MS);
    }
    CHECK(rig->windows[0].status == TRANSPORT_OK && pool_holds(rig, 1));
    rig_destroy(rig);
}

/* The answer to a READ, with a push before and behind it. */
TEST(pushes_and_answers_share_a_connection)
{
    struct rig *rig = sink_create(2);
    struct push answer = push_for(2);
    struct bulk_data data = {BULK_OK, FETCH + 1, ATTEMPT, 200, 56};
    uint8_t request[BULK_READ_BYTES];

    post(rig, 2, false);
    CHECK(hear(rig, request, sizeof request));
    bulk_data_encode(&data, answer.bytes);
    say_push(rig, push_for(0));
    say_push(rig, answer);
    say_push(rig, push_for(1));
    CHECK(until(rig, all_done) && pool_holds(rig, 7) && rig->broken == 0);
    rig_destroy(rig);
}

/* -------------------------------------------------------------------------------------------------
 * the source */

static struct rig *source_create(uint32_t window_bytes)
{
    struct rig *rig = rig_create(window_bytes);
    struct transport_link_args args = {.link = LINK_NUMBER};

    rig->plan = (struct plan){.block_bytes = BLOCK_BYTES, .block_count = 4, .source = blocks};
    for (unsigned i = 0; i < POOL_BYTES; i++) {
        rig->pool[i] = (unsigned char)(i * 7 + i / 256);
    }
    CHECK(!transport_tcp.link_open(rig->transport, &args, &rig->link, NULL));
    return rig;
}

/* The sink's connection comes, with a READ if it is not NULL. */
static void connect_sink(struct rig *rig, const uint8_t *early, size_t early_length)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;

    CHECK(!listen(rig->listener, 1));
    CHECK(!getsockname(rig->listener, (struct sockaddr *)&address, &length));
    rig->peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(!setsockopt(rig->peer, SOL_SOCKET, SO_RCVBUF, &(int){1 << 16}, sizeof(int)));
    CHECK(!connect(rig->peer, (struct sockaddr *)&address, length));
    CHECK(!transport_tcp.adopt(rig->link, accept(rig->listener, NULL, NULL), early, early_length));
}

/* The source was granted a window; `index` is the serve's place. */
static void push(struct rig *rig, unsigned index, uint64_t attempt, uint64_t offset,
                 uint64_t length)
{
    rig->serves[index] = (struct transport_serve){.link = rig->link,
                                                  .plan = &rig->plan,
                                                  .source_base = rig->source,
                                                  .offset = offset,
                                                  .length = length,
                                                  .offer_id = OFFER,
                                                  .fetch_id = FETCH,
                                                  .attempt = attempt,
                                                  .slot = 1,
                                                  .status = TRANSPORT_PEER_DEAD};
    transport_tcp.push(&rig->serves[index]);
}

static bool served(const struct rig *rig, unsigned index, enum transport_status status)
{
    return rig->serve_done[index] == 1 && rig->serves[index].status == status;
}

/* The next thing that comes is this, whole, with the source's bytes. */
static bool hear_window(struct rig *rig, enum bulk_status status, uint64_t attempt, uint64_t offset,
                        uint64_t length)
{
    uint8_t bytes[PUSH_BYTES_MAX];
    struct bulk_trailer trailer;
    struct bulk_data data;

    if (!hear(rig, bytes, BULK_DATA_BYTES + length + BULK_TRAILER_BYTES) ||
        !bulk_data_decode(bytes, &data) || data.status != status || data.fetch_id != FETCH ||
        data.attempt != attempt || data.offset != offset || data.length != length) {
        return false;
    }
    for (uint64_t i = 0; i < length; i++) {
        uint64_t at = offset + i;

        if (bytes[BULK_DATA_BYTES + i] !=
            rig->pool[blocks[at / BLOCK_BYTES] * BLOCK_BYTES + at % BLOCK_BYTES]) {
            return false;
        }
    }
    return bulk_trailer_decode(bytes + BULK_DATA_BYTES + length, &trailer) &&
           trailer.status == BULK_OK && trailer.bytes == length;
}

/* Granted before the sink's connection is there, and after: all is sent, in order. */
TEST(pushes_wait_for_the_connection)
{
    struct rig *rig = source_create(WINDOW_BYTES);

    push(rig, 0, ATTEMPT, 0, 100);
    push(rig, 1, ATTEMPT, 100, 100);
    step(rig, 0);
    CHECK(rig->serve_done[0] == 0 && rig->broken == 0);
    connect_sink(rig, NULL, 0);
    push(rig, 2, ATTEMPT, 200, 56);
    CHECK(hear_window(rig, BULK_PUSHED, ATTEMPT, 0, 100));
    CHECK(hear_window(rig, BULK_PUSHED, ATTEMPT, 100, 100));
    CHECK(hear_window(rig, BULK_PUSHED, ATTEMPT, 200, 56));
    CHECK(served(rig, 0, TRANSPORT_OK) && served(rig, 1, TRANSPORT_OK) &&
          served(rig, 2, TRANSPORT_OK));
    rig_destroy(rig);
}

/* Stopped before they began, pushes are back at once, and no byte is ever said of them. */
TEST(a_push_that_had_not_begun_is_never_sent)
{
    struct rig *rig = source_create(WINDOW_BYTES);

    push(rig, 0, ATTEMPT, 0, 100);
    push(rig, 1, ATTEMPT + 1, 0, 64);
    push(rig, 2, ATTEMPT, 100, 100);
    transport_tcp.serve_stop(rig->link, OFFER, 1, ATTEMPT);
    CHECK(served(rig, 0, TRANSPORT_ABORTED) && served(rig, 2, TRANSPORT_ABORTED));
    connect_sink(rig, NULL, 0);
    push(rig, 3, ATTEMPT + 1, 64, 100);
    CHECK(hear_window(rig, BULK_PUSHED, ATTEMPT + 1, 0, 64));
    CHECK(hear_window(rig, BULK_PUSHED, ATTEMPT + 1, 64, 100));
    CHECK(rig->serve_done[0] == 1 && rig->serve_done[2] == 1 && rig->broken == 0);
    rig_destroy(rig);
}

/* What was asked for and what was granted take turns, each in its order. */
TEST(pushes_and_requests_take_turns)
{
    struct bulk_read read = {1, OFFER, FETCH, ATTEMPT, 10, 20};
    uint8_t early[2 * BULK_READ_BYTES];
    struct rig *rig = source_create(WINDOW_BYTES);

    bulk_read_encode(&read, early);
    read.offset = 40;
    bulk_read_encode(&read, early + BULK_READ_BYTES);
    push(rig, 2, ATTEMPT, 0, 100);
    push(rig, 3, ATTEMPT, 100, 100);
    connect_sink(rig, early, sizeof early);
    transport_tcp.progress(rig->transport); /* looks at the READs, and begins to send */
    CHECK(hear_window(rig, BULK_PUSHED, ATTEMPT, 0, 100));
    CHECK(hear_window(rig, BULK_OK, ATTEMPT, 10, 20));
    CHECK(hear_window(rig, BULK_PUSHED, ATTEMPT, 100, 100));
    CHECK(hear_window(rig, BULK_OK, ATTEMPT, 40, 20));
    CHECK(rig->requests == 2 && rig->broken == 0);
    rig_destroy(rig);
}

/* One that is too long, before the connection and with it: the link breaks, and all come back, also
 * one that is granted after that. */
TEST(a_grant_that_is_too_long_breaks_the_link)
{
    for (unsigned connected = 0; connected < 2; connected++) {
        struct rig *rig = source_create(WINDOW_BYTES);

        if (connected) {
            connect_sink(rig, NULL, 0);
        }
        push(rig, 0, ATTEMPT, 0, WINDOW_BYTES);
        push(rig, 1, ATTEMPT, 0, WINDOW_BYTES + 1);
        push(rig, 2, ATTEMPT, 0, 1);
        CHECK(rig->serve_done[0] == 0 && rig->serve_done[1] == 0 && rig->serve_done[2] == 0);
        CHECK(until(rig, is_broken) && strstr(rig->why, "protocol error"));
        for (unsigned i = 0; i < 3; i++) {
            CHECK(served(rig, i, TRANSPORT_ABORTED));
        }
        rig_destroy(rig);
    }
}

/* As many as a sink may grant, again and again, stopped each time; then one more. */
TEST(too_many_grants_break_the_link)
{
    struct rig *rig = source_create(WINDOW_BYTES);

    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < WINDOWS; i++) {
            CHECK(rig->serve_done[i] == round);
            push(rig, i, ATTEMPT, i, 1);
        }
        step(rig, 0);
        CHECK(rig->broken == 0);
        if (round < 2) {
            transport_tcp.serve_stop(rig->link, OFFER, 1, ATTEMPT);
        }
    }
    push(rig, WINDOWS, ATTEMPT, WINDOWS, 1);
    CHECK(until(rig, is_broken) && strstr(rig->why, "protocol error"));
    CHECK(rig->serve_done[0] == 3 && served(rig, WINDOWS, TRANSPORT_ABORTED));
    rig_destroy(rig);
}

/*
 * Stopped in the middle of a payload that is larger than the buffers of the connection: both pushes
 * are back at once, and what the next owner writes into the blocks is never sent.  The sink hears
 * filler, how much of it was the offer's, and then the push of another attempt.
 */
TEST(a_push_stopped_in_the_middle_ends_in_filler)
{
    static unsigned char block[LARGE_BLOCK_BYTES], got[LARGE_BLOCK_BYTES];
    static uint32_t same[LARGE_BYTES / LARGE_BLOCK_BYTES]; /* one block over and over */
    struct rig *rig = source_create(LARGE_BYTES);
    uint64_t from_blocks = 0, strange = 0;
    struct bulk_trailer trailer = {BULK_OK, 0};

    memset(block, GUARD, sizeof block);
    rig->source = block;
    rig->plan = (struct plan){LARGE_BLOCK_BYTES, LARGE_BYTES / LARGE_BLOCK_BYTES, same, NULL};
    connect_sink(rig, NULL, 0);
    push(rig, 0, ATTEMPT, 0, LARGE_BYTES);
    push(rig, 1, ATTEMPT, 0, 64);
    push(rig, 2, ATTEMPT + 1, 0, 64);
    CHECK(hear(rig, got, BULK_DATA_BYTES) && rig->serve_done[0] == 0);
    transport_tcp.serve_stop(rig->link, OFFER, 1, ATTEMPT);
    CHECK(served(rig, 0, TRANSPORT_ABORTED) && served(rig, 1, TRANSPORT_ABORTED));
    memset(block, NEXT_OWNER, sizeof block);
    for (uint64_t at = 0; at < LARGE_BYTES; at += sizeof got) {
        CHECK(hear(rig, got, sizeof got));
        for (unsigned i = 0; i < sizeof got; i++) {
            from_blocks += got[i] == GUARD && from_blocks == at + i;
            strange += got[i] != 0 && got[i] != GUARD;
        }
    }
    CHECK(hear(rig, got, BULK_TRAILER_BYTES) && bulk_trailer_decode(got, &trailer));
    CHECK(trailer.status == BULK_ABORTED && trailer.bytes == from_blocks && strange == 0);
    CHECK(from_blocks > 0 && from_blocks < LARGE_BYTES);
    CHECK(hear(rig, got, BULK_DATA_BYTES + 64) && got[BULK_DATA_BYTES] == NEXT_OWNER);
    CHECK(got[AT_ATTEMPT] == ATTEMPT + 1 && rig->serve_done[1] == 1);
    rig_destroy(rig);
}

/* Closing in the middle gives back everything before it returns. */
TEST(closing_gives_pushes_back_at_once)
{
    struct rig *rig = source_create(WINDOW_BYTES);

    connect_sink(rig, NULL, 0);
    push(rig, 0, ATTEMPT, 0, 100);
    CHECK(hear_window(rig, BULK_PUSHED, ATTEMPT, 0, 100));
    push(rig, 1, ATTEMPT, 0, 100);
    push(rig, 2, ATTEMPT + 1, 0, 100);
    transport_tcp.link_close(rig->link);
    rig->link = NULL;
    CHECK(served(rig, 0, TRANSPORT_OK) && served(rig, 1, TRANSPORT_ABORTED) &&
          served(rig, 2, TRANSPORT_ABORTED));
    CHECK(rig->broken == 0 && !rig->watched);
    rig_destroy(rig);
}
