/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world of the shm transport with a mapped region: a memfd, exported and mapped again in the
 * same process, as the sink would map it.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conform/shm_fixture.h"

struct own {
    struct transport *transport;
    struct transport_region region;
};

static uint64_t pool_bytes(const struct world *world)
{
    return (uint64_t)world->block_bytes * world->block_count;
}

bool shm_links_open(struct world *world, struct transport *transport,
                    const struct transport_region *region)
{
    for (unsigned i = 0; i < WORLD_LINKS; i++) {
        struct transport_link_args args = {.link = world_sink_number(i), .sink = true};

        if (transport_shm.link_open(transport, &args, &world->links[i].sink, NULL)) {
            return false;
        }
        world->links[i].region = region;
    }
    return true;
}

/* The source's pool: written through its own mapping, read through an exported descriptor. */
static bool pool_open(struct world *world, struct own *own)
{
    int memfd = memfd_create("conform", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int fd;

    if (memfd < 0 || ftruncate(memfd, (off_t)pool_bytes(world)) < 0 ||
        fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0) {
        return false;
    }
    world->source = mmap(NULL, pool_bytes(world), PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    fd = region_export(memfd);
    close(memfd);
    return world->source != MAP_FAILED && fd >= 0 &&
           region_map(&own->region, 0, pool_bytes(world), world->block_bytes, fd, NULL) == BATON_OK;
}

/* Also of a world that was made in part. */
static void shm_close_world(struct world *world)
{
    struct own *own = world->own;

    host_loop_undrive(&world->loop, own->transport);
    transport_shm.destroy(own->transport);
    region_unmap(&own->region);
    munmap(world->source, pool_bytes(world));
    free(world->sink);
    free(own);
}

static bool shm_open_world(struct world *world)
{
    struct own *own = calloc(1, sizeof(*own));

    world->own = own;
    world->sink = malloc(pool_bytes(world));
    if (!pool_open(world, own) ||
        transport_shm.create(&world->loop.host, &world->options, &own->transport, NULL) ||
        !shm_links_open(world, own->transport, &own->region)) {
        shm_close_world(world);
        return false;
    }
    host_loop_drive(&world->loop, &transport_shm, own->transport);
    return true;
}

/* The seals forbid the peer to truncate the file, so the fault is made on this side. */
static void shm_break_source(struct world *world, uint32_t from_block)
{
    const struct own *own = world->own;
    uint64_t offset = (uint64_t)from_block * world->block_bytes;

    mprotect((void *)((uintptr_t)own->region.map + offset), pool_bytes(world) - offset, PROT_NONE);
}

const struct fixture shm_fixture = {
    .name = "shm (mapped)",
    .ops = &transport_shm,
    .movers = {0, 1, 3},
    .movers_count = 3,
    .open = shm_open_world,
    .close = shm_close_world,
    .break_source = shm_break_source,
};

const struct fixture *const conform_fixtures[] = {&shm_fixture, &process_fixture, NULL};
