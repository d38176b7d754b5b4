/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Movers: one lock, one queue, some threads.
 *
 * What keeps a window quiet after it was given back: a window is in exactly one place, the queue, a
 * mover's hand, or the done list, and moves between them under the lock.  Only a mover that has it
 * in its hand (or movers_step(), on the driving thread) writes to its blocks.  So a window taken
 * from the queue was not begun or is between two slices of movers_step(), and one taken from the
 * done list was let go of by its mover.
 *
 * Memory ordering: a mover's last load from the source and last store to the sink come before it
 * takes the lock to put the window on the done list, and the driving thread takes the same lock to
 * get it from there: release and acquire, so the driving thread sees all bytes, and no access of
 * the mover can come after it.
 */
#include "transport/movers.h"

#include <pthread.h>
#include <stdlib.h>

#include "transport/slice.h"
#include "util/assert.h"
#include "util/error.h"
#include "util/thread.h"

enum {
    /* A done window waits at most for so many others before the driving thread is woken, and only
       while at least so many are queued, so that no mover runs dry meanwhile. */
    MOVERS_BATCH_MAX = 4,
};

struct mover {
    struct movers *movers;
    pthread_t thread;
    struct transport_window *window; /* in its hand; under the lock */
    atomic_bool abort;               /* end that window after this slice */
};

struct movers {
    struct movers_options options; /* constant */
    /* Protects queue, done, done_count, woken, ending, idle and each mover's window. */
    pthread_mutex_t lock;
    pthread_cond_t work; /* the queue is not empty, or ending */
    struct window_list queue;
    struct window_list done;
    unsigned done_count; /* since the last collect */
    bool woken;          /* wake() was called since then */
    unsigned idle;       /* movers that sleep */
    bool ending;
    atomic_uint queued;    /* length of the queue: written under the lock, spun on without it */
    struct mover mover[1]; /* options.count of them; never none, for movers_step()'s abort flag */
};

void window_list_push(struct window_list *list, struct transport_window *window)
{
    window->next = NULL;
    if (list->last) {
        list->last->next = window;
    } else {
        list->first = window;
    }
    list->last = window;
}

struct transport_window *window_list_pop(struct window_list *list)
{
    struct transport_window *window = list->first;

    if (window) {
        list->first = window->next;
        list->last = list->first ? list->last : NULL;
        window->next = NULL;
    }
    return window;
}

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void spin(struct movers *movers)
{
    for (unsigned i = 0; i < movers->options.spin_rounds; i++) {
        if (atomic_load_explicit(&movers->queued, memory_order_relaxed)) {
            return;
        }
        relax();
    }
}

static struct transport_window *queue_pop(struct movers *movers)
{
    struct transport_window *window = window_list_pop(&movers->queue);

    if (window) {
        atomic_fetch_sub_explicit(&movers->queued, 1, memory_order_relaxed);
    }
    return window;
}

/* The next window, now in the mover's hand.  NULL: the end. */
static struct transport_window *take(struct mover *mover)
{
    struct movers *movers = mover->movers;
    struct transport_window *window;

    spin(movers);
    pthread_mutex_lock(&movers->lock);
    while (!(window = queue_pop(movers)) && !movers->ending) {
        movers->idle++;
        pthread_cond_wait(&movers->work, &movers->lock);
        movers->idle--;
    }
    mover->window = window;
    atomic_store_explicit(&mover->abort, false, memory_order_relaxed);
    pthread_mutex_unlock(&movers->lock);
    return window;
}

static bool matches(const struct transport_window *window, const struct transport_link *link,
                    const uint64_t *fetch_id)
{
    return window->link == link && (!fetch_id || window->fetch_id == *fetch_id);
}

/*
 * Whether the driving thread must hear of a done window now.  Waking it can cost as much as copying
 * tens of kilobytes, and nobody waits for a whole window whose fetch has more of them right behind
 * it.  Such a window is never forgotten: the one behind it ends with news, or makes another that
 * does, or stop() takes both.
 */
static bool is_news(const struct mover *mover, const struct transport_window *window)
{
    const struct movers *movers = mover->movers;
    const struct transport_window *next = movers->queue.first;

    return window->status != TRANSPORT_OK || movers->done_count >= MOVERS_BATCH_MAX || !next ||
           !matches(next, window->link, &window->fetch_id) ||
           atomic_load_explicit(&movers->queued, memory_order_relaxed) < MOVERS_BATCH_MAX ||
           atomic_load_explicit(&mover->abort, memory_order_relaxed) ||
           atomic_load_explicit(window->stop, memory_order_relaxed);
}

static void give(struct mover *mover, struct transport_window *window)
{
    struct movers *movers = mover->movers;
    bool wake;

    pthread_mutex_lock(&movers->lock);
    movers->done_count++;
    wake = !movers->woken && is_news(mover, window);
    movers->woken = movers->woken || wake;
    window_list_push(&movers->done, window);
    mover->window = NULL;
    pthread_mutex_unlock(&movers->lock);
    if (wake) {
        movers->options.wake(movers->options.wake_arg);
    }
}

static void *mover_main(void *arg)
{
    struct mover *mover = arg;
    struct transport_window *window;

    while ((window = take(mover))) {
        while (slice_copy(window, mover->movers->options.slice_bytes, &mover->abort)) {
        }
        give(mover, window);
    }
    return NULL;
}

static void end_threads(struct movers *movers, unsigned count)
{
    pthread_mutex_lock(&movers->lock);
    movers->ending = true;
    pthread_cond_broadcast(&movers->work);
    pthread_mutex_unlock(&movers->lock);
    for (unsigned i = 0; i < count; i++) {
        pthread_join(movers->mover[i].thread, NULL);
    }
}

static void release(struct movers *movers)
{
    pthread_cond_destroy(&movers->work);
    pthread_mutex_destroy(&movers->lock);
    free(movers);
}

baton_err movers_create(const struct movers_options *options, struct movers **ret_movers,
                        struct baton_error *ret_error)
{
    size_t extra = options->count ? options->count - 1 : 0;
    struct movers *movers;

    BATON_ASSERT(options->count <= BATON_MOVERS_MAX);
    BATON_ASSERT(options->slice_bytes > 0);
    movers = calloc(1, sizeof(*movers) + extra * sizeof(struct mover));
    if (!movers) {
        return error_set(ret_error, BATON_ENOMEM, "no memory for %u movers", options->count);
    }
    movers->options = *options;
    pthread_mutex_init(&movers->lock, NULL);
    pthread_cond_init(&movers->work, NULL);
    for (unsigned i = 0; i < options->count; i++) {
        int err;

        movers->mover[i].movers = movers;
        err = thread_start(&movers->mover[i].thread, "baton-mover", mover_main, &movers->mover[i]);
        if (err) {
            end_threads(movers, i);
            release(movers);
            return error_system(ret_error, err, "mover thread %u of %u could not be started", i + 1,
                                options->count);
        }
    }
    *ret_movers = movers;
    return BATON_OK;
}

void movers_destroy(struct movers *movers)
{
    if (!movers) {
        return;
    }
    end_threads(movers, movers->options.count);
    BATON_ASSERT(!movers->queue.first);
    BATON_ASSERT(!movers->done.first);
    release(movers);
}

void movers_post(struct movers *movers, struct transport_window *window)
{
    bool wake;

    pthread_mutex_lock(&movers->lock);
    /* Without movers, movers_step() is called again as long as something is queued. */
    wake = movers->options.count == 0 && !movers->queue.first;
    window_list_push(&movers->queue, window);
    atomic_fetch_add_explicit(&movers->queued, 1, memory_order_relaxed);
    if (movers->idle) {
        pthread_cond_signal(&movers->work);
    }
    pthread_mutex_unlock(&movers->lock);
    if (wake) {
        movers->options.wake(movers->options.wake_arg);
    }
}

/* Move the matching windows of `from` to `to`; returns how many. */
static unsigned sift(struct window_list *from, const struct transport_link *link,
                     const uint64_t *fetch_id, struct window_list *to)
{
    struct window_list rest = {NULL, NULL};
    struct transport_window *window;
    unsigned moved = 0;

    while ((window = window_list_pop(from))) {
        bool match = matches(window, link, fetch_id);

        window_list_push(match ? to : &rest, window);
        moved += match;
    }
    *from = rest;
    return moved;
}

void movers_stop(struct movers *movers, const struct transport_link *link, const uint64_t *fetch_id,
                 struct window_list *list)
{
    struct window_list aborted = {NULL, NULL};
    struct transport_window *window;
    unsigned moved;

    pthread_mutex_lock(&movers->lock);
    sift(&movers->done, link, fetch_id, list);
    moved = sift(&movers->queue, link, fetch_id, &aborted);
    atomic_fetch_sub_explicit(&movers->queued, moved, memory_order_relaxed);
    for (unsigned i = 0; i < movers->options.count; i++) {
        struct mover *mover = &movers->mover[i];

        if (mover->window && matches(mover->window, link, fetch_id)) {
            atomic_store_explicit(&mover->abort, true, memory_order_release);
        }
    }
    pthread_mutex_unlock(&movers->lock);
    while ((window = window_list_pop(&aborted))) {
        window->status = TRANSPORT_ABORTED;
        window_list_push(list, window);
    }
}

void movers_collect(struct movers *movers, struct window_list *list)
{
    struct window_list done;
    struct transport_window *window;

    pthread_mutex_lock(&movers->lock);
    done = movers->done;
    movers->done = (struct window_list){NULL, NULL};
    movers->done_count = 0;
    movers->woken = false;
    pthread_mutex_unlock(&movers->lock);
    while ((window = window_list_pop(&done))) {
        window_list_push(list, window);
    }
}

/* No other thread looks at the queue here, so the lock need not be held while a slice is copied. */
bool movers_step(struct movers *movers)
{
    struct transport_window *window = movers->queue.first;
    uint64_t left = movers->options.slice_bytes;

    BATON_ASSERT(movers->options.count == 0);
    while (window && left > 0) {
        uint64_t landed = window->landed;
        bool more = false;

        if (window->region->process) {
            window->status = TRANSPORT_FAILED;
        } else {
            more = slice_copy(window, (uint32_t)left, &movers->mover[0].abort);
        }
        landed = window->landed - landed;
        left -= landed < left ? landed : left;
        if (!more) {
            window_list_push(&movers->done, queue_pop(movers));
        }
        window = movers->queue.first;
    }
    return window != NULL;
}
