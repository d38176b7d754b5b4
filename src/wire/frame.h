/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames: what two engines say to each other on a link.  Encode and decode, with every limit
 * checked.  Pure.
 *
 * A frame is an 8-byte head {length u32, type u8, zero u8, zero u16} and a body of `length` bytes.
 * All numbers are little-endian.  A body is a fixed part, different for each type, and for some
 * types a payload up to the end.  A fixed part that is too short or a body that is too long, a
 * non-zero filler, and a field out of its range make the frame bad: the link is closed.
 * docs/PROTOCOL.md lists each field.
 */
#ifndef BATON_WIRE_FRAME_H
#define BATON_WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton.h"

enum {
    FRAME_HEAD_BYTES = 8,
    FRAME_BODY_BYTES_MAX = 128 + 8 * BATON_HANDOFF_BLOCKS_MAX, /* the largest ACCEPT */
    FRAME_FIXED_BYTES_MAX = 128,                               /* of any fixed part */
    FRAME_REJECT_TEXT_BYTES_MAX = 200,
    FRAME_REGION_BYTES_MAX = 40 << 10, /* a description of NIXL */
    WIRE_VERSION_MIN = 1,
    WIRE_VERSION_MAX = 1,
    WIRE_MAGIC = 0x4e544142, /* "BATN" */
    ID_BYTES = 16,           /* incarnations, link ids, secrets */
};

enum frame_type {
    FRAME_HELLO = 1, /* sink to source, first on a control connection */
    FRAME_WELCOME,   /* source to sink: the link is up */
    FRAME_REJECT,    /* source to sink: it is not; the connection ends */
    FRAME_BULK,      /* sink to source, first on a bulk connection */
    FRAME_REGION,  /* memory that the other side may read (source to sink; precedes the first ACCEPT
                      that needs it), or write (sink to source; precedes the first such OPEN) */
    FRAME_OPEN,    /* sink to source */
    FRAME_ACCEPT,  /* source to sink: leased */
    FRAME_REFUSED, /* source to sink: not leased, or not committed */
    FRAME_WATERMARK, /* source to sink */
    FRAME_COMMIT,    /* sink to source */
    FRAME_COMMITTED, /* source to sink */
    FRAME_ENDED,     /* source to sink: the source ended the lease */
    FRAME_CANCEL,    /* sink to source; has no answer */
    FRAME_PING,
    FRAME_PONG,
    FRAME_GRANT,    /* sink to source, push: a window that the source may write */
    FRAME_WRITTEN,  /* source to sink, push: windows that it has written */
    FRAME_QUIESCE,  /* sink to source, push: end the attempt, and say when it writes no more */
    FRAME_QUIESCED, /* source to sink, push: it writes no more, and never will */
    FRAME_TYPE_END_,
};

/* Capability bits of HELLO and WELCOME; transports in OPEN. */
enum {
    WIRE_TRANSPORT_SHM = 1 << 0,
    WIRE_TRANSPORT_TCP = 1 << 1,
    WIRE_TRANSPORT_NIXL = 1 << 2,
    WIRE_NIXL_IN_PROCESS = 1 << 17, /* this side's NIXL is in its own process, never in a helper */
    WIRE_LINK_RINGS = 1 << 16, /* HELLO: a descriptor of two rings came with it; WELCOME: taken */
};

enum open_mode {
    OPEN_PULL = 0, /* the sink, or its own code, moves the bytes */
    OPEN_PUSH,     /* the source writes what the sink grants */
};

enum region_kind {
    REGION_MEMFD = 1, /* a descriptor travels with the frame */
    REGION_PROCESS,   /* to be read with process_vm_readv */
    REGION_NIXL,      /* payload: how NIXL reaches it, see src/transport/nixl.c */
    REGION_WRITER,    /* no region: a pidfd travels, of the process that pushes for the source */
};

struct frame_hello {
    uint32_t magic;
    uint16_t version_min, version_max;
    uint32_t transports;           /* bits that the sink allows */
    uint64_t dial;                 /* the dialler's monotonic number of this dial */
    uint8_t incarnation[ID_BYTES]; /* of the sink */
    uint8_t expected[ID_BYTES];    /* of the source, from the ticket */
    uint8_t link_id[ID_BYTES];     /* random; bulk connections repeat it */
};

struct frame_welcome {
    uint32_t magic;
    uint16_t version;              /* the one chosen */
    uint32_t transports;           /* bits that the source allows */
    uint8_t incarnation[ID_BYTES]; /* of the source */
};

struct frame_reject {
    uint16_t version_min, version_max; /* of the source */
    uint8_t cause;                     /* baton_cause; INCARNATION, CLOSING, PROTOCOL, BUSY */
    /* payload: text for a person, printable ASCII */
};

struct frame_bulk {
    uint32_t magic;
    uint8_t expected[ID_BYTES]; /* incarnation of the source */
    uint8_t link_id[ID_BYTES];
};

struct frame_region {
    uint32_t region;      /* the source's number of the pool */
    uint8_t kind;         /* region_kind */
    uint64_t length;      /* bytes, > 0 */
    uint64_t block_bytes; /* > 0 */
    uint64_t base; /* PROCESS: an address in the source's process, used for process_vm_readv on it
                      only; else 0 */
    uint64_t nonce_base; /* PROCESS: where the 16 bytes `nonce` lie; else 0 */
    uint8_t nonce[ID_BYTES];
};

struct frame_open {
    uint64_t offer_id;
    uint64_t fetch_id;
    uint32_t slot;       /* < BATON_READERS_MAX */
    uint32_t transports; /* bits; at least one */
    uint8_t secret[ID_BYTES];
    uint64_t block_bytes;
    uint32_t first_block; /* of the offer's list */
    uint32_t block_count; /* 1..BATON_HANDOFF_BLOCKS_MAX */
    struct baton_layout layout;
    uint8_t mode;    /* open_mode */
    uint32_t region; /* push over shm, nixl: the sink's pool, as REGION names it; else 0 */
    /* payload: push over shm, nixl: the sink's blocks as runs, see layout.h; else none */
};

struct frame_accept {
    uint64_t fetch_id;
    uint64_t attempt;   /* > 0 */
    uint64_t watermark; /* bytes, <= total */
    uint64_t total;     /* bytes of the offer */
    uint32_t region;
    uint32_t block_count; /* of the whole offer */
    uint64_t block_bytes;
    struct baton_layout layout;
    /* payload: the source's blocks as runs, see layout.h */
};

struct frame_refused {
    uint64_t fetch_id;
    uint8_t cause;   /* baton_cause */
    uint8_t revoked; /* 1: the slot was REVOKED, for `cause`.  0: `cause` is the refusal itself */
};

struct frame_watermark {
    uint64_t fetch_id;
    uint64_t attempt;
    uint64_t watermark;
};

struct frame_commit {
    uint64_t offer_id;
    uint64_t fetch_id;
    uint64_t attempt;
    uint32_t slot;
};

struct frame_committed {
    uint64_t fetch_id;
    uint64_t attempt;
    /* payload: aux, at most BATON_AUX_BYTES_MAX bytes */
};

struct frame_ended {
    uint64_t fetch_id;
    uint64_t attempt;
    uint8_t cause;
};

struct frame_cancel {
    uint64_t offer_id;
    uint64_t fetch_id;
    uint64_t attempt; /* 0: not known */
    uint32_t slot;
    uint8_t scope; /* baton_cancel_scope */
    uint8_t cause; /* baton_cause */
    uint8_t secret[ID_BYTES];
};

struct frame_grant {
    uint64_t offer_id;
    uint64_t fetch_id;
    uint64_t attempt;
    uint64_t offset; /* plan bytes: where the window before it ended */
    uint64_t length; /* > 0; offset + length does not overflow */
    uint32_t slot;
};

struct frame_written {
    uint64_t fetch_id;
    uint64_t attempt;
    uint64_t end; /* all granted plan bytes below it have landed */
};

struct frame_quiesce {
    uint64_t offer_id;
    uint64_t fetch_id;
    uint64_t attempt;
    uint64_t nonce; /* random; the answer repeats it */
    uint32_t slot;
};

struct frame_quiesced {
    uint64_t fetch_id;
    uint64_t attempt;
    uint64_t nonce;
};

struct frame {
    enum frame_type type;
    union {
        struct frame_hello hello;
        struct frame_welcome welcome;
        struct frame_reject reject;
        struct frame_bulk bulk;
        struct frame_region region;
        struct frame_open open;
        struct frame_accept accept;
        struct frame_refused refused;
        struct frame_watermark watermark;
        struct frame_commit commit;
        struct frame_committed committed;
        struct frame_ended ended;
        struct frame_cancel cancel;
        struct frame_grant grant;
        struct frame_written written;
        struct frame_quiesce quiesce;
        struct frame_quiesced quiesced;
    };
    const uint8_t *payload; /* borrowed; NULL when there is none */
    uint32_t payload_length;
};

/* The bytes that `frame` takes when encoded, head included. */
size_t frame_bytes(const struct frame *frame);

/* Encode into `ret_bytes`, which has room for frame_bytes().  Returns the bytes written.  Asserts
 * the limits. */
size_t frame_encode(const struct frame *frame, uint8_t *ret_bytes);

enum frame_status {
    FRAME_WHOLE,
    FRAME_SHORT, /* not all bytes are there yet */
    FRAME_BAD,   /* not a frame that this version knows; the link must be closed */
};

/*
 * Decode the frame at the start of `bytes`.  WHOLE: `*ret_frame` is set, its payload borrowed from
 * `bytes`, and
 * `*ret_used` is how many bytes it took.  BAD: `*ret_why` is a constant text.  Only the outputs
 * named are written.
 */
enum frame_status frame_decode(const uint8_t *bytes, size_t length, struct frame *ret_frame,
                               size_t *ret_used, const char **ret_why);

const char *frame_name(enum frame_type type);

#endif
