/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sink's end of a bulk connection against a raw socket that says what it likes: every window
 * comes back once, and no byte outside of it changes.  What two honest ends do is the conformance
 * suite's.
 */
#include "unit/tcp_rig.h"

static const uint8_t preface[PREFACE_BYTES] = "preface";
static const uint32_t sink_blocks[] = {9, 3, 4, 12};

static bool first_done(struct rig *rig)
{
    return rig->window_done[0] > 0;
}

static bool second_done(struct rig *rig)
{
    return rig->window_done[1] > 0;
}

static bool ten_landed(struct rig *rig)
{
    return rig->windows[0].landed == 10;
}

static void post(struct rig *rig, unsigned index)
{
    rig->windows[index] = (struct transport_window){.link = rig->link,
                                                    .plan = &rig->plan,
                                                    .sink_base = rig->pool,
                                                    .stop = &rig->stop,
                                                    .offset = WINDOW_OFFSET,
                                                    .length = WINDOW_BYTES,
                                                    .fetch_id = FETCH + index,
                                                    .offer_id = OFFER,
                                                    .attempt = ATTEMPT,
                                                    .slot = 1};
    transport_tcp.post(&rig->windows[index]);
}

static void sink_open(struct rig *rig)
{
    struct transport_link_args args = {.link = LINK_NUMBER,
                                       .sink = true,
                                       .tcp_address = rig->address,
                                       .preface = preface,
                                       .preface_length = sizeof preface};

    rig->plan = (struct plan){.block_bytes = BLOCK_BYTES, .block_count = 4, .sink = sink_blocks};
    CHECK(!transport_tcp.link_open(rig->transport, &args, &rig->link, NULL));
}

/* A sink that has posted `count` windows, whose preface and READs the peer has seen. */
static struct rig *sink_create(unsigned count)
{
    struct rig *rig = rig_create(WINDOW_BYTES);
    uint8_t bytes[BULK_READ_BYTES];
    struct bulk_read read;

    sink_open(rig);
    CHECK(!listen(rig->listener, 1));
    for (unsigned i = 0; i < count; i++) {
        post(rig, i);
    }
    rig->peer = accept(rig->listener, NULL, NULL);
    CHECK(hear(rig, bytes, PREFACE_BYTES) && !memcmp(bytes, preface, PREFACE_BYTES));
    for (unsigned i = 0; i < count; i++) {
        CHECK(hear(rig, bytes, sizeof bytes) && bulk_read_decode(bytes, &read));
        CHECK(read.slot == 1 && read.offer_id == OFFER && read.fetch_id == FETCH + i);
        CHECK(read.attempt == ATTEMPT && read.offset == WINDOW_OFFSET);
        CHECK(read.length == WINDOW_BYTES);
    }
    return rig;
}

struct answer {
    uint8_t bytes[BULK_DATA_BYTES + WINDOW_BYTES + BULK_TRAILER_BYTES];
};

enum {
    AT_FETCH = 8, /* places in an answer */
    AT_ATTEMPT = 16,
    AT_OFFSET = 24,
    AT_LENGTH = 32,
    AT_TRAILER = BULK_DATA_BYTES + WINDOW_BYTES,
    AT_END = AT_TRAILER + BULK_TRAILER_BYTES,
};

static struct answer answer_to(unsigned index)
{
    struct answer answer;
    struct bulk_data data = {BULK_OK, FETCH + index, ATTEMPT, WINDOW_OFFSET, WINDOW_BYTES};
    struct bulk_trailer trailer = {BULK_OK, WINDOW_BYTES};

    bulk_data_encode(&data, answer.bytes);
    for (unsigned i = 0; i < WINDOW_BYTES; i++) {
        answer.bytes[BULK_DATA_BYTES + i] = (uint8_t)(index + i);
    }
    bulk_trailer_encode(&trailer, answer.bytes + AT_TRAILER);
    return answer;
}

/* The `i`-th byte of the window in the sink's pool. */
static unsigned char *window_byte(struct rig *rig, unsigned i)
{
    unsigned at = WINDOW_OFFSET + i;

    return &rig->pool[sink_blocks[at / BLOCK_BYTES] * BLOCK_BYTES + at % BLOCK_BYTES];
}

/* The first `landed` bytes of the window are those of the answer to `index`; all others of the
 * pool are untouched. */
static bool pool_holds(struct rig *rig, unsigned index, uint64_t landed)
{
    unsigned char expected[POOL_BYTES];

    memset(expected, GUARD, sizeof expected);
    for (unsigned i = 0; i < landed; i++) {
        expected[window_byte(rig, i) - rig->pool] = (unsigned char)(index + i);
    }
    return !memcmp(expected, rig->pool, POOL_BYTES);
}

static bool ended(struct rig *rig, unsigned index, enum transport_status status, uint64_t landed)
{
    const struct transport_window *window = &rig->windows[index];

    return rig->window_done[index] == 1 && window->status == status && window->landed == landed;
}

/* Answers with one thing wrong, cut where the sink must have noticed. */
static const struct {
    const char *what;
    unsigned at;
    uint8_t flip;
    unsigned length; /* bytes that are sent */
    unsigned landed;
} lies[] = {
    {"magic of DATA", 0, 1, BULK_DATA_BYTES, 0},
    {"refused with a length", 4, BULK_REFUSED, BULK_DATA_BYTES, 0},
    {"status of DATA", 4, 0x80, BULK_DATA_BYTES, 0},
    {"another fetch", AT_FETCH, 1, AT_END, 0},
    {"another attempt", AT_ATTEMPT + 7, 1, AT_END, 0},
    {"another offset", AT_OFFSET, 1, AT_END, 0},
    {"longer by one", AT_LENGTH, WINDOW_BYTES ^ (WINDOW_BYTES + 1), AT_END, 0},
    {"shorter by one", AT_LENGTH, WINDOW_BYTES ^ (WINDOW_BYTES - 1), AT_END, 0},
    {"length 0", AT_LENGTH, WINDOW_BYTES, AT_END, 0},
    {"huge length", AT_LENGTH + 7, 0xff, AT_END, 0},
    {"magic of TRAILER", AT_TRAILER, 1, AT_END, WINDOW_BYTES},
    {"status of TRAILER", AT_TRAILER + 4, 1, AT_END, WINDOW_BYTES},
    {"OK with fewer bytes", AT_TRAILER + 8, 4, AT_END, WINDOW_BYTES},
    {"OK with more bytes", AT_TRAILER + 15, 1, AT_END, WINDOW_BYTES},
};

TEST(a_lie_breaks_the_link_and_touches_nothing)
{
    for (unsigned i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct rig *rig = sink_create(2);
        struct answer answer = answer_to(0);
        bool ok;

        answer.bytes[lies[i].at] ^= lies[i].flip;
        say(rig, answer.bytes, lies[i].length);
        ok = CHECK(until(rig, is_broken)) && CHECK(strstr(rig->why, "protocol error")) &&
             CHECK(ended(rig, 0, TRANSPORT_ABORTED, lies[i].landed)) &&
             CHECK(ended(rig, 1, TRANSPORT_ABORTED, 0)) &&
             CHECK(pool_holds(rig, 0, lies[i].landed)) && CHECK(rig->broken == 1);
        if (!ok) {
            printf("  the lie: %s; why: %s\n", lies[i].what, rig->why);
        }
        rig_destroy(rig);
    }
}

/* The connection ends after each number of bytes of an answer, the reset of a peer that did not
 * read included. */
TEST(an_end_anywhere_gives_the_windows_back)
{
    for (unsigned length = 0; length < AT_END; length++) {
        struct rig *rig = sink_create(2);
        struct answer answer = answer_to(0);
        uint64_t landed = length < BULK_DATA_BYTES ? 0 : length - BULK_DATA_BYTES;

        landed = landed < WINDOW_BYTES ? landed : WINDOW_BYTES;
        say(rig, answer.bytes, length);
        hang_up(rig);
        CHECK(until(rig, is_broken) && rig->broken == 1);
        CHECK(ended(rig, 0, TRANSPORT_ABORTED, landed));
        CHECK(ended(rig, 1, TRANSPORT_ABORTED, 0));
        CHECK(pool_holds(rig, 0, landed));
        rig_destroy(rig);
    }
}

/* Bytes that answer no READ, after an answer that is as it should be. */
TEST(what_was_never_requested_breaks_the_link)
{
    struct rig *rig = sink_create(1);
    struct answer answer = answer_to(0);

    say(rig, answer.bytes, AT_END);
    CHECK(until(rig, first_done));
    say(rig, answer.bytes, AT_END);
    CHECK(until(rig, is_broken));
    CHECK(ended(rig, 0, TRANSPORT_OK, WINDOW_BYTES));
    CHECK(pool_holds(rig, 0, WINDOW_BYTES));
    rig_destroy(rig);
}

/* A byte at a time: an answer, a refusal, an aborted one, and another that is whole. */
TEST(a_dribble_is_read)
{
    struct rig *rig = sink_create(4);
    struct bulk_data refusal = {BULK_REFUSED, FETCH + 1, ATTEMPT, WINDOW_OFFSET, 0};
    struct bulk_trailer aborted = {BULK_ABORTED, 7};
    uint8_t bytes[4 * AT_END];
    size_t length = 0;

    memcpy(bytes, answer_to(0).bytes, AT_END);
    length += AT_END;
    bulk_data_encode(&refusal, bytes + length);
    length += BULK_DATA_BYTES;
    memcpy(bytes + length, answer_to(2).bytes, AT_END);
    bulk_trailer_encode(&aborted, bytes + length + AT_TRAILER);
    length += AT_END;
    memcpy(bytes + length, answer_to(3).bytes, AT_END);
    length += AT_END;
    for (size_t i = 0; i < length; i++) {
        say(rig, bytes + i, 1);
        step(rig, WAIT_MS);
    }
    CHECK(ended(rig, 0, TRANSPORT_OK, WINDOW_BYTES));
    CHECK(ended(rig, 1, TRANSPORT_ABORTED, 0));
    CHECK(ended(rig, 2, TRANSPORT_ABORTED, WINDOW_BYTES));
    CHECK(ended(rig, 3, TRANSPORT_OK, WINDOW_BYTES));
    CHECK(pool_holds(rig, 3, WINDOW_BYTES));
    CHECK(rig->broken == 0);
    rig_destroy(rig);
}

/* Stopped after each number of bytes: back at once, nothing lands after it, and the next window
 * on the same connection is whole. */
TEST(a_stop_anywhere_is_quiet)
{
    for (unsigned length = 0; length < AT_END; length++) {
        struct rig *rig = sink_create(2);
        struct answer first = answer_to(0), second = answer_to(1);

        say(rig, first.bytes, length);
        step(rig, length ? WAIT_MS : 0);
        transport_tcp.stop(rig->link, FETCH);
        transport_tcp.stop(rig->link, FETCH);
        CHECK(rig->window_done[0] == 1 && rig->windows[0].status == TRANSPORT_ABORTED);
        memset(rig->pool, GUARD, sizeof rig->pool);
        say(rig, first.bytes + length, AT_END - length);
        say(rig, second.bytes, BULK_DATA_BYTES);
        for (int i = 0; i < 4; i++) {
            step(rig, 0);
        }
        CHECK(pool_holds(rig, 0, 0));
        say(rig, second.bytes + BULK_DATA_BYTES, AT_END - BULK_DATA_BYTES);
        CHECK(until(rig, second_done));
        CHECK(ended(rig, 1, TRANSPORT_OK, WINDOW_BYTES) && pool_holds(rig, 1, WINDOW_BYTES));
        CHECK(rig->window_done[0] == 1);
        rig_destroy(rig);
    }
}

/* The flag alone does it too, and with bytes that wait in the socket none of them lands. */
TEST(the_flag_is_heeded_before_bytes_land)
{
    struct rig *rig = sink_create(1);
    struct answer answer = answer_to(0);

    say(rig, answer.bytes, BULK_DATA_BYTES + 10);
    CHECK(until(rig, ten_landed));
    say(rig, answer.bytes + BULK_DATA_BYTES + 10, AT_END - BULK_DATA_BYTES - 10);
    atomic_store(&rig->stop, true);
    CHECK(until(rig, first_done));
    CHECK(ended(rig, 0, TRANSPORT_ABORTED, 10) && pool_holds(rig, 0, 10));
    rig_destroy(rig);
}

/* More windows than may be under way: the rest waits here, and is stopped without a word. */
TEST(windows_beyond_the_limit_wait)
{
    struct rig *rig = sink_create(WINDOWS);
    uint8_t byte;

    rig->window_done[0] = 0;
    transport_tcp.stop(rig->link, FETCH); /* its READ stays under way */
    post(rig, 0);
    step(rig, 0);
    CHECK(recv(rig->peer, &byte, 1, MSG_DONTWAIT) < 0);
    transport_tcp.stop(rig->link, FETCH);
    CHECK(rig->window_done[0] == 2);
    CHECK(recv(rig->peer, &byte, 1, MSG_DONTWAIT) < 0);
    rig_destroy(rig);
}

/* Before the connection is there, windows are stopped and never requested. */
TEST(a_window_that_was_not_requested_is_never_sent)
{
    struct rig *rig = rig_create(WINDOW_BYTES);
    uint8_t bytes[PREFACE_BYTES + 1];

    sink_open(rig);
    CHECK(!listen(rig->listener, 1));
    post(rig, 0);
    transport_tcp.stop(rig->link, FETCH);
    CHECK(ended(rig, 0, TRANSPORT_ABORTED, 0));
    rig->peer = accept(rig->listener, NULL, NULL);
    for (int i = 0; i < 4; i++) {
        step(rig, WAIT_MS);
    }
    CHECK(recv(rig->peer, bytes, sizeof bytes, MSG_DONTWAIT) == PREFACE_BYTES);
    rig_destroy(rig);
}

/* Closing in the middle of a payload gives back everything before it returns. */
TEST(closing_the_sink_gives_back_at_once)
{
    struct rig *rig = sink_create(3);
    struct answer answer = answer_to(0);

    say(rig, answer.bytes, BULK_DATA_BYTES + 10);
    CHECK(until(rig, ten_landed));
    transport_tcp.link_close(rig->link);
    rig->link = NULL;
    CHECK(ended(rig, 0, TRANSPORT_ABORTED, 10));
    CHECK(ended(rig, 1, TRANSPORT_ABORTED, 0) && ended(rig, 2, TRANSPORT_ABORTED, 0));
    CHECK(rig->broken == 0 && !rig->watched);
    rig_destroy(rig);
}

/* The port is bound and nobody listens.  The reason names the address; a window posted to the
 * broken link comes back too. */
TEST(a_refused_dial_names_the_address)
{
    struct rig *rig = rig_create(WINDOW_BYTES);

    sink_open(rig);
    post(rig, 0);
    CHECK(rig->window_done[0] == 0);
    CHECK(until(rig, is_broken) && ended(rig, 0, TRANSPORT_ABORTED, 0));
    CHECK(strstr(rig->why, rig->address) && strstr(rig->why, "refused"));
    post(rig, 1);
    CHECK(rig->window_done[1] == 0);
    step(rig, 0);
    CHECK(ended(rig, 1, TRANSPORT_ABORTED, 0) && rig->broken == 1);
    rig_destroy(rig);
}

TEST(bad_addresses_are_told)
{
    static const char *const bad[] = {
        NULL,
        "",
        "127.0.0.1",
        ":7000",
        "127.0.0.1:",
        "127.0.0.1:x",
        "host:7000",
        "[::1:7000",
        "::1]:7000",
        "256.0.0.1:7000",
        "127.0.0.1:70000000000000000000000000000000000000000000000000000000000000000000",
    };
    struct rig *rig = rig_create(WINDOW_BYTES);

    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct transport_link_args args = {.sink = true, .tcp_address = bad[i]};
        struct baton_error error = {0};
        struct transport_link *link;

        CHECK(transport_tcp.link_open(rig->transport, &args, &link, &error) == BATON_EADDRESS);
        CHECK(error.code == BATON_EADDRESS && error.text[0]);
    }
    rig_destroy(rig);
}
