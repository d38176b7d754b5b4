/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits that frames and tickets share and that the public header states only in words.  Pure
 * constants, no code.
 */
#ifndef BATON_WIRE_LIMITS_H
#define BATON_WIRE_LIMITS_H

enum {
    WIRE_BLOCK_BYTES_MAX = 1 << 30, /* one block; see struct baton_pool_options */
    WIRE_TEXT_FIRST = 0x20,         /* printable ASCII, from space ... */
    WIRE_TEXT_LAST = 0x7e,          /* ... to tilde */
};

#endif
