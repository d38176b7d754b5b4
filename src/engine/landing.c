/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pushes into the sink's memory: the source's own movers write into the sink's pool, which it has
 * mapped (shm), or a library does (nixl).  At the source: where the blocks of a lease's sink are,
 * and the windows that are under way into them.  At the sink: what becomes of a fetch whose link is
 * lost while the source may still write.
 */
#include "engine/landing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- the source ---- */

/* The sink's blocks of one lease.  Windows use it until their slot can be leased anew. */
struct landing {
    unsigned transport;           /* index into engine->transports */
    struct engine_region *region; /* shm only; one reference */
    uint32_t sink_region;         /* nixl: as REGION names it, which may have to come */
    struct plan plan;
    uint64_t begin; /* plan bytes: the sink named no block before */
    uint64_t fetch_id, attempt;
    atomic_bool stop;
    struct engine_window *first, **last; /* under way, in the order of their grants */
    uint32_t sink[];                     /* by block of the offer */
};

/* The pool that the frame names, if this side can write there. */
static struct engine_region *landing_region(const struct engine_link *link,
                                            const struct frame_open *open)
{
    struct engine_region *known = link->region[open->region % BATON_POOLS_MAX];

    return known && known->usable && known->region.id == open->region &&
                   known->region.block_bytes == open->block_bytes
               ? known
               : NULL;
}

static void landing_free(struct landing *landing)
{
    if (landing) {
        region_unref(landing->region);
    }
    free(landing);
}

baton_cause landing_open(struct engine_link *link, const struct frame *frame,
                         const struct baton_handoff *h)
{
    const struct frame_open *open = &frame->open;
    bool shm = open->transports == WIRE_TRANSPORT_SHM;
    struct engine_region *region = shm ? landing_region(link, open) : NULL;
    uint32_t end = open->first_block + open->block_count;
    struct landing *landing;

    if ((shm && !region) ||
        !(link->engine->transport_bits & open->transports & pool_transports(h->pool))) {
        return BATON_CAUSE_TRANSPORT;
    }
    landing = calloc(1, sizeof(*landing) + end * sizeof(landing->sink[0]));
    if (!landing) {
        return BATON_CAUSE_TRANSPORT;
    }
    if (!runs_decode(frame->payload, frame->payload_length, open->block_count,
                     region ? region->region.length / region->region.block_bytes : UINT32_MAX,
                     landing->sink + open->first_block)) {
        landing_free(landing);
        return BATON_CAUSE_LAYOUT;
    }
    landing->transport = transport_index(link->engine, shm ? &transport_shm : &transport_nixl);
    landing->region = region ? region_ref(region) : NULL;
    landing->sink_region = open->region;
    landing->begin = open->first_block * open->block_bytes;
    landing->fetch_id = open->fetch_id;
    landing->plan = (struct plan){.block_bytes = open->block_bytes,
                                  .block_count = end,
                                  .source = h->blocks,
                                  .sink = landing->sink};
    landing->last = &landing->first;
    BATON_ASSERT(!link->engine->landing_spare);
    link->engine->landing_spare = landing;
    return BATON_CAUSE_NONE;
}

/* The OPEN was applied: if it led to a lease, that is where its bytes go. */
void landing_opened(baton_engine *engine, struct baton_handoff *h, uint32_t slot, uint64_t attempt)
{
    struct landing *landing = engine->landing_spare;

    engine->landing_spare = NULL;
    if (!landing || !attempt) {
        landing_free(landing);
        return;
    }
    landing_forget(h, slot);
    landing->attempt = attempt;
    h->landing[slot] = landing;
}

bool landing_is(const struct baton_handoff *h, uint32_t slot, uint64_t attempt)
{
    return h->landing[slot] && h->landing[slot]->attempt == attempt;
}

void landing_forget(struct baton_handoff *h, uint32_t slot)
{
    /* A slot is leased anew, or forgotten, only after its pushes. */
    BATON_ASSERT(!h->landing[slot] || !h->landing[slot]->first);
    landing_free(h->landing[slot]);
    h->landing[slot] = NULL;
}

bool landing_reserve(struct engine_link *link)
{
    baton_engine *engine = link->engine;

    if (!engine->push_spare) {
        engine->push_spare = malloc(sizeof(*engine->push_spare));
    }
    return engine->push_spare && link->out < ENGINE_WINDOWS_MAX;
}

/*
 * The sink has to see the end of who stores into its memory.  Without a word, as where the link can
 * carry no descriptor, that end is no proof for it.
 */
static void tell_writer(struct engine_link *link, unsigned transport)
{
    const struct transport_ops *ops = link->engine->transports[transport].ops;
    const struct frame frame = {.type = FRAME_REGION, .region.kind = REGION_WRITER};
    int fd = ops->process && !link->writer_told ? ops->process(link->transport[transport]) : -1;

    if (fd >= 0 && link->control.is_unix && link->control.out_fd < 0) {
        link->writer_told = connection_add(&link->control, &frame, fd);
        link_wants(link->engine, link->number);
    }
}

void landing_start(baton_engine *engine, const struct core_action *a)
{
    struct baton_handoff *h = engine->table[CORE_OFFER][a->index];
    struct landing *landing = h->landing[a->slot];
    struct engine_link *link = &engine->links[a->link];
    struct engine_window *w = engine->push_spare;
    const struct engine_region *region = landing->region;
    const struct transport_ops *ops = engine->transports[landing->transport].ops;

    BATON_ASSERT(w && landing->fetch_id == a->serve.fetch_id);
    engine->push_spare = NULL;
    *w = (struct engine_window){.landing = landing};
    w->window = (struct transport_window){
        .link = window_link(link, landing->transport),
        .plan = &landing->plan,
        .sink_base = region ? (unsigned char *)(uintptr_t)region->region.map : NULL,
        .region = region ? &region->region : NULL,
        .source_base = h->pool->memory,
        .memory = h->pool->shared,
        .peer_region = landing->sink_region,
        .own_bytes = h->pool->bytes,
        .stop = &landing->stop,
        .offset = a->serve.offset,
        .length = a->serve.length,
        .fetch_id = a->serve.fetch_id,
        .offer_id = h->id,
        .attempt = a->serve.attempt,
        .slot = a->slot,
        .engine_link = link->number};
    *landing->last = w;
    landing->last = &w->next;
    link->out++;
    h->transports_used |= ops->bit;
    /* Only into blocks that the sink has named. */
    if (!w->window.link || w->window.offset < landing->begin ||
        w->window.offset + w->window.length > plan_bytes(&landing->plan)) {
        w->window.status = TRANSPORT_FAILED;
        landing_done(engine, w);
        return;
    }
    engine->counts.bytes_served += a->serve.length;
    ops->post(&w->window);
    tell_writer(link, landing->transport); /* it is known now, and has not begun to write */
}

void landing_stop(baton_engine *engine, const struct core_action *a)
{
    const struct baton_handoff *h = engine->table[CORE_OFFER][a->index];
    struct landing *landing = h->landing[a->slot];
    const struct engine_window *w = landing->first;

    atomic_store(&landing->stop, true);
    if (w && engine->links[w->window.engine_link].transport[landing->transport]) {
        engine->transports[landing->transport].ops->stop(w->window.link, landing->fetch_id);
    }
}

/* Windows of a lease are told of in order, whichever mover was faster. */
void landing_done(baton_engine *engine, struct engine_window *w)
{
    struct landing *landing = w->landing;
    struct engine_link *link = &engine->links[w->window.engine_link];

    link->out--;
    link_attend(link); /* it may be over */
    w->over = true;
    while ((w = landing->first) && w->over) {
        landing->first = w->next;
        landing->last = w->next ? landing->last : &landing->first;
        window_over(engine, w);
    }
}

struct engine_link *landing_link(const struct baton_handoff *h, uint32_t slot)
{
    const struct landing *landing = h->landing[slot];

    return landing && landing->first ? &h->engine->links[landing->first->window.engine_link] : NULL;
}

/* ---- the sink ---- */

/* A source that may write into our pools, and whose link was lost.  Its process is watched, and it
 * is dialled again and again, until nothing is in doubt. */
struct doubt {
    struct transport_fd exit; /* a pidfd; fd -1: it has ended, or it is not ours yet */
    bool watched;
    pid_t pid;   /* of the same process */
    bool exited; /* the process has ended */
    baton_engine *engine;
    struct ticket ticket;
    bool in_process;            /* if the source writes by a library, that is in its own process, */
    struct transport_fd writer; /* or in this one; fd -1: it has ended, or is not known */
    bool writer_exited;
    bool writers;     /* there were several, so the end of one says nothing */
    uint64_t dial_us; /* not before */
    struct doubt *next;
};

bool landing_wanted(const struct baton_handoff *h)
{
    return h->fetch.push && (h->transports_wanted == WIRE_TRANSPORT_SHM ||
                             h->transports_wanted == WIRE_TRANSPORT_NIXL);
}

/* The pool that the source is to write into is told of once a link. */
static bool region_out(struct engine_link *link, baton_pool *pool)
{
    struct frame region = {.type = FRAME_REGION};

    if (link->told[pool->number] == pool->region) {
        return true;
    }
    region.region.region = pool->region;
    region.region.kind = REGION_MEMFD;
    region.region.length = pool->bytes;
    region.region.block_bytes = pool->block_bytes;
    link->told[pool->number] = pool->region;
    return connection_add(&link->control, &region, pool->memfd);
}

bool landing_out(struct engine_link *link, struct frame *frame, const struct baton_handoff *h)
{
    baton_pool *pool = h->pool;
    uint8_t *runs;
    bool added;

    /* Before anybody can write: the loss of the link must find memory for what follows it. */
    link->doubt = link->doubt ? link->doubt : calloc(1, sizeof(*link->doubt));
    if (!link->doubt) {
        return false;
    }
    link->pushed = true;
    if (h->transports_wanted == WIRE_TRANSPORT_NIXL) {
        window_share(link, pool);
    } else if (!region_out(link, pool)) {
        return false;
    }
    runs = malloc(8 * (size_t)h->loan.count);
    if (!runs) {
        return false;
    }
    frame->open.region = pool->region;
    frame->payload = runs;
    frame->payload_length = (uint32_t)runs_encode(h->blocks, h->loan.count, runs);
    added = connection_add(&link->control, frame, -1);
    free(runs);
    return added;
}

static bool is_doubtful(const struct baton_handoff *h, const struct doubt *doubt)
{
    return h && landing_wanted(h) && atomic_load(&h->decided) && !h->receipt.proof &&
           memcmp(h->ticket.incarnation, doubt->ticket.incarnation, ID_BYTES) == 0;
}

static struct baton_handoff *fetch_at(baton_engine *engine, uint32_t index)
{
    struct baton_handoff *h;

    pthread_mutex_lock(&engine->table_lock);
    h = engine->table[CORE_FETCH][index];
    pthread_mutex_unlock(&engine->table_lock);
    return h; /* only the driver takes it away */
}

/*
 * Over shm the source's process alone wrote.  By nixl that is so, or its helper did, where the
 * lanes let no NIC write; and then what this side's own library stored counts too: its end has to
 * be gone.
 */
static bool exit_proves(const struct baton_handoff *h, const struct doubt *doubt)
{
    if (!doubt->exited || h->transports_wanted == WIRE_TRANSPORT_SHM) {
        return doubt->exited;
    }
    return h->fenced && h->exit_proves &&
           (doubt->in_process || (doubt->writer_exited && !doubt->writers));
}

static void prove_exit(struct doubt *doubt)
{
    struct core_event event = {.type = CORE_EVENT_PROOF, .proof.proof = BATON_PROOF_PEER_EXITED};

    for (uint32_t i = 0; i < doubt->engine->options.fetches_max; i++) {
        const struct baton_handoff *h = fetch_at(doubt->engine, i);

        if (is_doubtful(h, doubt) && exit_proves(h, doubt)) {
            event.proof.id = h->id;
            engine_apply(doubt->engine, &event);
        }
    }
}

static void fd_close(baton_engine *engine, struct transport_fd *fd)
{
    if (fd->fd >= 0) {
        loop_unwatch(engine, fd);
        close(fd->fd);
        fd->fd = -1;
    }
}

/* What its process wrote itself, it writes no more; mappings of pools are not inherited. */
static void source_exited(struct transport_fd *watch, unsigned events)
{
    struct doubt *doubt = (struct doubt *)(void *)((char *)watch - offsetof(struct doubt, exit));

    (void)events;
    fd_close(doubt->engine, &doubt->exit);
    doubt->exited = true;
    prove_exit(doubt);
}

static void writer_exited(struct transport_fd *watch, unsigned events)
{
    struct doubt *doubt = (struct doubt *)(void *)((char *)watch - offsetof(struct doubt, writer));

    (void)events;
    fd_close(doubt->engine, &doubt->writer);
    doubt->writer_exited = true;
    prove_exit(doubt);
}

static const struct doubt *doubt_of(const baton_engine *engine, const struct baton_handoff *h)
{
    const struct doubt *doubt = engine->doubts;

    while (doubt && !is_doubtful(h, doubt)) {
        doubt = doubt->next;
    }
    return doubt;
}

/* The doubt about that link's source; NULL. */
static struct doubt *doubt_about(const struct engine_link *link)
{
    struct doubt *doubt = link->engine->doubts;

    while (doubt && memcmp(doubt->ticket.incarnation, link->incarnation, ID_BYTES) != 0) {
        doubt = doubt->next;
    }
    return doubt;
}

/* What else has to be known of a fetch whose link's end at this side is gone. */
static baton_proof fenced_proof(const baton_engine *engine, const struct baton_handoff *h,
                                baton_proof proof)
{
    const struct doubt *doubt = doubt_of(engine, h);

    if (proof) {
        return proof;
    }
    if (h->quiesced) {
        return BATON_PROOF_PEER_DRAIN;
    }
    return doubt && exit_proves(h, doubt) ? BATON_PROOF_PEER_EXITED : BATON_PROOF_NONE;
}

bool landing_fenced(void *arg, uint64_t serial, baton_proof proof, bool exit_proves)
{
    baton_engine *engine = arg;
    struct core_event event = {.type = CORE_EVENT_PROOF};
    bool waits = false;

    for (uint32_t i = 0; i < engine->options.fetches_max; i++) {
        struct baton_handoff *h = fetch_at(engine, i);

        if (!h || h->link_serial != serial || h->transports_wanted != WIRE_TRANSPORT_NIXL ||
            !landing_wanted(h)) {
            continue;
        }
        h->fenced = true;
        h->exit_proves = exit_proves;
        event.proof.id = h->id;
        event.proof.proof = fenced_proof(engine, h, proof);
        if (!atomic_load(&h->decided) || h->receipt.proof) {
            continue;
        }
        if (event.proof.proof) {
            engine_apply(engine, &event);
        } else {
            waits = true;
        }
    }
    return waits;
}

bool landing_quiesced(const struct engine_link *link, const struct frame *frame)
{
    const struct frame_quiesced *q = &frame->quiesced;
    struct baton_handoff *h = handoff_find(link->engine, CORE_FETCH, q->fetch_id);

    if (!h || h->transports_wanted != WIRE_TRANSPORT_NIXL || h->fenced ||
        h->link_serial == link->serial) {
        return true;
    }
    h->quiesced = h->quiesced || (h->attempt == q->attempt && h->fetch.nonce == q->nonce);
    return false;
}

bool landing_writer(struct engine_link *link, int pidfd)
{
    /* Signal 0 does nothing, to a pidfd alone. */
    bool fits = link->sink && link->writer < 0 && pidfd >= 0 &&
                (syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) == 0 || errno != EBADF);

    if (fits) {
        link->writer = pidfd;
    } else if (pidfd >= 0) {
        close(pidfd);
    }
    return fits;
}

/* If the kernel has no memory for it now, the next tick tries again. */
static void doubt_watch(struct doubt *doubt)
{
    if (doubt->exit.fd >= 0 && !doubt->watched) {
        doubt->watched = loop_watch(doubt->engine, &doubt->exit, EPOLLIN);
    }
}

void doubt_begin(struct engine_link *link)
{
    struct doubt *doubt = link->doubt, *before = doubt_about(link);

    if (!link->pushed || before) {
        if (before && link->pushed) {
            before->writers = true; /* of an older link, and of this one */
        }
        return;
    }
    link->doubt = NULL;
    /* Of our own, since movers may use the link's; without a free one that is ours in the end. */
    *doubt = (struct doubt){
        .exit = {.fd = fcntl(link->peer_exit.fd, F_DUPFD_CLOEXEC, 0), .ready = source_exited},
        .pid = link->control.pid,
        .engine = link->engine,
        .in_process = link->peer_transports & WIRE_NIXL_IN_PROCESS,
        .writer = {.fd = link->writer, .ready = writer_exited},
        .ticket = link->ticket,
        .next = link->engine->doubts};
    link->engine->doubts = doubt;
    link->writer = -1;
    if (doubt->writer.fd >= 0 && !loop_watch(link->engine, &doubt->writer, EPOLLIN)) {
        close(doubt->writer.fd); /* then it is not known */
        doubt->writer.fd = -1;
    }
    doubt_watch(doubt);
}

void doubt_take(struct engine_link *link)
{
    struct doubt *doubt = doubt_about(link);

    if (doubt && doubt->exit.fd < 0 && !doubt->exited) {
        doubt->exit.fd = link->peer_exit.fd;
        link->peer_exit.fd = -1;
        doubt_watch(doubt);
    }
}

int doubt_process(const baton_engine *engine, const uint8_t incarnation[ID_BYTES], pid_t *ret_pid)
{
    for (const struct doubt *doubt = engine->doubts; doubt; doubt = doubt->next) {
        if (memcmp(doubt->ticket.incarnation, incarnation, ID_BYTES) == 0) {
            *ret_pid = doubt->pid;
            return doubt->exit.fd;
        }
    }
    return -1;
}

static void doubt_free(struct doubt *doubt)
{
    fd_close(doubt->engine, &doubt->exit);
    fd_close(doubt->engine, &doubt->writer);
    free(doubt);
}

static bool has_doubtful(const struct doubt *doubt)
{
    for (uint32_t i = 0; i < doubt->engine->options.fetches_max; i++) {
        if (is_doubtful(fetch_at(doubt->engine, i), doubt)) {
            return true;
        }
    }
    return false;
}

/* A new link asks the source for its word (the core says QUIESCE on it). */
void doubt_tick(baton_engine *engine, uint64_t now_us)
{
    struct doubt **at = &engine->doubts;

    while (*at) {
        struct doubt *doubt = *at;

        if (!has_doubtful(doubt)) {
            *at = doubt->next;
            doubt_free(doubt);
            continue;
        }
        doubt_watch(doubt);
        if (now_us >= doubt->dial_us &&
            core_link_to(engine->core, doubt->ticket.incarnation) == CORE_NONE) {
            doubt->dial_us = now_us + ENGINE_DOUBT_DIAL_MS * 1000;
            greet_link(engine, &doubt->ticket);
        }
        at = &doubt->next;
    }
}

void landing_fini(baton_engine *engine)
{
    while (engine->doubts) {
        struct doubt *doubt = engine->doubts;

        engine->doubts = doubt->next;
        doubt_free(doubt);
    }
    free(engine->push_spare);
}
