/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What moving the same blocks costs without Baton:
 *   shm      one thread's memcpy, from a mapped memfd to the blocks that the fetches also fill;
 *   tcp      one loopback connection between the two processes, from the very blocks that are
 *            offered, by writev, to those that are fetched into, by readv; both sides poll, so that
 *            no wake-up is in it;
 *   process  process_vm_readv between the same blocks, IOVECS of them a call.
 * All copy straight from the source's blocks to the sink's, in the payload's order, which is
 * scattered on both sides; none knows of requests, cancels or commits.
 */
#include "bench_baseline.h"
#include "util/clock.h"
#include "util/error.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    IOVECS = 64,                   /* blocks of one process_vm_readv */
    PROCESS_CALL_BYTES = 1 << 30,  /* of one too: above 2 GiB the kernel cuts it short */
    RAW_PIECES = 256,              /* of one writev or readv */
    RAW_CALL_BYTES = 256 << 10,    /* bytes of one writev or readv */
    RAW_BUFFER_BYTES = 2 << 20,    /* socket buffers, by force: of 1 to 4 MiB the fastest */
    RAW_TRIES_BEFORE_YIELD = 1000, /* two busy processes may share one core */
};

static size_t payload_bytes(const struct bench_side *side)
{
    return side->setup.block_bytes * side->setup.blocks;
}

/* shm */

static baton_err memory_make(struct baseline *baseline, const struct bench_side *side,
                             struct baton_error *ret_error)
{
    size_t bytes = payload_bytes(side);
    int fd = memfd_create("baton-bench", MFD_CLOEXEC);
    void *memory = MAP_FAILED;

    if (fd >= 0 && !ftruncate(fd, (off_t)bytes)) {
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (memory == MAP_FAILED) {
        return error_system(ret_error, errno, "a memfd of %zu bytes", bytes);
    }
    baseline->memory = memory;
    for (size_t i = 0; i < side->setup.blocks; i++) {
        payload_fill(&side->setup, i,
                     baseline->memory + baseline->order[i] * side->setup.block_bytes);
    }
    return BATON_OK;
}

static void memory_move(const struct baseline *baseline, const struct bench_side *side)
{
    size_t block_bytes = side->setup.block_bytes;

    for (size_t i = 0; i < side->setup.blocks; i++) {
        memcpy(side_block(side, i), baseline->memory + baseline->order[i] * block_bytes,
               block_bytes);
    }
}

/* process */

static baton_err process_move(const struct baseline *baseline, const struct pair *pair,
                              size_t first, size_t count, struct baton_error *ret_error)
{
    size_t block_bytes = pair->side.setup.block_bytes;
    struct iovec here[IOVECS], there[IOVECS];
    ssize_t got;

    for (size_t i = 0; i < count; i++) {
        uint64_t place = pair->child_memory + baseline->order[first + i] * block_bytes;

        here[i] = (struct iovec){side_block(&pair->side, first + i), block_bytes};
        there[i] = (struct iovec){(void *)(uintptr_t)place, block_bytes};
    }
    got = process_vm_readv(pair->child, here, count, there, count, 0);
    if (got < 0) {
        return error_system(ret_error, errno,
                            "process_vm_readv (does kernel.yama.ptrace_scope or seccomp forbid "
                            "it?)");
    }
    /* A short read is none of the kernel's whole memory: it says that an address was wrong. */
    return (size_t)got == count * block_bytes
               ? BATON_OK
               : error_set(ret_error, BATON_EINVAL, "process_vm_readv read %zd of %zu bytes", got,
                           count * block_bytes);
}

static baton_err process_move_all(const struct baseline *baseline, const struct pair *pair,
                                  struct baton_error *ret_error)
{
    size_t blocks = pair->side.setup.blocks;
    size_t most = PROCESS_CALL_BYTES / pair->side.setup.block_bytes;
    baton_err err = BATON_OK;

    most = most < IOVECS ? most : IOVECS;
    for (size_t i = 0; i < blocks && !err; i += most) {
        size_t count = blocks - i < most ? blocks - i : most;

        err = process_move(baseline, pair, i, count, ret_error);
    }
    return err;
}

/* tcp */

/* What both ends of the connection have.  The kernel grows buffers by itself, up to its limits,
 * unless SO_SNDBUF cuts them to net.core.wmem_max: so they are set by force, or not at all. */
static baton_err raw_prepare(int fd, struct baton_error *ret_error)
{
    int bytes = RAW_BUFFER_BYTES, yes = 1;

    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) ||
        fcntl(fd, F_SETFL, O_NONBLOCK)) {
        return error_system(ret_error, errno, "a TCP socket");
    }
    return BATON_OK;
}

baton_err raw_connect(uint16_t port, int *ret_fd, struct baton_error *ret_error)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    baton_err err;

    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address))) {
        err = error_system(ret_error, errno, "connecting to the loopback port %u", port);
    } else {
        err = raw_prepare(fd, ret_error);
    }
    if (!err) {
        *ret_fd = fd;
    } else if (fd >= 0) {
        close(fd);
    }
    return err;
}

static int loopback_listen(uint16_t *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && (bind(fd, (struct sockaddr *)&address, length) || listen(fd, 1) ||
                    getsockname(fd, (struct sockaddr *)&address, &length))) {
        close(fd);
        fd = -1;
    }
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static baton_err raw_make(struct baseline *baseline, struct pair *pair,
                          struct baton_error *ret_error)
{
    struct peer_request request = {.kind = PEER_CONNECT};
    struct peer_answer answer;
    int listener = loopback_listen(&request.port);
    baton_err err;

    if (listener < 0) {
        return error_system(ret_error, errno, "listening on the loopback");
    }
    err = pair_ask(pair, &request, &answer, ret_error);
    if (!err) {
        baseline->raw_fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        err = baseline->raw_fd < 0 ? error_system(ret_error, errno, "accepting on the loopback")
                                   : raw_prepare(baseline->raw_fd, ret_error);
    }
    close(listener);
    return err;
}

/* The blocks from byte `offset` of the payload on, for one call.  Returns how many pieces. */
static int raw_pieces(const struct bench_side *side, size_t offset, struct iovec pieces[RAW_PIECES])
{
    size_t block_bytes = side->setup.block_bytes;
    size_t end = payload_bytes(side), left = RAW_CALL_BYTES;
    int count = 0;

    while (count < RAW_PIECES && left && offset < end) {
        size_t inside = offset % block_bytes;
        size_t length = block_bytes - inside < left ? block_bytes - inside : left;

        pieces[count++] = (struct iovec){side_block(side, offset / block_bytes) + inside, length};
        offset += length;
        left -= length;
    }
    return count;
}

/* One direction of the connection, polled without rest, until the whole payload has passed. */
static baton_err raw_pass(const struct bench_side *side, int fd,
                          ssize_t (*call)(int, const struct iovec *, int),
                          struct baton_error *ret_error)
{
    size_t offset = 0, end = payload_bytes(side);
    unsigned tries = 0;

    while (offset < end) {
        struct iovec pieces[RAW_PIECES];
        ssize_t passed = call(fd, pieces, raw_pieces(side, offset, pieces));

        if (passed > 0) {
            offset += (size_t)passed;
            tries = 0;
        } else if (passed == 0 || (errno != EAGAIN && errno != EINTR)) {
            return error_set(ret_error, BATON_ESYSTEM, "the raw connection broke");
        } else if (++tries >= RAW_TRIES_BEFORE_YIELD) {
            sched_yield();
            tries = 0;
        }
    }
    return BATON_OK;
}

baton_err raw_send(const struct bench_side *side, int fd, struct baton_error *ret_error)
{
    return raw_pass(side, fd, writev, ret_error);
}

static baton_err raw_move(struct baseline *baseline, struct pair *pair,
                          struct baton_error *ret_error)
{
    struct peer_request request = {.kind = PEER_SEND};
    baton_err err = pair_send(pair, &request, ret_error);

    return err ? err : raw_pass(&pair->side, baseline->raw_fd, readv, ret_error);
}

baton_err baseline_init(struct baseline *ret_baseline, struct pair *pair,
                        struct baton_error *ret_error)
{
    const struct bench_setup *setup = &pair->side.setup;
    struct baseline baseline = {.raw_fd = -1};
    baton_err err = BATON_OK;

    baseline.order = malloc(setup->blocks * sizeof(*baseline.order));
    if (!baseline.order) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for %zu block numbers", setup->blocks);
    }
    bench_permutation(setup, true, baseline.order);
    if (setup->transport == BENCH_SHM) {
        err = memory_make(&baseline, &pair->side, ret_error);
    } else if (setup->transport == BENCH_TCP) {
        err = raw_make(&baseline, pair, ret_error);
    } else {
        err = process_move(&baseline, pair, 0, 1, ret_error);
    }
    if (err) {
        baseline_fini(&baseline, pair);
        return err;
    }
    *ret_baseline = baseline;
    return BATON_OK;
}

void baseline_fini(struct baseline *baseline, const struct pair *pair)
{
    if (baseline->memory) {
        munmap(baseline->memory, payload_bytes(&pair->side));
    }
    if (baseline->raw_fd >= 0) {
        close(baseline->raw_fd);
    }
    free(baseline->order);
}

baton_err baseline_move(struct baseline *baseline, struct pair *pair, double *ret_seconds,
                        struct baton_error *ret_error)
{
    uint64_t start_ns = clock_now_ns(), end_ns;
    struct peer_answer answer;
    baton_err err = BATON_OK;

    switch (pair->side.setup.transport) {
    case BENCH_SHM:
        memory_move(baseline, &pair->side);
        break;
    case BENCH_TCP:
        err = raw_move(baseline, pair, ret_error);
        break;
    default:
        err = process_move_all(baseline, pair, ret_error);
        break;
    }
    end_ns = clock_now_ns();
    if (!err && pair->side.setup.transport == BENCH_TCP) {
        err = pair_receive(pair, &answer, ret_error);
    }
    if (!err) {
        *ret_seconds = (double)(end_ns - start_ns) / 1e9;
    }
    return err;
}
