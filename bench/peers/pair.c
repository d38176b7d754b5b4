/* SPDX-License-Identifier: Apache-2.0 */
/* Two processes, one the source, one the sink: see pair.h.  Prints one line of JSON a result. */
#include "pair.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    RUNS = 2, /* the first is a warm-up: verified, not counted */
    LATENCY_BYTES = 16 << 10,
    LATENCY_SAMPLES = 500,
    LATENCY_WARMUPS = 50,
};

static const uint64_t end_of_runs = UINT64_MAX;

static void fail(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

void pair_send(const struct pair *pair, const void *bytes, size_t length)
{
    if (send(pair->channel, bytes, length, MSG_NOSIGNAL) != (ssize_t)length) {
        fail("the other process is gone");
    }
}

void pair_receive(const struct pair *pair, void *bytes, size_t length)
{
    if (recv(pair->channel, bytes, length, MSG_WAITALL) != (ssize_t)length) {
        fail("the other process is gone");
    }
}

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void send_cpu(const struct pair *pair)
{
    double cpu_s = workload_cpu_s();

    pair_send(pair, &cpu_s, sizeof(cpu_s));
}

static void source_run(const struct pair *pair, const struct pair_transport *transport)
{
    uint64_t run;

    for (pair_receive(pair, &run, sizeof(run)); run != end_of_runs;
         pair_receive(pair, &run, sizeof(run))) {
        workload_fill(&pair->workload, run);
        send_cpu(pair);
        transport->serve();
        send_cpu(pair);
    }
}

/* The CPU time of both processes when the source told its own. */
static double both_cpu_s(const struct pair *pair, double own_s)
{
    double other_s;

    pair_receive(pair, &other_s, sizeof(other_s));
    return own_s + other_s;
}

static double begin(const struct pair *pair, uint64_t run)
{
    workload_wipe(&pair->workload);
    pair_send(pair, &run, sizeof(run));
    return both_cpu_s(pair, workload_cpu_s());
}

static double finish(const struct pair *pair, const struct pair_transport *transport)
{
    double own_s = workload_cpu_s();

    transport->stop();
    return both_cpu_s(pair, own_s);
}

static void throughput(const struct pair *pair, const struct pair_transport *transport,
                       uint64_t run)
{
    double bytes = (double)pair->workload.blocks * (double)pair->workload.block_bytes;
    double cpu_s = begin(pair, run), start = now_s(), seconds;
    size_t wrong;

    transport->fetch(0, pair->workload.blocks);
    seconds = now_s() - start;
    cpu_s = finish(pair, transport) - cpu_s;
    wrong = workload_wrong(&pair->workload, run);
    if (run + 1 == RUNS || wrong) {
        printf("{\"direction\": \"write\", \"gb_per_s\": %.4f, \"cpu_s_per_gib\": %.4f, "
               "\"wrong_blocks\": %zu}\n",
               bytes / 1e9 / seconds, cpu_s / (bytes / (1 << 30)), wrong);
        fflush(stdout);
    }
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

static void latency(const struct pair *pair, const struct pair_transport *transport)
{
    static double samples_us[LATENCY_WARMUPS + LATENCY_SAMPLES];
    double *kept = samples_us + LATENCY_WARMUPS;

    begin(pair, 0);
    for (size_t i = 0; i < LATENCY_WARMUPS + LATENCY_SAMPLES; i++) {
        double start = now_s();

        transport->fetch(i % pair->workload.blocks, 1);
        samples_us[i] = (now_s() - start) * 1e6;
    }
    finish(pair, transport);
    qsort(kept, LATENCY_SAMPLES, sizeof(*kept), compare);
    printf("{\"direction\": \"write\", \"latency_us\": {\"p50\": %.2f, \"p99\": %.2f, "
           "\"samples\": %d}}\n",
           kept[LATENCY_SAMPLES / 2], kept[LATENCY_SAMPLES * 99 / 100], LATENCY_SAMPLES);
    fflush(stdout);
}

static void sink_run(const struct pair *pair, const struct pair_transport *transport)
{
    for (uint64_t run = 0; run < RUNS; run++) {
        throughput(pair, transport, run);
    }
    if (pair->workload.block_bytes == LATENCY_BYTES) {
        latency(pair, transport);
    }
    pair_send(pair, &end_of_runs, sizeof(end_of_runs));
}

/* The source is the child: no library was loaded with threads yet. */
static void pair_fork(struct pair *ret_pair)
{
    int ends[2];
    pid_t child;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) {
        fail("socketpair");
    }
    child = fork();
    if (child < 0) {
        fail("fork");
    }
    if (!child) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    }
    ret_pair->source = !child;
    ret_pair->channel = ends[child ? 0 : 1];
    close(ends[child ? 1 : 0]);
}

int pair_main(int argc, char **argv, const struct pair_transport *transport)
{
    struct pair pair;

    if (argc != 3) {
        fprintf(stderr, "usage: %s BLOCK-BYTES BYTES\n", argv[0]);
        return 2;
    }
    pair_fork(&pair);
    workload_init(&pair.workload, strtoull(argv[1], NULL, 10), strtoull(argv[2], NULL, 10),
                  pair.source);
    transport->open(&pair);
    (pair.source ? source_run : sink_run)(&pair, transport);
    wait(NULL); /* so that the source's CPU time counts as the sink's child's */
    /* What the libraries do at exit is not measured, and must not hang the bench. */
    _exit(EXIT_SUCCESS);
}
