/* SPDX-License-Identifier: Apache-2.0 */
/* The test's half of a party: starting it, signals, orders, waiting. */
#include "fault/party_order.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

enum {
    PARTIES_MAX = 4, /* at once, in one test */
};

static struct party parties[PARTIES_MAX];

uint64_t party_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* ---- waiting ---- */

/* Until `fd` is readable, the party is dead, or patience ends. */
static bool wait_readable(const struct party *party, int fd, uint64_t end_us)
{
    struct pollfd wait[2] = {{.fd = fd, .events = POLLIN}, {.fd = party->pidfd, .events = POLLIN}};
    uint64_t now = party_now_us();

    while (now < end_us && poll(wait, 2, (int)((end_us - now) / 1000) + 1) < 0 && errno == EINTR) {
        now = party_now_us();
    }
    return wait[0].revents != 0;
}

typedef bool (*question)(const struct party *party, unsigned handoff, uint64_t number);

/* Ask again after each piece of news. */
static bool await(struct party *party, question met, unsigned handoff, uint64_t number)
{
    uint64_t end_us = party_now_us() + PARTY_PATIENCE_MS * UINT64_C(1000), news;

    if (!party->pid) {
        return false; /* a check has failed already */
    }
    while (!met(party, handoff, number)) {
        if (!wait_readable(party, party->news, end_us)) {
            return met(party, handoff, number);
        }
        if (read(party->news, &news, sizeof(news)) < 0 && errno != EAGAIN) {
            return false;
        }
    }
    return true;
}

static bool has_stage(const struct party *party, unsigned handoff, uint64_t stage)
{
    return party_stage(party, handoff) == stage;
}

static bool has_landed(const struct party *party, unsigned handoff, uint64_t bytes)
{
    return atomic_load(&party->seen->handoff[handoff].landed) >= bytes;
}

static bool has_ended(const struct party *party, unsigned handoff, uint64_t number)
{
    const struct party_handoff *h = &party->seen->handoff[handoff];

    (void)number;
    return atomic_load(&h->outcomes) > 0 && atomic_load(&h->receipts) > 0 &&
           atomic_load(&h->retired);
}

static bool is_doubted(const struct party *party, unsigned handoff, uint64_t number)
{
    (void)number;
    return atomic_load(&party->seen->handoff[handoff].doubts) > 0;
}

static bool is_at_gate(const struct party *party, unsigned handoff, uint64_t number)
{
    (void)handoff;
    (void)number;
    return atomic_load(&party->seen->at_gate);
}

bool party_await_stage(struct party *party, unsigned handoff, baton_stage stage)
{
    return CHECK(await(party, has_stage, handoff, stage));
}

bool party_await_landed(struct party *party, unsigned handoff, uint64_t bytes)
{
    return CHECK(await(party, has_landed, handoff, bytes));
}

bool party_await_end(struct party *party, unsigned handoff)
{
    return CHECK(await(party, has_ended, handoff, 0));
}

bool party_await_doubt(struct party *party, unsigned handoff)
{
    return CHECK(await(party, is_doubted, handoff, 0));
}

bool party_await_gate(struct party *party)
{
    return CHECK(await(party, is_at_gate, 0, 0));
}

void party_open_gate(struct party *party)
{
    const uint64_t one = 1;

    CHECK(write(party->gate, &one, sizeof(one)) == sizeof(one));
}

/* ---- orders ---- */

static bool receive(struct party *party, struct party_answer *ret_answer)
{
    uint64_t end_us = party_now_us() + PARTY_PATIENCE_MS * UINT64_C(1000);

    return wait_readable(party, party->orders, end_us) &&
           recv(party->orders, ret_answer, sizeof(*ret_answer), MSG_DONTWAIT) ==
               (ssize_t)sizeof(*ret_answer);
}

static struct party_answer ask(struct party *party, const struct party_order *order)
{
    struct party_answer answer = {.err = BATON_ESYSTEM};

    if (!party->pid ||
        send(party->orders, order, sizeof(*order), MSG_NOSIGNAL) != (ssize_t)sizeof(*order) ||
        !receive(party, &answer)) {
        answer = (struct party_answer){.err = BATON_ESYSTEM};
    }
    return answer;
}

/* An order that must succeed. */
static struct party_answer tell(struct party *party, const struct party_order *order)
{
    struct party_answer answer = ask(party, order);

    if (!CHECK(answer.err == BATON_OK)) {
        printf("  order %d: %s\n", order->verb, baton_strerror(answer.err));
    }
    return answer;
}

struct party_ticket party_offer(struct party *party, unsigned handoff, uint64_t seed,
                                uint64_t watermark_bytes)
{
    return tell(party, &(struct party_order){.verb = PARTY_OFFER,
                                             .handoff = handoff,
                                             .number = seed,
                                             .watermark_bytes = watermark_bytes})
        .ticket;
}

void party_advance(struct party *party, unsigned handoff, uint64_t watermark_bytes)
{
    tell(party, &(struct party_order){
                    .verb = PARTY_ADVANCE, .handoff = handoff, .watermark_bytes = watermark_bytes});
}

void party_fetch(struct party *party, unsigned handoff, const struct party_ticket *ticket)
{
    tell(party, &(struct party_order){.verb = PARTY_FETCH, .handoff = handoff, .ticket = *ticket});
}

void party_fetch_timed(struct party *party, unsigned handoff, const struct party_ticket *ticket,
                       uint32_t progress_timeout_ms)
{
    tell(party, &(struct party_order){.verb = PARTY_FETCH,
                                      .handoff = handoff,
                                      .number = progress_timeout_ms,
                                      .ticket = *ticket});
}

void party_fetch_refused(struct party *party, unsigned handoff, const struct party_ticket *ticket,
                         baton_err err)
{
    const struct party_order order = {.verb = PARTY_FETCH, .handoff = handoff, .ticket = *ticket};

    CHECK(ask(party, &order).err == err);
}

uint64_t party_cancel(struct party *party, unsigned handoff, baton_cancel_scope scope)
{
    return tell(party,
                &(struct party_order){.verb = PARTY_CANCEL, .handoff = handoff, .number = scope})
        .number;
}

baton_cancel party_ask_cancel(struct party *party, unsigned handoff, baton_cancel_scope scope)
{
    return tell(party,
                &(struct party_order){.verb = PARTY_CANCEL, .handoff = handoff, .number = scope})
        .cancel;
}

unsigned party_guards(struct party *party, unsigned handoff)
{
    return (unsigned)tell(party,
                          &(struct party_order){.verb = PARTY_TRY_GUARDS, .handoff = handoff})
        .number;
}

void party_status(struct party *party)
{
    tell(party, &(struct party_order){.verb = PARTY_STATUS});
}

struct baton_abandoned party_abandon(struct party *party)
{
    return tell(party, &(struct party_order){.verb = PARTY_ABANDON}).abandoned;
}

const struct party_handoff *party_seen(const struct party *party, unsigned handoff)
{
    return &party->seen->handoff[handoff];
}

bool party_has_receipt(const struct party *party, unsigned handoff)
{
    return atomic_load(&party_seen(party, handoff)->receipts) > 0;
}

baton_proof party_proof(const struct party *party, unsigned handoff)
{
    return party_seen(party, handoff)->receipt.proof;
}

void party_rewrite(struct party *party, unsigned handoff, uint64_t seed)
{
    tell(party, &(struct party_order){.verb = PARTY_REWRITE, .handoff = handoff, .number = seed});
}

uint64_t party_wrong_bytes(struct party *party, unsigned handoff, uint64_t seed)
{
    struct party_answer answer =
        tell(party,
             &(struct party_order){.verb = PARTY_WRONG_BYTES, .handoff = handoff, .number = seed});

    return answer.err ? PARTY_BYTES : answer.number;
}

void party_free(struct party *party)
{
    tell(party, &(struct party_order){.verb = PARTY_FREE});
}

void party_close(struct party *party)
{
    tell(party, &(struct party_order){.verb = PARTY_CLOSE});
}

baton_err party_drain(struct party *party, int timeout_ms)
{
    return ask(party, &(struct party_order){.verb = PARTY_DRAIN, .number = (uint64_t)timeout_ms})
        .err;
}

pid_t party_fork_holder(struct party *party)
{
    /* It is ours to reap once the party is dead. */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    return (pid_t)tell(party, &(struct party_order){.verb = PARTY_FORK_HOLDER}).number;
}

void party_end_holder(pid_t holder)
{
    if (CHECK(holder > 0)) {
        CHECK(kill(holder, SIGKILL) == 0);
        CHECK(waitpid(holder, NULL, 0) == holder);
    }
}

unsigned party_fork_wrong_calls(struct party *party)
{
    struct party_answer answer = tell(party, &(struct party_order){.verb = PARTY_FORK_CALLS});

    return answer.err ? UINT32_MAX : (unsigned)answer.number;
}

unsigned party_deafen(struct party *party, bool deaf)
{
    return (unsigned)tell(party, &(struct party_order){.verb = PARTY_DEAFEN, .number = deaf})
        .number;
}

/* ---- helpers ---- */

/* Whether the process, which is nobody's child, is a helper that runs. */
static bool is_helper(pid_t pid)
{
    char path[64], name[32] = "", state = 'Z';
    bool read;
    FILE *stat;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    stat = fopen(path, "re");
    if (!stat) {
        return false;
    }
    read = fscanf(stat, "%*d (%31[^)]) %c", name, &state) == 2;
    fclose(stat);
    return read && state != 'Z' && strcmp(name, "baton-helper") == 0;
}

/* Of which process the party's descriptor is a pidfd; 0: it is none. */
static pid_t pid_of(const struct party *party, const char *fd)
{
    char path[64], line[64];
    int pid = 0;
    FILE *info;

    snprintf(path, sizeof(path), "/proc/%d/fdinfo/%.16s", (int)party->pid, fd);
    info = fopen(path, "re");
    while (info && pid <= 0 && fgets(line, sizeof(line), info)) {
        if (sscanf(line, "Pid: %d", &pid) != 1) {
            pid = 0;
        }
    }
    if (info) {
        fclose(info);
    }
    return pid;
}

unsigned party_helpers(const struct party *party, pid_t *ret_helpers)
{
    char path[64];
    struct dirent *entry;
    unsigned count = 0;
    DIR *fds;

    snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)party->pid);
    fds = opendir(path);
    while (fds && count < PARTY_HELPERS && (entry = readdir(fds))) {
        pid_t pid = pid_of(party, entry->d_name);

        if (pid > 0 && is_helper(pid)) {
            ret_helpers[count++] = pid;
        }
    }
    if (fds) {
        closedir(fds);
    }
    return count;
}

/* ---- signals ---- */

static void reap(struct party *party)
{
    kill(party->pid, SIGKILL);
    CHECK(waitpid(party->pid, NULL, 0) == party->pid);
    party->pid = 0;
}

uint64_t party_kill(struct party *party)
{
    uint64_t now = party_now_us();

    if (CHECK(party->pid)) {
        reap(party);
    }
    return now;
}

void party_await_killed(struct party *party)
{
    struct pollfd dead = {.fd = party->pidfd, .events = POLLIN};
    int status = 0;

    if (CHECK(party->pid) && CHECK(poll(&dead, 1, PARTY_PATIENCE_MS) == 1)) {
        CHECK(waitpid(party->pid, &status, 0) == party->pid);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        party->pid = 0;
    }
}

void party_stop(struct party *party)
{
    int status = 0;

    if (CHECK(party->pid)) {
        CHECK(kill(party->pid, SIGSTOP) == 0);
        CHECK(waitpid(party->pid, &status, WUNTRACED) == party->pid && WIFSTOPPED(status));
    }
}

void party_continue(struct party *party)
{
    if (CHECK(party->pid)) {
        CHECK(kill(party->pid, SIGCONT) == 0);
    }
}

/* ---- questions ---- */

unsigned party_stage(const struct party *party, unsigned handoff)
{
    return atomic_load(&party->seen->handoff[handoff].stage);
}

baton_outcome party_outcome(const struct party *party, unsigned handoff)
{
    const struct party_handoff *h = &party->seen->handoff[handoff];

    return atomic_load(&h->outcomes) ? h->result.outcome : BATON_UNDECIDED;
}

baton_cause party_cause(const struct party *party, unsigned handoff)
{
    const struct party_handoff *h = &party->seen->handoff[handoff];

    return atomic_load(&h->outcomes) ? h->result.cause : BATON_CAUSE_NONE;
}

uint64_t party_quiet_us(const struct party *party, unsigned handoff)
{
    const struct party_handoff *h = &party->seen->handoff[handoff];

    return atomic_load(&h->receipts) ? h->quiet_us : UINT64_MAX;
}

bool party_whole(const struct party *party)
{
    const struct baton_pool_stats *pool = &party->seen->pool;

    return pool->blocks == PARTY_POOL_BLOCKS && pool->free_blocks == pool->blocks &&
           pool->quarantine_blocks == 0 && pool->late_bytes == 0 && pool->late_blocks == 0;
}

/* ---- beginning and end ---- */

static void let_go(struct party *party)
{
    close(party->pidfd);
    close(party->orders);
    close(party->news);
    close(party->gate);
    munmap(party->seen, sizeof(*party->seen));
    *party = (struct party){0};
}

/* The new process lets go of what is the test's. */
static void begin_child(struct party *party, int orders)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (unsigned i = 0; i < PARTIES_MAX; i++) {
        if (parties[i].seen) {
            close(parties[i].orders);
        }
    }
    party->orders = orders;
    party->pid = getpid();
}

static struct party *unused(void)
{
    for (unsigned i = 0; i < PARTIES_MAX; i++) {
        if (!parties[i].seen) {
            return &parties[i];
        }
    }
    abort();
}

struct party *party_start(const struct party_options *options)
{
    struct party *party = unused();
    struct party_answer ready = {.err = BATON_ESYSTEM};
    int pair[2] = {-1, -1};

    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    *party = (struct party){.orders = pair[0],
                            .news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                            .gate = eventfd(0, EFD_CLOEXEC),
                            .seen = mmap(NULL, sizeof(*party->seen), PROT_READ | PROT_WRITE,
                                         MAP_SHARED | MAP_ANONYMOUS, -1, 0)};
    if (party->seen == MAP_FAILED) {
        abort();
    }
    fflush(stdout);
    party->pid = fork();
    if (party->pid == 0) {
        begin_child(party, pair[1]);
        party_live(party, options);
    }
    close(pair[1]);
    party->pidfd = party->pid > 0 ? (int)syscall(SYS_pidfd_open, party->pid, 0) : -1;
    CHECK(party->pid > 0 && party->pidfd >= 0);
    if (!CHECK(receive(party, &ready) && ready.err == BATON_OK)) {
        reap(party);
    }
    return party;
}

void party_finish(struct party *party)
{
    int status = -1;

    if (!party->pid) {
        let_go(party);
        return;
    }
    party_free(party);
    CHECK(party_whole(party));
    party_close(party);
    CHECK(party_drain(party, PARTY_PATIENCE_MS / 2) == BATON_OK);
    if (tell(party, &(struct party_order){.verb = PARTY_DESTROY}).err == BATON_OK) {
        CHECK(waitpid(party->pid, &status, 0) == party->pid);
        CHECK(status == 0);
        party->pid = 0;
    } else {
        reap(party);
    }
    for (unsigned i = 0; i < PARTY_HANDOFFS; i++) {
        const struct party_handoff *h = &party->seen->handoff[i];

        CHECK(atomic_load(&h->outcomes) <= 1 && !atomic_load(&h->disordered));
        CHECK(atomic_load(&h->outcomes) == atomic_load(&h->receipts));
    }
    let_go(party);
}
