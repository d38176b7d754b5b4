/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cancel path takes no memory (law 12, S17): from the call to both receipts, malloc is counted.
 * The engines are driven by this thread and copy without movers, so all they do is counted.
 */
#include "scenario/pair.h"

#include <stdatomic.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define COUNTS 0
#else
#define COUNTS 1
#endif
#else
#define COUNTS 1
#endif

static atomic_bool counting;
static atomic_uint counted;
static atomic_int failing = -1; /* that many more succeed, then one fails; -1: none fails */

#if COUNTS
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);

static void count(void)
{
    if (atomic_load(&counting)) {
        atomic_fetch_add(&counted, 1);
    }
}

static bool fails(void)
{
    return atomic_load(&failing) >= 0 && atomic_fetch_sub(&failing, 1) == 0;
}

void *malloc(size_t bytes)
{
    count();
    return fails() ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t number, size_t bytes)
{
    count();
    return fails() ? NULL : __libc_calloc(number, bytes);
}

void *realloc(void *memory, size_t bytes)
{
    count();
    return __libc_realloc(memory, bytes);
}
#endif

/* A fetch in the middle of its bytes is cancelled from one side; both ends get their receipts. */
static void cancel_without_memory(const struct kind *kind, bool by_sink)
{
    struct baton_offer_args half = {.watermark_bytes = 16 * PAIR_BLOCK_BYTES};
    struct pair pair;
    struct end offer = {0}, fetch = {0};

    pair_open(&pair, &(struct pair_setup){.kind = kind});
    CHECK(offer_start(&pair, &offer, 32, 7, &half) == BATON_OK);
    CHECK(fetch_start(&pair, &fetch, &offer.ticket, 32, NULL) == BATON_OK);
    CHECK_ON(&pair, end_wait_landed(&fetch, 16 * PAIR_BLOCK_BYTES));
    atomic_store(&counted, 0);
    atomic_store(&counting, true);
    baton_handoff_cancel(by_sink ? fetch.handoff : offer.handoff, BATON_CANCEL_OFFER);
    CHECK_ON(&pair, end_wait_quiet(&fetch));
    CHECK_ON(&pair, end_wait_quiet(&offer));
    atomic_store(&counting, false);
    CHECK_ON(&pair, atomic_load(&counted) == 0);
    end_finish(&fetch);
    end_finish(&offer);
    pair_close(&pair);
}

TEST(a_cancel_takes_no_memory)
{
    if (!COUNTS) {
        test_skip("a sanitizer has malloc");
        return;
    }
    for (unsigned k = 0; k < kinds_count; k++) {
        if (kinds[k].progress == BATON_PROGRESS_CALLER && !kinds[k].wrapped) {
            cancel_without_memory(&kinds[k], true);
            cancel_without_memory(&kinds[k], false);
        }
    }
}

/* The counter counts, or the test above proves nothing. */
TEST(what_takes_memory_is_counted)
{
    void *volatile memory;

    if (!COUNTS) {
        test_skip("a sanitizer has malloc");
        return;
    }
    atomic_store(&counted, 0);
    atomic_store(&counting, true);
    memory = malloc(1);
    atomic_store(&counting, false);
    free(memory);
    CHECK(atomic_load(&counted) == 1);
}

/* An engine for which there is no memory, at whichever place, is not made, and leaves nothing. */
TEST(an_engine_without_memory_is_not_made)
{
    const struct baton_engine_options options = {
        .size = sizeof(options), .progress = BATON_PROGRESS_CALLER, .movers = -1};
    unsigned refused = 0;
    bool whole = false;

    if (!COUNTS) {
        test_skip("a sanitizer has its own malloc");
        return;
    }
    for (int nth = 0; nth < 1000 && !whole; nth++) {
        struct baton_error error = {0};
        baton_engine *engine = NULL;
        baton_err err;

        atomic_store(&failing, nth);
        err = baton_engine_create(&options, &engine, &error);
        whole = atomic_exchange(&failing, -1) >= 0;
        refused += err == BATON_ENOMEM;
        CHECK(err == BATON_OK || err == BATON_ENOMEM);
        if (err == BATON_OK) {
            baton_engine_close(engine);
            CHECK(baton_engine_destroy(engine, NULL) == BATON_OK);
        } else {
            CHECK(engine == NULL && error.text[0]);
        }
    }
    CHECK(whole && refused > 5);
}
