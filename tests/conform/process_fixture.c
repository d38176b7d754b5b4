/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world of the shm transport with a process region: the source is a child process whose memory
 * is read with process_vm_readv().  The test shares that memory, to write it; the transport knows
 * the child's addresses only.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conform/shm_fixture.h"

struct own {
    struct transport *transport;
    struct transport_region region;
    pid_t pid;
    int pidfd;
    int orders[2], answers[2]; /* pipes to and from the child */
};

static const uint8_t nonce[16] = "conformance 0123";

static uint64_t pool_bytes(const struct world *world)
{
    return (uint64_t)world->block_bytes * world->block_count;
}

/* The child: an order is the number of bytes that stay readable. */
_Noreturn static void child(const struct world *world, const struct own *own)
{
    uint64_t keep;

    close(own->orders[1]);
    close(own->answers[0]);
    while (read(own->orders[0], &keep, sizeof(keep)) == (ssize_t)sizeof(keep)) {
        mprotect(world->source + keep, pool_bytes(world) - keep, PROT_NONE);
        if (write(own->answers[1], "k", 1) != 1) {
            break;
        }
    }
    _exit(0);
}

static bool child_start(struct world *world, struct own *own)
{
    world->source =
        mmap(NULL, pool_bytes(world), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (world->source == MAP_FAILED || pipe(own->orders) < 0 || pipe(own->answers) < 0) {
        return false;
    }
    own->pid = fork();
    if (own->pid == 0) {
        child(world, own);
    }
    close(own->orders[0]);
    close(own->answers[1]);
    own->pidfd = own->pid > 0 ? (int)syscall(SYS_pidfd_open, own->pid, 0) : -1;
    return own->pidfd >= 0;
}

static void child_end(struct own *own)
{
    if (own->pid > 0) {
        kill(own->pid, SIGKILL);
        waitpid(own->pid, NULL, 0);
        own->pid = 0;
    }
}

/* Also of a world that was made in part. */
static void process_close(struct world *world)
{
    struct own *own = world->own;

    host_loop_undrive(&world->loop, own->transport);
    transport_shm.destroy(own->transport);
    child_end(own);
    close(own->pidfd);
    close(own->orders[1]);
    close(own->answers[0]);
    region_unmap(&own->region);
    munmap(world->source, pool_bytes(world));
    free(world->sink);
    free(own);
}

static bool process_open(struct world *world)
{
    struct own *own = calloc(1, sizeof(*own));
    uint64_t base;

    *own = (struct own){.pidfd = -1, .orders = {-1, -1}, .answers = {-1, -1}};
    world->own = own;
    world->sink = malloc(pool_bytes(world));
    if (!child_start(world, own)) {
        process_close(world);
        return false;
    }
    base = (uint64_t)(uintptr_t)world->source;
    if (region_attach(&own->region, 0, pool_bytes(world), world->block_bytes, own->pid, own->pidfd,
                      base, (uint64_t)(uintptr_t)nonce, nonce, NULL)) {
        world->skip = "process_vm_readv on a child is not allowed here";
        process_close(world);
        return false;
    }
    if (transport_shm.create(&world->loop.host, &world->options, &own->transport, NULL) ||
        !shm_links_open(world, own->transport, &own->region)) {
        process_close(world);
        return false;
    }
    host_loop_drive(&world->loop, &transport_shm, own->transport);
    return true;
}

static void process_break(struct world *world, uint32_t from_block)
{
    struct own *own = world->own;
    uint64_t keep = (uint64_t)from_block * world->block_bytes;
    char answer;
    bool ok = write(own->orders[1], &keep, sizeof(keep)) == (ssize_t)sizeof(keep) &&
              read(own->answers[0], &answer, 1) == 1;

    (void)ok; /* else the child is dead, and its memory can not be read either */
}

static void process_kill(struct world *world)
{
    child_end(world->own);
}

const struct fixture process_fixture = {
    .name = "shm (process)",
    .ops = &transport_shm,
    .movers = {1, 3},
    .movers_count = 2,
    .open = process_open,
    .close = process_close,
    .break_source = process_break,
    .kill_source = process_kill,
};
