/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links of one host: their frames go through a pair of rings in shared memory.  The sink makes the
 * memory and sends it with HELLO; the source's WELCOME says that it has it, and from there on the
 * socket carries no frames: only bells (a byte that wakes a sleeper), descriptors, and its end.
 *
 * A link is hot while the driver looks at its ring in each step, and cold once it has told the peer
 * to ring: only hot links cost anything.
 */
#include "engine/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/ring.h"

enum {
    RINGS_TO_SOURCE = 0,
    RINGS_TO_SINK,
    RINGS_BYTES = 2 * sizeof(struct ring),
    RINGS_IDLE_MAX =
        10000, /* steps of a driving caller in which nothing came: the link gets cold */
};

_Static_assert(RINGS_BYTES == 65920, "both sides of a link agree on it: docs/PROTOCOL.md");

struct rings {
    struct ring *map; /* two */
    struct ring_end in, out;
    unsigned idle;
};

static bool map(struct connection *c, int fd, unsigned in)
{
    struct rings *r = calloc(1, sizeof(*r));
    struct ring *memory;

    if (!r) {
        return false;
    }
    memory = mmap(NULL, RINGS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED || madvise(memory, RINGS_BYTES, MADV_DONTFORK) != 0) {
        if (memory != MAP_FAILED) {
            munmap(memory, RINGS_BYTES);
        }
        free(r);
        return false;
    }
    r->map = memory;
    r->in.ring = &memory[in];
    r->out.ring = &memory[1 - in];
    c->rings = r;
    return true;
}

int rings_make(struct connection *c)
{
    int fd = memfd_create("baton-link", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0) {
        return -1;
    }
    if (ftruncate(fd, RINGS_BYTES) != 0 || fallocate(fd, 0, 0, RINGS_BYTES) != 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0 || !map(c, fd, RINGS_TO_SINK)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* The peer can not take the memory away again, and its pages are there: nothing here faults. */
static bool is_sound(int fd)
{
    const int wanted = F_SEAL_SHRINK | F_SEAL_GROW;
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat stat;

    return seals >= 0 && (seals & wanted) == wanted && fstat(fd, &stat) == 0 &&
           stat.st_size == RINGS_BYTES && fallocate(fd, 0, 0, RINGS_BYTES) == 0;
}

bool rings_take(struct connection *c, int fd)
{
    bool taken = fd >= 0 && is_sound(fd) && map(c, fd, RINGS_TO_SOURCE);

    if (fd >= 0) {
        close(fd);
    }
    return taken;
}

/* ---- hot and cold ---- */

static void heat(struct engine_link *link)
{
    baton_engine *engine = link->engine;

    if (!link->hot) {
        link->hot = true;
        link->control.rings->idle = 0;
        engine->hot[engine->hot_count++] = link->number;
    }
}

static void cool(struct engine_link *link)
{
    baton_engine *engine = link->engine;

    for (uint32_t i = 0; link->hot; i++) {
        BATON_ASSERT(i < engine->hot_count);
        if (engine->hot[i] == link->number) {
            engine->hot[i] = engine->hot[--engine->hot_count];
            link->hot = false;
        }
    }
}

void rings_begin(struct connection *c)
{
    BATON_ASSERT(c->rings && c->link && c->out_length == 0);
    c->ringed = true;
    heat(c->link);
}

void rings_close(struct connection *c)
{
    if (c->ringed) {
        cool(c->link);
    }
    if (c->rings) {
        munmap(c->rings->map, RINGS_BYTES);
        free(c->rings);
    }
    c->rings = NULL;
    c->ringed = false;
}

/* ---- bytes ---- */

/* False: the connection is gone.  A socket that takes no byte has some that wake the peer. */
static bool ring_bell(const struct connection *c)
{
    return send(c->watch.fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1 || errno == EAGAIN ||
           errno == EINTR;
}

bool rings_write(struct connection *c)
{
    bool bell = false, full = false;

    while (c->out_sent < c->out_length && !full) {
        size_t end = c->out_length, written;
        bool wake;

        if (c->out_fd >= 0 && c->out_fd_at == c->out_sent) {
            if (!connection_send_fd(c)) {
                return false;
            }
            if (c->out_fd >= 0) {
                break; /* the socket is full of bells: the peer has to read them first */
            }
        } else if (c->out_fd >= 0 && c->out_fd_at > c->out_sent) {
            end = c->out_fd_at;
        }
        if (!ring_write(&c->rings->out, c->out + c->out_sent, end - c->out_sent, &written, &wake)) {
            c->ring_broken = true;
            return false;
        }
        full = written < end - c->out_sent;
        c->out_sent += written;
        bell = bell || wake;
    }
    if (c->out_sent == c->out_length) {
        c->out_sent = c->out_length = 0;
    }
    connection_events(c);
    return !bell || ring_bell(c);
}

/* As connection_read(). */
static int read_ring(struct connection *c)
{
    size_t got;
    bool wake;

    if (!connection_reserve(c, RING_BYTES)) {
        return -1;
    }
    if (!ring_read(&c->rings->in, c->in + c->in_length, RING_BYTES, &got, &wake)) {
        c->ring_broken = true;
        return -1;
    }
    if (wake) {
        ring_bell(c); /* nobody there: the socket's end says so */
    }
    c->in_length += got;
    return got > 0;
}

/* ---- the driver ---- */

static bool look(struct engine_link *link)
{
    struct connection *c = &link->control;
    int got = 0;

    ring_awake(&c->rings->in);
    if (core_link_reads(link->engine->core, link->number)) {
        got = read_ring(c);
    }
    if (got > 0) {
        c->rings->idle = 0;
        link_digest(link);
    } else if (got < 0) {
        link_lose(link, connection_cause(c));
    } else {
        c->rings->idle++;
    }
    return got != 0;
}

void rings_poll(baton_engine *engine)
{
    for (uint32_t i = 0; i < engine->hot_count;) {
        uint32_t number = engine->hot[i];

        if (look(&engine->links[number])) {
            engine_settle(engine);
        }
        /* A link that was lost has left the list, and another has taken its place. */
        if (i < engine->hot_count && engine->hot[i] == number) {
            i++;
        }
    }
}

bool rings_have(const baton_engine *engine)
{
    for (uint32_t i = 0; i < engine->hot_count; i++) {
        const struct engine_link *link = &engine->links[engine->hot[i]];

        if (ring_has(&link->control.rings->in) && core_link_reads(engine->core, link->number)) {
            return true;
        }
    }
    return false;
}

bool rings_rest(baton_engine *engine, bool leave)
{
    bool quiet = true;

    for (uint32_t i = 0; i < engine->hot_count; i++) {
        struct engine_link *link = &engine->links[engine->hot[i]];
        struct rings *r = link->control.rings;

        /* Of a link that is not read for now only what it writes can come next, and the peer rings
         * when there is room. */
        quiet = (ring_sleep(&r->in) || !core_link_reads(engine->core, link->number)) && quiet;
    }
    for (uint32_t i = 0; quiet && i < engine->hot_count;) {
        struct engine_link *link = &engine->links[engine->hot[i]];

        if (leave || link->control.rings->idle > RINGS_IDLE_MAX) {
            cool(link);
        } else {
            i++;
        }
    }
    return quiet;
}

void rings_ready(struct connection *c)
{
    struct engine_link *link = c->link;
    int got = connection_bells(c);

    if (got < 0) {
        /* What the peer said before its end is in the ring. */
        if (core_link_reads(link->engine->core, link->number) && read_ring(c) > 0) {
            link_digest(link);
        }
        /* It may have ended, and its record be another's: a fetch that was asked for meanwhile. */
        if (link->up) {
            link_lose(link, BATON_CAUSE_LINK_CLOSED);
        }
        return;
    }
    heat(link);
    link_wants(link->engine, link->number); /* there may be room now */
    look(link);
}
