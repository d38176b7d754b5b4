/* SPDX-License-Identifier: Apache-2.0 */
/* The decode process's checking thread: see burst_verify.h. */
#include "burst/verify.h"

#include "payload.h"

/* All bytes count as wrong when the label is of another request. */
static uint64_t wrong_bytes(const struct verify *verify, const struct record *record)
{
    uint64_t block_bytes = verify->role->config.block_bytes, wrong = 0;

    if (!record->labelled || record->label.request_id != record->id ||
        record->label.bytes != record->bytes) {
        return record->bytes;
    }
    uint64_t seed = payload_seed(record->label.incarnation, record->label.content_id);
    for (uint64_t from = 0, i = 0; from < record->bytes; from += block_bytes, i++) {
        uint64_t left = record->bytes - from;
        wrong +=
            payload_wrong_bytes(seed, from, baton_pool_block(verify->role->pool, record->blocks[i]),
                                left < block_bytes ? left : block_bytes);
    }
    return wrong;
}

static struct record *take(struct verify *verify)
{
    pthread_mutex_lock(&verify->lock);
    while (!verify->queue && !verify->closing) {
        pthread_cond_wait(&verify->work, &verify->lock);
    }
    struct record *record = verify->closing ? NULL : verify->queue;
    if (record) {
        verify->queue = record->next;
        if (!verify->queue) {
            verify->queue_end = &verify->queue;
        }
    }
    pthread_mutex_unlock(&verify->lock);
    return record;
}

static void *verify_thread(void *arg)
{
    struct verify *verify = arg;
    struct record *record;

    while ((record = take(verify))) {
        struct letter letter = {.kind = LETTER_VERIFIED, .record = record, .id = record->id};

        record->wrong_bytes = wrong_bytes(verify, record);
        role_post(verify->role, &letter);
    }
    return NULL;
}

bool verify_start(struct verify *verify, struct role *role)
{
    *verify = (struct verify){.role = role, .queue_end = &verify->queue};
    pthread_mutex_init(&verify->lock, NULL);
    pthread_cond_init(&verify->work, NULL);
    verify->running = !pthread_create(&verify->thread, NULL, verify_thread, verify);
    return verify->running;
}

void verify_stop(struct verify *verify)
{
    if (verify->running) {
        pthread_mutex_lock(&verify->lock);
        verify->closing = true;
        pthread_cond_signal(&verify->work);
        pthread_mutex_unlock(&verify->lock);
        pthread_join(verify->thread, NULL);
        verify->running = false;
    }
}

void verify_submit(struct verify *verify, struct record *record)
{
    pthread_mutex_lock(&verify->lock);
    record->next = NULL;
    *verify->queue_end = record;
    verify->queue_end = &record->next;
    pthread_cond_signal(&verify->work);
    pthread_mutex_unlock(&verify->lock);
}
