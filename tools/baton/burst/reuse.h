/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts the blocks that were rewritten for the next request while the old reader, whose lease had
 * been revoked, was still copying them.  Prefill says when it rewrote blocks of which old request,
 * decode when that request's fetch became quiet; either may come first.  Pure but for its memory.
 */
#ifndef BATON_TOOLS_BURST_REUSE_H
#define BATON_TOOLS_BURST_REUSE_H

#include <stdint.h>

struct reuse;

/* NULL: out of memory. */
struct reuse *reuse_create(void);
void reuse_destroy(struct reuse *reuse);

/* Both return how many blocks are now known to have been rewritten under their reader. */
uint64_t reuse_rewritten(struct reuse *reuse, uint64_t old_id, uint64_t time_ns, uint32_t blocks);
uint64_t reuse_reader_quiet(struct reuse *reuse, uint64_t id, uint64_t quiet_ns);

#endif
