/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A naive run: what happens after NIXL has said that a transfer is released and its memory is
 * deregistered.  Two children, with an agent each, do what an application does that takes NIXL_OK
 * for "it is over"; they are children because NIXL can not be unloaded and reads its environment
 * once.  The demo poisons and counts in memory that it shares with both.
 *
 * That bytes are late does not hang on timing: the agents have no progress thread, so nothing moves
 * but when somebody polls, and from before the transfer until after the poison the target does not,
 * nor does the initiator between the release and the poison.
 */
#include "demo/late.h"
#include "lanes.h"
#include "transport/nixl_api.h"
#include "util/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct lane {
    const char *name, *tls;
} lanes[] = {
    {"tcp", "tcp"},
    /* What is left of shared memory where process_vm_readv is forbidden, as in containers. */
    {"shm, queues", "posix"},
    {"shm, cma", "shm"},
};

enum { METADATA_BYTES_MAX = 64 << 10 };

struct orders {
    const char *library; /* or NULL */
    const char *tls;     /* UCX's transports */
    bool writes;
    size_t bytes;
    unsigned char *memory[2]; /* of the initiator and of the target, shared with the demo */
    int peers[2];             /* between the two, for their metadata */
};

/* What a child says: that it is ready, and what its calls returned. */
struct report {
    int post, release, deregister;
    double release_us;
    char failure[80];
};

struct side {
    const struct orders *orders;
    const struct nixl_api *api;
    int channel, peer_channel;
    struct nixl_agent *agent;
    struct nixl_hints *hints;
    struct nixl_regions *regions;
    struct nixl_notices *notices;
    char *peer;
    int *indices;
};

static void tell(const struct side *side, const struct report *report)
{
    if (send(side->channel, report, sizeof(*report), MSG_NOSIGNAL) != sizeof(*report)) {
        _exit(1);
    }
}

/* A step that must work before there is anything to show. */
static void must(const struct side *side, bool ok, const char *what)
{
    struct report report = {0};

    if (!ok) {
        snprintf(report.failure, sizeof(report.failure), "%s failed", what);
        tell(side, &report);
        _exit(1);
    }
}

static void agent_open(struct side *side, const char *name)
{
    const struct nixl_agent_config config = {0};
    struct nixl_backend *backend = NULL;
    struct nixl_params *params = NULL;
    struct baton_error error;

    lanes_set(side->orders->tls);
    must(side, !nixl_api_load(side->orders->library, &side->api, &error), "loading NIXL");
    must(side, !side->api->create_configured_agent(name, &config, &side->agent), "create_agent");
    must(side, !side->api->create_params(&params), "create_params");
    /* UCX's shared memory has no handler of dead peers, and NIXL wants one unless told. */
    must(side,
         !lanes_on_host(side->orders->tls) ||
             !side->api->params_add(params, "ucx_error_handling_mode", "none"),
         "params_add");
    must(side, !side->api->create_backend(side->agent, "UCX", params, &backend), "create_backend");
    side->api->destroy_params(params);
    must(side,
         !side->api->create_opt_args(&side->hints) &&
             !side->api->opt_args_add_backend(side->hints, backend) &&
             !side->api->opt_args_set_skip_desc_merge(side->hints, true) &&
             !side->api->create_notif_map(&side->notices),
         "hints");
}

static void memory_register(struct side *side, const unsigned char *memory)
{
    must(side,
         !side->api->create_reg_dlist(NIXL_DRAM, &side->regions) &&
             !side->api->reg_dlist_add_desc(side->regions, (uintptr_t)memory, side->orders->bytes,
                                            0, "", 0) &&
             !side->api->register_mem(side->agent, side->regions, side->hints),
         "register_mem");
}

static void metadata_exchange(struct side *side)
{
    static char other[METADATA_BYTES_MAX];
    void *own = NULL;
    size_t length = 0;
    ssize_t got;

    must(side, !side->api->get_local_md(side->agent, &own, &length), "get_local_md");
    must(side, send(side->peer_channel, own, length, MSG_NOSIGNAL) == (ssize_t)length, "metadata");
    free(own);
    got = recv(side->peer_channel, other, sizeof(other), 0);
    must(side, got > 0 && !side->api->load_remote_md(side->agent, other, (size_t)got, &side->peer),
         "load_remote_md");
}

static struct nixl_prepared *prepare(struct side *side, const char *name,
                                     const unsigned char *memory)
{
    struct nixl_prepared *prepared = NULL;
    struct nixl_spans *spans = NULL;
    bool ok = !side->api->create_xfer_dlist(NIXL_DRAM, &spans);

    for (size_t at = 0; at < side->orders->bytes && ok; at += LATE_BLOCK_BYTES) {
        ok = !side->api->xfer_dlist_add_desc(spans, (uintptr_t)memory + at, LATE_BLOCK_BYTES, 0);
    }
    ok = ok && !side->api->prep_xfer_dlist(side->agent, name, spans, &prepared, side->hints);
    must(side, ok, "prep_xfer_dlist");
    side->api->destroy_xfer_dlist(spans);
    return prepared;
}

/* Poll the library until the demo says something: its next order, or 0 when it has gone. */
static char serve(struct side *side)
{
    struct pollfd wanted = {.fd = side->channel, .events = POLLIN};
    char order = 0;

    while (poll(&wanted, 1, 0) == 0) {
        side->api->get_notifs(side->agent, side->notices, NULL);
        side->api->notif_map_clear(side->notices);
    }
    return recv(side->channel, &order, 1, 0) == 1 ? order : 0;
}

/* The order, without moving anything meanwhile. */
static char order_wait(const struct side *side)
{
    char order = 0;

    return recv(side->channel, &order, 1, 0) == 1 ? order : 0;
}

/* Ready; polls until 'h', then holds still; deregisters at 'd'; polls again from 'p' on. */
static void target_run(void *arg, int channel)
{
    const struct orders *orders = arg;
    struct side side = {.orders = orders, .channel = channel, .peer_channel = orders->peers[1]};
    struct report report = {0};
    char order;

    agent_open(&side, "target");
    memory_register(&side, orders->memory[1]);
    metadata_exchange(&side);
    tell(&side, &report);
    for (order = serve(&side); order == 'h' || order == 'd'; order = order_wait(&side)) {
        if (order == 'd') {
            report.deregister = side.api->deregister_mem(side.agent, side.regions, side.hints);
        }
        tell(&side, &report);
    }
    if (order) {
        serve(&side);
    }
}

static struct nixl_request *request_make(struct side *side, struct nixl_prepared *prepared[2],
                                         size_t count)
{
    struct nixl_request *request = NULL;
    int operation = side->orders->writes ? NIXL_WRITE : NIXL_READ;

    must(side,
         !side->api->make_xfer_req(side->agent, operation, prepared[0], side->indices, count,
                                   prepared[1], side->indices, count, &request, side->hints),
         "make_xfer_req");
    return request;
}

/* One block, to its end: connects the two. */
static void warm_up(struct side *side, struct nixl_prepared *prepared[2])
{
    struct nixl_request *request = request_make(side, prepared, 1);
    uint64_t start_ns = clock_now_ns();
    int status = side->api->post_xfer_req(side->agent, request, NULL);

    while (status == NIXL_IN_PROGRESS &&
           clock_now_ns() - start_ns < LATE_WAIT_MS_MAX / 2 * 1000000ULL) {
        status = side->api->get_xfer_status(side->agent, request);
    }
    must(side, status == NIXL_OK && !side->api->release_xfer_req(side->agent, request),
         "the transfer of one block");
    side->api->destroy_xfer_req(request);
}

/* Ready; at an order, a transfer that is released at once; polls from the next order on. */
static void initiator_run(void *arg, int channel)
{
    const struct orders *orders = arg;
    struct side side = {.orders = orders, .channel = channel, .peer_channel = orders->peers[0]};
    struct report report = {0};
    struct nixl_prepared *prepared[2];
    struct nixl_request *request;
    size_t blocks = orders->bytes / LATE_BLOCK_BYTES;
    uint64_t start_ns;

    side.indices = calloc(blocks, sizeof(*side.indices));
    must(&side, side.indices, "calloc");
    for (size_t i = 0; i < blocks; i++) {
        side.indices[i] = (int)i;
    }
    agent_open(&side, "initiator");
    memory_register(&side, orders->memory[0]);
    metadata_exchange(&side);
    prepared[0] = prepare(&side, NIXL_LOCAL, orders->memory[0]);
    prepared[1] = prepare(&side, side.peer, orders->memory[1]);
    warm_up(&side, prepared);
    tell(&side, &report);
    if (!order_wait(&side)) {
        return;
    }
    request = request_make(&side, prepared, blocks);
    report.post = side.api->post_xfer_req(side.agent, request, NULL);
    start_ns = clock_now_ns();
    report.release = side.api->release_xfer_req(side.agent, request);
    report.deregister = side.api->deregister_mem(side.agent, side.regions, side.hints);
    report.release_us = (double)(clock_now_ns() - start_ns) / 1e3;
    tell(&side, &report);
    if (order_wait(&side)) {
        serve(&side);
    }
}

struct found {
    baton_err err;
    struct baton_error error;
    char version[32];
};

static void find(void *arg, int channel)
{
    struct found found = {0};
    const struct nixl_api *api;

    found.err = nixl_api_load(arg, &api, &found.error);
    if (!found.err) {
        memcpy(found.version, api->version, sizeof(found.version));
    }
    (void)!send(channel, &found, sizeof(found), MSG_NOSIGNAL);
}

baton_err late_nixl_find(const char *path, char ret_version[32], struct baton_error *ret_error)
{
    struct late_child child;
    struct found found;

    if (!late_child_start(&child, find, (void *)(uintptr_t)path)) {
        snprintf(ret_error->text, sizeof(ret_error->text), "fork: %s", strerror(errno));
        return BATON_ESYSTEM;
    }
    if (!late_child_receive(&child, &found, sizeof(found))) {
        found =
            (struct found){.err = BATON_EINVAL, .error.text = "NIXL's library ended the process"};
    }
    late_child_end(&child);
    *ret_error = found.error;
    memcpy(ret_version, found.version, sizeof(found.version));
    return found.err;
}

static bool fail(struct late_run *run, const char *what)
{
    snprintf(run->failure, sizeof(run->failure), "%s", what);
    return false;
}

static bool order(const struct late_child *child, char c)
{
    return send(child->channel, &c, 1, MSG_NOSIGNAL) == 1;
}

static bool report_wait(const struct late_child *child, const char *who, struct report *ret_report,
                        struct late_run *run)
{
    if (!late_child_receive(child, ret_report, sizeof(*ret_report))) {
        snprintf(run->failure, sizeof(run->failure), "the %s ended or hangs", who);
        return false;
    }
    if (ret_report->failure[0]) {
        snprintf(run->failure, sizeof(run->failure), "%s: %s", who, ret_report->failure);
        return false;
    }
    return true;
}

static bool transfer(struct orders *orders, struct late_child *initiator, struct late_child *target,
                     struct late_run *run)
{
    unsigned char *landing = orders->memory[orders->writes];
    struct report report, there = {0};

    if (!report_wait(target, "target", &there, run) ||
        !report_wait(initiator, "initiator", &report, run) || !order(target, 'h') ||
        !report_wait(target, "target", &there, run)) {
        return false;
    }
    if (run->stopped) {
        late_child_stop(target);
    }
    order(initiator, 'g');
    if (!report_wait(initiator, "initiator", &report, run)) {
        return false;
    }
    if (orders->writes) {
        /* The memory is the target's to deregister, before it polls again. */
        order(target, 'd');
        kill(target->pid, SIGCONT);
        if (!report_wait(target, "target", &there, run)) {
            return false;
        }
    }
    run->answer_us = report.release_us;
    snprintf(run->answer, sizeof(run->answer), "release %d, deregister %d%s", report.release,
             report.deregister ? report.deregister : there.deregister,
             report.post == NIXL_OK ? ", done in the post" : "");
    run->before = orders->bytes - late_count(landing, orders->bytes, LATE_PAYLOAD);
    memset(landing, LATE_POISON, orders->bytes);
    order(initiator, 'p');
    order(target, 'p');
    kill(target->pid, SIGCONT);
    run->late = late_settle(landing, orders->bytes);
    return true;
}

static void processes_run(struct orders *orders, struct late_run *run)
{
    struct late_child initiator = {0}, target = {0};

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, orders->peers)) {
        fail(run, "socketpair");
        return;
    }
    if (late_child_start(&target, target_run, orders) &&
        late_child_start(&initiator, initiator_run, orders)) {
        transfer(orders, &initiator, &target, run);
    } else {
        fail(run, "fork");
    }
    late_child_end(&initiator);
    late_child_end(&target);
    close(orders->peers[0]);
    close(orders->peers[1]);
}

void late_nixl_run(const char *path, unsigned index, size_t bytes, struct late_run *ret_run)
{
    const struct lane *lane = &lanes[index / 4];
    struct orders orders = {
        .library = path, .tls = lane->tls, .writes = index / 2 % 2, .bytes = bytes};

    *ret_run = (struct late_run){.who = "NIXL",
                                 .lane = lane->name,
                                 .way = orders.writes ? "write" : "read",
                                 .stopped = index % 2,
                                 .bytes = bytes};
    orders.memory[0] = late_memory(2 * bytes);
    if (!orders.memory[0]) {
        fail(ret_run, "no memory");
        return;
    }
    orders.memory[1] = orders.memory[0] + bytes;
    memset(orders.memory[!orders.writes], LATE_PAYLOAD, bytes);
    processes_run(&orders, ret_run);
    munmap(orders.memory[0], 2 * bytes);
}
