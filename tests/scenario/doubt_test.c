/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pushes whose source says nothing more: whom on_doubt kills and whom not, which link it closes,
 * and what the quarantine's limits count.  What whole processes make of it is in tests/fault.
 */
#include "scenario/pair.h"
#include "scenario/raw_link.h"

#include <linux/userfaultfd.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    COUNT = 12, /* blocks of a handoff */
    BYTES = COUNT * PAIR_BLOCK_BYTES,
    PERCENT = 100 * COUNT / PAIR_BLOCKS, /* 18.75: less than they are */
    PAGE = 4096,
    DOUBT_MS = 20,
    LATER_MS = 80,      /* after the doubt was told: nothing else is due then */
    REDIALLED_MS = 200, /* by then there is a new link, but on a machine that is very busy */
    STATS_BYTES = 32 << 10,
};

static const struct baton_fetch_args push = {.mode = BATON_PUSH, .transport = "shm"};

/* ---- what an engine says that it did ---- */

static const char *awaited; /* a part of the line */
static atomic_uint lines;
static char last_line[256]; /* of an engine whose driver is the test */
static int said_fd;         /* an eventfd */

static void on_log(void *arg, baton_log_level level, const char *text)
{
    const uint64_t one = 1;

    (void)arg;
    if (level == BATON_LOG_WARN && strstr(text, awaited)) {
        atomic_fetch_add(&lines, 1);
        snprintf(last_line, sizeof(last_line), "%s", text);
        CHECK(write(said_fd, &one, sizeof(one)) == sizeof(one));
    }
}

static void await_line(const char *part)
{
    awaited = part;
    atomic_store(&lines, 0);
    said_fd = eventfd(0, EFD_CLOEXEC);
}

/* The line of that handoff. */
static bool line_came(const void *arg)
{
    char start[64];

    snprintf(start, sizeof(start), "handoff %llu ",
             (unsigned long long)baton_handoff_id(((const struct end *)arg)->handoff));
    return strncmp(last_line, start, strlen(start)) == 0;
}

/* Of an engine with its own thread. */
static bool wait_line(void)
{
    struct pollfd said = {.fd = said_fd, .events = POLLIN};

    return poll(&said, 1, PAIR_WAIT_MS) == 1;
}

static bool stats_say(baton_engine *engine, const char *what)
{
    static char text[STATS_BYTES];

    CHECK(baton_engine_stats_json(engine, text, sizeof(text)) < sizeof(text));
    return strstr(text, what) != NULL;
}

/* ---- a source of this process, whose driver stands still ---- */

static struct pair_setup still_setup(void)
{
    struct pair_setup setup = {.sink = {.window_bytes = PAGE, .doubt_ms = DOUBT_MS},
                               .source.window_bytes = PAGE};

    for (unsigned i = 0; i < kinds_count && !setup.kind; i++) {
        setup.kind = strcmp(kinds[i].name, "caller, shm") == 0 ? &kinds[i] : NULL;
    }
    return setup;
}

static void step(baton_engine *engine)
{
    for (unsigned i = 0; i < 100; i++) {
        CHECK(baton_engine_step(engine, 0) == BATON_OK);
    }
}

static void start_push(struct pair *pair, struct end *offer, struct end *fetch)
{
    CHECK(offer_start(pair, offer, COUNT, 5, NULL) == BATON_OK);
    CHECK(fetch_start(pair, fetch, &offer->ticket, COUNT, &push) == BATON_OK);
}

/* The source's driver stands still, with all that the sink grants to it from here on. */
static void freeze(struct end *fetch)
{
    CHECK(end_wait_landed(fetch, PAGE));
    fetch->pair->source_frozen = true;
    step(fetch->pair->sink);
}

/* The fetch was cancelled, and the source was granted windows that it does not see. */
static void begin_doubt(struct pair *pair, struct end *offer, struct end *fetch)
{
    start_push(pair, offer, fetch);
    freeze(fetch);
    baton_handoff_cancel(fetch->handoff, BATON_CANCEL_OFFER);
    CHECK(end_wait_outcome(fetch));
}

static bool has_doubt(const void *arg)
{
    return ((const struct end *)arg)->doubts > 0;
}

/* The source goes on. */
static void end_doubt(struct pair *pair, struct end *offer, struct end *fetch)
{
    pair->source_frozen = false;
    end_finish(fetch);
    CHECK(fetch->doubts == 1 && fetch->receipt.proof == BATON_PROOF_PEER_DRAIN);
    end_finish(offer);
}

/*
 * A peer in this process is not killed: this test goes on.  Its link is closed, after the doubt was
 * told, though nothing else wakes the engine then.  That brings a second fetch into doubt, and when
 * its turn has come nothing was done twice for the first.
 */
TEST(no_engine_kills_its_own_process)
{
    struct pair_setup setup = still_setup();
    struct end offer[2] = {0}, fetch[2] = {0};
    struct pair pair;

    setup.sink.on_doubt = BATON_ON_DOUBT_KILL_LOCAL_PEER;
    setup.sink.on_doubt_ms = LATER_MS;
    setup.sink.on_log = on_log;
    await_line("in this very process");
    pair_open(&pair, &setup);
    for (unsigned i = 0; i < 2; i++) {
        start_push(&pair, &offer[i], &fetch[i]);
    }
    freeze(&fetch[1]);
    baton_handoff_cancel(fetch[0].handoff, BATON_CANCEL_OFFER);
    CHECK(pair_until(&pair, line_came, &fetch[1]) && atomic_load(&lines) == 2);
    CHECK(fetch[1].result.cause == BATON_CAUSE_FENCED);
    CHECK(stats_say(pair.sink, "\"links_fenced\": 1, \"peers_killed\": 0"));
    for (unsigned i = 0; i < 2; i++) {
        baton_handoff_cancel(offer[i].handoff, BATON_CANCEL_OFFER);
        end_doubt(&pair, &offer[i], &fetch[i]);
    }
    pair_close(&pair);
    close(said_fd);
}

/* The limits, in bytes and in percent of a pool, and whether they refuse what is in doubt. */
static void budget(uint64_t bytes_max, unsigned percent_max, bool refuses)
{
    struct pair_setup setup = still_setup();
    struct end offer = {0}, fetch = {0}, more = {0};
    struct pair pair;
    baton_err err;

    setup.sink.quarantine_bytes_max = bytes_max;
    setup.sink.quarantine_percent_max = percent_max;
    pair_open(&pair, &setup);
    begin_doubt(&pair, &offer, &fetch);
    /* It has ended, and nobody has said that it is in doubt. */
    CHECK(fetch_start(&pair, &more, &offer.ticket, COUNT, NULL) == BATON_OK);
    baton_handoff_cancel(more.handoff, BATON_CANCEL_ATTEMPT);
    end_finish(&more);
    CHECK(pair_until(&pair, has_doubt, &fetch));
    more = (struct end){0};
    err = fetch_start(&pair, &more, &offer.ticket, COUNT, NULL);
    CHECK(err == (refuses ? BATON_ELIMIT : BATON_OK));
    if (!err) {
        baton_handoff_cancel(more.handoff, BATON_CANCEL_ATTEMPT);
        end_finish(&more);
    }
    end_doubt(&pair, &offer, &fetch);
    pair_close(&pair);
}

/* Above a limit is too much, at it is not; without limits a peer may hold all. */
TEST(quarantine_limits_are_exact)
{
    budget(BYTES - 1, 100, true);
    budget(BYTES, 100, false);
    budget(0, PERCENT, true);
    budget(0, PERCENT + 1, false);
    budget(0, 0, false);
    budget(UINT64_MAX, 100, false);
}

static baton_err fetch_into(struct pair *pair, baton_pool *pool, const struct ticket *ticket,
                            struct baton_error *ret_error)
{
    uint32_t blocks[COUNT];
    const struct baton_fetch_args args = {.size = sizeof(args),
                                          .ticket = ticket->bytes,
                                          .ticket_length = ticket->length,
                                          .pool = pool,
                                          .blocks = blocks,
                                          .block_count = COUNT};
    baton_handoff *handoff = NULL;
    baton_err err;

    CHECK(baton_pool_alloc(pool, COUNT, blocks, NULL) == BATON_OK);
    err = baton_fetch(pair->sink, &args, &handoff, ret_error);
    CHECK(err && !handoff);
    CHECK(baton_pool_free(pool, blocks, COUNT, NULL) == BATON_OK);
    return err;
}

/* The message says who holds how much, and what to do.  Bytes are counted in all pools. */
TEST(a_refused_fetch_says_why)
{
    const struct baton_pool_options other = {
        .size = sizeof(other), .block_bytes = PAIR_BLOCK_BYTES, .block_count = 2 * COUNT};
    struct pair_setup setup = still_setup();
    struct end offer = {0}, fetch = {0};
    struct baton_error error = {0};
    uint8_t id[16];
    char peer[16], limit[96];
    baton_pool *pool;
    struct pair pair;

    setup.sink.quarantine_bytes_max = BYTES - 1;
    pair_open(&pair, &setup);
    CHECK(baton_pool_create(pair.sink, &other, &pool, NULL) == BATON_OK);
    begin_doubt(&pair, &offer, &fetch);
    CHECK(pair_until(&pair, has_doubt, &fetch));
    baton_engine_incarnation(pair.source, id);
    snprintf(peer, sizeof(peer), "%02x%02x%02x%02x", id[0], id[1], id[2], id[3]);
    snprintf(limit, sizeof(limit), "%d bytes in quarantine, more than quarantine_bytes_max, %d",
             BYTES, BYTES - 1);
    CHECK(fetch_into(&pair, pool, &offer.ticket, &error) == BATON_ELIMIT);
    CHECK(error.code == BATON_ELIMIT && strstr(error.text, peer) && strstr(error.text, limit));
    CHECK(strstr(error.text, "raise the option"));
    end_doubt(&pair, &offer, &fetch);
    CHECK(baton_pool_destroy(pool, NULL) == BATON_OK);
    pair_close(&pair);
}

/* Percents are of the pool that the fetch is for: another pool is not the peer's quarantine. */
TEST(percents_are_of_one_pool)
{
    const struct baton_pool_options other = {
        .size = sizeof(other), .block_bytes = PAIR_BLOCK_BYTES, .block_count = COUNT};
    struct pair_setup setup = still_setup();
    struct end offer = {0}, fetch = {0}, more = {0};
    struct baton_error error = {0};
    baton_pool *pool, *first;
    struct pair pair;

    setup.sink.quarantine_percent_max = PERCENT;
    pair_open(&pair, &setup);
    CHECK(baton_pool_create(pair.sink, &other, &pool, NULL) == BATON_OK);
    begin_doubt(&pair, &offer, &fetch);
    CHECK(pair_until(&pair, has_doubt, &fetch));
    CHECK(fetch_into(&pair, pair.sink_pool, &offer.ticket, &error) == BATON_ELIMIT);
    CHECK(strstr(error.text, "quarantine_percent_max, 18, of this pool's 524288"));
    first = pair.sink_pool;
    pair.sink_pool = pool;
    if (CHECK(fetch_start(&pair, &more, &offer.ticket, COUNT, NULL) == BATON_OK)) {
        baton_handoff_cancel(more.handoff, BATON_CANCEL_ATTEMPT);
        end_finish(&more);
    }
    pair.sink_pool = first;
    end_doubt(&pair, &offer, &fetch);
    CHECK(baton_pool_destroy(pool, NULL) == BATON_OK);
    pair_close(&pair);
}

/* Within a notice of `end`: the doubt's refuses, quiet's does not. */
static void fetch_again(struct end *end, enum moment moment, baton_stage to)
{
    struct end *more = end->other;

    (void)to;
    if (moment == MOMENT_DOUBT) {
        CHECK(fetch_into(end->pair, end->pool, &more->ticket, NULL) == BATON_ELIMIT);
    } else if (moment == MOMENT_QUIET) {
        CHECK(fetch_start(end->pair, more, &more->ticket, COUNT, NULL) == BATON_OK);
    }
}

/* The budget is used up when the doubt is told, and free when quiet is. */
TEST(on_quiet_may_fetch_again)
{
    struct pair_setup setup = still_setup();
    struct end offer = {0}, second = {0}, fetch = {0}, more = {0};
    struct pair pair;

    setup.sink.quarantine_bytes_max = 1;
    pair_open(&pair, &setup);
    CHECK(offer_start(&pair, &second, COUNT, 6, NULL) == BATON_OK);
    more.ticket = second.ticket;
    fetch.other = &more;
    fetch.hook = fetch_again;
    begin_doubt(&pair, &offer, &fetch);
    CHECK(pair_until(&pair, has_doubt, &fetch));
    end_doubt(&pair, &offer, &fetch);
    end_retire(&more);
    CHECK(more.result.outcome == BATON_COMPLETED && end_holds(&more, 6, 0));
    end_drop(&more);
    end_finish(&second);
    pair_close(&pair);
}

/* ---- a source that has hung up ---- */

/* A process that listens, accepts a push, hangs up with the grant, and lives on. */
_Noreturn static void live_as_source(int tell)
{
    struct ticket ticket = {0};
    struct raw_link raw;
    struct frame grant;

    if (raw_listen(&raw)) {
        ticket.length = raw_ticket(&raw, PAIR_BLOCK_BYTES, COUNT, ticket.bytes);
        if (write(tell, &ticket, sizeof(ticket)) == sizeof(ticket) &&
            raw_accept_push(&raw, PAIR_BLOCK_BYTES, COUNT, &grant)) {
            raw_hang_up(&raw);
            for (;;) {
                pause();
            }
        }
    }
    _exit(EXIT_FAILURE);
}

/* There is no link to close any more: the process is killed all the same. */
TEST(a_source_that_hung_up_is_killed)
{
    struct pair_setup setup = {
        .kind = plain_shm,
        .sink = {.on_doubt = BATON_ON_DOUBT_KILL_LOCAL_PEER, .on_doubt_ms = DOUBT_MS}};
    struct end fetch = {0};
    struct ticket ticket = {0};
    int pipes[2], status = 0;
    struct pair pair;
    pid_t pid;

    CHECK(pipe(pipes) == 0);
    pid = fork();
    if (pid == 0) {
        live_as_source(pipes[1]);
    }
    CHECK(read(pipes[0], &ticket, sizeof(ticket)) == sizeof(ticket));
    pair_open(&pair, &setup);
    CHECK(fetch_start(&pair, &fetch, &ticket, COUNT, &push) == BATON_OK);
    end_finish(&fetch);
    CHECK(fetch.result.cause == BATON_CAUSE_LINK_CLOSED);
    CHECK(fetch.receipt.proof == BATON_PROOF_PEER_EXITED);
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    pair_close(&pair);
    close(pipes[0]);
    close(pipes[1]);
}

/* The same with a source in this process, which is found out without its link, too.  The link that
 * is there by then is a later one: it is to bring the source's word, and is left alone. */
TEST(a_source_of_this_process_that_hung_up_is_not)
{
    struct pair_setup setup = {.kind = plain_shm,
                               .sink = {.on_doubt = BATON_ON_DOUBT_KILL_LOCAL_PEER,
                                        .on_doubt_ms = REDIALLED_MS,
                                        .on_log = on_log}};
    struct end fetch = {0};
    struct ticket ticket;
    struct raw_link raw;
    struct pair pair;
    struct frame f;

    await_line("in this very process");
    pair_open(&pair, &setup);
    CHECK(raw_listen(&raw));
    ticket.length = raw_ticket(&raw, PAIR_BLOCK_BYTES, COUNT, ticket.bytes);
    CHECK(fetch_start(&pair, &fetch, &ticket, COUNT, &push) == BATON_OK);
    CHECK(raw_accept_push(&raw, PAIR_BLOCK_BYTES, COUNT, &f));
    raw_hang_up(&raw);
    CHECK(raw_accept(&raw) && raw_hear(&raw, &f) && f.type == FRAME_QUIESCE);
    CHECK(wait_line() && fetch.quiets == 0);
    f = (struct frame){.type = FRAME_QUIESCED,
                       .quiesced = {f.quiesce.fetch_id, f.quiesce.attempt, f.quiesce.nonce}};
    CHECK(raw_say(&raw, &f));
    end_finish(&fetch);
    CHECK(fetch.receipt.proof == BATON_PROOF_PEER_DRAIN);
    CHECK(stats_say(pair.sink, "\"links_fenced\": 0, \"peers_killed\": 0"));
    raw_close(&raw);
    pair_close(&pair);
    close(said_fd);
}

/* ---- an offer in doubt ---- */

/* Memory whose pages wait, when they are read, until the test fills them.  NULL: not here. */
static unsigned char *memory_make(int *ret_uffd)
{
    struct uffdio_api api = {.api = UFFD_API};
    unsigned char *memory =
        mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct uffdio_register range = {.range = {(uintptr_t)memory, BYTES},
                                    .mode = UFFDIO_REGISTER_MODE_MISSING};
    int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

    CHECK(memory != MAP_FAILED);
    if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) != 0 ||
        ioctl(uffd, UFFDIO_REGISTER, &range) != 0) {
        munmap(memory, BYTES);
        close(uffd);
        return NULL;
    }
    *ret_uffd = uffd;
    return memory;
}

/* A mover stands still; returns the page that it wants to read. */
static uint64_t stalled_page(int uffd)
{
    struct pollfd pollfd = {.fd = uffd, .events = POLLIN};
    struct uffd_msg message = {0};

    CHECK(poll(&pollfd, 1, PAIR_WAIT_MS) == 1);
    CHECK(read(uffd, &message, sizeof(message)) == (ssize_t)sizeof(message));
    return message.arg.pagefault.address & ~(uint64_t)(PAGE - 1);
}

static baton_err offer_memory(struct pair *pair, struct end *offer, baton_pool *pool)
{
    struct baton_offer_args args = {.size = sizeof(args),
                                    .pool = pool,
                                    .blocks = offer->blocks,
                                    .block_count = COUNT,
                                    .watermark_bytes = BATON_WATERMARK_END,
                                    .notices = end_notices(offer)};

    offer->pair = pair;
    offer->pool = pool;
    offer->block_count = COUNT;
    for (uint32_t i = 0; i < COUNT; i++) {
        offer->blocks[i] = i;
    }
    return baton_offer(pair->source, &args, &offer->handoff, NULL);
}

/* The source's mover stands still in a push when the offer is cancelled: the link to its sink is
 * closed, and that is no proof.  The sink is nobody's to kill: it writes into no block. */
TEST(an_offer_in_doubt_closes_its_link)
{
    struct pair_setup setup = {.kind = plain_shm,
                               .source = {.on_doubt = BATON_ON_DOUBT_KILL_LOCAL_PEER,
                                          .on_doubt_ms = DOUBT_MS,
                                          .slice_bytes = PAGE,
                                          .on_log = on_log}};
    struct baton_pool_options wrapped = {
        .size = sizeof(wrapped), .block_bytes = PAIR_BLOCK_BYTES, .block_count = COUNT};
    struct end offer = {0}, fetch = {0};
    struct uffdio_zeropage zero = {.range.len = PAGE};
    struct pair pair;
    baton_pool *pool;
    int uffd = -1;

    wrapped.memory = memory_make(&uffd);
    if (!wrapped.memory) {
        test_skip("no userfaultfd here");
        return;
    }
    await_line("closed the link to");
    pair_open(&pair, &setup);
    CHECK(baton_pool_create(pair.source, &wrapped, &pool, NULL) == BATON_OK);
    CHECK(offer_memory(&pair, &offer, pool) == BATON_OK);
    offer.ticket = offer_ticket(&offer, 0);
    CHECK(fetch_start(&pair, &fetch, &offer.ticket, COUNT, &push) == BATON_OK);
    zero.range.start = stalled_page(uffd);
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    CHECK(wait_line() && offer.outcomes == 1 && offer.quiets == 0);
    CHECK(ioctl(uffd, UFFDIO_ZEROPAGE, &zero) == 0);
    end_retire(&offer);
    CHECK(offer.receipt.proof == BATON_PROOF_LOCAL_DRAIN);
    end_finish(&fetch);
    CHECK(fetch.result.outcome == BATON_PEER_CANCELLED);
    CHECK(stats_say(pair.source, "\"links_fenced\": 1, \"peers_killed\": 0"));
    baton_handoff_unref(offer.handoff);
    CHECK(baton_pool_destroy(pool, NULL) == BATON_OK);
    pair_close(&pair);
    close(uffd);
    munmap(wrapped.memory, BYTES);
    close(said_fd);
}
