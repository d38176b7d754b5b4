/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conformance suite: what transport.h promises, as stories that run on every transport, with
 * every number of movers.  Each test makes one world after the other and tells its story in each.
 */
#include <string.h>

#include "conform/world.h"
#include "test.h"

/* A window is several slices, and a slice less than a block: stops fall everywhere. */
static const struct world_shape small = {.block_bytes = 8192,
                                         .block_count = 256,
                                         .slice_bytes = 4096,
                                         .window_bytes = 32768,
                                         .windows_max = 1024};

/* The same with fewer blocks, for stories that fill the pools again and again. */
static const struct world_shape few = {.block_bytes = 8192,
                                       .block_count = 64,
                                       .slice_bytes = 4096,
                                       .window_bytes = 32768,
                                       .windows_max = 1024};

/* A window is more than the buffers of a connection hold: it stands half copied between steps. */
static const struct world_shape large = {.block_bytes = 16384,
                                         .block_count = 256,
                                         .slice_bytes = 65536,
                                         .window_bytes = 2 << 20,
                                         .windows_max = 64};

/* Blocks in any order on both sides arrive whole, and no byte lands anywhere else. */
static void whole(struct world *world)
{
    struct handoff *handoff = handoff_make(world, 0, 100);

    handoff_cut(handoff, world->options.window_bytes);
    handoff_post_all(handoff);
    handoff_finish(handoff);

    handoff_check_whole(handoff);
    world_check_rest(world);
}

TEST(all_bytes_arrive)
{
    each_world(&small, whole);
}

/* Windows may begin and end anywhere, also within a word, and come in any order. */
static void odd(struct world *world)
{
    for (unsigned round = 0; round < 5; round++) {
        struct handoff *handoff = handoff_make(world, round % WORLD_LINKS, 64);

        handoff_cut(handoff, 0);
        handoff_post_all(handoff);
        handoff_finish(handoff);
        handoff_check_whole(handoff);
        world_check_rest(world);
        world_fill(world);
    }
}

TEST(windows_of_odd_offsets_arrive)
{
    each_world(&few, odd);
}

/* The smallest windows there are: one byte each. */
static void bytewise(struct world *world)
{
    struct handoff *handoff = handoff_make(world, 0, 8);

    handoff_cut(handoff, 1);
    handoff_post_all(handoff);
    handoff_finish(handoff);
    handoff_check_whole(handoff);
}

TEST(windows_of_one_byte_arrive)
{
    static const struct world_shape tiny = {.block_bytes = 64,
                                            .block_count = 64,
                                            .slice_bytes = 4096,
                                            .window_bytes = 4096,
                                            .windows_max = 1024};

    each_world(&tiny, bytewise);
}

/* A slice or a call of the system has many more blocks than its tables have rows. */
TEST(tiny_blocks_arrive)
{
    static const struct world_shape tiny = {.block_bytes = 8,
                                            .block_count = 16384,
                                            .slice_bytes = 65536,
                                            .window_bytes = 1 << 20,
                                            .windows_max = 1024};

    each_world(&tiny, whole);
}

/* Many fetches on two links at once, their windows mixed. */
static void many(struct world *world)
{
    struct handoff *handoffs[16];

    for (unsigned i = 0; i < 16; i++) {
        handoffs[i] = handoff_make(world, i % WORLD_LINKS, 12);
        handoff_cut(handoffs[i], 1 + world->block_bytes / 2);
    }
    for (unsigned j = 0; j < handoffs[0]->window_count; j++) {
        for (unsigned i = 0; i < 16; i++) {
            handoff_post(handoffs[i], j);
        }
    }
    for (unsigned i = 0; i < 16; i++) {
        handoff_finish(handoffs[i]);
        handoff_check_whole(handoffs[i]);
    }
    world_check_rest(world);
}

TEST(many_windows_at_once_arrive)
{
    each_world(&small, many);
}

/* What a stopped fetch has to show: all back, truthful, and no byte after that. */
static void check_quiet(struct handoff *handoff)
{
    struct world *world = handoff->world;

    handoff_finish(handoff);
    handoff_check(handoff);
    EXPECT(world,
           handoff->status[TRANSPORT_OK] + handoff->status[TRANSPORT_ABORTED] == handoff->posted);
    handoff_overwrite(handoff);
    host_loop_settle(&world->loop, WORLD_STEPS_MAX);
    EXPECT(world, handoff_overwritten(handoff));
}

/* Windows posted with the flag set never start, with or without the call. */
static void stopped_before(struct world *world)
{
    for (unsigned call = 0; call < 2; call++) {
        struct handoff *handoff = handoff_make(world, 0, 40);

        handoff_cut(handoff, world->options.window_bytes);
        atomic_store(&handoff->stop, true);
        handoff_post_all(handoff);
        if (call) {
            handoff_stop(handoff);
        }
        handoff_finish(handoff);
        EXPECT(world, handoff->status[TRANSPORT_ABORTED] == handoff->posted);
        EXPECT(world, handoff_overwritten(handoff));
        check_quiet(handoff);
    }
}

TEST(stopped_before_the_start_nothing_lands)
{
    each_world(&small, stopped_before);
}

/* Stop after any number of steps of the host: each window comes back once, and is quiet. */
static void stopped_at_step(struct world *world)
{
    unsigned steps_max = world->options.movers ? 40 : 400;

    for (unsigned steps = 0; steps < steps_max; steps++) {
        struct handoff *handoff = handoff_make(world, steps % WORLD_LINKS, world->block_count / 2);

        handoff_cut(handoff, world->options.window_bytes);
        handoff_post_all(handoff);
        for (unsigned i = 0; i < steps; i++) {
            host_loop_step(&world->loop, 0);
        }
        if (handoff_all_done(handoff)) {
            steps = steps_max;
        }
        handoff_stop(handoff);
        check_quiet(handoff);
        EXPECT(world, host_loop_until(&world->loop, world_quiet, world));
        world_fill(world);
    }
}

TEST(stopped_at_any_step_is_quiet)
{
    each_world(&few, stopped_at_step);
}

TEST(stopped_within_a_large_window_is_quiet)
{
    each_world(&large, stopped_at_step);
}

static void set_flag_after(struct handoff *handoff, void *arg)
{
    const unsigned *after = arg;

    if (handoff->done == *after) {
        atomic_store(&handoff->stop, true);
    }
}

/* The flag alone, set when the k-th window is given back, ends the rest. */
static void flag_alone(struct world *world)
{
    for (unsigned after = 1; after < 8; after++) {
        struct handoff *handoff = handoff_make(world, 0, 28);

        handoff_cut(handoff, world->options.window_bytes);
        world->state->on_done = set_flag_after;
        world->state->on_done_arg = &after;
        handoff_post_all(handoff);
        handoff_finish(handoff);
        world->state->on_done = NULL;
        EXPECT(world, handoff->status[TRANSPORT_OK] >= after);
        check_quiet(handoff);
    }
}

TEST(the_flag_alone_stops)
{
    each_world(&small, flag_alone);
}

static void stop_within(struct handoff *handoff, void *arg)
{
    struct handoff *other = arg;

    if (handoff != other && handoff->done == 1) {
        handoff_stop(other);
    }
}

/* stop() may be called from within window_done(). */
static void stopped_within(struct world *world)
{
    struct handoff *first = handoff_make(world, 0, 16);
    struct handoff *other = handoff_make(world, 0, 64);

    handoff_cut(first, world->options.window_bytes);
    handoff_cut(other, world->options.window_bytes);
    world->state->on_done = stop_within;
    world->state->on_done_arg = other;
    handoff_post_all(first);
    handoff_post_all(other);
    handoff_finish(first);
    world->state->on_done = NULL;

    handoff_check_whole(first);
    check_quiet(other);
}

TEST(stop_may_be_called_within_an_upcall)
{
    each_world(&small, stopped_within);
}

/* Stopping one fetch, twice, and one that nobody knows, leaves the others alone. */
static void others_go_on(struct world *world)
{
    struct handoff *stopped = handoff_make(world, 0, 60);
    struct handoff *other = handoff_make(world, 0, 60);
    struct handoff *elsewhere = handoff_make(world, 1, 60);
    const struct transport_ops *ops = world->fixture->ops;

    handoff_cut(stopped, world->options.window_bytes);
    handoff_cut(other, world->options.window_bytes);
    handoff_cut(elsewhere, world->options.window_bytes);
    for (unsigned i = 0; i < other->window_count; i++) {
        handoff_post(stopped, i);
        handoff_post(other, i);
        handoff_post(elsewhere, i);
    }
    for (unsigned i = 0; i < 5; i++) {
        host_loop_step(&world->loop, 0);
    }
    handoff_stop(stopped);
    handoff_stop(stopped);
    ops->stop(world->links[0].sink, 999);
    ops->stop(world->links[1].sink, stopped->fetch_id);
    handoff_finish(other);
    handoff_finish(elsewhere);

    check_quiet(stopped);
    handoff_check_whole(other);
    handoff_check_whole(elsewhere);
}

TEST(stopping_one_fetch_leaves_the_others_alone)
{
    each_world(&small, others_go_on);
}

/* A fetch that was stopped is followed by another into the same blocks, at once. */
static void blocks_again(struct world *world)
{
    for (unsigned round = 0; round < 10; round++) {
        struct handoff *first = handoff_make(world, 0, 24), *next;

        handoff_cut(first, world->options.window_bytes);
        handoff_post_all(first);
        for (unsigned i = 0; i < round; i++) {
            host_loop_step(&world->loop, 0);
        }
        handoff_stop(first);
        handoff_finish(first);
        handoff_check(first);
        handoff_overwrite(first);
        next = handoff_make(world, 0, 24);
        for (uint32_t i = 0; i < next->count; i++) {
            next->sink_blocks[i] = first->sink_blocks[i];
        }
        handoff_cut(next, world->options.window_bytes);
        handoff_post_all(next);
        handoff_finish(next);
        handoff_check_whole(next);
        EXPECT(world, host_loop_until(&world->loop, world_quiet, world));
        world_fill(world);
    }
}

TEST(blocks_of_a_stopped_fetch_serve_the_next)
{
    each_world(&few, blocks_again);
}

/* Closing a link gives back all of its windows; the other link goes on. */
static void closed(struct world *world)
{
    struct handoff *here = handoff_make(world, 0, 100);
    struct handoff *there = handoff_make(world, 1, 100);

    handoff_cut(here, world->options.window_bytes);
    handoff_cut(there, world->options.window_bytes);
    handoff_post_all(here);
    handoff_post_all(there);
    for (unsigned i = 0; i < 3; i++) {
        host_loop_step(&world->loop, 0);
    }
    world_link_close(world, 0);
    EXPECT(world, here->posted - here->done <= world->options.movers);
    check_quiet(here);
    handoff_finish(there);
    handoff_check_whole(there);
    EXPECT(world, world->loop.links_broken == 0);
}

TEST(closing_a_link_gives_everything_back)
{
    each_world(&small, closed);
}

/* Closing a link before and after anything happened on it. */
static void closed_idle(struct world *world)
{
    struct handoff *handoff = handoff_make(world, 1, 4);

    world_link_close(world, 0);
    host_loop_settle(&world->loop, WORLD_STEPS_MAX);
    handoff_cut(handoff, world->options.window_bytes);
    handoff_post_all(handoff);
    handoff_finish(handoff);
    handoff_check_whole(handoff);
    world_link_close(world, 1);
}

TEST(an_idle_link_closes)
{
    each_world(&small, closed_idle);
}

static bool window_needs(const struct handoff *handoff, const struct transport_window *window,
                         uint32_t from_block)
{
    uint64_t bytes = handoff->plan.block_bytes;
    uint64_t last = (window->offset + window->length - 1) / bytes;

    for (uint64_t i = window->offset / bytes; i <= last; i++) {
        if (handoff->source_blocks[i] >= from_block) {
            return true;
        }
    }
    return false;
}

/* A peer that refuses may have ended the lease, which is no failure of its memory. */
static bool fell_short(const struct world *world, enum transport_status status)
{
    return status == TRANSPORT_FAILED ||
           (status == TRANSPORT_ABORTED && !world->fixture->break_source);
}

/* Memory that can not be read fails the windows that need it, and no others. */
static void broken(struct world *world)
{
    struct handoff *handoff = handoff_make(world, 0, 128);
    uint32_t from_block = world->block_count / 2;
    unsigned failures = 0;

    if (world->fixture->break_source) {
        world->fixture->break_source(world, from_block);
    } else if (world->fixture->push) {
        return; /* a source that can not push ends the lease, and sends nothing */
    } else {
        world->state->refuse_from_block = from_block;
    }
    handoff_cut(handoff, world->block_bytes);
    handoff_post_all(handoff);
    handoff_finish(handoff);
    handoff_check(handoff);
    for (unsigned i = 0; i < handoff->window_count; i++) {
        const struct transport_window *window = &handoff->windows[i].window;
        bool fails = window_needs(handoff, window, from_block);

        failures += fails;
        EXPECT(world, fails ? fell_short(world, window->status) : window->status == TRANSPORT_OK);
    }
    EXPECT(world, failures > 0 && failures < handoff->window_count);
    EXPECT(world, world->loop.links_broken == 0);
}

TEST(memory_that_can_not_be_read_fails_the_window)
{
    each_world(&small, broken);
}

/* A source that ended while, or before, its memory is read: no window says OK from then on. */
static void killed(struct world *world)
{
    struct handoff *before = handoff_make(world, 0, 100);
    struct handoff *after = handoff_make(world, 1, 20);

    if (!world->fixture->kill_source) {
        return;
    }
    handoff_cut(before, world->options.window_bytes);
    handoff_cut(after, world->options.window_bytes);
    handoff_post_all(before);
    world->fixture->kill_source(world);
    handoff_post_all(after);
    handoff_finish(before);
    handoff_finish(after);

    handoff_check(before);
    handoff_check(after);
    EXPECT(world,
           before->status[TRANSPORT_OK] + before->status[TRANSPORT_PEER_DEAD] == before->posted);
    EXPECT(world, after->status[TRANSPORT_PEER_DEAD] == after->posted);
}

TEST(a_dead_source_fails_the_window)
{
    each_world(&small, killed);
}

/* What the next owner of the source's blocks would do. */
static void rewrite_source(struct handoff *handoff)
{
    struct world *world = handoff->world;

    for (uint32_t i = 0; i < handoff->count; i++) {
        uint64_t at = (uint64_t)handoff->source_blocks[i] * world->block_bytes;

        memset(world->source + at, 0x11, world->block_bytes);
    }
}

/* False: everything had arrived before. */
static bool unserved_at(struct world *world, unsigned steps)
{
    struct handoff *handoff = handoff_make(world, 0, world->block_count / 2);
    struct handoff *other = handoff_make(world, 0, world->block_count / 4);
    bool early;

    handoff_cut(handoff, world->options.window_bytes);
    handoff_cut(other, world->options.window_bytes);
    handoff_post_all(handoff);
    handoff_post_all(other);
    for (unsigned i = 0; i < steps; i++) {
        host_loop_step(&world->loop, 0);
    }
    early = !handoff_all_done(handoff);
    world->fixture->ops->serve_stop(world->links[0].source, handoff->offer_id, 0, handoff->attempt);
    EXPECT(world, world_serves(handoff) == 0);
    /* What is requested after this is refused, as the engine would. */
    handoff->revoked = true;
    rewrite_source(handoff);
    handoff_finish(other);
    if (world->fixture->push) {
        handoff_stop(handoff); /* as the sink's engine would, told on the control connection */
    }
    handoff_finish(handoff);
    handoff_check(handoff);
    handoff_check_whole(other);
    EXPECT(world, host_loop_until(&world->loop, world_quiet, world));
    world_fill(world);
    return early;
}

/* The source stops serving and rewrites its blocks at once: no window that says OK has the new
 * bytes, and the other offers on the link go on. */
static void unserved(struct world *world)
{
    unsigned steps = 0;

    while (world->links[0].source && steps < 400 && unserved_at(world, steps)) {
        steps++;
    }
}

TEST(a_source_that_stops_serving_is_quiet)
{
    each_world(&few, unserved);
}

TEST(a_source_that_stops_within_a_large_window_is_quiet)
{
    each_world(&large, unserved);
}
