/* SPDX-License-Identifier: Apache-2.0 */
/* The life of an engine: close, drain, destroy, abandon, fork, the caller's loop, and its stats. */
#include "scenario/pair.h"

#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned count_entries(const char *path)
{
    DIR *folder = opendir(path);
    unsigned count = 0;

    while (folder && readdir(folder)) {
        count++;
    }
    if (folder) {
        closedir(folder);
    }
    return count;
}

static void run_once(struct pair *pair, uint64_t content)
{
    struct end offer = {0}, fetch = {0};

    CHECK_ON(pair, offer_start(pair, &offer, 3, content, NULL) == BATON_OK);
    CHECK_ON(pair, fetch_start(pair, &fetch, &offer.ticket, 3, NULL) == BATON_OK);
    end_retire(&fetch);
    CHECK_ON(pair, fetch.result.outcome == BATON_COMPLETED && end_holds(&fetch, content, 0));
    end_drop(&fetch);
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_finish(&offer);
}

/* A fetch that waits for bytes, and the offer that it waits for. */
static void start_waiting(struct pair *pair, struct end *offer, struct end *fetch)
{
    CHECK_ON(pair, offer_start(pair, offer, 2, 1,
                               &(struct baton_offer_args){.watermark_bytes = 64}) == BATON_OK);
    CHECK_ON(pair, fetch_start(pair, fetch, &offer->ticket, 2, NULL) == BATON_OK);
    CHECK_ON(pair, end_wait_landed(fetch, 64));
}

/* Neither descriptors nor threads are left behind by engines that lived and died. */
TEST(engines_leave_nothing_behind)
{
    unsigned fds = 0, threads = 0;

    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < kinds_count; i++) {
            struct pair pair;

            pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
            run_once(&pair, i);
            pair_close(&pair);
        }
        if (round > 0) {
            CHECK(count_entries("/proc/self/fd") == fds);
            CHECK(count_entries("/proc/self/task") == threads);
        }
        fds = count_entries("/proc/self/fd");
        threads = count_entries("/proc/self/task");
    }
}

/* A closing engine cancels what runs, with that cause at both sides, and takes nothing new. */
TEST(close_cancels_and_takes_nothing_new)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair pair;
        struct end offer = {0}, fetch = {0}, late = {0};
        struct baton_pool_options options = {
            .size = sizeof(options), .block_bytes = 64, .block_count = 2};
        baton_pool *none = NULL;

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        start_waiting(&pair, &offer, &fetch);
        baton_engine_close(pair.source);
        baton_engine_close(pair.source);
        CHECK_ON(&pair, baton_pool_create(pair.source, &options, &none, NULL) == BATON_ECLOSED);
        CHECK_ON(&pair, offer_start(&pair, &late, 1, 1, NULL) == BATON_ECLOSED);
        end_finish(&offer);
        end_finish(&fetch);
        CHECK_ON(&pair, offer.result.outcome == BATON_CANCELLED &&
                            offer.result.cause == BATON_CAUSE_CLOSING);
        CHECK_ON(&pair, fetch.result.outcome == BATON_PEER_CANCELLED ||
                            fetch.result.outcome == BATON_LINK_LOST);
        baton_engine_close(pair.sink);
        late = (struct end){0};
        CHECK_ON(&pair, fetch_start(&pair, &late, &offer.ticket, 1, NULL) == BATON_ECLOSED);
        CHECK_ON(&pair, !late.handoff && late.outcomes == 0);
        pair_close(&pair);
    }
}

/* Drain waits for what runs, gives up in time, and then nothing has changed. */
TEST(drain_waits_and_gives_up)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair pair;
        struct end offer = {0}, fetch = {0};
        uint64_t start;

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        CHECK_ON(&pair, baton_engine_drain(pair.source, 0) == BATON_OK);
        start_waiting(&pair, &offer, &fetch);
        start = now_ns();
        CHECK_ON(&pair, baton_engine_drain(pair.source, 30) == BATON_ETIMEOUT);
        CHECK_ON(&pair, now_ns() - start >= 29000000);
        CHECK_ON(&pair, baton_engine_drain(pair.sink, 0) == BATON_ETIMEOUT);
        CHECK_ON(&pair, offer.outcomes == 0 && fetch.outcomes == 0);
        baton_offer_advance(offer.handoff, BATON_WATERMARK_END);
        end_finish(&fetch);
        CHECK_ON(&pair, fetch.result.outcome == BATON_COMPLETED);
        end_finish(&offer);
        pair_close(&pair);
    }
}

/* Destroy refuses while anything is open, says what, changes nothing, and works afterwards. */
TEST(destroy_refuses_until_all_is_given_back)
{
    for (unsigned i = 0; i < 3; i++) {
        struct pair pair;
        struct end offer = {0}, fetch = {0};
        struct baton_error error = {0};

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        CHECK(baton_engine_destroy(NULL, NULL) == BATON_OK);
        start_waiting(&pair, &offer, &fetch);
        CHECK_ON(&pair, baton_engine_destroy(pair.sink, &error) == BATON_EBUSY);
        CHECK_ON(&pair, error.code == BATON_EBUSY && error.text[0]);
        CHECK_ON(&pair, baton_pool_destroy(pair.source_pool, &error) == BATON_EBUSY);
        baton_offer_advance(offer.handoff, BATON_WATERMARK_END);
        CHECK_ON(&pair, end_wait_quiet(&fetch) && end_wait_quiet(&offer));
        CHECK_ON(&pair, fetch.result.outcome == BATON_COMPLETED);
        baton_engine_close(pair.sink);
        CHECK_ON(&pair, baton_engine_drain(pair.sink, PAIR_WAIT_MS) == BATON_OK);
        CHECK_ON(&pair, baton_engine_destroy(pair.sink, &error) == BATON_EBUSY);
        CHECK_ON(&pair, strstr(error.text, "1"));
        end_retire(&fetch);
        CHECK_ON(&pair, baton_engine_destroy(pair.sink, &error) == BATON_EBUSY);
        CHECK_ON(&pair, baton_pool_destroy(pair.sink_pool, &error) == BATON_EBUSY);
        CHECK_ON(&pair, end_holds(&fetch, 1, 0));
        end_drop(&fetch);
        end_finish(&offer);
        pair_close(&pair);
    }
}

/* What was abandoned stays reachable, so that a leak checker knows it. */
static struct pair kept[3];
static struct end kept_offers[3];

/* An abandoned source keeps its memory and says how much; its reader loses the link, with a
 * receipt. */
TEST(abandon_keeps_what_is_unproven)
{
    for (unsigned i = 0; i < 3; i++) {
        struct pair *pair = &kept[i];
        struct end *offer = &kept_offers[i], fetch = {0};
        struct baton_abandoned abandoned = {0};
        void *block;

        pair_open(pair, &(struct pair_setup){.kind = &kinds[i]});
        start_waiting(pair, offer, &fetch);
        block = baton_pool_block(pair->source_pool, offer->blocks[1]);
        baton_engine_abandon(pair->source, &abandoned);
        CHECK_ON(pair, abandoned.pools == 1 && abandoned.handoffs == 1);
        CHECK_ON(pair, abandoned.bytes == PAIR_BLOCKS * PAIR_BLOCK_BYTES);
        CHECK_ON(pair, block_holds(block, PAIR_BLOCK_BYTES, 1, 1));
        end_finish(&fetch);
        CHECK_ON(pair, fetch.result.outcome == BATON_LINK_LOST ||
                           fetch.result.outcome == BATON_PEER_CANCELLED);
        baton_engine_close(pair->sink);
        CHECK_ON(pair, baton_engine_drain(pair->sink, PAIR_WAIT_MS) == BATON_OK);
        CHECK_ON(pair, baton_engine_destroy(pair->sink, NULL) == BATON_OK);
        close(pair->wake);
    }
}

/* What a fork's child may find out. */
static int run_child(struct pair *pair, struct end *offer)
{
    struct baton_offer_args args = {
        .size = sizeof(args), .pool = pair->source_pool, .blocks = offer->blocks, .block_count = 1};
    struct baton_pool_options options = {
        .size = sizeof(options), .block_bytes = 64, .block_count = 2};
    uint32_t blocks[1] = {0};
    baton_handoff *none = NULL;
    baton_pool *no_pool = NULL;

    if (baton_offer(pair->source, &args, &none, NULL) != BATON_EFORKED) {
        return 1;
    }
    if (baton_engine_destroy(pair->source, NULL) != BATON_EFORKED) {
        return 2;
    }
    if (baton_engine_drain(pair->source, 0) != BATON_EFORKED) {
        return 3;
    }
    if (baton_pool_create(pair->source, &options, &no_pool, NULL) != BATON_EFORKED) {
        return 4;
    }
    if (baton_pool_alloc(pair->source_pool, 1, blocks, NULL) != BATON_EFORKED ||
        baton_pool_free(pair->source_pool, offer->blocks, 1, NULL) != BATON_EFORKED ||
        baton_pool_destroy(pair->source_pool, NULL) != BATON_EFORKED) {
        return 5;
    }
    if (baton_retire(offer->handoff, &offer->receipt, NULL, NULL, NULL) != BATON_EFORKED) {
        return 6;
    }
    if (baton_offer_aux(offer->handoff, "x", 1) != BATON_EFORKED) {
        return 7;
    }
    baton_handoff_cancel(offer->handoff, BATON_CANCEL_OFFER);
    baton_offer_advance(offer->handoff, BATON_WATERMARK_END);
    baton_engine_close(pair->source);
    return none || no_pool ? 8 : 0;
}

/* In a child the engines are dead, and what it tries does not reach the parent's. */
TEST(a_forks_child_touches_nothing)
{
    struct pair pair;
    struct end offer = {0}, fetch = {0};
    int status = -1;
    pid_t child;

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    start_waiting(&pair, &offer, &fetch);
    child = fork();
    if (child == 0) {
        _exit(run_child(&pair, &offer));
    }
    CHECK(waitpid(child, &status, 0) == child);
    if (!CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
        printf("    status %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -status);
    }
    CHECK(offer.outcomes == 0 && fetch.outcomes == 0);
    baton_offer_advance(offer.handoff, BATON_WATERMARK_END);
    end_finish(&fetch);
    CHECK(fetch.result.outcome == BATON_COMPLETED);
    end_finish(&offer);
    run_once(&pair, 5);
    pair_close(&pair);
}

/* The number behind `"name":` in a text of stats; the first one found. */
static long long number_of(const char *text, const char *name)
{
    char key[64];
    const char *at;

    snprintf(key, sizeof(key), "\"%s\":", name);
    at = strstr(text, key);
    return at ? strtoll(at + strlen(key), NULL, 10) : -1;
}

static bool is_object(const char *text)
{
    int depth = 0;
    bool in_string = false;

    for (const char *c = text; *c; c++) {
        in_string ^= *c == '"';
        depth += in_string ? 0 : (*c == '{' || *c == '[') - (*c == '}' || *c == ']');
        if (depth < 1 && c[1] && c[1] != '\n') {
            return false;
        }
    }
    return depth == 0 && !in_string && text[0] == '{';
}

/* The driver publishes its counts before it sleeps: waits until `name` has reached `value`. */
static bool stats_until(struct pair *pair, baton_engine *engine, const char *name, long long value,
                        char *ret_text, size_t size)
{
    uint64_t end = now_ns() + (uint64_t)PAIR_WAIT_MS * 1000000;

    do {
        if (pair->kind->progress == BATON_PROGRESS_CALLER) {
            (void)baton_engine_step(engine, 0);
        }
        baton_engine_stats_json(engine, ret_text, size);
    } while (number_of(ret_text, name) < value && now_ns() < end && sched_yield() == 0);
    return number_of(ret_text, name) == value;
}

/* The stats are one object, its counts are what happened, and a short buffer gets the beginning. */
TEST(stats_count_what_happened)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        struct pair pair;
        struct end offer = {0}, fetch = {0};
        static char text[32768], part[64];
        size_t length;

        pair_open(&pair, &(struct pair_setup){.kind = &kinds[i]});
        run_once(&pair, 1);
        start_waiting(&pair, &offer, &fetch);
        baton_handoff_cancel(fetch.handoff, BATON_CANCEL_OFFER);
        end_finish(&fetch);
        end_finish(&offer);
        CHECK_ON(&pair, stats_until(&pair, pair.sink, "bytes_wasted", 64, text, sizeof(text)));
        length = baton_engine_stats_json(pair.sink, text, sizeof(text));
        CHECK_ON(&pair, length == strlen(text) && is_object(text));
        CHECK_ON(&pair, number_of(text, "fetches") == 2 && number_of(text, "offers") == 0);
        CHECK_ON(&pair, number_of(text, "cancels_requested") == 1);
        CHECK_ON(&pair, number_of(text, "cancels_won") == 1);
        CHECK_ON(&pair, number_of(text, "retired") == 2);
        CHECK_ON(&pair, number_of(text, "bytes_useful") == 3 * PAIR_BLOCK_BYTES);
        CHECK_ON(&pair, number_of(text, "bytes_wasted") == 64);
        CHECK_ON(&pair, number_of(text, "bytes_landed") == 3 * PAIR_BLOCK_BYTES + 64);
        CHECK_ON(&pair, number_of(text, "inflight_bytes") == 0 && number_of(text, "windows") == 0);
        CHECK_ON(&pair, number_of(text, "protocol_errors") == 0);
        CHECK_ON(&pair, baton_engine_stats_json(pair.sink, part, sizeof(part)) >= length / 2);
        CHECK_ON(&pair, strlen(part) == sizeof(part) - 1 && !strncmp(part, text, 20));
        CHECK_ON(&pair, baton_engine_stats_json(pair.sink, NULL, 0) >= length / 2);
        CHECK_ON(&pair, stats_until(&pair, pair.source, "peer_cancelled", 1, text, sizeof(text)));
        CHECK_ON(&pair, is_object(text) && number_of(text, "offers") == 2);
        CHECK_ON(&pair, number_of(text, "leases") == 2);
        pair_close(&pair);
    }
}

/* Whoever connects to the stats socket gets one object and the end; the path goes with the engine.
 */
TEST(the_stats_socket_serves_one_object)
{
    struct pair pair;
    char folder[] = "/tmp/baton-scenario-XXXXXX";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    static char text[65536];

    CHECK(mkdtemp(folder));
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/stats.sock", folder);
    pair_open(&pair,
              &(struct pair_setup){.kind = plain_shm, .source.stats_path = address.sun_path});
    run_once(&pair, 3);
    for (unsigned i = 0; i < 3; i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        size_t length = 0;
        ssize_t got;

        CHECK(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
        while ((got = read(fd, text + length, sizeof(text) - 1 - length)) > 0) {
            length += (size_t)got;
        }
        text[length] = '\0';
        close(fd);
        CHECK(is_object(text) && number_of(text, "offers") == 1);
    }
    pair_close(&pair);
    CHECK(access(address.sun_path, F_OK) != 0);
    unlink(address.sun_path);
    CHECK(rmdir(folder) == 0);
}

static void *cancel_from_afar(void *arg)
{
    baton_handoff_cancel(arg, BATON_CANCEL_OFFER);
    return NULL;
}

/* A step without limit returns when another thread gives it something to do. */
TEST(a_waiting_step_is_woken)
{
    struct pair pair;
    struct end offer = {0};
    pthread_t thread;

    pair_open(&pair, &(struct pair_setup){.kind = &kinds[6]});
    CHECK(offer_start(&pair, &offer, 1, 1, NULL) == BATON_OK);
    while (baton_engine_step(pair.source, 0) == BATON_OK && offer.stages == 0 &&
           poll(&(struct pollfd){baton_engine_fd(pair.source), POLLIN, 0}, 1, 0) == 1) {
    }
    CHECK(pthread_create(&thread, NULL, cancel_from_afar, offer.handoff) == 0);
    while (offer.quiets == 0 && baton_engine_step(pair.source, -1) == BATON_OK) {
    }
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(offer.outcomes == 1 && offer.result.outcome == BATON_CANCELLED);
    end_finish(&offer);
    CHECK(baton_engine_step(pair.source, 0) == BATON_OK);
    pair_close(&pair);
}

enum { ASKS = 3000 };

static void *cancel_all(void *arg)
{
    struct end *ends = arg;

    for (unsigned i = 0; i < ASKS; i++) {
        baton_handoff_cancel(ends[i].handoff, BATON_CANCEL_OFFER);
        for (volatile unsigned spin = 0; spin < i % 512 * 8; spin++) {
        }
    }
    return NULL;
}

/* Whenever there is something to do the descriptor is readable, however an ask meets a step. */
TEST(asks_between_two_steps_make_the_descriptor_readable)
{
    struct pair pair;
    struct end *ends = calloc(ASKS, sizeof(*ends));
    pthread_t thread;

    pair_open(&pair,
              &(struct pair_setup){.kind = &kinds[6], .block_count = ASKS, .block_bytes = 64});
    for (unsigned i = 0; i < ASKS; i++) {
        CHECK(offer_start(&pair, &ends[i], 1, 1, NULL) == BATON_OK);
    }
    CHECK(pthread_create(&thread, NULL, cancel_all, ends) == 0);
    for (unsigned i = 0; i < ASKS && CHECK(end_wait_quiet(&ends[i])); i++) {
    }
    CHECK(pthread_join(thread, NULL) == 0);
    for (unsigned i = 0; i < ASKS; i++) {
        while (ends[i].quiets == 0 && baton_engine_step(pair.source, 0) == BATON_OK) {
        }
        end_finish(&ends[i]);
    }
    pair_close(&pair);
    free(ends);
}
