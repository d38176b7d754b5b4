/* SPDX-License-Identifier: Apache-2.0 */
/* The main loop of the burst's prefill and decode process, from CONFIG to the last exit: see
 * burst_role.h. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "burst/role.h"
#include "command.h"
#ifdef BATON_TEST_BUILD
#include "util/sabotage.h"
#endif

enum {
    COLLECT = 64,
    LETTERS_AT_ONCE = 64,
    DRAIN_MS = 2000,
    CONFIG_WAIT_MS = 10000,
    SHOW_MS = 5,
};

/* ------------------------------------------------------------------------------------------
 * letters */

void role_post(struct role *role, const struct letter *letter)
{
    uint64_t one = 1;

    pthread_mutex_lock(&role->letters_lock);
    if (role->letter_count == role->letter_room) {
        size_t room = role->letter_room ? role->letter_room * 2 : 256;
        struct letter *letters = realloc(role->letters, room * sizeof(*letters));

        if (!letters) {
            /* A lost letter is a request that hangs; better to end here. */
            fprintf(stderr, "baton burst: out of memory\n");
            _exit(EXIT_ENVIRONMENT);
        }
        role->letters = letters;
        role->letter_room = room;
    }
    role->letters[role->letter_count++] = *letter;
    pthread_mutex_unlock(&role->letters_lock);
    /* It can only fail when the counter is full, and then the reader is awake already. */
    if (write(role->letters_fd, &one, sizeof(one)) < 0) {
        return;
    }
}

static size_t take_letters(struct role *role, struct letter *ret_letters)
{
    pthread_mutex_lock(&role->letters_lock);
    size_t count = role->letter_count < LETTERS_AT_ONCE ? role->letter_count : LETTERS_AT_ONCE;
    if (count) {
        memcpy(ret_letters, role->letters, count * sizeof(*ret_letters));
        memmove(role->letters, role->letters + count,
                (role->letter_count - count) * sizeof(*ret_letters));
    }
    role->letter_count -= count;
    pthread_mutex_unlock(&role->letters_lock);
    return count;
}

/* ------------------------------------------------------------------------------------------
 * notices */

/* One notice of a handoff.  More than one outcome or receipt of a handoff is what `double_outcomes`
 * counts, also when it comes after the record was done with the handoff. */
static void notice(struct role *role, struct baton_completion *completion)
{
    struct record *record = completion->arg;

    if (!record->handoff || baton_handoff_id(completion->handoff) != record->handoff_id) {
        role->stats.double_outcomes++;
    } else if (completion->notice == BATON_NOTICE_DOUBT) {
        role->stats.doubts++;
        role_doubted(role, record);
    } else if (completion->notice == BATON_NOTICE_OUTCOME) {
        if (record->outcomes++) {
            role->stats.double_outcomes++;
        } else {
            record->result = completion->result;
            role->ops->outcome(role, record);
        }
    } else if (record->receipts++) {
        role->stats.double_outcomes++;
    } else {
        if (!record->outcomes) {
            role->stats.api_errors++;
            role_trouble(role, false, "a receipt came before the outcome");
        }
        record->receipt = completion->receipt;
        role->stats.receipts[completion->receipt.proof]++;
        record->state = RECORD_QUIET;
        role->ops->quiet(role, record);
    }
    baton_handoff_unref(completion->handoff);
}

static void notices(struct role *role)
{
    struct baton_completion fresh[COLLECT];
    size_t count;

    do {
        while (role->stash_count) {
            struct baton_completion completion = role->stash[role->stash_first++];
            role->stash_count--;
            notice(role, &completion);
        }
        role->stash_first = 0;
        count = baton_engine_collect(role->engine, fresh, COLLECT);
        for (size_t i = 0; i < count; i++) {
            notice(role, &fresh[i]);
        }
    } while (count == COLLECT || role->stash_count);
}

static void letters(struct role *role)
{
    struct letter batch[LETTERS_AT_ONCE];
    size_t count;

    while ((count = take_letters(role, batch))) {
        for (size_t i = 0; i < count; i++) {
            if (batch[i].kind == LETTER_NOTICE) {
                notice(role, &batch[i].notice);
            } else if (batch[i].kind == LETTER_REUSED || (batch[i].record->state != RECORD_UNUSED &&
                                                          batch[i].record->id == batch[i].id)) {
                role->ops->letter(role, &batch[i]);
            }
        }
    }
}

/* ------------------------------------------------------------------------------- messages and time
 */

static void report(struct role *role)
{
    struct message message = {.kind = MESSAGE_STATS};

    role->reported = true;
    baton_pool_verify(role->pool);
    baton_pool_inspect(role->pool, &role->stats.pool);
    message.stats = role->stats;
    channel_send(&role->channel, &message);
}

static void messages(struct role *role)
{
    struct message message;

    while (channel_receive(&role->channel, &message)) {
        if (message.kind == MESSAGE_REPORT) {
            report(role);
        } else {
            role->ops->message(role, &message);
        }
    }
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* For the driver to see while there are faults. */
static void show(struct role *role, uint64_t now)
{
    struct baton_pool_stats pool;

    baton_pool_inspect(role->pool, &pool);
    atomic_store(&role->board->quarantine_since_ns, now - pool.quarantine_oldest_us * 1000);
    atomic_store(&role->board->quarantine_blocks, pool.quarantine_blocks);
    atomic_store(&role->board->doubts, role->stats.doubts);
    role->show_ns = now + SHOW_MS * UINT64_C(1000000);
}

/* What is due now; returns when to look again. */
static uint64_t timers(struct role *role)
{
    uint64_t now = role_now_ns();

    if (now >= role->tick_ns) {
        if (role->ops->tick) {
            role->ops->tick(role);
        }
        role->tick_ns = role_now_ns() + ROLE_TICK_MS * UINT64_C(1000000);
    }
    uint64_t next = role->tick_ns;
    if (role->config.fault) {
        if (now >= role->show_ns) {
            show(role, now);
        }
        next = earlier(next, role->show_ns);
    }
    for (size_t i = 0; i < role->timer_count;) {
        struct role_timer timer = role->timers[i];
        if (timer.due_ns > now) {
            next = earlier(next, timer.due_ns);
            i++;
            continue;
        }
        role->timers[i] = role->timers[--role->timer_count];
        if (timer.record->state != RECORD_UNUSED && timer.record->id == timer.id) {
            role->ops->timer(role, timer.record);
        }
    }
    /* What ran may have set timers of its own. */
    for (size_t i = 0; i < role->timer_count; i++) {
        next = earlier(next, role->timers[i].due_ns);
    }
    return next;
}

static void wait_until(struct role *role, uint64_t due_ns)
{
    uint64_t now = role_now_ns(), left = due_ns > now ? due_ns - now : 0, ring;
    struct timespec timeout = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
    struct pollfd fds[] = {
        {.fd = role->channel.fd, .events = channel_events(&role->channel)},
        {.fd = baton_engine_completion_fd(role->engine), .events = POLLIN},
        {.fd = role->letters_fd, .events = POLLIN},
    };

    if (role->stash_count) {
        timeout = (struct timespec){0};
    }
    if (ppoll(fds, 3, &timeout, NULL) > 0 && fds[2].revents &&
        read(role->letters_fd, &ring, sizeof(ring)) < 0) {
        return;
    }
}

static void serve(struct role *role)
{
    role->tick_ns = role_now_ns() + ROLE_TICK_MS * UINT64_C(1000000);
    while (!role->channel.closed) {
        letters(role);
        notices(role);
        messages(role);
        channel_flush(&role->channel);
        uint64_t next = timers(role);
        wait_until(role, next);
    }
}

/* -------------------------------------------------------------------------------- start and end */

static void on_log(void *arg, baton_log_level level, const char *text)
{
    const struct role *role = arg;

    if (level <= BATON_LOG_WARN && role->config.verbose) {
        fprintf(stderr, "%s: %s\n", role->ops->name, text);
    }
}

static void on_trace(void *arg, const struct baton_trace *trace)
{
    const struct role *role = arg;

    if (trace->arg) {
        role->ops->trace(arg, trace);
    }
}

static void sabotage_library(enum burst_sabotage kind)
{
#ifdef BATON_TEST_BUILD
    static const enum sabotage switches[] = {
        [BURST_SABOTAGE_EARLY_RETIRE] = SABOTAGE_EARLY_RETIRE,
        [BURST_SABOTAGE_SKIP_LEASE] = SABOTAGE_SKIP_LEASE,
        [BURST_SABOTAGE_LATE_MOVER] = SABOTAGE_LATE_MOVER,
        [BURST_SABOTAGE_DOUBLE_OUTCOME] = SABOTAGE_DOUBLE_OUTCOME,
    };

    if (kind != BURST_SABOTAGE_NONE && kind <= BURST_SABOTAGE_DOUBLE_OUTCOME) {
        sabotage_enable(switches[kind]);
    }
#else
    (void)kind;
#endif
}

/* The option's words for none and for the default. */
static int engine_movers(int movers)
{
    if (movers == 0) {
        return -1;
    }
    return movers < 0 ? 0 : movers;
}

static bool create_engine(struct role *role)
{
    const struct burst_config *config = &role->config;
    const char *transport = burst_transport_names[config->transport];
    char stats_path[BURST_STATS_PATH_BYTES + 16];
    struct baton_error error = {0};

    snprintf(stats_path, sizeof(stats_path), "%s.%s", config->stats_path, role->ops->name);
    sabotage_library(config->sabotage);
    struct baton_engine_options options = {
        .size = sizeof(options),
        .link = config->link_tcp ? BATON_LINK_TCP : BATON_LINK_AUTO,
        .transports = &transport,
        .transports_count = 1,
        .movers = engine_movers(config->movers),
        .host = (baton_host)config->host,
        .on_doubt = (baton_on_doubt)config->on_doubt,
        .window_bytes = BURST_WINDOW_BYTES,
        .stats_path = config->stats_path[0] ? stats_path : NULL,
        .on_log = on_log,
        .on_trace = on_trace,
        .arg = role,
    };
    struct baton_pool_options pool = {
        .size = sizeof(pool),
        .block_bytes = config->block_bytes,
        .block_count = config->pool_blocks,
        .flags = BATON_POOL_CHECK,
    };
    if (baton_engine_create(&options, &role->engine, &error)) {
        role_trouble(role, true, "baton_engine_create: %s", error.text);
        return false;
    }
    if (baton_pool_create(role->engine, &pool, &role->pool, &error)) {
        role_trouble(role, true, "baton_pool_create: %s", error.text);
        return false;
    }
    baton_engine_incarnation(role->engine, role->incarnation);
    return true;
}

static bool receive_config(struct role *role)
{
    struct pollfd wait = {.fd = role->channel.fd, .events = POLLIN};
    struct message message;

    if (poll(&wait, 1, CONFIG_WAIT_MS) != 1 || !channel_receive(&role->channel, &message) ||
        message.kind != MESSAGE_CONFIG) {
        return false;
    }
    role->config = message.config;
    role->record_count = message.slot;
    role->records = calloc(role->record_count, sizeof(*role->records));
    role->letters_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return role->records && role->letters_fd >= 0;
}

/* Sends what is left to be said, for a moment, so that a driver that listens gets it. */
static void last_words(struct role *role)
{
    struct pollfd wait = {.fd = role->channel.fd, .events = POLLOUT};

    channel_flush(&role->channel);
    if (role->channel.count && poll(&wait, 1, ROLE_TICK_MS) == 1) {
        channel_flush(&role->channel);
    }
}

/* The role has stopped and takes no notices any more. */
static void drop_notices(struct role *role)
{
    struct baton_completion fresh[COLLECT];
    size_t count;

    while ((count = baton_engine_collect(role->engine, fresh, COLLECT))) {
        for (size_t i = 0; i < count; i++) {
            baton_handoff_unref(fresh[i].handoff);
        }
    }
}

/*
 * The driver has gone; normally all requests have ended, and the engine can be destroyed.  Where it
 * can not, because a block was sabotaged or the driver died in the middle, it is abandoned and the
 * process ends.
 */
static int finish(struct role *role)
{
    struct baton_abandoned abandoned;
    struct baton_error error = {0};

    baton_engine_close(role->engine);
    bool drained = !baton_engine_drain(role->engine, DRAIN_MS);
    drop_notices(role);
    if (drained && !baton_engine_destroy(role->engine, &error)) {
        return EXIT_OK;
    }
    /* What a fault has left without a proof, the driver has judged. */
    bool unproven = role->config.fault && role->stats.pool.quarantine_blocks;
    bool expected = role->config.sabotage || !role->reported || unproven;
    if (!expected) {
        fprintf(stderr, "baton burst: %s: the engine can not be destroyed: %s\n", role->ops->name,
                drained ? error.text : "it does not become quiet");
    }
    baton_engine_abandon(role->engine, &abandoned);
    return expected ? EXIT_OK : EXIT_CHECK;
}

/* From CONFIG to the end. */
static int live(struct role *role)
{
    struct message ready = {.kind = MESSAGE_READY};
    int code;

    if (!role->board || !receive_config(role)) {
        return EXIT_ENVIRONMENT;
    }
    if (!create_engine(role) || !role->ops->start(role)) {
        last_words(role);
        return EXIT_ENVIRONMENT;
    }
    channel_send(&role->channel, &ready);
    serve(role);
    role->ops->stop(role);
    code = finish(role);
    channel_fini(&role->channel);
    close(role->letters_fd);
    free(role->records);
    free(role->timers);
    free(role->stash);
    free(role->letters);
    return code;
}

int role_run(struct role *role, const struct role_ops *ops, int fd, int board_fd)
{
    char process_name[16];
    int code;

    role->ops = ops;
    role->queue_end = &role->queue;
    pthread_mutex_init(&role->letters_lock, NULL);
    channel_init(&role->channel, fd);
    role->board = board_map(board_fd);
    close(board_fd);
    snprintf(process_name, sizeof(process_name), "baton-%s", ops->name);
    prctl(PR_SET_NAME, process_name);
    /* A terminal's Ctrl-C goes to the driver as well, which ends the burst in order. */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    code = live(role);
    if (role->config.transport == BURST_NIXL) {
        lanes_exit(code);
    }
    return code;
}
