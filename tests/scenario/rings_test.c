/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links through shared memory whose other end is broken or hostile: whatever it does to the rings,
 * the engine ends that link or goes on with it, serves everybody else, and keeps nothing.
 */
#include "scenario/pair.h"
#include "scenario/raw_link.h"

#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    CALLER_SHM = 6, /* of kinds[] */
    PINGS_OF_A_RING = RING_BYTES / FRAME_HEAD_BYTES,
    MANY_OPENS = 20000,
    SLOW_BYTES = 2 << 20, /* answers that a slow reader takes */
};

static bool closed_with(const char *cause)
{
    const char *why = raw_closed;

    if (!why || strcmp(why, cause) != 0) {
        printf("    the link ended with %s\n", why ? why : "nothing");
        return false;
    }
    return true;
}

static void open_pair(struct pair *pair, const struct kind *kind)
{
    struct pair_setup setup = {
        .kind = kind, .source.on_log = raw_on_log, .sink.on_log = raw_on_log};

    raw_closed = NULL;
    pair_open(pair, &setup);
}

/* The engines still do what they are for. */
static void check_serves(struct pair *pair)
{
    struct end offer = {0}, fetch = {0};

    if (CHECK(offer_start(pair, &offer, 2, 5, NULL) == BATON_OK) &&
        CHECK(fetch_start(pair, &fetch, &offer.ticket, 2, NULL) == BATON_OK)) {
        end_retire(&fetch);
        CHECK(fetch.result.outcome == BATON_COMPLETED && end_holds(&fetch, 5, 0));
        end_drop(&fetch);
        end_finish(&offer);
    }
}

static bool answers(struct raw_link *raw, uint64_t id)
{
    struct frame open = raw_open(id), answer;

    return raw_say(raw, &open) && raw_hear(raw, &answer) && answer.type == FRAME_REFUSED &&
           answer.refused.fetch_id == id;
}

/* ---- what comes with HELLO ---- */

static int read_only(int fd)
{
    char path[32];
    int reopened;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    reopened = open(path, O_RDONLY | O_CLOEXEC);
    close(fd);
    return reopened;
}

static void check_dial(struct pair *pair, const int *fds, unsigned count, bool ringed)
{
    struct raw_link raw;

    CHECK(raw_dial(&raw, pair->source, WIRE_TRANSPORT_SHM | WIRE_LINK_RINGS, fds, count));
    CHECK(raw.ringed == ringed);
    CHECK(answers(&raw, 1));
    raw_close(&raw);
}

/* Memory that could be taken away again, or is none, is left alone, and the socket serves; what
 * comes behind a good descriptor does no harm. */
TEST(memory_that_can_not_be_rings_is_left)
{
    int pipes[2] = {-1, -1};
    struct pair pair;

    open_pair(&pair, plain_shm);
    CHECK(pipe(pipes) == 0);
    const int bad[] = {raw_memfd(RAW_RINGS_BYTES, 0),
                       raw_memfd(RAW_RINGS_BYTES, F_SEAL_SHRINK),
                       raw_memfd(RAW_RINGS_BYTES, F_SEAL_GROW),
                       raw_memfd(RAW_RINGS_BYTES, RAW_SEALS | F_SEAL_WRITE),
                       raw_memfd(RAW_RINGS_BYTES - 1, RAW_SEALS),
                       raw_memfd(RAW_RINGS_BYTES + 1, RAW_SEALS),
                       raw_memfd(0, RAW_SEALS),
                       read_only(raw_memfd(RAW_RINGS_BYTES, RAW_SEALS)),
                       open("/dev/null", O_RDWR | O_CLOEXEC),
                       pipes[0],
                       pipes[1]};

    check_dial(&pair, NULL, 0, false);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int good = raw_memfd(RAW_RINGS_BYTES, RAW_SEALS);

        check_dial(&pair, &bad[i], 1, false);
        check_dial(&pair, (int[]){bad[i], good}, 2, false);
        check_dial(&pair, (int[]){good, bad[i]}, 2, true);
        close(good);
        close(bad[i]);
    }
    check_serves(&pair);
    pair_close(&pair);
}

/* ---- positions and bytes ---- */

static void head_too_far(struct raw_link *raw)
{
    atomic_store(&raw->out.ring->head, raw->out.at + RING_BYTES + 1);
}

static void head_before(struct raw_link *raw)
{
    atomic_store(&raw->out.ring->head, raw->out.at - 1);
}

/* Bytes that nobody wrote are zeros, and no frame begins so. */
static void head_without_bytes(struct raw_link *raw)
{
    atomic_store(&raw->out.ring->head, raw->out.at + RING_BYTES);
}

/* The engine looks at the tail when it writes. */
static void tail_too_far(struct raw_link *raw)
{
    struct frame ping = {.type = FRAME_PING};

    atomic_store(&raw->in.ring->tail, raw->in.at + 1);
    raw_say(raw, &ping);
}

static void holes(struct raw_link *raw)
{
    CHECK(ftruncate(raw->memfd, 4096) != 0 && ftruncate(raw->memfd, 1 << 20) != 0);
    CHECK(fallocate(raw->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, RAW_RINGS_BYTES) ==
          0);
}

static void frame_of_the_source(struct raw_link *raw)
{
    struct frame ended = {.type = FRAME_ENDED, .ended.cause = BATON_CAUSE_CANCEL};

    raw_say(raw, &ended);
}

/* What can not be ends the link, and only that one, with PROTOCOL, as docs/PROTOCOL.md says. */
TEST(nonsense_in_a_ring_ends_its_link)
{
    void (*const nonsense[])(struct raw_link *) = {head_too_far, head_before, head_without_bytes,
                                                   tail_too_far, holes,       frame_of_the_source};
    struct raw_link raw, other;
    struct pair pair;

    open_pair(&pair, plain_shm);
    CHECK(raw_dial_rings(&other, pair.source));
    for (unsigned i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
        raw_closed = NULL;
        CHECK(raw_dial_rings(&raw, pair.source) && answers(&raw, 1));
        nonsense[i](&raw);
        raw_bell(&raw, -1);
        CHECK(raw_gone(&raw));
        if (!CHECK(closed_with("protocol"))) {
            printf("    after nonsense %u\n", i);
        }
        raw_close(&raw);
        CHECK(answers(&other, i));
        check_serves(&pair);
    }
    raw_close(&other);
    pair_close(&pair);
}

/* Half a frame, and then nothing: everybody else is served; with the other half comes its answer.
 */
TEST(half_a_frame_waits_alone)
{
    struct frame open = raw_open(9), answer;
    uint8_t bytes[256];
    size_t length = frame_encode(&open, bytes);
    struct raw_link raw;
    struct pair pair;

    open_pair(&pair, plain_shm);
    CHECK(raw_dial_rings(&raw, pair.source));
    for (size_t cut = 1; cut < length; cut += 20) {
        CHECK(raw_write(&raw, bytes, cut) == cut && raw_bell(&raw, -1));
        check_serves(&pair);
        CHECK(raw_write(&raw, bytes + cut, length - cut) == length - cut && raw_bell(&raw, -1));
        CHECK(raw_hear(&raw, &answer) && answer.type == FRAME_REFUSED &&
              answer.refused.fetch_id == 9);
    }
    raw_close(&raw);
    pair_close(&pair);
}

/* ---- readers that do not read ---- */

/* Says OPENs until the engine takes no more; returns how many were taken in all. */
static uint64_t say_opens(struct raw_link *raw, uint64_t from, uint64_t to)
{
    for (unsigned refused = 0; refused < 1000 && from < to;) {
        struct frame open = raw_open(from);

        if (raw_say(raw, &open)) {
            from++;
            refused = 0;
        } else {
            refused++;
            sched_yield();
        }
    }
    return from;
}

/* A peer that asks and never reads: the engine stops reading it, others are served, and when it
 * reads at last every answer is there, in order. */
TEST(a_peer_that_does_not_read_gets_its_answers_later)
{
    uint64_t said = 0, heard = 0;
    struct raw_link raw;
    struct frame answer;
    struct pair pair;

    open_pair(&pair, plain_shm);
    CHECK(raw_dial_rings(&raw, pair.source));
    said = say_opens(&raw, 0, MANY_OPENS);
    CHECK(said > 1000 && said < MANY_OPENS);
    check_serves(&pair);
    while (heard < said && CHECK(raw_hear(&raw, &answer)) &&
           CHECK(answer.type == FRAME_REFUSED && answer.refused.fetch_id == heard)) {
        heard++;
    }
    CHECK(answers(&raw, said));
    raw_close(&raw);
    pair_close(&pair);
}

static bool is_full(const struct raw_link *raw)
{
    uint64_t end_ns = now_ns() + (uint64_t)RAW_WAIT_MS * 1000000;

    while (atomic_load(&raw->in.ring->head) - raw->in.at != RING_BYTES) {
        if (now_ns() > end_ns) {
            return false;
        }
        sched_yield();
    }
    return true;
}

static size_t heap_bytes(void)
{
    struct mallinfo2 m = mallinfo2();

    return m.uordblks + m.hblkhd;
}

/* A peer that always leaves something unread costs what waits, not what was ever said. */
TEST(a_slow_reader_costs_what_waits)
{
    static unsigned char bytes[RING_BYTES / 2];
    struct raw_link raw;
    struct pair pair;
    uint64_t said;
    size_t before, got;
    bool wake;

    open_pair(&pair, plain_shm);
    before = heap_bytes();
    CHECK(raw_dial_rings(&raw, pair.source));
    said = say_opens(&raw, 0, UINT64_MAX); /* a full ring, and as much behind it as there may be */
    for (uint64_t read = 0; read < SLOW_BYTES; read += got) {
        got = 0;
        if (!CHECK(is_full(&raw) && ring_read(&raw.in, bytes, sizeof(bytes), &got, &wake))) {
            break;
        }
        if (wake) {
            raw_bell(&raw, -1);
        }
        said = say_opens(&raw, said, UINT64_MAX);
    }
    if (!CHECK(heap_bytes() < before + (1 << 20))) {
        printf("    %zu bytes more\n", heap_bytes() - before);
    }
    raw_close(&raw);
    pair_close(&pair);
}

static _Atomic(struct raw_link *) hammered;

static void *hammer(void *arg)
{
    struct raw_link *raw;

    (void)arg;
    while ((raw = hammered)) {
        atomic_store_explicit(&raw->in.ring->writer_waits, 0, memory_order_relaxed);
        atomic_store_explicit(&raw->in.ring->reader_sleeps, 1, memory_order_relaxed);
        atomic_store_explicit(&raw->out.ring->reader_sleeps, 0, memory_order_relaxed);
    }
    return NULL;
}

/* A peer that takes back every flag while its ring is full keeps the driver for no time. */
TEST(flags_that_change_do_not_hold_the_driver)
{
    struct raw_link raw;
    struct pair pair;
    pthread_t thread;

    open_pair(&pair, plain_shm);
    CHECK(raw_dial_rings(&raw, pair.source));
    say_opens(&raw, 0, MANY_OPENS);
    hammered = &raw;
    CHECK(pthread_create(&thread, NULL, hammer, NULL) == 0);
    for (unsigned i = 0; i < 50; i++) {
        raw_bell(&raw, -1);
        check_serves(&pair);
    }
    hammered = NULL;
    pthread_join(thread, NULL);
    raw_close(&raw);
    pair_close(&pair);
}

/* ---- ends ---- */

/* What a peer said before it closed is heard. */
TEST(the_last_words_of_a_closed_link_are_heard)
{
    struct end offer = {0};
    struct raw_link raw;
    struct frame cancel;
    struct pair pair;
    uint8_t bytes[256];
    size_t length;

    open_pair(&pair, plain_shm);
    CHECK(offer_start(&pair, &offer, 1, 1, NULL) == BATON_OK);
    CHECK(raw_dial_rings(&raw, pair.source) && answers(&raw, 1));
    cancel = raw_cancel(offer.ticket.bytes, offer.ticket.length);
    length = frame_encode(&cancel, bytes);
    CHECK(raw_write(&raw, bytes, length) == length); /* without a bell */
    raw_close(&raw);
    end_finish(&offer);
    CHECK(offer.result.outcome == BATON_PEER_CANCELLED);
    pair_close(&pair);
}

/* Dial, greet, and hear the OPEN of a fetch from a source that is driven by hand. */
static uint64_t open_fetch(struct pair *pair, struct raw_link *raw, struct end *fetch)
{
    struct ticket ticket;
    struct frame frame = {.type = FRAME_PING};

    CHECK(raw_listen(raw));
    ticket.length = raw_ticket(raw, pair->block_bytes, 1, ticket.bytes);
    CHECK(fetch_start(pair, fetch, &ticket, 1, NULL) == BATON_OK);
    CHECK(baton_engine_step(pair->sink, 0) == BATON_OK);
    CHECK(raw_accept(raw));
    for (unsigned i = 0; i < 3; i++) {
        CHECK(baton_engine_step(pair->sink, 0) == BATON_OK);
    }
    CHECK(raw_hear(raw, &frame) && frame.type == FRAME_OPEN);
    return frame.open.fetch_id;
}

/* The same of a peer that was stuck: its ring was full, and it waited for room when it ended. */
TEST(the_last_words_of_a_full_ring_are_heard)
{
    struct frame frame = {.type = FRAME_PING};
    struct end fetch = {0};
    struct raw_link raw;
    struct pair pair;
    uint8_t bytes[64];
    size_t length;

    open_pair(&pair, &kinds[CALLER_SHM]);
    const struct frame refused = {.type = FRAME_REFUSED,
                                  .refused.fetch_id = open_fetch(&pair, &raw, &fetch),
                                  .refused.cause = BATON_CAUSE_BUSY};

    length = frame_encode(&refused, bytes);
    CHECK(raw_write(&raw, bytes, length) == length);
    length = frame_encode(&frame, bytes);
    for (unsigned i = 0; i < PINGS_OF_A_RING; i++) {
        raw_write(&raw, bytes, length); /* the last one does not fit */
    }
    CHECK(atomic_load(&raw.out.ring->writer_waits) == 1);
    raw_close(&raw);
    end_finish(&fetch);
    CHECK(fetch.result.outcome == BATON_REFUSED && fetch.result.cause == BATON_CAUSE_BUSY);
    if (raw_closed) {
        CHECK(closed_with("link_closed"));
    }
    pair_close(&pair);
}

/* A position that can not be, found when the engine writes: the fetch hears PROTOCOL too. */
TEST(a_source_with_a_wrong_tail_breaks_the_protocol)
{
    struct frame ping = {.type = FRAME_PING};
    struct end fetch = {0};
    struct raw_link raw;
    struct pair pair;

    open_pair(&pair, &kinds[CALLER_SHM]);
    open_fetch(&pair, &raw, &fetch);
    atomic_store(&raw.in.ring->tail, raw.in.at + 1);
    CHECK(raw_say(&raw, &ping));
    end_finish(&fetch);
    CHECK(fetch.result.outcome == BATON_LINK_LOST && fetch.result.cause == BATON_CAUSE_PROTOCOL);
    raw_close(&raw);
    pair_close(&pair);
}

/* A descriptor that this process had no room for is lost with its link: the next one, of another
 * pool, must not take its place. */
TEST(a_lost_descriptor_is_not_replaced_by_the_next)
{
    struct frame region = {.type = FRAME_REGION}, accept = {.type = FRAME_ACCEPT};
    const uint8_t run[] = {0, 0, 0, 0, 1, 0, 0, 0};
    struct end fetch = {0};
    struct rlimit limit, none;
    struct raw_link raw;
    struct pair pair;
    int first, second;

    open_pair(&pair, &kinds[CALLER_SHM]);
    accept.accept.fetch_id = open_fetch(&pair, &raw, &fetch);
    first = raw_memfd(pair.block_bytes, RAW_SEALS);
    second = raw_memfd(pair.block_bytes, RAW_SEALS);
    getrlimit(RLIMIT_NOFILE, &limit);
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = limit.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    CHECK(raw_bell(&raw, first) && baton_engine_step(pair.sink, 0) == BATON_OK);
    setrlimit(RLIMIT_NOFILE, &limit);
    raw_bell(&raw, second);
    region.region.kind = REGION_MEMFD;
    region.region.length = region.region.block_bytes = pair.block_bytes;
    accept.accept.attempt = accept.accept.block_count = 1;
    accept.accept.watermark = accept.accept.total = accept.accept.block_bytes = pair.block_bytes;
    accept.payload = run;
    accept.payload_length = sizeof(run);
    raw_say(&raw, &region);
    raw_say(&raw, &accept);
    for (unsigned i = 0; i < 4; i++) {
        CHECK(baton_engine_step(pair.sink, 0) == BATON_OK);
    }
    raw_close(&raw);
    end_finish(&fetch);
    CHECK(fetch.result.outcome == BATON_LINK_LOST && fetch.result.bytes_landed == 0);
    close(first);
    close(second);
    pair_close(&pair);
}
