/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Doubt: a handoff has ended, and its quiet is not proven.  What is done about the peer that it
 * waits for (on_doubt), and how much of a pool one peer may hold in this way
 * (quarantine_bytes_max, quarantine_percent_max).  Nothing here is a proof or frees a block: a
 * closed link and a killed process lead to one in the ways that they always do.
 */
#include "engine/landing.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    PEER_TEXT_BYTES = 9, /* four bytes of an incarnation, with the closing NUL */
};

static const char *peer_text(const uint8_t incarnation[ID_BYTES], char ret_text[PEER_TEXT_BYTES])
{
    snprintf(ret_text, PEER_TEXT_BYTES, "%02x%02x%02x%02x", incarnation[0], incarnation[1],
             incarnation[2], incarnation[3]);
    return ret_text;
}

/* ---- what is done about a peer ---- */

static void say_done(const struct baton_handoff *h, const char *what, const uint8_t peer[ID_BYTES],
                     const char *more)
{
    char text[PEER_TEXT_BYTES];

    engine_log(h->engine, BATON_LOG_WARN,
               "handoff %llu is not quiet %u ms after its outcome: %s peer %s%s (on_doubt)",
               (unsigned long long)h->id, h->engine->options.on_doubt_ms, what,
               peer_text(peer, text), more);
}

static void fence(struct baton_handoff *h, struct engine_link *link)
{
    h->engine->counts.links_fenced++;
    say_done(h, "closed the link to", link->incarnation, "");
    link_lose(link, BATON_CAUSE_FENCED);
}

/* The link over which the fetch's windows went, if it still stands. */
static struct engine_link *link_of(const struct baton_handoff *h)
{
    struct engine_link *link = h->link;

    return link && link->up && link->serial == h->link_serial ? link : NULL;
}

/*
 * Never this process, whose engines can be each other's peers.  The kernel named the peer's process
 * when the link was dialled, and who it named answered later, so the pidfd is of no other one that
 * got its number.  A process of another PID namespace has no number here, and can not be signalled.
 */
static void kill_source(struct baton_handoff *h, const struct engine_link *link)
{
    const uint8_t *peer = h->ticket.incarnation;
    pid_t pid = link ? link->control.pid : -1;
    int pidfd = link ? link->peer_exit.fd : doubt_process(h->engine, peer, &pid);
    char more[64];

    if (pidfd < 0 || pid <= 0) {
        say_done(h, "did not kill", peer, ", no process that this host's kernel names");
        return;
    }
    if (pid == getpid()) {
        say_done(h, "did not kill", peer, ", which is in this very process");
        return;
    }
    if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) != 0) {
        snprintf(more, sizeof(more), ", process %d: %s", (int)pid, strerrorname_np(errno));
        say_done(h, "could not kill", peer, more);
        return;
    }
    h->engine->counts.peers_killed++;
    snprintf(more, sizeof(more), ", process %d", (int)pid);
    say_done(h, "killed", peer, more);
}

/* Only where the peer itself may still store into the blocks, or a library waits for it.  What
 * waits for this process's own movers is nobody else's fault. */
static void act_on_fetch(struct baton_handoff *h)
{
    struct engine_link *link = link_of(h);

    if (!landing_wanted(h) && !(h->transports_used & WIRE_TRANSPORT_NIXL)) {
        return;
    }
    if (h->engine->options.on_doubt == BATON_ON_DOUBT_KILL_LOCAL_PEER) {
        kill_source(h, link); /* first, while the link holds its pidfd */
    }
    if (link) {
        fence(h, link);
    }
}

/* A sink can not write into an offer's blocks, so none is killed for them. */
static void act_on_offer(struct baton_handoff *h)
{
    for (uint32_t slot = 0; slot < h->offer.slots; slot++) {
        struct engine_link *link = landing_link(h, slot);

        if (link && link->up) {
            fence(h, link);
        }
    }
}

static void list_add(struct baton_handoff *h)
{
    baton_engine *engine = h->engine;

    h->unproven_next = NULL;
    h->unproven_at = engine->unproven_last;
    *engine->unproven_last = h;
    engine->unproven_last = &h->unproven_next;
}

static void list_remove(struct baton_handoff *h)
{
    if (!h->unproven_at) {
        return;
    }
    *h->unproven_at = h->unproven_next;
    if (h->unproven_next) {
        h->unproven_next->unproven_at = h->unproven_at;
    } else {
        h->engine->unproven_last = h->unproven_at;
    }
    h->unproven_at = NULL;
}

uint64_t quarantine_due(const baton_engine *engine)
{
    const struct baton_handoff *first = engine->unproven;

    return first ? first->outcome_us + (uint64_t)engine->options.on_doubt_ms * 1000 : CORE_NEVER;
}

void quarantine_tick(baton_engine *engine, uint64_t now_us)
{
    bool acted = false;

    while (quarantine_due(engine) <= now_us) {
        struct baton_handoff *h = engine->unproven;

        list_remove(h); /* once, whatever comes of it */
        handoff_ref(h);
        if (h->side == CORE_FETCH) {
            act_on_fetch(h);
        } else {
            act_on_offer(h);
        }
        handoff_unref(h);
        acted = true;
    }
    if (acted) {
        engine_settle(engine);
    }
}

/* ---- how much of it a peer may cause ---- */

static baton_err too_much(const uint8_t peer[ID_BYTES], uint64_t bytes, const char *limit,
                          struct baton_error *ret_error)
{
    char text[PEER_TEXT_BYTES];

    return error_set(ret_error, BATON_ELIMIT,
                     "peer %s has %llu bytes in quarantine, more than %s: wait for their receipts, "
                     "end the peer's process (on_doubt can), or raise the option",
                     peer_text(peer, text), (unsigned long long)bytes, limit);
}

/* Fetches from that peer whose doubt was told: their bytes, and those of this pool. */
static void count_doubted(baton_engine *engine, const baton_pool *pool,
                          const uint8_t peer[ID_BYTES], uint64_t *ret_all, uint64_t *ret_here)
{
    *ret_all = *ret_here = 0;
    pthread_mutex_lock(&engine->table_lock);
    for (uint32_t i = 0; i < engine->options.fetches_max; i++) {
        const struct baton_handoff *h = engine->table[CORE_FETCH][i];
        uint64_t bytes;

        if (!h || !atomic_load(&h->doubted) || memcmp(h->ticket.incarnation, peer, ID_BYTES) != 0) {
            continue;
        }
        bytes = h->loan.count * h->pool->block_bytes; /* lent, so its pool is there */
        *ret_all += bytes;
        *ret_here += h->pool == pool ? bytes : 0;
    }
    pthread_mutex_unlock(&engine->table_lock);
}

baton_err quarantine_check(baton_engine *engine, const baton_pool *pool,
                           const uint8_t peer[ID_BYTES], struct baton_error *ret_error)
{
    uint64_t most = engine->options.quarantine_bytes_max, all, here;
    unsigned percent = engine->options.quarantine_percent_max;
    char limit[96];

    if (atomic_load(&engine->doubted) == 0) {
        return BATON_OK;
    }
    count_doubted(engine, pool, peer, &all, &here);
    if (most > 0 && all > most) {
        snprintf(limit, sizeof(limit), "quarantine_bytes_max, %llu", (unsigned long long)most);
        return too_much(peer, all, limit, ret_error);
    }
    if (here * 100 > pool->bytes * percent) {
        snprintf(limit, sizeof(limit), "quarantine_percent_max, %u, of this pool's %llu", percent,
                 (unsigned long long)pool->bytes);
        return too_much(peer, here, limit, ret_error);
    }
    return BATON_OK;
}

/* ---- a handoff's way through ---- */

void quarantine_begin(struct baton_handoff *h)
{
    if (h->engine->options.on_doubt != BATON_ON_DOUBT_WAIT) {
        list_add(h); /* by outcome_us, which is of one clock: the first is due first */
    }
}

void quarantine_doubt(struct baton_handoff *h)
{
    if (h->side == CORE_FETCH) {
        atomic_store(&h->doubted, true);
        atomic_fetch_add(&h->engine->doubted, 1);
    }
}

void quarantine_end(struct baton_handoff *h)
{
    list_remove(h);
    if (atomic_exchange(&h->doubted, false)) {
        atomic_fetch_sub(&h->engine->doubted, 1);
    }
}
