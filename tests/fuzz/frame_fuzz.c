/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: a stream of frames, decoded one after another as a link does, and the runs of each
 * ACCEPT.  Promises: every input ends in an answer; a frame that is whole encodes to the very bytes
 * it came from; one byte less of it would have been SHORT.
 */
#include "fuzz/fuzz.h"

#include <string.h>

#include "layout/layout.h"
#include "util/bytes.h"
#include "wire/frame.h"

enum {
    RUN_BLOCKS_MAX = 1024, /* more would only cost time */
};

static void check_runs(const struct frame *frame)
{
    static uint32_t blocks[RUN_BLOCKS_MAX];
    static uint8_t again[8 * RUN_BLOCKS_MAX];
    uint32_t count = frame->accept.block_count;
    const uint64_t limit = 4096;

    if (count > RUN_BLOCKS_MAX ||
        !runs_decode(frame->payload, frame->payload_length, count, limit, blocks)) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        FUZZ_CHECK(blocks[i] < limit);
    }
    FUZZ_CHECK(runs_encode(blocks, count, again) <= frame->payload_length);
}

static void check_whole(const struct frame *frame, const uint8_t *bytes, size_t used)
{
    static uint8_t again[FRAME_HEAD_BYTES + FRAME_BODY_BYTES_MAX];
    struct frame ignored;
    const char *why;
    size_t shorter;

    FUZZ_CHECK(frame_bytes(frame) == used);
    FUZZ_CHECK(frame_encode(frame, again) == used && !memcmp(again, bytes, used));
    FUZZ_CHECK(frame_decode(bytes, used - 1, &ignored, &shorter, &why) == FRAME_SHORT);
    if (frame->type == FRAME_ACCEPT) {
        check_runs(frame);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    for (;;) {
        struct frame frame;
        const char *why = NULL;
        size_t used = 0;
        enum frame_status status = frame_decode(bytes, length, &frame, &used, &why);

        FUZZ_CHECK((status == FRAME_BAD) == (why != NULL));
        if (status != FRAME_WHOLE) {
            return 0;
        }
        FUZZ_CHECK(used >= FRAME_HEAD_BYTES && used <= length);
        check_whole(&frame, bytes, used);
        bytes += used;
        length -= used;
    }
}

static struct frame seed_frame(enum frame_type type)
{
    static const uint8_t payload[] = {4, 0, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0};
    static const uint8_t text[] = {'n', 'o'};
    struct frame frame = {.type = type};

    switch (type) {
    case FRAME_HELLO:
        frame.hello = (struct frame_hello){WIRE_MAGIC, 1, 1, 3, 1, {1}, {2}, {3}};
        break;
    case FRAME_WELCOME:
        frame.welcome = (struct frame_welcome){WIRE_MAGIC, 1, 3, {2}};
        break;
    case FRAME_REJECT:
        frame.reject = (struct frame_reject){1, 1, BATON_CAUSE_BUSY};
        frame.payload = text;
        frame.payload_length = sizeof(text);
        break;
    case FRAME_BULK:
        frame.bulk = (struct frame_bulk){WIRE_MAGIC, {2}, {3}};
        break;
    case FRAME_REGION:
        frame.region = (struct frame_region){1, REGION_PROCESS, 8192, 4096, 65536, 4096, {7}};
        break;
    case FRAME_OPEN:
        frame.open = (struct frame_open){1, 2, 3, 3, {4}, 4096, 1, 2, {1, 2, 16, 8, 4, 4}, 1, 5};
        frame.payload = payload;
        frame.payload_length = 8;
        break;
    case FRAME_ACCEPT:
        frame.accept = (struct frame_accept){2, 1, 4096, 12288, 1, 3, 4096, {1, 2, 16, 8, 4, 4}};
        frame.payload = payload;
        frame.payload_length = sizeof(payload);
        break;
    case FRAME_REFUSED:
        frame.refused = (struct frame_refused){2, BATON_CAUSE_GONE, 0};
        break;
    case FRAME_ENDED:
        frame.ended = (struct frame_ended){2, 1, BATON_CAUSE_CANCEL};
        break;
    case FRAME_COMMITTED:
        frame.payload = payload;
        frame.payload_length = sizeof(payload);
        break;
    case FRAME_CANCEL:
        frame.cancel = (struct frame_cancel){1, 2, 1, 3, 1, BATON_CAUSE_CANCEL, {4}};
        break;
    case FRAME_GRANT:
        frame.grant = (struct frame_grant){1, 2, 1, 0, 4096, 3};
        break;
    case FRAME_QUIESCE:
        frame.quiesce = (struct frame_quiesce){1, 2, 1, 4, 3};
        break;
    default:
        break; /* all zero is good */
    }
    return frame;
}

/* Each type alone; then REGION and ACCEPT of the memfd kind; then one of each in a row. */
unsigned fuzz_seed_count(void)
{
    return FRAME_TYPE_END_ + 1;
}

size_t fuzz_seed(unsigned index, uint8_t *ret_bytes)
{
    size_t length = 0;

    for (unsigned type = 1; type < FRAME_TYPE_END_; type++) {
        struct frame frame = seed_frame((enum frame_type)type);

        if (type == FRAME_REGION && index == 0) {
            frame.region.kind = REGION_MEMFD;
            frame.region.base = frame.region.nonce_base = 0;
        }
        if (type == index || index == FRAME_TYPE_END_ ||
            (index == 0 && (type == FRAME_REGION || type == FRAME_ACCEPT))) {
            length += frame_encode(&frame, ret_bytes + length);
        }
    }
    return length;
}
