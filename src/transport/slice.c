/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying one slice of a window: from or to a mapping, guarded against faults on either side, or
 * out of another process with process_vm_readv().
 */
#include "transport/slice.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/uio.h>

#include "transport/fault.h"
#include "util/assert.h"

enum {
    /* Spans of one call of process_vm_readv(); below IOV_MAX, to keep the stack small. */
    SLICE_SPANS_MAX = 128,
};

struct slice {
    struct transport_window *window;
    uint64_t left;
    bool outside; /* the plan names bytes that the region does not have */
};

/* The plan's other side came from the peer: it must not lead past the region. */
static bool inside(const struct transport_region *region, uint64_t offset, uint64_t length)
{
    return offset <= region->length && length <= region->length - offset;
}

static void copy_spans(void *arg)
{
    struct slice *slice = arg;
    struct transport_window *window = slice->window;
    const unsigned char *source = window->source_base ? window->source_base : window->region->map;
    struct plan_span span;

    while (slice->left && plan_next(&window->cursor, slice->left, &span)) {
        uint64_t offset = window->source_base ? span.sink_offset : span.source_offset;

        if (!inside(window->region, offset, span.length)) {
            slice->outside = true;
            return;
        }
        memcpy(window->sink_base + span.sink_offset, source + span.source_offset, span.length);
        slice->left -= span.length;
        window->landed += span.length;
        /* A fault in the next span must find this one counted. */
        atomic_signal_fence(memory_order_release);
    }
}

static enum transport_status copy_mapped(struct transport_window *window, uint32_t slice_bytes)
{
    struct slice slice = {.window = window, .left = slice_bytes};
    const struct transport_region *region = window->region;
    const void *own = window->source_base ? window->source_base : window->sink_base;
    const struct fault_range ranges[FAULT_RANGES] = {{region->map, region->length},
                                                     {own, window->own_bytes}};

    if (!fault_run(copy_spans, &slice, ranges) || slice.outside) {
        return TRANSPORT_FAILED;
    }
    return TRANSPORT_OK;
}

struct batch {
    struct iovec local[SLICE_SPANS_MAX], remote[SLICE_SPANS_MAX];
    unsigned first, count;
};

/* Drop what was read from the front of the batch. */
static void advance(struct batch *batch, size_t length)
{
    while (length) {
        struct iovec *local = &batch->local[batch->first];
        struct iovec *remote = &batch->remote[batch->first];
        size_t part = length < local->iov_len ? length : local->iov_len;

        BATON_ASSERT(batch->first < batch->count);
        local->iov_base = (char *)local->iov_base + part;
        remote->iov_base = (char *)remote->iov_base + part;
        local->iov_len -= part;
        remote->iov_len -= part;
        length -= part;
        batch->first += local->iov_len == 0;
    }
}

/* A call may read less than it was asked for; asked again it reads on, or says why it can not. */
static enum transport_status read_batch(struct transport_window *window, struct batch *batch)
{
    while (batch->first < batch->count) {
        unsigned count = batch->count - batch->first;
        ssize_t ret = process_vm_readv(window->region->pid, &batch->local[batch->first], count,
                                       &batch->remote[batch->first], count, 0);

        if (ret <= 0) {
            return ret < 0 && errno == ESRCH ? TRANSPORT_PEER_DEAD : TRANSPORT_FAILED;
        }
        window->landed += (uint64_t)ret;
        advance(batch, (size_t)ret);
    }
    return TRANSPORT_OK;
}

/*
 * Remote addresses are handed to the kernel as numbers and never dereferenced here.  The local
 * side is the sink's own blocks.
 */
static enum transport_status copy_process(struct transport_window *window, uint32_t slice_bytes)
{
    const struct transport_region *region = window->region;
    struct batch batch;
    struct plan_span span;
    uint64_t left = slice_bytes;

    batch.first = batch.count = 0;
    while (left && batch.count < SLICE_SPANS_MAX && plan_next(&window->cursor, left, &span)) {
        uintptr_t address = (uintptr_t)(region->remote_base + span.source_offset);

        if (!inside(region, span.source_offset, span.length)) {
            return TRANSPORT_FAILED;
        }
        batch.local[batch.count].iov_base = window->sink_base + span.sink_offset;
        batch.local[batch.count].iov_len = span.length;
        batch.remote[batch.count].iov_base = (void *)address;
        batch.remote[batch.count].iov_len = span.length;
        batch.count++;
        left -= span.length;
    }
    return read_batch(window, &batch);
}

bool slice_peer_gone(int pidfd)
{
    struct pollfd pollfd = {.fd = pidfd, .events = POLLIN};
    int ret;

    do {
        ret = poll(&pollfd, 1, 0);
    } while (ret < 0 && errno == EINTR);
    return ret != 0;
}

/*
 * A process that is alive after a read has had its pid all the time, so the bytes are its own: a
 * pid is not used again before its process was reaped.  Holding the pidfd alone does not reserve
 * the pid, which is why this comes after the copy.  A mapping is the right memory without a check.
 */
static bool peer_gone(const struct transport_region *region)
{
    return region->process && slice_peer_gone(region->pidfd);
}

bool slice_copy(struct transport_window *window, uint32_t slice_bytes, const atomic_bool *abort)
{
    enum transport_status status;

    BATON_ASSERT(slice_bytes > 0);
    if (atomic_load_explicit(window->stop, memory_order_acquire) ||
        atomic_load_explicit(abort, memory_order_acquire)) {
        window->status = TRANSPORT_ABORTED;
        return false;
    }
    status = window->region->process ? copy_process(window, slice_bytes)
                                     : copy_mapped(window, slice_bytes);
    if (status == TRANSPORT_OK && window->cursor.offset < window->cursor.end) {
        return true;
    }
    if (status != TRANSPORT_PEER_DEAD && peer_gone(window->region)) {
        status = TRANSPORT_PEER_DEAD;
    }
    window->status = status;
    BATON_ASSERT(BATON_IMPLIES(status == TRANSPORT_OK, window->landed == window->length));
    return false;
}
