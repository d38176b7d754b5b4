/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source's end of a bulk connection against a raw socket that asks for what it likes: every
 * serve comes back once, and blocks are not read after it.
 */
#include "unit/tcp_rig.h"

static const uint32_t source_blocks[] = {2, 11, 5, 6};

/* A source whose connection comes with `early` bytes. */
static struct rig *source_create(uint32_t window_bytes, const void *early, size_t early_length)
{
    struct rig *rig = rig_create(window_bytes);
    struct transport_link_args args = {.link = LINK_NUMBER};
    struct sockaddr_in address;
    socklen_t length = sizeof address;

    rig->plan =
        (struct plan){.block_bytes = BLOCK_BYTES, .block_count = 4, .source = source_blocks};
    for (unsigned i = 0; i < POOL_BYTES; i++) {
        rig->pool[i] = (unsigned char)(i * 7 + i / 256);
    }
    CHECK(!transport_tcp.link_open(rig->transport, &args, &rig->link, NULL));
    CHECK(!listen(rig->listener, 1));
    CHECK(!getsockname(rig->listener, (struct sockaddr *)&address, &length));
    rig->peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(!setsockopt(rig->peer, SOL_SOCKET, SO_RCVBUF, &(int){1 << 16}, sizeof(int)));
    CHECK(!connect(rig->peer, (struct sockaddr *)&address, length));
    CHECK(!transport_tcp.adopt(rig->link, accept(rig->listener, NULL, NULL), early, early_length));
    CHECK(rig->requests == 0);
    return rig;
}

struct asking {
    uint8_t bytes[BULK_READ_BYTES];
};

static struct asking asking_for(uint64_t offset, uint64_t length)
{
    struct bulk_read read = {1, OFFER, FETCH, ATTEMPT, offset, length};
    struct asking asking;

    bulk_read_encode(&read, asking.bytes);
    return asking;
}

static unsigned char source_byte(const struct rig *rig, uint64_t at)
{
    return rig->pool[source_blocks[at / BLOCK_BYTES] * BLOCK_BYTES + at % BLOCK_BYTES];
}

/* The next answer is whole and holds the source's bytes. */
static bool hear_whole(struct rig *rig, uint64_t offset, uint64_t length)
{
    uint8_t bytes[BULK_DATA_BYTES + 4 * BLOCK_BYTES + BULK_TRAILER_BYTES];
    struct bulk_data data;
    struct bulk_trailer trailer;

    if (!hear(rig, bytes, BULK_DATA_BYTES + length + BULK_TRAILER_BYTES) ||
        !bulk_data_decode(bytes, &data) || data.status != BULK_OK || data.fetch_id != FETCH ||
        data.attempt != ATTEMPT || data.offset != offset || data.length != length) {
        return false;
    }
    for (uint64_t i = 0; i < length; i++) {
        if (bytes[BULK_DATA_BYTES + i] != source_byte(rig, offset + i)) {
            return false;
        }
    }
    return bulk_trailer_decode(bytes + BULK_DATA_BYTES + length, &trailer) &&
           trailer.status == BULK_OK && trailer.bytes == length;
}

static bool hear_refusal(struct rig *rig)
{
    uint8_t bytes[BULK_DATA_BYTES];
    struct bulk_data data;

    return hear(rig, bytes, sizeof bytes) && bulk_data_decode(bytes, &data) &&
           data.status == BULK_REFUSED && data.fetch_id == FETCH && data.attempt == ATTEMPT;
}

/* READs that came with the preface in part, then byte by byte: each is answered, in order. */
TEST(requests_may_dribble)
{
    struct asking first = asking_for(0, 256), second = asking_for(30, 100);
    struct rig *rig = source_create(256, first.bytes, 20);

    for (unsigned i = 20; i < BULK_READ_BYTES; i++) {
        say(rig, first.bytes + i, 1);
        step(rig, WAIT_MS);
    }
    say(rig, second.bytes, BULK_READ_BYTES);
    CHECK(hear_whole(rig, 0, 256) && hear_whole(rig, 30, 100));
    CHECK(rig->requests == 2 && rig->serve_done[0] == 1 && rig->serve_done[1] == 1);
    rig->refuse = true;
    say(rig, second.bytes, BULK_READ_BYTES);
    CHECK(hear_refusal(rig) && rig->broken == 0);
    rig_destroy(rig);
}

static void break_source(const struct asking *asking, const char *what)
{
    struct asking good = asking_for(0, 64);
    struct rig *rig = source_create(256, good.bytes, sizeof good.bytes);

    say(rig, asking->bytes, sizeof asking->bytes);
    if (!CHECK(until(rig, is_broken)) || !CHECK(strstr(rig->why, "protocol error")) ||
        !CHECK(rig->requests <= 1 && rig->serve_done[0] == rig->requests)) {
        printf("  the request: %s; why: %s\n", what, rig->why);
    }
    rig_destroy(rig);
}

TEST(a_bad_request_breaks_the_link)
{
    struct asking asking = asking_for(0, 64);

    asking.bytes[0] ^= 1;
    break_source(&asking, "magic");
    asking = asking_for(0, 257);
    break_source(&asking, "longer than a window");
    asking = asking_for(0, 64);
    asking.bytes[40] = 0;
    break_source(&asking, "length 0");
    asking = asking_for(0, 64);
    memset(asking.bytes + 32, 0xff, 8);
    break_source(&asking, "the end overflows");
}

/* More requests at once than windows_max: the early ones are given back, once each. */
TEST(too_many_requests_break_the_link)
{
    struct asking many[WINDOWS + 1];
    struct rig *rig;

    for (unsigned i = 0; i <= WINDOWS; i++) {
        many[i] = asking_for(0, 64);
    }
    rig = source_create(256, many, sizeof many);
    CHECK(until(rig, is_broken) && rig->requests == WINDOWS);
    for (unsigned i = 0; i < WINDOWS; i++) {
        CHECK(rig->serve_done[i] == 1);
    }
    rig_destroy(rig);
}

/* The sink goes away after each number of bytes of its second request. */
TEST(a_sink_that_goes_away_is_noticed)
{
    for (unsigned length = 0; length <= BULK_READ_BYTES; length++) {
        struct asking first = asking_for(0, 64), second = asking_for(64, 64);
        struct rig *rig = source_create(256, first.bytes, sizeof first.bytes);

        say(rig, second.bytes, length);
        hang_up(rig);
        CHECK(until(rig, is_broken) && rig->broken == 1);
        for (unsigned i = 0; i < WINDOWS; i++) {
            CHECK(rig->serve_done[i] == (i < rig->requests));
        }
        rig_destroy(rig);
    }
}

/* A second connection for a link that has one, and one with too many bytes, are closed. */
TEST(a_second_connection_is_refused)
{
    struct rig *rig = source_create(256, NULL, 0);
    int ends[2];
    char byte;

    CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    CHECK(transport_tcp.adopt(rig->link, ends[0], NULL, 0) == BATON_EBUSY);
    CHECK(recv(ends[1], &byte, 1, 0) == 0);
    close(ends[1]);
    rig_destroy(rig);
}

/* A window larger than the buffers of the connection, twice, and a small one of another offer; then
 * until the source has read them and its socket is full. */
static void ask_large(struct rig *rig)
{
    struct asking large = asking_for(0, LARGE_BYTES), small;
    struct bulk_read read = {1, OFFER + 1, FETCH, ATTEMPT, 0, SMALL_BYTES};

    bulk_read_encode(&read, small.bytes);
    say(rig, large.bytes, sizeof large.bytes);
    say(rig, large.bytes, sizeof large.bytes);
    say(rig, small.bytes, sizeof small.bytes);
    for (int steps = 0; rig->requests < 3 && steps < STEPS_MAX; steps++) {
        step(rig, WAIT_MS);
    }
}

struct large_answer {
    bool whole;
    enum bulk_status status;
    uint64_t from_blocks; /* bytes that were the offer's, as received */
    uint64_t told;        /* as the trailer says */
    uint64_t strange;     /* bytes that are neither the offer's nor filler behind them */
};

static struct large_answer hear_large(struct rig *rig, unsigned char *piece)
{
    struct large_answer answer = {.whole = true};
    struct bulk_trailer trailer = {BULK_OK, 0};
    uint8_t bytes[BULK_DATA_BYTES];
    struct bulk_data data;

    answer.whole = hear(rig, bytes, BULK_DATA_BYTES) && bulk_data_decode(bytes, &data) &&
                   data.status == BULK_OK && data.length == LARGE_BYTES;
    for (uint64_t at = 0; at < LARGE_BYTES && answer.whole; at += LARGE_BLOCK_BYTES) {
        answer.whole = hear(rig, piece, LARGE_BLOCK_BYTES);
        for (unsigned i = 0; i < LARGE_BLOCK_BYTES; i++) {
            if (piece[i] == GUARD && answer.from_blocks == at + i) {
                answer.from_blocks++;
            } else {
                answer.strange += piece[i] != 0;
            }
        }
    }
    answer.whole = answer.whole && hear(rig, bytes, BULK_TRAILER_BYTES) &&
                   bulk_trailer_decode(bytes, &trailer);
    answer.status = trailer.status;
    answer.told = trailer.bytes;
    return answer;
}

static bool hear_small(struct rig *rig, unsigned char *ret_bytes)
{
    uint8_t bytes[BULK_DATA_BYTES + SMALL_BYTES + BULK_TRAILER_BYTES];
    bool ok = hear(rig, bytes, sizeof bytes);

    memcpy(ret_bytes, bytes + BULK_DATA_BYTES, SMALL_BYTES);
    return ok;
}

/*
 * Stopped in the middle of a payload that is larger than the buffers of the connection: both serves
 * of the offer are back at once, what the next owner writes into the blocks is never sent, and the
 * request of another offer behind them is answered.
 */
TEST(a_stopped_source_sends_filler)
{
    static unsigned char block[LARGE_BLOCK_BYTES], got[LARGE_BLOCK_BYTES];
    static uint32_t blocks[LARGE_BYTES / LARGE_BLOCK_BYTES]; /* the same one over and over */
    struct rig *rig = source_create(LARGE_BYTES, NULL, 0);
    struct large_answer answer;

    memset(block, GUARD, sizeof block);
    rig->source = block;
    rig->plan = (struct plan){.block_bytes = sizeof block,
                              .block_count = LARGE_BYTES / LARGE_BLOCK_BYTES,
                              .source = blocks};
    ask_large(rig);
    CHECK(rig->requests == 3 && rig->serve_done[0] == 0);

    transport_tcp.serve_stop(rig->link, OFFER, 1, ATTEMPT + 1); /* nobody's */
    CHECK(rig->serve_done[0] == 0);
    transport_tcp.serve_stop(rig->link, OFFER, 1, ATTEMPT);
    CHECK(rig->serve_done[0] == 1 && rig->serve_done[1] == 1 && rig->serve_done[2] == 0);
    memset(block, NEXT_OWNER, sizeof block);

    answer = hear_large(rig, got);
    CHECK(answer.whole && answer.strange == 0 && answer.status == BULK_ABORTED);
    CHECK(answer.from_blocks == answer.told && answer.told > 0 && answer.told < LARGE_BYTES);
    CHECK(hear_refusal(rig));
    CHECK(hear_small(rig, got) && got[0] == NEXT_OWNER);
    CHECK(rig->serve_done[0] == 1 && rig->serve_done[2] == 1 && rig->broken == 0);
    rig_destroy(rig);
}

/* Closing in the middle of a payload gives back everything before it returns. */
TEST(closing_the_source_gives_back_at_once)
{
    static unsigned char block[LARGE_BLOCK_BYTES];
    static uint32_t blocks[LARGE_BYTES / LARGE_BLOCK_BYTES];
    struct rig *rig = source_create(LARGE_BYTES, NULL, 0);

    rig->source = block;
    rig->plan = (struct plan){.block_bytes = sizeof block,
                              .block_count = LARGE_BYTES / LARGE_BLOCK_BYTES,
                              .source = blocks};
    ask_large(rig);
    transport_tcp.link_close(rig->link);
    rig->link = NULL;
    CHECK(rig->serve_done[0] == 1 && rig->serve_done[1] == 1 && rig->serve_done[2] == 1);
    CHECK(!rig->watched && rig->broken == 0);
    rig_destroy(rig);
}
