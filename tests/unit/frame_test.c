/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of wire/frame.c: the byte order, and that every limit of docs/PROTOCOL.md is kept. */
#include "test.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/bytes.h"
#include "util/prng.h"
#include "wire/frame.h"

enum {
    SAMPLE_BYTES_MAX = 256,
};

#define ID(first)                                                                                  \
    {                                                                                              \
        first, first + 1, first + 2, first + 3, first + 4, first + 5, first + 6, first + 7,        \
            first + 8, first + 9, first + 10, first + 11, first + 12, first + 13, first + 14,      \
            first + 15                                                                             \
    }

static const uint8_t runs[] = {4, 0, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0};
static const uint8_t aux[] = {0, 1, 2, 0xff};
static const uint8_t reason[] = {'b', 'u', 's', 'y', ' ', '~'};

/* One valid frame of each type; where numbers matter, all their bytes differ. */
static const struct frame samples[FRAME_TYPE_END_] = {
    [FRAME_HELLO] = {FRAME_HELLO,
                     {.hello = {WIRE_MAGIC, 1, 0x0203, 0x04050607, 0x08090a0b0c0d0e0f, ID(0x10),
                                ID(0x20), ID(0x30)}},
                     NULL,
                     0},
    [FRAME_WELCOME] = {FRAME_WELCOME, {.welcome = {WIRE_MAGIC, 1, 3, ID(0x40)}}, NULL, 0},
    [FRAME_REJECT] = {FRAME_REJECT, {.reject = {1, 2, BATON_CAUSE_BUSY}}, reason, sizeof(reason)},
    [FRAME_BULK] = {FRAME_BULK, {.bulk = {WIRE_MAGIC, ID(0x50), ID(0x60)}}, NULL, 0},
    [FRAME_REGION] = {FRAME_REGION,
                      {.region = {0x01020304, REGION_PROCESS, 0x0000050607080000, 0x10000,
                                  0x00007f0102030405, 0x00007f0607080900, ID(0x70)}},
                      NULL,
                      0},
    [FRAME_OPEN] = {FRAME_OPEN,
                    {.open = {0x0102030405060708,
                              0x090a0b0c0d0e0f10,
                              7,
                              2,
                              ID(0x80),
                              0x00010002,
                              0x00003004,
                              0x00000506,
                              {1, 2, 3, 4, 5, 0x060708},
                              OPEN_PUSH,
                              0x090a0b0c}},
                    runs,
                    sizeof(runs)},
    [FRAME_ACCEPT] = {FRAME_ACCEPT,
                      {.accept = {0x0102030405060708,
                                  0x1112131415161718,
                                  0x2000,
                                  0x3000,
                                  0x21222324,
                                  3,
                                  0x1000,
                                  {1, 2, 0x10, 8, 4, 4}}},
                      runs,
                      sizeof(runs)},
    [FRAME_REFUSED] = {FRAME_REFUSED,
                       {.refused = {0x0102030405060708, BATON_CAUSE_GONE, 1}},
                       NULL,
                       0},
    [FRAME_WATERMARK] = {FRAME_WATERMARK, {.watermark = {1, 2, 3}}, NULL, 0},
    [FRAME_COMMIT] = {FRAME_COMMIT, {.commit = {1, 2, 3, 7}}, NULL, 0},
    [FRAME_COMMITTED] = {FRAME_COMMITTED, {.committed = {1, 2}}, aux, sizeof(aux)},
    [FRAME_ENDED] = {FRAME_ENDED, {.ended = {1, 2, BATON_CAUSE_CLOCK_LEASE}}, NULL, 0},
    [FRAME_CANCEL] = {FRAME_CANCEL,
                      {.cancel = {0x0102030405060708, 0x1112131415161718, 0x2122232425262728, 6,
                                  BATON_CANCEL_ATTEMPT, BATON_CAUSE_CLOCK_BYTES, ID(0x90)}},
                      NULL,
                      0},
    [FRAME_PING] = {FRAME_PING, {{0}}, NULL, 0},
    [FRAME_PONG] = {FRAME_PONG, {{0}}, NULL, 0},
    [FRAME_GRANT] = {FRAME_GRANT,
                     {.grant = {0x0102030405060708, 0x1112131415161718, 0x2122232425262728,
                                0x3132333435363738, 0x4142434445464748, 6}},
                     NULL,
                     0},
    [FRAME_WRITTEN] = {FRAME_WRITTEN, {.written = {1, 2, 3}}, NULL, 0},
    [FRAME_QUIESCE] = {FRAME_QUIESCE,
                       {.quiesce = {0x0102030405060708, 0x1112131415161718, 0x2122232425262728,
                                    0x3132333435363738, 6}},
                       NULL,
                       0},
    [FRAME_QUIESCED] = {FRAME_QUIESCED, {.quiesced = {1, 2, 3}}, NULL, 0},
};

static const uint32_t fixed_parts[FRAME_TYPE_END_] = {
    [FRAME_HELLO] = 68,     [FRAME_WELCOME] = 26, [FRAME_REJECT] = 5,     [FRAME_BULK] = 36,
    [FRAME_REGION] = 53,    [FRAME_OPEN] = 85,    [FRAME_ACCEPT] = 72,    [FRAME_REFUSED] = 10,
    [FRAME_WATERMARK] = 24, [FRAME_COMMIT] = 28,  [FRAME_COMMITTED] = 16, [FRAME_ENDED] = 17,
    [FRAME_CANCEL] = 46,    [FRAME_PING] = 0,     [FRAME_PONG] = 0,       [FRAME_GRANT] = 44,
    [FRAME_WRITTEN] = 24,   [FRAME_QUIESCE] = 36, [FRAME_QUIESCED] = 24,
};

/* Decode a copy that is exactly as long as stated, so that sanitizers see any byte read past it. */
static enum frame_status decode(const uint8_t *bytes, size_t length)
{
    uint8_t *copy = malloc(length ? length : 1);
    struct frame frame;
    const char *why = NULL;
    size_t used = 0;
    enum frame_status status;

    memcpy(copy, bytes, length);
    status = frame_decode(copy, length, &frame, &used, &why);
    CHECK((status == FRAME_BAD) == (why != NULL));
    CHECK((status == FRAME_WHOLE) == (used > 0));
    if (status == FRAME_WHOLE) {
        /* Every byte is checked or kept. */
        uint8_t *again = malloc(used);

        CHECK(used <= length && frame_bytes(&frame) == used);
        CHECK(frame_encode(&frame, again) == used && !memcmp(again, bytes, used));
        free(again);
    }
    free(copy);
    return status;
}

static void check_golden(enum frame_type type, const uint8_t *golden, size_t length)
{
    uint8_t bytes[SAMPLE_BYTES_MAX];

    CHECK(frame_encode(&samples[type], bytes) == length && !memcmp(bytes, golden, length));
}

/* The bytes of HELLO are fixed: a change of them is a change of the protocol. */
TEST(frame_hello_golden)
{
    static const uint8_t golden[] = {
        68,   0,    0,    0,    1,    0,    0,    0,                            /* head */
        'B',  'A',  'T',  'N',                                                  /* magic */
        0x01, 0x00, 0x03, 0x02,                                                 /* versions */
        0x07, 0x06, 0x05, 0x04,                                                 /* transports */
        0x0f, 0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x08,                         /* dial */
        0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, /* incarnation */
        0x1c, 0x1d, 0x1e, 0x1f,                                                 /* */
        0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x2b, /* expected */
        0x2c, 0x2d, 0x2e, 0x2f,                                                 /* */
        0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x3b, /* link_id */
        0x3c, 0x3d, 0x3e, 0x3f,
    };

    check_golden(FRAME_HELLO, golden, sizeof(golden));
}

/* The same for REGION. */
TEST(frame_region_golden)
{
    static const uint8_t golden[] = {
        53,   0,    0,    0,    5,    0,    0,    0,    /* head */
        0x04, 0x03, 0x02, 0x01,                         /* region */
        0x02,                                           /* kind */
        0x00, 0x00, 0x08, 0x07, 0x06, 0x05, 0x00, 0x00, /* length */
        0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, /* block_bytes */
        0x05, 0x04, 0x03, 0x02, 0x01, 0x7f, 0x00, 0x00, /* base */
        0x00, 0x09, 0x08, 0x07, 0x06, 0x7f, 0x00, 0x00, /* nonce_base */
        0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, /* nonce */
        0x78, 0x79, 0x7a, 0x7b, 0x7c, 0x7d, 0x7e, 0x7f,
    };

    check_golden(FRAME_REGION, golden, sizeof(golden));
}

/* The same for OPEN. */
TEST(frame_open_golden)
{
    static const uint8_t golden[] = {
        101,  0,    0,    0,    6,    0,    0,    0,                   /* head */
        0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01,                /* offer_id */
        0x10, 0x0f, 0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0x09,                /* fetch_id */
        7,    0,    0,    0,                                           /* slot */
        2,    0,    0,    0,                                           /* transports */
        0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,                /* secret */
        0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f,                /* */
        0x02, 0x00, 0x01, 0x00, 0,    0,    0,    0,                   /* block_bytes */
        0x04, 0x30, 0,    0,                                           /* first_block */
        0x06, 0x05, 0,    0,                                           /* block_count */
        1,    0,    0,    0,    2,    0,    0,    0,    3,    0, 0, 0, /* layout */
        4,    0,    0,    0,    5,    0,    0,    0,    0x08, 7, 6, 0, /* */
        1,                                                             /* mode */
        0x0c, 0x0b, 0x0a, 0x09,                                        /* region */
        4,    0,    0,    0,    2,    0,    0,    0,                   /* runs */
        9,    0,    0,    0,    1,    0,    0,    0,
    };

    check_golden(FRAME_OPEN, golden, sizeof(golden));
}

/* The same for ACCEPT, whose payload follows its fixed part. */
TEST(frame_accept_golden)
{
    static const uint8_t golden[] = {
        88,   0,    0,    0,    7,    0,    0,    0,                   /* head */
        0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01,                /* fetch_id */
        0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11,                /* attempt */
        0,    0x20, 0,    0,    0,    0,    0,    0,                   /* watermark */
        0,    0x30, 0,    0,    0,    0,    0,    0,                   /* total */
        0x24, 0x23, 0x22, 0x21,                                        /* region */
        3,    0,    0,    0,                                           /* block_count */
        0,    0x10, 0,    0,    0,    0,    0,    0,                   /* block_bytes */
        1,    0,    0,    0,    2,    0,    0,    0,    0x10, 0, 0, 0, /* layout */
        8,    0,    0,    0,    4,    0,    0,    0,    4,    0, 0, 0, /* */
        4,    0,    0,    0,    2,    0,    0,    0,                   /* runs */
        9,    0,    0,    0,    1,    0,    0,    0,
    };

    check_golden(FRAME_ACCEPT, golden, sizeof(golden));
}

/* The same for CANCEL. */
TEST(frame_cancel_golden)
{
    static const uint8_t golden[] = {
        46,   0,    0,    0,    13,   0,    0,    0,    /* head */
        0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, /* offer_id */
        0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, /* fetch_id */
        0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21, /* attempt */
        6,    0,    0,    0,                            /* slot */
        1,                                              /* scope */
        7,                                              /* cause */
        0x90, 0x91, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, /* secret */
        0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f,
    };

    check_golden(FRAME_CANCEL, golden, sizeof(golden));
}

/* The same for GRANT. */
TEST(frame_grant_golden)
{
    static const uint8_t golden[] = {
        44,   0,    0,    0,    16,   0,    0,    0,    /* head */
        0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, /* offer_id */
        0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, /* fetch_id */
        0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21, /* attempt */
        0x38, 0x37, 0x36, 0x35, 0x34, 0x33, 0x32, 0x31, /* offset */
        0x48, 0x47, 0x46, 0x45, 0x44, 0x43, 0x42, 0x41, /* length */
        6,    0,    0,    0,                            /* slot */
    };

    check_golden(FRAME_GRANT, golden, sizeof(golden));
}

/* What is encoded comes back, also when another frame follows it. */
TEST(frame_round_trip)
{
    for (unsigned type = 1; type < FRAME_TYPE_END_; type++) {
        const struct frame *frame = &samples[type];
        uint8_t bytes[SAMPLE_BYTES_MAX];
        struct frame back;
        const char *why = NULL;
        size_t used = 0, length = frame_encode(frame, bytes);

        CHECK(length == FRAME_HEAD_BYTES + fixed_parts[type] + frame->payload_length);
        CHECK(length == frame_bytes(frame));
        memset(bytes + length, 0xee, sizeof(bytes) - length);
        CHECK(frame_decode(bytes, sizeof(bytes), &back, &used, &why) == FRAME_WHOLE);
        CHECK(used == length && back.type == type);
        CHECK(back.payload_length == frame->payload_length);
        CHECK(!memcmp(&back.hello, &frame->hello, sizeof(frame->hello)));
        CHECK(back.payload ==
              (frame->payload_length ? bytes + length - back.payload_length : NULL));
        CHECK(decode(bytes, length) == FRAME_WHOLE);
    }
}

/* A frame that has not arrived as a whole is waited for, wherever it was cut, and writes nothing.
 */
TEST(frame_truncated_is_short)
{
    for (unsigned type = 1; type < FRAME_TYPE_END_; type++) {
        uint8_t bytes[SAMPLE_BYTES_MAX];
        size_t whole = frame_encode(&samples[type], bytes);

        for (size_t length = 0; length < whole; length++) {
            CHECK(decode(bytes, length) == FRAME_SHORT);
        }
    }
}

/* A value put into a sample's bytes, and what must come of it. */
struct patch {
    enum frame_type type;
    unsigned at; /* from the start of the body */
    unsigned width;
    uint64_t value;
    enum frame_status status;
};

#define GIB (UINT64_C(1) << 30)

static const struct patch patches[] = {
    {FRAME_HELLO, 0, 4, WIRE_MAGIC + 1, FRAME_BAD},
    {FRAME_HELLO, 4, 2, 0, FRAME_BAD},            /* version_min */
    {FRAME_HELLO, 4, 2, 0x0203, FRAME_WHOLE},     /* the same as version_max */
    {FRAME_HELLO, 4, 2, 0x0204, FRAME_BAD},       /* above it */
    {FRAME_HELLO, 8, 4, UINT32_MAX, FRAME_WHOLE}, /* capabilities of later versions */
    {FRAME_WELCOME, 0, 4, 0, FRAME_BAD},
    {FRAME_WELCOME, 4, 2, 0, FRAME_BAD},
    {FRAME_WELCOME, 4, 2, WIRE_VERSION_MAX + 1, FRAME_BAD},
    {FRAME_REJECT, 0, 2, 0, FRAME_BAD},
    {FRAME_REJECT, 0, 2, 3, FRAME_BAD},
    {FRAME_REJECT, 4, 1, 0, FRAME_BAD},
    {FRAME_REJECT, 4, 1, BATON_CAUSE_CANCEL, FRAME_BAD},
    {FRAME_REJECT, 4, 1, BATON_CAUSE_INCARNATION, FRAME_WHOLE},
    {FRAME_REJECT, 4, 1, BATON_CAUSE_CLOSING, FRAME_WHOLE},
    {FRAME_REJECT, 4, 1, BATON_CAUSE_PROTOCOL, FRAME_WHOLE},
    {FRAME_REJECT, 4, 1, BATON_CAUSE_COUNT_, FRAME_BAD},
    {FRAME_REJECT, 5, 1, 0x1f, FRAME_BAD}, /* text */
    {FRAME_REJECT, 5, 1, 0, FRAME_BAD},
    {FRAME_REJECT, 10, 1, 0x7f, FRAME_BAD},
    {FRAME_REJECT, 10, 1, 0xe4, FRAME_BAD},
    {FRAME_REJECT, 10, 1, ' ', FRAME_WHOLE},
    {FRAME_BULK, 0, 4, 0, FRAME_BAD},
    {FRAME_REGION, 4, 1, 0, FRAME_BAD},             /* kind */
    {FRAME_REGION, 4, 1, REGION_MEMFD, FRAME_BAD},  /* with a base */
    {FRAME_REGION, 4, 1, REGION_WRITER, FRAME_BAD}, /* with memory */
    {FRAME_REGION, 4, 1, REGION_WRITER + 1, FRAME_BAD},
    {FRAME_REGION, 5, 8, 0, FRAME_BAD}, /* length */
    {FRAME_REGION, 5, 8, 0xffff, FRAME_BAD},
    {FRAME_REGION, 5, 8, 0x10000, FRAME_WHOLE},
    {FRAME_REGION, 5, 8, UINT64_MAX, FRAME_BAD}, /* base + length overflows */
    {FRAME_REGION, 13, 8, 0, FRAME_BAD},         /* block_bytes */
    {FRAME_REGION, 13, 8, GIB, FRAME_WHOLE},
    {FRAME_REGION, 13, 8, GIB + 1, FRAME_BAD},
    {FRAME_REGION, 21, 8, 0, FRAME_BAD}, /* base */
    {FRAME_REGION, 21, 8, UINT64_MAX - 0x050607080000, FRAME_WHOLE},
    {FRAME_REGION, 21, 8, UINT64_MAX - 0x050607080000 + 1, FRAME_BAD},
    {FRAME_REGION, 29, 8, 0, FRAME_BAD}, /* nonce_base */
    {FRAME_REGION, 29, 8, UINT64_MAX - 15, FRAME_BAD},
    {FRAME_OPEN, 16, 4, BATON_READERS_MAX, FRAME_BAD},
    {FRAME_OPEN, 16, 4, UINT32_MAX, FRAME_BAD},
    {FRAME_OPEN, 20, 4, 0, FRAME_BAD}, /* transports */
    {FRAME_OPEN, 40, 8, 0, FRAME_BAD}, /* block_bytes */
    {FRAME_OPEN, 40, 8, GIB + 1, FRAME_BAD},
    {FRAME_OPEN, 48, 4, BATON_HANDOFF_BLOCKS_MAX - 0x506, FRAME_WHOLE}, /* first_block */
    {FRAME_OPEN, 48, 4, BATON_HANDOFF_BLOCKS_MAX - 0x506 + 1, FRAME_BAD},
    {FRAME_OPEN, 48, 4, UINT32_MAX, FRAME_BAD},
    {FRAME_OPEN, 52, 4, 0, FRAME_BAD}, /* block_count */
    {FRAME_OPEN, 52, 4, BATON_HANDOFF_BLOCKS_MAX + 1, FRAME_BAD},
    {FRAME_OPEN, 52, 4, UINT32_MAX, FRAME_BAD},
    {FRAME_OPEN, 80, 1, OPEN_PULL, FRAME_BAD}, /* mode: with a region and runs */
    {FRAME_OPEN, 80, 1, OPEN_PUSH + 1, FRAME_BAD},
    {FRAME_ACCEPT, 8, 8, 0, FRAME_BAD}, /* attempt */
    {FRAME_ACCEPT, 16, 8, 0x3000, FRAME_WHOLE},
    {FRAME_ACCEPT, 16, 8, 0x3001, FRAME_BAD}, /* watermark above the total */
    {FRAME_ACCEPT, 16, 8, UINT64_MAX, FRAME_BAD},
    {FRAME_ACCEPT, 24, 8, 0x3001, FRAME_BAD}, /* total */
    {FRAME_ACCEPT, 36, 4, 0, FRAME_BAD},      /* block_count */
    {FRAME_ACCEPT, 36, 4, 4, FRAME_BAD},
    {FRAME_ACCEPT, 36, 4, BATON_HANDOFF_BLOCKS_MAX + 1, FRAME_BAD},
    {FRAME_ACCEPT, 40, 8, 0, FRAME_BAD}, /* block_bytes */
    {FRAME_ACCEPT, 40, 8, GIB + 1, FRAME_BAD},
    {FRAME_REFUSED, 8, 1, BATON_CAUSE_NONE, FRAME_BAD},
    {FRAME_REFUSED, 8, 1, BATON_CAUSE_COUNT_ - 1, FRAME_WHOLE},
    {FRAME_REFUSED, 8, 1, BATON_CAUSE_COUNT_, FRAME_BAD},
    {FRAME_REFUSED, 9, 1, 2, FRAME_BAD}, /* revoked */
    {FRAME_COMMIT, 24, 4, BATON_READERS_MAX, FRAME_BAD},
    {FRAME_ENDED, 16, 1, BATON_CAUSE_NONE, FRAME_BAD},
    {FRAME_ENDED, 16, 1, BATON_CAUSE_COUNT_, FRAME_BAD},
    {FRAME_CANCEL, 16, 8, 0, FRAME_WHOLE}, /* attempt not known */
    {FRAME_CANCEL, 24, 4, BATON_READERS_MAX, FRAME_BAD},
    {FRAME_CANCEL, 28, 1, BATON_CANCEL_OFFER, FRAME_WHOLE},
    {FRAME_CANCEL, 28, 1, 2, FRAME_BAD},
    {FRAME_CANCEL, 29, 1, BATON_CAUSE_NONE, FRAME_BAD},
    {FRAME_CANCEL, 29, 1, BATON_CAUSE_COUNT_, FRAME_BAD},
    {FRAME_GRANT, 16, 8, 0, FRAME_BAD}, /* attempt */
    {FRAME_GRANT, 32, 8, 0, FRAME_BAD}, /* length */
    {FRAME_GRANT, 32, 8, UINT64_MAX - 0x3132333435363738, FRAME_WHOLE},
    {FRAME_GRANT, 32, 8, UINT64_MAX - 0x3132333435363738 + 1, FRAME_BAD},
    {FRAME_GRANT, 40, 4, BATON_READERS_MAX, FRAME_BAD},
    {FRAME_QUIESCE, 16, 8, 0, FRAME_BAD}, /* attempt */
    {FRAME_QUIESCE, 24, 8, 0, FRAME_BAD}, /* nonce */
    {FRAME_QUIESCE, 32, 4, BATON_READERS_MAX, FRAME_BAD},
};

/* Every field that has a limit is checked against it. */
TEST(frame_field_out_of_range_is_bad)
{
    for (size_t i = 0; i < sizeof(patches) / sizeof(*patches); i++) {
        const struct patch *p = &patches[i];
        uint8_t bytes[SAMPLE_BYTES_MAX];
        size_t length = frame_encode(&samples[p->type], bytes);

        for (unsigned byte = 0; byte < p->width; byte++) {
            bytes[FRAME_HEAD_BYTES + p->at + byte] = (uint8_t)(p->value >> 8 * byte);
        }
        if (!CHECK(decode(bytes, length) == p->status)) {
            printf("  %s, offset %u, value %#llx\n", frame_name(p->type), p->at,
                   (unsigned long long)p->value);
        }
    }
}

/* A bad head is bad as soon as it is there, before any of the body. */
TEST(frame_bad_head_is_bad_at_once)
{
    uint8_t head[FRAME_HEAD_BYTES] = {0, 0, 0, 0, FRAME_PING, 0, 0, 0};

    CHECK(decode(head, sizeof(head)) == FRAME_WHOLE);
    for (unsigned type = 0; type < 256; type++) {
        bool known = type >= 1 && type < FRAME_TYPE_END_;

        head[4] = (uint8_t)type;
        bytes_put_u32(head, known ? fixed_parts[type] : 0);
        CHECK((decode(head, sizeof(head)) != FRAME_BAD) == known);
        bytes_put_u32(head, FRAME_BODY_BYTES_MAX + 1);
        CHECK(decode(head, sizeof(head)) == FRAME_BAD);
        bytes_put_u32(head, UINT32_MAX);
        CHECK(decode(head, sizeof(head)) == FRAME_BAD);
    }
    for (unsigned i = 5; i < FRAME_HEAD_BYTES; i++) {
        memset(head, 0, sizeof(head));
        head[4] = FRAME_PING;
        head[i] = 1;
        CHECK(decode(head, sizeof(head)) == FRAME_BAD);
    }
}

/* A body shorter than its fixed part, or longer than its type allows, is bad by its length alone.
 */
TEST(frame_body_length_limits)
{
    static const uint32_t payload_max[FRAME_TYPE_END_] = {
        [FRAME_OPEN] = 8 * BATON_HANDOFF_BLOCKS_MAX, [FRAME_REJECT] = FRAME_REJECT_TEXT_BYTES_MAX,
        [FRAME_REGION] = FRAME_REGION_BYTES_MAX,     [FRAME_ACCEPT] = 8 * BATON_HANDOFF_BLOCKS_MAX,
        [FRAME_COMMITTED] = BATON_AUX_BYTES_MAX,
    };

    for (unsigned type = 1; type < FRAME_TYPE_END_; type++) {
        uint8_t head[FRAME_HEAD_BYTES] = {0, 0, 0, 0, (uint8_t)type, 0, 0, 0};
        uint32_t body_max = fixed_parts[type] + payload_max[type];

        CHECK(fixed_parts[type] <= FRAME_FIXED_BYTES_MAX && body_max <= FRAME_BODY_BYTES_MAX);
        bytes_put_u32(head, body_max);
        CHECK(decode(head, sizeof(head)) == (body_max ? FRAME_SHORT : FRAME_WHOLE));
        bytes_put_u32(head, body_max + 1);
        CHECK(decode(head, sizeof(head)) == FRAME_BAD);
        if (fixed_parts[type]) {
            bytes_put_u32(head, fixed_parts[type] - 1);
            CHECK(decode(head, sizeof(head)) == FRAME_BAD);
        }
    }
}

/* The runs of an ACCEPT, and of an OPEN, come whole, and are no more than its blocks. */
TEST(frame_runs_limits)
{
    const enum frame_type types[] = {FRAME_ACCEPT, FRAME_OPEN};

    for (unsigned t = 0; t < 2; t++) {
        struct frame frame = samples[types[t]];
        uint8_t bytes[SAMPLE_BYTES_MAX] = {0};

        frame.open.block_count = t == 1 ? 3 : frame.open.block_count;
        frame_encode(&frame, bytes);
        for (uint32_t payload = 0; payload <= 40; payload++) {
            bool good = payload % 8 == 0 && payload <= 3 * 8;

            bytes_put_u32(bytes, fixed_parts[types[t]] + payload);
            CHECK(decode(bytes, FRAME_HEAD_BYTES + fixed_parts[types[t]] + payload) ==
                  (good ? FRAME_WHOLE : FRAME_BAD));
        }
    }
}

/* The largest frames go through. */
TEST(frame_largest_payloads)
{
    static uint8_t bytes[FRAME_HEAD_BYTES + FRAME_BODY_BYTES_MAX];
    static uint8_t payload[8 * BATON_HANDOFF_BLOCKS_MAX];
    struct frame frame = samples[FRAME_ACCEPT];
    size_t length;

    frame.accept.block_count = BATON_HANDOFF_BLOCKS_MAX;
    frame.accept.block_bytes = GIB;
    frame.accept.total = frame.accept.watermark = GIB * BATON_HANDOFF_BLOCKS_MAX;
    frame.payload = payload;
    frame.payload_length = sizeof(payload);
    length = frame_encode(&frame, bytes);
    CHECK(length <= sizeof(bytes) && decode(bytes, length) == FRAME_WHOLE);
    frame = samples[FRAME_COMMITTED];
    frame.payload = payload;
    frame.payload_length = BATON_AUX_BYTES_MAX;
    length = frame_encode(&frame, bytes);
    CHECK(decode(bytes, length) == FRAME_WHOLE);
}

/* Whatever bit of a frame is flipped: an answer, and a frame that is still whole keeps every bit.
 */
TEST(frame_flipped_bits)
{
    for (unsigned type = 1; type < FRAME_TYPE_END_; type++) {
        uint8_t bytes[SAMPLE_BYTES_MAX];
        size_t length = frame_encode(&samples[type], bytes);

        for (size_t bit = 0; bit < 8 * length; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            decode(bytes, length);
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
}

/* Random bytes behind a head that may be right get an answer. */
TEST(frame_random_bytes)
{
    struct prng prng;

    prng_init(&prng, 3);
    for (unsigned round = 0; round < 20000; round++) {
        uint8_t bytes[128];
        size_t length = prng_below(&prng, sizeof(bytes) + 1);

        for (size_t i = 0; i < sizeof(bytes); i++) {
            bytes[i] = (uint8_t)prng_next(&prng);
        }
        if (round % 2) {
            memset(bytes, 0, FRAME_HEAD_BYTES);
            bytes[0] = (uint8_t)prng_below(&prng, sizeof(bytes));
            bytes[4] = (uint8_t)prng_below(&prng, FRAME_TYPE_END_ + 1);
        }
        decode(bytes, length);
    }
}

static void exit_with_7(const char *condition, const char *file, int line)
{
    (void)condition;
    (void)file;
    (void)line;
    _exit(7);
}

/* A frame of our own that breaks a limit is a broken invariant, not a frame on the wire. */
TEST(frame_encode_asserts_limits)
{
    struct frame frame = samples[FRAME_COMMIT];
    uint8_t bytes[SAMPLE_BYTES_MAX];
    int status = 0;
    pid_t child;

    frame.commit.slot = BATON_READERS_MAX;
    child = fork();
    if (child == 0) {
        baton_panic_hook(exit_with_7);
        frame_encode(&frame, bytes);
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

/* Names are for logs: each type has one, and a wrong number does no harm. */
TEST(frame_names)
{
    CHECK(!strcmp(frame_name(FRAME_HELLO), "HELLO"));
    CHECK(!strcmp(frame_name(FRAME_PONG), "PONG"));
    CHECK(!strcmp(frame_name((enum frame_type)0), "unknown"));
    CHECK(!strcmp(frame_name(FRAME_TYPE_END_), "unknown"));
    for (unsigned type = 1; type < FRAME_TYPE_END_; type++) {
        CHECK(strcmp(frame_name((enum frame_type)type), "unknown") != 0);
    }
}
