/* SPDX-License-Identifier: Apache-2.0 */
/* The prefill process's computing thread: see burst_compute.h. */
#include "burst/compute.h"

#include <stdlib.h>

#include "payload.h"

enum compute_state {
    COMPUTE_NONE = 0, /* not submitted, or left */
    COMPUTE_QUEUED,
    COMPUTE_ACTIVE, /* the thread may write to its blocks */
};

/* ---------------------------------------------------------------------------------- the thread */

static void post_reused(struct compute *compute, uint64_t old_id, uint32_t blocks, uint64_t time_ns)
{
    struct letter letter = {
        .kind = LETTER_REUSED, .id = old_id, .reused = {.time_ns = time_ns, .blocks = blocks}};

    role_post(compute->role, &letter);
}

/* The blocks whose first byte lies in [from, to) are about to be rewritten. */
static void note_reuse(struct compute *compute, const struct record *record, uint64_t from,
                       uint64_t to)
{
    uint64_t block_bytes = compute->role->config.block_bytes;
    uint64_t now = role_now_ns(), old_id = 0;
    uint32_t blocks = 0;

    for (uint64_t i = (from + block_bytes - 1) / block_bytes; i * block_bytes < to; i++) {
        struct block_owner *owner = &compute->owners[record->blocks[i]];
        if (blocks && (!owner->revoked || owner->request_id != old_id)) {
            post_reused(compute, old_id, blocks, now);
            blocks = 0;
        }
        if (owner->revoked) {
            old_id = owner->request_id;
            blocks++;
        }
        owner->revoked = false;
    }
    if (blocks) {
        post_reused(compute, old_id, blocks, now);
    }
}

static void write_bytes(struct compute *compute, const struct record *record, uint64_t from,
                        uint64_t to)
{
    uint64_t block_bytes = compute->role->config.block_bytes;

    note_reuse(compute, record, from, to);
    while (from < to) {
        uint64_t within = from % block_bytes;
        uint64_t part = block_bytes - within < to - from ? block_bytes - within : to - from;
        unsigned char *block =
            baton_pool_block(compute->role->pool, record->blocks[from / block_bytes]);

        payload_write(record->seed, from, block + within, part);
        from += part;
    }
}

static void label(const struct compute *compute, struct record *record)
{
    struct payload_label text = {
        .content_id = record->content_id, .request_id = record->id, .bytes = record->bytes};

    for (unsigned i = 0; i < sizeof(text.incarnation); i++) {
        text.incarnation[i] = compute->role->incarnation[i];
    }
    /* An offer that has ended may refuse; a reader that gets no label finds every byte wrong. */
    if (baton_offer_aux(record->handoff, &text, sizeof(text))) {
        return;
    }
}

/* BURST_PREFILL_READING: act once a reader has come and enough is there for it to read.  The
 * engine's trace asks the same from its side. */
static void look_at_trigger(struct compute *compute, struct record *record)
{
    struct letter letter = {.kind = LETTER_DUE, .record = record, .id = record->id};

    if (record->plan.cause == BURST_PREFILL_READING && atomic_load(&record->leased) &&
        record->written >= record->plan.trigger_bytes && !atomic_exchange(&record->fired, true)) {
        role_post(compute->role, &letter);
    }
}

/* One chunk.  True: there is more to write. */
static bool compute_chunk(struct compute *compute, struct record *record)
{
    uint64_t end =
        record->plan.stop_bytes < record->bytes ? record->plan.stop_bytes : record->bytes;
    uint64_t chunk = burst_chunk_bytes(record->bytes);
    uint64_t to = end - record->written < chunk ? end : record->written + chunk;

    if (to > record->written) {
        write_bytes(compute, record, record->written, to);
        record->written = to;
        if (to == record->bytes) {
            label(compute, record);
        }
        baton_offer_advance(record->handoff, to == record->bytes ? BATON_WATERMARK_END : to);
        atomic_store(&record->ready, to);
    }
    look_at_trigger(compute, record);
    return to < end;
}

static void let_go(struct compute *compute, struct record *record, enum letter_kind kind)
{
    struct letter letter = {.kind = kind, .record = record, .id = record->id};

    pthread_mutex_lock(&compute->lock);
    record->compute = COMPUTE_NONE;
    pthread_mutex_unlock(&compute->lock);
    role_post(compute->role, &letter);
}

/* Free turns are filled from the queue; the last turn is for an urgent request. */
static void fill_turns(struct compute *compute)
{
    for (unsigned i = 0; i <= COMPUTE_TURNS && compute->queue; i++) {
        if (!compute->turns[i] && (i < COMPUTE_TURNS || compute->queue->urgent)) {
            compute->turns[i] = compute->queue;
            compute->queue = compute->queue->next;
            compute->turns[i]->compute = COMPUTE_ACTIVE;
        }
    }
    if (!compute->queue) {
        compute->queue_end = &compute->queue;
    }
}

/* The urgent ones are written first, the others in turn.  NULL: nothing is to be done. */
static struct record **choose_turn(struct compute *compute)
{
    for (unsigned i = 0; i <= COMPUTE_TURNS; i++) {
        if (compute->turns[i] && compute->turns[i]->urgent) {
            return &compute->turns[i];
        }
    }
    for (unsigned i = 0; i < COMPUTE_TURNS; i++) {
        compute->turn = (compute->turn + 1) % COMPUTE_TURNS;
        if (compute->turns[compute->turn]) {
            return &compute->turns[compute->turn];
        }
    }
    return NULL;
}

/* Waits for something to do.  NULL: closing. */
static struct record *next_turn(struct compute *compute, struct record ***ret_turn, bool *ret_stop)
{
    struct record **turn = NULL;
    struct record *chosen = NULL;

    pthread_mutex_lock(&compute->lock);
    while (!compute->closing) {
        fill_turns(compute);
        turn = choose_turn(compute);
        if (turn) {
            break;
        }
        pthread_cond_wait(&compute->work, &compute->lock);
    }
    if (turn) {
        chosen = *turn;
        *ret_turn = turn;
        *ret_stop = chosen->compute_stop;
    }
    pthread_mutex_unlock(&compute->lock);
    return chosen;
}

static void *compute_thread(void *arg)
{
    struct compute *compute = arg;
    struct record **turn = NULL;
    struct record *record;
    bool stop = false;

    while ((record = next_turn(compute, &turn, &stop))) {
        if (stop) {
            *turn = NULL;
            let_go(compute, record, LETTER_LEFT);
        } else if (!compute_chunk(compute, record)) {
            *turn = NULL;
            let_go(compute, record, LETTER_PARKED);
        }
    }
    return NULL;
}

/* ------------------------------------------------------------------------------ the main thread */

bool compute_start(struct compute *compute, struct role *role)
{
    *compute = (struct compute){.role = role, .queue_end = &compute->queue};
    compute->owners = calloc(role->config.pool_blocks, sizeof(*compute->owners));
    if (!compute->owners) {
        return false;
    }
    pthread_mutex_init(&compute->lock, NULL);
    pthread_cond_init(&compute->work, NULL);
    compute->running = !pthread_create(&compute->thread, NULL, compute_thread, compute);
    return compute->running;
}

void compute_stop(struct compute *compute)
{
    if (compute->running) {
        pthread_mutex_lock(&compute->lock);
        compute->closing = true;
        pthread_cond_signal(&compute->work);
        pthread_mutex_unlock(&compute->lock);
        pthread_join(compute->thread, NULL);
        compute->running = false;
    }
    free(compute->owners);
    compute->owners = NULL;
}

void compute_submit(struct compute *compute, struct record *record, bool urgent)
{
    pthread_mutex_lock(&compute->lock);
    record->compute = COMPUTE_QUEUED;
    record->compute_stop = false;
    record->urgent = urgent;
    if (urgent) {
        record->next = compute->queue;
        compute->queue = record;
        if (!record->next) {
            compute->queue_end = &record->next;
        }
    } else {
        record->next = NULL;
        *compute->queue_end = record;
        compute->queue_end = &record->next;
    }
    pthread_cond_signal(&compute->work);
    pthread_mutex_unlock(&compute->lock);
}

static void unqueue(struct compute *compute, struct record *record)
{
    struct record **place = &compute->queue;

    while (*place != record) {
        place = &(*place)->next;
    }
    *place = record->next;
    if (compute->queue_end == &record->next) {
        compute->queue_end = place;
    }
}

bool compute_leave(struct compute *compute, struct record *record)
{
    pthread_mutex_lock(&compute->lock);
    if (record->compute == COMPUTE_QUEUED) {
        unqueue(compute, record);
        record->compute = COMPUTE_NONE;
    }
    record->compute_stop = true;
    bool left = record->compute == COMPUTE_NONE;
    pthread_mutex_unlock(&compute->lock);
    return left;
}
