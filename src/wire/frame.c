/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The codec of frames: a table of fields and limits for each type, and one encoder and one decoder
 * that walk it.  It does not know links, states or sockets: whether a frame makes sense *now* is
 * decided in core/.
 *
 * Every byte of a frame is either checked or kept, so encoding what was decoded gives the same
 * bytes again.
 */
#include "wire/frame.h"

#include <string.h>

#include "util/assert.h"
#include "util/bytes.h"
#include "wire/limits.h"

/* One number or id of a fixed part: where it is in struct frame, and its bytes there and on the
 * wire. */
struct field {
    uint16_t offset;
    uint16_t width; /* 1, 2, 4, 8 or ID_BYTES */
};

#define FIELD(member)                                                                              \
    {                                                                                              \
        offsetof(struct frame, member), sizeof(((struct frame *)NULL)->member)                     \
    }
#define LAYOUT_FIELDS(member)                                                                      \
    FIELD(member.layers), FIELD(member.kv_parts), FIELD(member.block_tokens), FIELD(member.heads), \
        FIELD(member.head_size), FIELD(member.dtype_bytes)

static const struct field hello_fields[] = {
    FIELD(hello.magic), FIELD(hello.version_min), FIELD(hello.version_max), FIELD(hello.transports),
    FIELD(hello.dial),  FIELD(hello.incarnation), FIELD(hello.expected),    FIELD(hello.link_id),
};

static const struct field welcome_fields[] = {
    FIELD(welcome.magic),
    FIELD(welcome.version),
    FIELD(welcome.transports),
    FIELD(welcome.incarnation),
};

static const struct field reject_fields[] = {
    FIELD(reject.version_min),
    FIELD(reject.version_max),
    FIELD(reject.cause),
};

static const struct field bulk_fields[] = {
    FIELD(bulk.magic),
    FIELD(bulk.expected),
    FIELD(bulk.link_id),
};

static const struct field region_fields[] = {
    FIELD(region.region), FIELD(region.kind),       FIELD(region.length), FIELD(region.block_bytes),
    FIELD(region.base),   FIELD(region.nonce_base), FIELD(region.nonce),
};

static const struct field open_fields[] = {
    FIELD(open.offer_id),    FIELD(open.fetch_id),    FIELD(open.slot),
    FIELD(open.transports),  FIELD(open.secret),      FIELD(open.block_bytes),
    FIELD(open.first_block), FIELD(open.block_count), LAYOUT_FIELDS(open.layout),
    FIELD(open.mode),        FIELD(open.region),
};

static const struct field accept_fields[] = {
    FIELD(accept.fetch_id),    FIELD(accept.attempt),        FIELD(accept.watermark),
    FIELD(accept.total),       FIELD(accept.region),         FIELD(accept.block_count),
    FIELD(accept.block_bytes), LAYOUT_FIELDS(accept.layout),
};

static const struct field refused_fields[] = {
    FIELD(refused.fetch_id),
    FIELD(refused.cause),
    FIELD(refused.revoked),
};

static const struct field watermark_fields[] = {
    FIELD(watermark.fetch_id),
    FIELD(watermark.attempt),
    FIELD(watermark.watermark),
};

static const struct field commit_fields[] = {
    FIELD(commit.offer_id),
    FIELD(commit.fetch_id),
    FIELD(commit.attempt),
    FIELD(commit.slot),
};

static const struct field committed_fields[] = {
    FIELD(committed.fetch_id),
    FIELD(committed.attempt),
};

static const struct field ended_fields[] = {
    FIELD(ended.fetch_id),
    FIELD(ended.attempt),
    FIELD(ended.cause),
};

static const struct field cancel_fields[] = {
    FIELD(cancel.offer_id), FIELD(cancel.fetch_id), FIELD(cancel.attempt), FIELD(cancel.slot),
    FIELD(cancel.scope),    FIELD(cancel.cause),    FIELD(cancel.secret),
};

static const struct field grant_fields[] = {
    FIELD(grant.offer_id), FIELD(grant.fetch_id), FIELD(grant.attempt),
    FIELD(grant.offset),   FIELD(grant.length),   FIELD(grant.slot),
};

static const struct field written_fields[] = {
    FIELD(written.fetch_id),
    FIELD(written.attempt),
    FIELD(written.end),
};

static const struct field quiesce_fields[] = {
    FIELD(quiesce.offer_id), FIELD(quiesce.fetch_id), FIELD(quiesce.attempt),
    FIELD(quiesce.nonce),    FIELD(quiesce.slot),
};

static const struct field quiesced_fields[] = {
    FIELD(quiesced.fetch_id),
    FIELD(quiesced.attempt),
    FIELD(quiesced.nonce),
};

/*
 * The limits of each type.  A check returns NULL, or why the frame is bad.
 */

static bool versions_ok(uint16_t version_min, uint16_t version_max)
{
    return version_min > 0 && version_min <= version_max;
}

/* Causes travel only where something ended, so there always is one. */
static bool cause_ok(uint8_t cause)
{
    return cause > BATON_CAUSE_NONE && cause < BATON_CAUSE_COUNT_;
}

static bool block_bytes_ok(uint64_t block_bytes)
{
    return block_bytes > 0 && block_bytes <= WIRE_BLOCK_BYTES_MAX;
}

static bool block_count_ok(uint32_t block_count)
{
    return block_count > 0 && block_count <= BATON_HANDOFF_BLOCKS_MAX;
}

static bool text_ok(const uint8_t *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] < WIRE_TEXT_FIRST || text[i] > WIRE_TEXT_LAST) {
            return false;
        }
    }
    return true;
}

static const char *check_hello(const struct frame *frame)
{
    if (frame->hello.magic != WIRE_MAGIC) {
        return "HELLO: the magic is not Baton's";
    }
    if (!versions_ok(frame->hello.version_min, frame->hello.version_max)) {
        return "HELLO: the version range is empty or starts at 0";
    }
    return NULL;
}

static const char *check_welcome(const struct frame *frame)
{
    if (frame->welcome.magic != WIRE_MAGIC) {
        return "WELCOME: the magic is not Baton's";
    }
    if (frame->welcome.version < WIRE_VERSION_MIN || frame->welcome.version > WIRE_VERSION_MAX) {
        return "WELCOME: the version chosen is not one that this side speaks";
    }
    return NULL;
}

static const char *check_reject(const struct frame *frame)
{
    if (!versions_ok(frame->reject.version_min, frame->reject.version_max)) {
        return "REJECT: the version range is empty or starts at 0";
    }
    if (frame->reject.cause != BATON_CAUSE_INCARNATION &&
        frame->reject.cause != BATON_CAUSE_CLOSING && frame->reject.cause != BATON_CAUSE_PROTOCOL &&
        frame->reject.cause != BATON_CAUSE_BUSY) {
        return "REJECT: the cause is not one of a rejected link";
    }
    if (!text_ok(frame->payload, frame->payload_length)) {
        return "REJECT: the text is not printable ASCII";
    }
    return NULL;
}

static const char *check_bulk(const struct frame *frame)
{
    return frame->bulk.magic == WIRE_MAGIC ? NULL : "BULK: the magic is not Baton's";
}

/* Whether [base, base + length) is a range of addresses, not one that wraps round. */
static bool range_ok(uint64_t base, uint64_t length)
{
    return base > 0 && length <= UINT64_MAX - base;
}

static const char *check_region(const struct frame *frame)
{
    const struct frame_region *r = &frame->region;

    if (r->kind < REGION_MEMFD || r->kind > REGION_WRITER) {
        return "REGION: unknown kind";
    }
    if (r->kind == REGION_WRITER) {
        return r->region || r->length || r->block_bytes || r->base || r->nonce_base ||
                       frame->payload_length
                   ? "REGION: a writer has no memory"
                   : NULL;
    }
    if ((r->kind == REGION_NIXL) != (frame->payload_length > 0)) {
        return "REGION: only a library's comes with a description";
    }
    if (!block_bytes_ok(r->block_bytes)) {
        return "REGION: block_bytes is 0 or above 1 GiB";
    }
    if (r->length < r->block_bytes) {
        return "REGION: the length is less than one block";
    }
    if (r->kind != REGION_PROCESS && (r->base || r->nonce_base)) {
        return "REGION: only a process's comes with an address";
    }
    if (r->kind == REGION_PROCESS && !range_ok(r->base, r->length)) {
        return "REGION: the base is 0 or base + length overflows";
    }
    if (r->kind == REGION_PROCESS && !range_ok(r->nonce_base, ID_BYTES)) {
        return "REGION: the nonce's address is 0 or overflows";
    }
    return NULL;
}

static const char *check_open(const struct frame *frame)
{
    const struct frame_open *o = &frame->open;

    if (o->slot >= BATON_READERS_MAX) {
        return "OPEN: the slot is out of range";
    }
    if (!o->transports) {
        return "OPEN: no transport is allowed";
    }
    if (o->mode != OPEN_PULL && o->mode != OPEN_PUSH) {
        return "OPEN: the mode is unknown";
    }
    if (!block_bytes_ok(o->block_bytes)) {
        return "OPEN: block_bytes is 0 or above 1 GiB";
    }
    if (!block_count_ok(o->block_count)) {
        return "OPEN: block_count is out of range";
    }
    if (o->first_block > BATON_HANDOFF_BLOCKS_MAX - o->block_count) {
        return "OPEN: first_block + block_count is out of range";
    }
    if (o->mode != OPEN_PUSH && (o->region || frame->payload_length)) {
        return "OPEN: a pull names no blocks of the sink";
    }
    if (frame->payload_length % 8 || frame->payload_length / 8 > o->block_count) {
        return "OPEN: the runs are not whole or are more than the blocks";
    }
    return NULL;
}

static const char *check_accept(const struct frame *frame)
{
    const struct frame_accept *a = &frame->accept;

    if (!a->attempt) {
        return "ACCEPT: the attempt is 0";
    }
    if (!block_bytes_ok(a->block_bytes)) {
        return "ACCEPT: block_bytes is 0 or above 1 GiB";
    }
    if (!block_count_ok(a->block_count)) {
        return "ACCEPT: block_count is out of range";
    }
    if (a->total != a->block_bytes * a->block_count) {
        return "ACCEPT: the total is not block_bytes x block_count";
    }
    if (a->watermark > a->total) {
        return "ACCEPT: the watermark is above the total";
    }
    if (frame->payload_length % 8 || frame->payload_length / 8 > a->block_count) {
        return "ACCEPT: the runs are not whole or are more than the blocks";
    }
    return NULL;
}

static const char *check_refused(const struct frame *frame)
{
    if (!cause_ok(frame->refused.cause)) {
        return "REFUSED: the cause is out of range";
    }
    return frame->refused.revoked <= 1 ? NULL : "REFUSED: revoked is neither 0 nor 1";
}

static const char *check_commit(const struct frame *frame)
{
    return frame->commit.slot < BATON_READERS_MAX ? NULL : "COMMIT: the slot is out of range";
}

static const char *check_ended(const struct frame *frame)
{
    return cause_ok(frame->ended.cause) ? NULL : "ENDED: the cause is out of range";
}

static const char *check_cancel(const struct frame *frame)
{
    if (frame->cancel.slot >= BATON_READERS_MAX) {
        return "CANCEL: the slot is out of range";
    }
    if (frame->cancel.scope != BATON_CANCEL_OFFER && frame->cancel.scope != BATON_CANCEL_ATTEMPT) {
        return "CANCEL: the scope is unknown";
    }
    return cause_ok(frame->cancel.cause) ? NULL : "CANCEL: the cause is out of range";
}

static const char *check_grant(const struct frame *frame)
{
    const struct frame_grant *g = &frame->grant;

    if (g->slot >= BATON_READERS_MAX) {
        return "GRANT: the slot is out of range";
    }
    if (!g->attempt) {
        return "GRANT: the attempt is 0";
    }
    return g->length && g->length <= UINT64_MAX - g->offset
               ? NULL
               : "GRANT: the length is 0 or offset + length overflows";
}

static const char *check_quiesce(const struct frame *frame)
{
    if (frame->quiesce.slot >= BATON_READERS_MAX) {
        return "QUIESCE: the slot is out of range";
    }
    if (!frame->quiesce.attempt) {
        return "QUIESCE: the attempt is 0";
    }
    return frame->quiesce.nonce ? NULL : "QUIESCE: the nonce is 0";
}

static const char *check_nothing(const struct frame *frame)
{
    (void)frame;
    return NULL;
}

static const struct frame_conf {
    const char *name;
    const struct field *fields;
    unsigned field_count;
    uint32_t payload_bytes_max;
    const char *(*check)(const struct frame *frame);
} frame_confs[FRAME_TYPE_END_] = {
#define FIELDS(fields) (fields), sizeof(fields) / sizeof(*(fields))
    [FRAME_HELLO] = {"HELLO", FIELDS(hello_fields), 0, check_hello},
    [FRAME_WELCOME] = {"WELCOME", FIELDS(welcome_fields), 0, check_welcome},
    [FRAME_REJECT] = {"REJECT", FIELDS(reject_fields), FRAME_REJECT_TEXT_BYTES_MAX, check_reject},
    [FRAME_BULK] = {"BULK", FIELDS(bulk_fields), 0, check_bulk},
    [FRAME_REGION] = {"REGION", FIELDS(region_fields), FRAME_REGION_BYTES_MAX, check_region},
    [FRAME_OPEN] = {"OPEN", FIELDS(open_fields), 8 * BATON_HANDOFF_BLOCKS_MAX, check_open},
    [FRAME_ACCEPT] = {"ACCEPT", FIELDS(accept_fields), 8 * BATON_HANDOFF_BLOCKS_MAX, check_accept},
    [FRAME_REFUSED] = {"REFUSED", FIELDS(refused_fields), 0, check_refused},
    [FRAME_WATERMARK] = {"WATERMARK", FIELDS(watermark_fields), 0, check_nothing},
    [FRAME_COMMIT] = {"COMMIT", FIELDS(commit_fields), 0, check_commit},
    [FRAME_COMMITTED] = {"COMMITTED", FIELDS(committed_fields), BATON_AUX_BYTES_MAX, check_nothing},
    [FRAME_ENDED] = {"ENDED", FIELDS(ended_fields), 0, check_ended},
    [FRAME_CANCEL] = {"CANCEL", FIELDS(cancel_fields), 0, check_cancel},
    [FRAME_PING] = {"PING", NULL, 0, 0, check_nothing},
    [FRAME_PONG] = {"PONG", NULL, 0, 0, check_nothing},
    [FRAME_GRANT] = {"GRANT", FIELDS(grant_fields), 0, check_grant},
    [FRAME_WRITTEN] = {"WRITTEN", FIELDS(written_fields), 0, check_nothing},
    [FRAME_QUIESCE] = {"QUIESCE", FIELDS(quiesce_fields), 0, check_quiesce},
    [FRAME_QUIESCED] = {"QUIESCED", FIELDS(quiesced_fields), 0, check_nothing},
#undef FIELDS
};

static bool type_known(unsigned type)
{
    return type < FRAME_TYPE_END_ && frame_confs[type].name;
}

static uint32_t fixed_bytes(const struct frame_conf *conf)
{
    uint32_t bytes = 0;

    for (unsigned i = 0; i < conf->field_count; i++) {
        bytes += conf->fields[i].width;
    }
    BATON_ASSERT(bytes <= FRAME_FIXED_BYTES_MAX);
    BATON_ASSERT(bytes + conf->payload_bytes_max <= FRAME_BODY_BYTES_MAX);
    return bytes;
}

/* From this machine's order to the wire's. */
static void field_put(uint8_t *ret_bytes, const uint8_t *value, unsigned width)
{
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;

    switch (width) {
    case sizeof(u16):
        memcpy(&u16, value, sizeof(u16));
        bytes_put_u16(ret_bytes, u16);
        break;
    case sizeof(u32):
        memcpy(&u32, value, sizeof(u32));
        bytes_put_u32(ret_bytes, u32);
        break;
    case sizeof(u64):
        memcpy(&u64, value, sizeof(u64));
        bytes_put_u64(ret_bytes, u64);
        break;
    default:
        BATON_ASSERT(width == 1 || width == ID_BYTES);
        memcpy(ret_bytes, value, width);
    }
}

/* And back. */
static void field_get(const uint8_t *bytes, uint8_t *ret_value, unsigned width)
{
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;

    switch (width) {
    case sizeof(u16):
        u16 = bytes_get_u16(bytes);
        memcpy(ret_value, &u16, sizeof(u16));
        break;
    case sizeof(u32):
        u32 = bytes_get_u32(bytes);
        memcpy(ret_value, &u32, sizeof(u32));
        break;
    case sizeof(u64):
        u64 = bytes_get_u64(bytes);
        memcpy(ret_value, &u64, sizeof(u64));
        break;
    default:
        BATON_ASSERT(width == 1 || width == ID_BYTES);
        memcpy(ret_value, bytes, width);
    }
}

/* Why a head is bad whatever follows it; NULL when the body is worth waiting for. */
static const char *check_head(const uint8_t *head)
{
    uint32_t body = bytes_get_u32(head);
    uint32_t fixed;

    if (body > FRAME_BODY_BYTES_MAX) {
        return "the length is above the limit of every frame";
    }
    if (!type_known(head[4])) {
        return "unknown type";
    }
    if (head[5] || bytes_get_u16(head + 6)) {
        return "the filler of the head is not zero";
    }
    fixed = fixed_bytes(&frame_confs[head[4]]);
    if (body < fixed) {
        return "the body is shorter than its fixed part";
    }
    if (body - fixed > frame_confs[head[4]].payload_bytes_max) {
        return "the body is longer than its type allows";
    }
    return NULL;
}

size_t frame_bytes(const struct frame *frame)
{
    BATON_ASSERT(type_known(frame->type));
    BATON_ASSERT(frame->payload_length <= frame_confs[frame->type].payload_bytes_max);
    return FRAME_HEAD_BYTES + fixed_bytes(&frame_confs[frame->type]) + frame->payload_length;
}

size_t frame_encode(const struct frame *frame, uint8_t *ret_bytes)
{
    const size_t bytes = frame_bytes(frame);
    const struct frame_conf *conf = &frame_confs[frame->type];
    uint8_t *at = ret_bytes + FRAME_HEAD_BYTES;

    BATON_ASSERT(BATON_IMPLIES(frame->payload_length, frame->payload));
    BATON_ASSERT(!conf->check(frame));
    bytes_put_u32(ret_bytes, (uint32_t)(bytes - FRAME_HEAD_BYTES));
    ret_bytes[4] = (uint8_t)frame->type;
    ret_bytes[5] = 0;
    bytes_put_u16(ret_bytes + 6, 0);
    for (unsigned i = 0; i < conf->field_count; i++) {
        field_put(at, (const uint8_t *)frame + conf->fields[i].offset, conf->fields[i].width);
        at += conf->fields[i].width;
    }
    if (frame->payload_length) {
        memcpy(at, frame->payload, frame->payload_length);
    }
    BATON_ASSERT(at + frame->payload_length == ret_bytes + bytes);
    return bytes;
}

enum frame_status frame_decode(const uint8_t *bytes, size_t length, struct frame *ret_frame,
                               size_t *ret_used, const char **ret_why)
{
    struct frame frame = {0};
    const struct frame_conf *conf;
    const uint8_t *at = bytes + FRAME_HEAD_BYTES;
    const char *why;
    uint32_t body;

    if (length < FRAME_HEAD_BYTES) {
        return FRAME_SHORT;
    }
    why = check_head(bytes);
    if (why) {
        *ret_why = why;
        return FRAME_BAD;
    }
    body = bytes_get_u32(bytes);
    if (length - FRAME_HEAD_BYTES < body) {
        return FRAME_SHORT;
    }
    frame.type = bytes[4];
    conf = &frame_confs[frame.type];
    for (unsigned i = 0; i < conf->field_count; i++) {
        field_get(at, (uint8_t *)&frame + conf->fields[i].offset, conf->fields[i].width);
        at += conf->fields[i].width;
    }
    frame.payload_length = body - fixed_bytes(conf);
    frame.payload = frame.payload_length ? at : NULL;
    why = conf->check(&frame);
    if (why) {
        *ret_why = why;
        return FRAME_BAD;
    }
    *ret_frame = frame;
    *ret_used = FRAME_HEAD_BYTES + (size_t)body;
    return FRAME_WHOLE;
}

const char *frame_name(enum frame_type type)
{
    return type_known(type) ? frame_confs[type].name : "unknown";
}
