/* SPDX-License-Identifier: Apache-2.0 */
/* Worlds, handoffs and the checks of the conformance suite; see world.h. */
#include "conform/world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

bool world_check(const struct world *world, bool ok, const char *condition, const char *file,
                 int line)
{
    if (!ok) {
        printf("  in world %s with %u movers (last log: %s)\n", world->fixture->name,
               world->options.movers, world->loop.last_log);
    }
    return test_check(ok, condition, file, line);
}

/* splitmix64 */
uint64_t world_random(struct world *world)
{
    uint64_t z = world->state->random += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static uint64_t pool_bytes(const struct world *world)
{
    return (uint64_t)world->block_bytes * world->block_count;
}

static void shuffle(struct world *world, uint32_t *order)
{
    for (uint32_t i = 0; i < world->block_count; i++) {
        uint32_t j = (uint32_t)(world_random(world) % (i + 1));

        order[i] = order[j];
        order[j] = i;
    }
}

static void handoff_free(struct handoff *handoff)
{
    if (handoff) {
        free(handoff->windows);
        free(handoff->source_blocks);
        free(handoff->sink_blocks);
        free(handoff);
    }
}

static void forget_handoffs(struct world_state *state)
{
    for (unsigned i = 0; i < HANDOFFS_MAX; i++) {
        handoff_free(state->handoffs[i]);
        state->handoffs[i] = NULL;
    }
    state->blocks_used = 0;
}

/* Source bytes are never a canary, so that a byte that landed can be told from one that did not. */
void world_fill(struct world *world)
{
    struct world_state *state = world->state;

    forget_handoffs(state);
    shuffle(world, state->source_order);
    shuffle(world, state->sink_order);
    for (uint64_t i = 0; i < pool_bytes(world); i += sizeof(uint64_t)) {
        uint64_t word = world_random(world) & 0x7f7f7f7f7f7f7f7f;

        memcpy(state->snapshot + i, &word, sizeof(word));
    }
    memcpy(world->source, state->snapshot, pool_bytes(world));
    memset(world->sink, WORLD_CANARY, pool_bytes(world));
}

static unsigned char *sink_block(const struct handoff *handoff, uint32_t i)
{
    const struct world *world = handoff->world;

    return world->sink + (uint64_t)handoff->sink_blocks[i] * world->block_bytes;
}

void handoff_overwrite(struct handoff *handoff)
{
    for (uint32_t i = 0; i < handoff->count; i++) {
        memset(sink_block(handoff, i), WORLD_CANARY, handoff->world->block_bytes);
    }
}

static bool all_canaries(const unsigned char *bytes, uint64_t length)
{
    /* The first one is, and each is as the one before it. */
    return length == 0 || (bytes[0] == WORLD_CANARY && memcmp(bytes, bytes + 1, length - 1) == 0);
}

bool handoff_overwritten(const struct handoff *handoff)
{
    for (uint32_t i = 0; i < handoff->count; i++) {
        if (!all_canaries(sink_block(handoff, i), handoff->world->block_bytes)) {
            return false;
        }
    }
    return true;
}

static uint32_t *copy_blocks(const uint32_t *blocks, uint32_t count)
{
    uint32_t *copy = calloc(count, sizeof(*copy));

    memcpy(copy, blocks, count * sizeof(*copy));
    return copy;
}

struct handoff *handoff_make(struct world *world, unsigned link, uint32_t count)
{
    struct world_state *state = world->state;
    struct handoff *handoff = calloc(1, sizeof(*handoff));
    unsigned place = 0;

    while (state->handoffs[place]) {
        place++;
        assert(place < HANDOFFS_MAX);
    }
    assert(count <= world->block_count - state->blocks_used);
    state->handoffs[place] = handoff;
    handoff->world = world;
    handoff->link = link;
    handoff->fetch_id = ++state->next_id;
    handoff->offer_id = handoff->fetch_id + 1000000;
    handoff->attempt = handoff->fetch_id + 2000000;
    handoff->count = count;
    handoff->source_blocks = copy_blocks(state->source_order + state->blocks_used, count);
    handoff->sink_blocks = copy_blocks(state->sink_order + state->blocks_used, count);
    state->blocks_used += count;
    handoff->plan =
        (struct plan){world->block_bytes, count, handoff->source_blocks, handoff->sink_blocks};
    handoff->source_plan = (struct plan){world->block_bytes, count, handoff->source_blocks, NULL};
    atomic_init(&handoff->stop, false);
    return handoff;
}

/* Push: every window may come as soon as it is posted. */
static const uint64_t all_granted = UINT64_MAX;

static void window_init(struct handoff *handoff, uint64_t offset, uint64_t length)
{
    struct world *world = handoff->world;
    struct watched *watched = &handoff->windows[handoff->window_count++];

    *watched = (struct watched){.handoff = handoff};
    watched->window =
        (struct transport_window){.link = world->links[handoff->link].sink,
                                  .plan = &handoff->plan,
                                  .sink_base = world->sink,
                                  .region = world->links[handoff->link].region,
                                  .stop = &handoff->stop,
                                  .granted = world->fixture->push ? &all_granted : NULL,
                                  .offset = offset,
                                  .length = length,
                                  .fetch_id = handoff->fetch_id,
                                  .offer_id = handoff->offer_id,
                                  .attempt = handoff->attempt};
}

static void shuffle_windows(struct handoff *handoff)
{
    for (unsigned i = 1; i < handoff->window_count; i++) {
        unsigned j = (unsigned)(world_random(handoff->world) % (i + 1));
        struct watched other = handoff->windows[j];

        handoff->windows[j] = handoff->windows[i];
        handoff->windows[i] = other;
    }
}

void handoff_cut(struct handoff *handoff, uint64_t window_bytes)
{
    uint64_t total = plan_bytes(&handoff->plan), offset = 0;
    uint64_t most = handoff->world->options.window_bytes;

    /* Random lengths are at least 1; half of `most` on average, so this is far more than enough. */
    handoff->windows =
        calloc(window_bytes ? total / window_bytes + 1 : total, sizeof(*handoff->windows));
    while (offset < total) {
        uint64_t length = window_bytes ? window_bytes : world_random(handoff->world) % most | 1;

        length = length < most ? length : most;
        length = length < total - offset ? length : total - offset;
        window_init(handoff, offset, length);
        offset += length;
    }
    if (!window_bytes) {
        shuffle_windows(handoff);
    }
}

static struct world_serve *serve_take(struct world *world)
{
    unsigned place = 0;

    while (place < world->options.windows_max && world->state->serves[place].busy) {
        place++;
    }
    return place < world->options.windows_max ? &world->state->serves[place] : NULL;
}

/* The serve of a window of a handoff, lent to the transport from here on. */
static struct transport_serve *serve_lend(const struct handoff *handoff, struct world_serve *serve,
                                          uint64_t offset, uint64_t length)
{
    struct world *world = handoff->world;

    serve->busy = true;
    world->state->serving++;
    serve->serve = (struct transport_serve){.link = world->links[handoff->link].source,
                                            .plan = &handoff->source_plan,
                                            .source_base = world->source,
                                            .offset = offset,
                                            .length = length,
                                            .offer_id = handoff->offer_id,
                                            .fetch_id = handoff->fetch_id,
                                            .attempt = handoff->attempt};
    return &serve->serve;
}

/* The source was granted a window. */
static void push(const struct handoff *handoff, const struct transport_window *window)
{
    struct world *world = handoff->world;
    struct world_serve *serve = serve_take(world);

    if (EXPECT(world, serve != NULL)) {
        world->fixture->ops->push(serve_lend(handoff, serve, window->offset, window->length));
    }
}

void handoff_post(struct handoff *handoff, unsigned index)
{
    const struct world *world = handoff->world;
    struct watched *watched = &handoff->windows[index];

    watched->posted++;
    handoff->posted++;
    world->fixture->ops->post(&watched->window);
    if (world->fixture->push && !handoff->revoked) {
        push(handoff, &watched->window);
    }
}

void handoff_post_all(struct handoff *handoff)
{
    for (unsigned i = 0; i < handoff->window_count; i++) {
        handoff_post(handoff, i);
    }
}

/* Obligation 2: only what a thread is copying may be missing when stop() returns. */
void handoff_stop(struct handoff *handoff)
{
    struct world *world = handoff->world;

    atomic_store(&handoff->stop, true);
    world->fixture->ops->stop(world->links[handoff->link].sink, handoff->fetch_id);
    EXPECT(world, handoff->posted - handoff->done <= world->options.movers);
}

bool handoff_all_done(void *arg)
{
    const struct handoff *handoff = arg;

    return handoff->done == handoff->posted;
}

void handoff_finish(struct handoff *handoff)
{
    EXPECT(handoff->world, host_loop_until(&handoff->world->loop, handoff_all_done, handoff));
}

/* The plan, computed anew: what lies at plan bytes [offset, offset + length) of both sides. */
static bool window_holds(const struct handoff *handoff, uint64_t offset, uint64_t length,
                         bool canaries)
{
    const struct world *world = handoff->world;

    while (length) {
        uint64_t block = offset / world->block_bytes, within = offset % world->block_bytes;
        uint64_t part = world->block_bytes - within < length ? world->block_bytes - within : length;
        const unsigned char *to = sink_block(handoff, (uint32_t)block) + within;
        const unsigned char *from = world->state->snapshot +
                                    (uint64_t)handoff->source_blocks[block] * world->block_bytes +
                                    within;

        if (canaries ? !all_canaries(to, part) : memcmp(to, from, part) != 0) {
            return false;
        }
        offset += part;
        length -= part;
    }
    return true;
}

/*
 * `landed` tells the truth about a window that came to its end or was stopped here: its bytes
 * arrive in order, and nothing else was touched.  What a peer that fails sends is garbage.
 */
static void window_check(const struct handoff *handoff, const struct watched *watched)
{
    const struct world *world = handoff->world;
    const struct transport_window *window = &watched->window;
    bool exact = window->status == TRANSPORT_OK ||
                 (window->status == TRANSPORT_ABORTED && !handoff->revoked);

    EXPECT(world, watched->posted == 1 && watched->done == 1);
    EXPECT(world, window->landed <= window->length);
    EXPECT(world, window->status != TRANSPORT_OK || window->landed == window->length);
    if (exact) {
        EXPECT(world, window_holds(handoff, window->offset, window->landed, false));
        EXPECT(world, window_holds(handoff, window->offset + window->landed,
                                   window->length - window->landed, true));
    }
}

void handoff_check(const struct handoff *handoff)
{
    for (unsigned i = 0; i < handoff->window_count; i++) {
        const struct watched *watched = &handoff->windows[i];

        if (watched->posted) {
            window_check(handoff, watched);
        } else {
            EXPECT(handoff->world,
                   window_holds(handoff, watched->window.offset, watched->window.length, true));
        }
    }
    EXPECT(handoff->world, handoff->world->state->double_done == 0);
    EXPECT(handoff->world, handoff->world->state->strange == 0);
}

void handoff_check_whole(const struct handoff *handoff)
{
    handoff_check(handoff);
    EXPECT(handoff->world, handoff->status[TRANSPORT_OK] == handoff->window_count);
}

void world_check_rest(const struct world *world)
{
    const struct world_state *state = world->state;

    for (uint32_t i = state->blocks_used; i < world->block_count; i++) {
        EXPECT(world,
               all_canaries(world->sink + (uint64_t)state->sink_order[i] * world->block_bytes,
                            world->block_bytes));
    }
}

void world_link_close(struct world *world, unsigned link)
{
    struct world_link *ends = &world->links[link];
    struct transport_link *sink = ends->sink, *source = ends->source;

    ends->sink = ends->source = NULL;
    if (sink) {
        world->fixture->ops->link_close(sink);
    }
    if (source) {
        world->fixture->ops->link_close(source);
    }
}

/* Upcalls. */

static void on_window_done(void *arg, struct transport_window *window)
{
    struct world *world = arg;
    struct watched *watched = (struct watched *)window;
    struct handoff *handoff = watched->handoff;

    watched->done++;
    handoff->done++;
    handoff->status[window->status]++;
    world->state->double_done += watched->done > watched->posted;
    if (world->state->on_done) {
        world->state->on_done(handoff, world->state->on_done_arg);
    }
}

static struct handoff *find(const struct world *world, uint64_t offer_id)
{
    for (unsigned i = 0; i < HANDOFFS_MAX; i++) {
        struct handoff *handoff = world->state->handoffs[i];

        if (handoff && handoff->offer_id == offer_id) {
            return handoff;
        }
    }
    return NULL;
}

static bool refused(const struct handoff *handoff, const struct transport_read *read)
{
    uint64_t first = read->offset / handoff->plan.block_bytes;
    uint64_t last = (read->offset + read->length - 1) / handoff->plan.block_bytes;

    for (uint64_t i = first; i <= last; i++) {
        if (handoff->source_blocks[i] >= handoff->world->state->refuse_from_block) {
            return true;
        }
    }
    return false;
}

/* The request says what the window said, or something went wrong on the way. */
static bool fits(const struct handoff *handoff, const struct transport_read *read)
{
    return read->fetch_id == handoff->fetch_id && read->attempt == handoff->attempt &&
           read->length > 0 && read->offset <= plan_bytes(&handoff->plan) &&
           read->length <= plan_bytes(&handoff->plan) - read->offset;
}

static void on_read_request(void *arg, uint32_t number, const struct transport_read *read)
{
    struct world *world = arg;
    struct transport_link *link = world->links[number / 2].source;
    struct handoff *handoff = find(world, read->offer_id);
    struct world_serve *serve = serve_take(world);

    /* A request of a handoff that is over and forgotten is no error: it was on its way. */
    world->state->strange += handoff && !fits(handoff, read);
    if (!handoff || handoff->revoked || !serve || !fits(handoff, read) || refused(handoff, read)) {
        world->fixture->ops->refuse(link, read->own);
        return;
    }
    world->fixture->ops->serve(serve_lend(handoff, serve, read->offset, read->length), read->own);
}

static void on_serve_done(void *arg, struct transport_serve *serve)
{
    struct world *world = arg;
    struct world_serve *mine = (struct world_serve *)serve;

    world->state->strange += !mine->busy;
    world->state->strange += serve->status != TRANSPORT_OK && serve->status != TRANSPORT_ABORTED;
    world->state->serving -= mine->busy;
    mine->busy = false;
}

unsigned world_serves(const struct handoff *handoff)
{
    const struct world *world = handoff->world;
    unsigned serves = 0;

    for (unsigned i = 0; i < world->options.windows_max; i++) {
        const struct world_serve *serve = &world->state->serves[i];

        serves += serve->busy && serve->serve.offer_id == handoff->offer_id;
    }
    return serves;
}

/* Worlds. */

static struct world_state *state_create(const struct world *world)
{
    struct world_state *state = calloc(1, sizeof(*state));

    state->random = 1;
    state->refuse_from_block = UINT32_MAX;
    state->source_order = calloc(world->block_count, sizeof(uint32_t));
    state->sink_order = calloc(world->block_count, sizeof(uint32_t));
    state->snapshot = malloc(pool_bytes(world));
    state->serves = calloc(world->options.windows_max, sizeof(*state->serves));
    return state;
}

static void state_destroy(struct world_state *state)
{
    forget_handoffs(state);
    free(state->source_order);
    free(state->sink_order);
    free(state->snapshot);
    free(state->serves);
    free(state);
}

bool world_quiet(void *arg)
{
    const struct world *world = arg;
    bool quiet = world->state->serving == 0;

    for (unsigned i = 0; i < HANDOFFS_MAX; i++) {
        struct handoff *handoff = world->state->handoffs[i];

        quiet = quiet && (!handoff || handoff_all_done(handoff));
    }
    return quiet;
}

static void run_story(struct world *world, void (*story)(struct world *world))
{
    if (!world->fixture->open(world)) {
        EXPECT(world, world->skip != NULL);
        if (world->skip) {
            test_skip(world->skip);
        }
        return;
    }
    world_fill(world);
    story(world);
    for (unsigned i = 0; i < WORLD_LINKS; i++) {
        world_link_close(world, i);
    }
    EXPECT(world, host_loop_until(&world->loop, world_quiet, world));
    host_loop_settle(&world->loop, WORLD_STEPS_MAX);
    world->fixture->close(world);
}

static void one_world(const struct fixture *fixture, unsigned movers,
                      const struct world_shape *shape, void (*story)(struct world *world))
{
    struct world world = {.fixture = fixture};

    world.options = (struct transport_options){.movers = movers,
                                               .slice_bytes = shape->slice_bytes,
                                               .window_bytes = shape->window_bytes,
                                               .links_max = 2 * WORLD_LINKS,
                                               .windows_max = shape->windows_max};
    world.block_bytes = shape->block_bytes;
    world.block_count = shape->block_count;
    world.state = state_create(&world);
    if (CHECK(host_loop_init(&world.loop))) {
        world.loop.arg = &world;
        world.loop.on_window_done = on_window_done;
        world.loop.on_read_request = on_read_request;
        world.loop.on_serve_done = on_serve_done;
        run_story(&world, story);
        host_loop_fini(&world.loop);
    }
    state_destroy(world.state);
}

void each_world(const struct world_shape *shape, void (*story)(struct world *world))
{
    for (unsigned i = 0; conform_fixtures[i]; i++) {
        for (unsigned j = 0; j < conform_fixtures[i]->movers_count; j++) {
            one_world(conform_fixtures[i], conform_fixtures[i]->movers[j], shape, story);
        }
    }
}
