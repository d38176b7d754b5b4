/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of layout/layout.c: sizes that overflow, messages, and plans against a byte-by-byte model.
 */
#include "test.h"

#include <string.h>

#include "layout/layout.h"
#include "util/prng.h"

enum {
    BLOCKS_MAX = 24,
    POOL_BLOCKS = 32,
    BLOCK_BYTES_MAX = 9,
};

/* Llama-3.1-8B: 32 layers, 16 tokens a block, 8 KV heads of 128 elements of 2 bytes: 2 MiB. */
static const struct baton_layout llama = {32, 2, 16, 8, 128, 2};

/* The product, and what becomes of it at the edges. */
TEST(layout_bytes_and_overflow)
{
    const uint32_t max = UINT32_MAX;

    CHECK(layout_bytes(&llama) == 2 << 20);
    CHECK(layout_bytes(&(struct baton_layout){0}) == 0);
    CHECK(layout_bytes(&(struct baton_layout){1, 1, 1, 1, 1, 1}) == 1);
    CHECK(layout_bytes(&(struct baton_layout){max, max, 1, 1, 1, 1}) == (uint64_t)max * max);
    CHECK(layout_bytes(&(struct baton_layout){1, 1, 1, 1, max, max}) == (uint64_t)max * max);
    CHECK(layout_bytes(&(struct baton_layout){max, max, 2, 1, 1, 1}) == UINT64_MAX);
    CHECK(layout_bytes(&(struct baton_layout){max, max, max, max, max, max}) == UINT64_MAX);
    /* 2^64 is 0 in 64 bits. */
    CHECK(layout_bytes(&(struct baton_layout){1 << 16, 1 << 16, 1 << 16, 1 << 16, 1, 1}) ==
          UINT64_MAX);
    /* A 0 behind an overflow is still a 0. */
    CHECK(layout_bytes(&(struct baton_layout){max, max, max, max, max, 0}) == 0);
}

/* Opaque is all zero; equal is every number. */
TEST(layout_opaque_and_equal)
{
    CHECK(layout_opaque(&(struct baton_layout){0}));
    CHECK(!layout_opaque(&llama));
    CHECK(layout_equal(&llama, &llama));
    for (unsigned i = 0; i < 6; i++) {
        uint32_t numbers[6] = {32, 2, 16, 8, 128, 2}, zeros[6] = {0};
        struct baton_layout other, one;

        numbers[i]++;
        zeros[i] = 1;
        memcpy(&other, numbers, sizeof(other));
        memcpy(&one, zeros, sizeof(one));
        CHECK(!layout_equal(&llama, &other) && !layout_equal(&other, &llama));
        CHECK(!layout_opaque(&one));
    }
}

static bool check_refused(struct baton_layout layout, uint64_t block_bytes, const char *a,
                          const char *b)
{
    struct baton_error error = {0};

    return layout_check(&layout, block_bytes, &error) == BATON_EINVAL &&
           layout_check(&layout, block_bytes, NULL) == BATON_EINVAL && error.code == BATON_EINVAL &&
           strstr(error.text, a) && strstr(error.text, b);
}

/* A layout fills its block exactly, or the message names the two numbers that clash. */
TEST(layout_check_messages)
{
    const uint32_t max = UINT32_MAX;
    struct baton_error error = {.code = BATON_OK};

    CHECK(layout_check(&llama, 2 << 20, &error) == BATON_OK);
    CHECK(layout_check(&(struct baton_layout){0}, 12345, &error) == BATON_OK);
    CHECK(error.code == BATON_OK);
    CHECK(check_refused(llama, 4 << 20, "2097152", "4194304"));
    CHECK(check_refused(llama, 0, "2097152", " 0"));
    CHECK(check_refused((struct baton_layout){32, 2, 16, 0, 128, 2}, 4096, "heads 0", "4096"));
    CHECK(check_refused((struct baton_layout){32, 0, 16, 1, 128, 2}, 0, "kv_parts 0", " 0"));
    CHECK(check_refused((struct baton_layout){max, max, max, 1, 1, 1}, 4096, "2^64-1", "4096"));
    CHECK(check_refused((struct baton_layout){max, max, max, 1, 1, 1}, UINT64_MAX, "2^64-1",
                        "18446744073709551615"));
}

/* The longest message is not cut. */
TEST(layout_check_message_fits)
{
    const uint32_t max = UINT32_MAX;
    struct baton_error error = {0};

    CHECK(layout_check(&(struct baton_layout){max, max, max, max, max, 0}, UINT64_MAX, &error) ==
          BATON_EINVAL);
    CHECK(strstr(error.text, "or none"));
}

/* A plan of random blocks, and for each of its bytes where it lies on either side. */
struct model {
    struct plan plan;
    uint32_t source[BLOCKS_MAX], sink[BLOCKS_MAX];
    uint64_t source_at[BLOCKS_MAX * BLOCK_BYTES_MAX], sink_at[BLOCKS_MAX * BLOCK_BYTES_MAX];
};

static void list_fill(struct prng *prng, uint32_t *blocks, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        bool follow = i && blocks[i - 1] + 1 < POOL_BLOCKS && prng_below(prng, 4);

        blocks[i] = follow ? blocks[i - 1] + 1 : (uint32_t)prng_below(prng, POOL_BLOCKS);
    }
}

static void model_fill(struct prng *prng, struct model *m)
{
    uint64_t sides = prng_below(prng, 4);
    uint64_t bytes = 0;

    m->plan.block_bytes = 1 + prng_below(prng, BLOCK_BYTES_MAX);
    m->plan.block_count = (uint32_t)prng_below(prng, BLOCKS_MAX + 1);
    m->plan.source = sides == 1 ? NULL : m->source;
    m->plan.sink = sides == 2 ? NULL : m->sink;
    list_fill(prng, m->source, m->plan.block_count);
    list_fill(prng, m->sink, m->plan.block_count);
    for (uint32_t i = 0; i < m->plan.block_count; i++) {
        for (uint64_t b = 0; b < m->plan.block_bytes; b++, bytes++) {
            m->source_at[bytes] = m->source[i] * m->plan.block_bytes + b;
            m->sink_at[bytes] = m->sink[i] * m->plan.block_bytes + b;
        }
    }
}

/* Whether plan byte `at` lies right behind the one before it, on the sides that the plan knows. */
static bool model_adjacent(const struct model *m, uint64_t at)
{
    return (!m->plan.source || m->source_at[at] == m->source_at[at - 1] + 1) &&
           (!m->plan.sink || m->sink_at[at] == m->sink_at[at - 1] + 1);
}

/* The length of the longest span from `at`. */
static uint64_t model_span(const struct model *m, uint64_t at, uint64_t end, uint64_t length_max)
{
    uint64_t length = 1;

    while (length < length_max && at + length < end && model_adjacent(m, at + length)) {
        length++;
    }
    return length;
}

/* Walk [offset, offset + length) and compare each span with the model. */
static bool walk_matches(const struct model *m, uint64_t offset, uint64_t length,
                         uint64_t length_max)
{
    struct plan_cursor cursor;
    struct plan_span span;
    uint64_t at = offset, end = offset + length;

    plan_cursor_init(&cursor, &m->plan, offset, length);
    while (plan_next(&cursor, length_max, &span)) {
        if (at >= end || span.length != model_span(m, at, end, length_max) ||
            span.source_offset != (m->plan.source ? m->source_at[at] : 0) ||
            span.sink_offset != (m->plan.sink ? m->sink_at[at] : 0)) {
            return false;
        }
        at += span.length;
    }
    return at == end && cursor.offset == end;
}

/* Random plans, random windows, random limits: the spans are those of the byte-by-byte model. */
TEST(plan_matches_model)
{
    struct prng prng;

    prng_init(&prng, 5);
    for (unsigned round = 0; round < 20000; round++) {
        struct model m;
        uint64_t total, offset, length;

        model_fill(&prng, &m);
        total = plan_bytes(&m.plan);
        CHECK(total == m.plan.block_bytes * m.plan.block_count);
        offset = prng_below(&prng, total + 1);
        length = prng_below(&prng, total - offset + 1);
        if (!CHECK(walk_matches(&m, offset, length, 1 + prng_below(&prng, 40))) ||
            !CHECK(walk_matches(&m, 0, total, UINT64_MAX))) {
            printf("  seed 5, round %u\n", round);
            return;
        }
    }
}

/* The end of a plan leaves the span alone, also when asked again, and in an empty plan. */
TEST(plan_end)
{
    const uint32_t blocks[] = {3};
    const struct plan plan = {.block_bytes = 8, .block_count = 1, .source = blocks, .sink = blocks};
    const struct plan empty = {.block_bytes = 8};
    struct plan_cursor cursor;
    struct plan_span span = {1, 2, 3};

    plan_cursor_init(&cursor, &empty, 0, 0);
    CHECK(!plan_next(&cursor, 1, &span));
    plan_cursor_init(&cursor, &plan, 8, 0);
    CHECK(!plan_next(&cursor, 1, &span));
    plan_cursor_init(&cursor, &plan, 0, 8);
    CHECK(plan_next(&cursor, 100, &span));
    CHECK(span.source_offset == 24 && span.sink_offset == 24 && span.length == 8);
    CHECK(!plan_next(&cursor, 100, &span));
    CHECK(!plan_next(&cursor, 100, &span));
    CHECK(span.source_offset == 24 && span.sink_offset == 24 && span.length == 8);
}

/* The largest numbers that the limits allow do not overflow, and block numbers do not wrap. */
TEST(plan_largest)
{
    const uint32_t blocks[] = {UINT32_MAX - 1, UINT32_MAX, 0};
    const uint64_t block_bytes = UINT64_C(1) << 30;
    const struct plan plan = {.block_bytes = block_bytes, .block_count = 3, .source = blocks};
    const struct plan sink = {.block_bytes = block_bytes, .block_count = UINT32_MAX};
    struct plan_cursor cursor;
    struct plan_span span;

    CHECK(plan_bytes(&sink) == block_bytes * UINT32_MAX);
    plan_cursor_init(&cursor, &sink, 0, plan_bytes(&sink) - 1);
    CHECK(plan_next(&cursor, 4096, &span) && span.length == 4096);
    plan_cursor_init(&cursor, &plan, 0, 3 * block_bytes);
    CHECK(plan_next(&cursor, UINT64_MAX, &span));
    CHECK(span.source_offset == (UINT32_MAX - 1) * block_bytes && span.length == 2 * block_bytes);
    CHECK(plan_next(&cursor, UINT64_MAX, &span));
    CHECK(span.source_offset == 0 && span.length == block_bytes);
}
