/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small burst over NIXL between the memories of GPUs: two processes, a GPU each if there are two.
 * Fetches are cancelled at any moment; what completed is compared byte by byte, and what was
 * cancelled gets a canary after its receipt, which must be there when the round is over.
 *
 * It needs libcuda.so.1 and BATON_NIXL_LIBRARY, no CUDA to build.  Its argument is how many GPUs
 * there are; docs/NIXL.md has what it said.
 */
#include <baton.h>

#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    BLOCK_BYTES = 256 << 10,
    BLOCKS = 32, /* of a request */
    AT_ONCE_MAX = 128,
    POOL_BLOCKS = BLOCKS * AT_ONCE_MAX,
    CANARY = 0x5a,
};

/* ---- CUDA's driver, as much as is needed ---- */

static struct {
    int (*init)(unsigned flags);
    int (*count)(int *ret_count);
    int (*get)(int *ret_device, int ordinal);
    int (*retain)(void **ret_context, int device);
    int (*set)(void *context);
    int (*alloc)(unsigned long long *ret_memory, size_t bytes);
    int (*to)(unsigned long long to, const void *from, size_t bytes);
    int (*from)(void *to, unsigned long long from, size_t bytes);
    int (*fill)(unsigned long long to, unsigned char value, size_t bytes);
} cu;

static const char *who;
static struct baton_error error;

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "%s: %s %s\n", who, what, error.text);
        _exit(1);
    }
}

static void *symbol(void *library, const char *name)
{
    void *found = dlsym(library, name);

    must(found, name);
    return found;
}

static unsigned long long gpu_memory(unsigned device)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW), *context = NULL;
    unsigned long long memory = 0;
    int handle = 0;

    must(library, "no libcuda.so.1");
    *(void **)&cu.init = symbol(library, "cuInit");
    *(void **)&cu.count = symbol(library, "cuDeviceGetCount");
    *(void **)&cu.get = symbol(library, "cuDeviceGet");
    *(void **)&cu.retain = symbol(library, "cuDevicePrimaryCtxRetain");
    *(void **)&cu.set = symbol(library, "cuCtxSetCurrent");
    *(void **)&cu.alloc = symbol(library, "cuMemAlloc_v2");
    *(void **)&cu.to = symbol(library, "cuMemcpyHtoD_v2");
    *(void **)&cu.from = symbol(library, "cuMemcpyDtoH_v2");
    *(void **)&cu.fill = symbol(library, "cuMemsetD8_v2");
    must(!cu.init(0) && !cu.get(&handle, (int)device) && !cu.retain(&context, handle) &&
             !cu.set(context) && !cu.alloc(&memory, (size_t)POOL_BLOCKS * BLOCK_BYTES),
         "cuMemAlloc");
    return memory;
}

/* ---- both sides ---- */

struct settings {
    unsigned device, at_once, rounds, seed;
    baton_mode mode;
};

struct ticket {
    uint8_t bytes[BATON_TICKET_BYTES_MAX];
    size_t length;
};

static unsigned char page[BLOCK_BYTES];

/* Of this request, this block of it, and nothing else. */
static void payload(uint64_t request, uint32_t block)
{
    uint64_t *words = (uint64_t *)(void *)page;

    for (size_t i = 0; i < BLOCK_BYTES / 8; i++) {
        words[i] = (request << 32 | block) * UINT64_C(0x9e3779b97f4a7c15) ^ i;
    }
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void on_log(void *arg, baton_log_level level, const char *text)
{
    (void)arg;
    if (level <= BATON_LOG_WARN) {
        fprintf(stderr, "%s: %s\n", who, text);
    }
}

static baton_engine *engine_make(const struct settings *s, unsigned long long memory,
                                 baton_pool **ret_pool)
{
    static const char *const transports[] = {"nixl"};
    const struct baton_engine_options options = {.size = sizeof(options),
                                                 .transports = transports,
                                                 .transports_count = 1,
                                                 .host = BATON_HOST_IN_PROCESS,
                                                 .window_bytes = 4 << 20,
                                                 .inflight_bytes_max = 256 << 20,
                                                 .on_log = on_log};
    const struct baton_pool_options pool = {.size = sizeof(pool),
                                            .block_bytes = BLOCK_BYTES,
                                            .block_count = POOL_BLOCKS,
                                            .flags = BATON_POOL_CUDA,
                                            .memory = (void *)(uintptr_t)memory,
                                            .device = s->device};
    baton_engine *engine;

    must(!baton_engine_create(&options, &engine, &error), "engine");
    must(!baton_pool_create(engine, &pool, ret_pool, &error), "pool");
    return engine;
}

/* Each handoff has a slot of blocks that is its own. */
static void slot_blocks(uint32_t slot, uint32_t ret_blocks[BLOCKS])
{
    for (uint32_t i = 0; i < BLOCKS; i++) {
        /* Not adjacent. */
        ret_blocks[i] = (i * AT_ONCE_MAX + slot * 37 % AT_ONCE_MAX) % POOL_BLOCKS;
    }
}

static bool next_completion(baton_engine *engine, struct baton_completion *ret_completion)
{
    struct pollfd wait = {.fd = baton_engine_completion_fd(engine), .events = POLLIN};

    while (baton_engine_collect(engine, ret_completion, 1) == 0) {
        if (poll(&wait, 1, 60000) == 0) {
            fprintf(stderr, "%s: nothing for a minute\n", who);
            return false;
        }
    }
    return true;
}

/* Receipts of `count` handoffs; what each came to, by its arg. */
static void retire_all(baton_engine *engine, unsigned count, struct baton_completion *ret_ends,
                       unsigned proofs[BATON_PROOF_COUNT_])
{
    while (count > 0) {
        struct baton_completion c;

        must(next_completion(engine, &c), "completion");
        if (c.notice == BATON_NOTICE_QUIET) {
            must(!baton_retire(c.handoff, &c.receipt, NULL, NULL, &error), "retire");
            proofs[c.receipt.proof]++;
            ret_ends[(uintptr_t)c.arg] = c;
            count--;
        }
        baton_handoff_unref(c.handoff);
    }
}

static void end(baton_engine *engine)
{
    baton_engine_close(engine);
    must(!baton_engine_drain(engine, 10000), "drain");
    must(!baton_engine_destroy(engine, &error), "destroy");
    fflush(NULL);
    _exit(0); /* docs/NIXL.md, 6.1 */
}

static void prefill(const struct settings *s, int channel)
{
    unsigned long long memory = gpu_memory(s->device);
    struct baton_completion ends[AT_ONCE_MAX];
    unsigned proofs[BATON_PROOF_COUNT_] = {0};
    baton_pool *pool;
    baton_engine *engine = engine_make(s, memory, &pool);

    for (unsigned round = 0; round < s->rounds; round++) {
        baton_handoff *handoffs[AT_ONCE_MAX];

        for (uint32_t i = 0; i < s->at_once; i++) {
            uint32_t blocks[BLOCKS];
            struct ticket ticket;
            struct baton_offer_args args = {.size = sizeof(args),
                                            .pool = pool,
                                            .blocks = blocks,
                                            .block_count = BLOCKS,
                                            .watermark_bytes = BATON_WATERMARK_END,
                                            .notices.arg = (void *)(uintptr_t)i};

            slot_blocks(i, blocks);
            for (uint32_t b = 0; b < BLOCKS; b++) {
                payload((uint64_t)round * AT_ONCE_MAX + i + 1, b);
                must(!cu.to(memory + (uint64_t)blocks[b] * BLOCK_BYTES, page, BLOCK_BYTES), "HtoD");
            }
            must(!baton_offer(engine, &args, &handoffs[i], &error), "offer");
            must(!baton_offer_ticket(handoffs[i], 0, ticket.bytes, &ticket.length), "ticket");
            must(send(channel, &ticket, sizeof(ticket), 0) == sizeof(ticket), "send");
        }
        retire_all(engine, s->at_once, ends, proofs);
        for (uint32_t i = 0; i < s->at_once; i++) {
            baton_handoff_unref(handoffs[i]);
        }
    }
    end(engine);
}

struct sums {
    unsigned completed, cancelled, other;
    uint64_t wrong, late;
    double seconds; /* of moving what completed and what did not */
    uint64_t bytes;
};

static uint64_t differs(unsigned long long memory, uint32_t block, const unsigned char *wanted)
{
    static unsigned char got[BLOCK_BYTES];
    uint64_t wrong = 0;

    must(!cu.from(got, memory + (uint64_t)block * BLOCK_BYTES, BLOCK_BYTES), "DtoH");
    for (size_t i = 0; i < BLOCK_BYTES; i++) {
        wrong += got[i] != wanted[i];
    }
    return wrong;
}

static void decode_round(const struct settings *s, unsigned round, int channel,
                         unsigned long long memory, baton_engine *engine, baton_pool *pool,
                         struct sums *sums, unsigned proofs[BATON_PROOF_COUNT_])
{
    static struct ticket tickets[AT_ONCE_MAX];
    struct baton_completion ends[AT_ONCE_MAX];
    baton_handoff *handoffs[AT_ONCE_MAX];
    uint32_t blocks[BLOCKS];
    double start;

    for (uint32_t i = 0; i < s->at_once; i++) {
        must(recv(channel, &tickets[i], sizeof(tickets[i]), MSG_WAITALL) == sizeof(tickets[i]),
             "recv");
    }
    start = now();
    for (uint32_t i = 0; i < s->at_once; i++) {
        struct baton_fetch_args args = {.size = sizeof(args),
                                        .ticket = tickets[i].bytes,
                                        .ticket_length = tickets[i].length,
                                        .pool = pool,
                                        .blocks = blocks,
                                        .block_count = BLOCKS,
                                        .mode = s->mode,
                                        .notices.arg = (void *)(uintptr_t)i};

        slot_blocks(i, blocks);
        must(!baton_fetch(engine, &args, &handoffs[i], &error), "fetch");
    }
    for (uint32_t i = 0; i < s->at_once && round > 0; i += 3) {
        double until = now() + (double)(rand() % 300) / 1e6;

        while (now() < until) {
        }
        baton_handoff_cancel(handoffs[i], BATON_CANCEL_OFFER);
    }
    retire_all(engine, s->at_once, ends, proofs);
    sums->seconds += now() - start;
    for (uint32_t i = 0; i < s->at_once; i++) {
        sums->bytes += ends[i].receipt.bytes_landed;
        sums->completed += ends[i].result.outcome == BATON_COMPLETED;
        sums->cancelled += ends[i].result.outcome == BATON_CANCELLED;
        sums->other +=
            ends[i].result.outcome != BATON_COMPLETED && ends[i].result.outcome != BATON_CANCELLED;
        slot_blocks(i, blocks);
        for (uint32_t b = 0; b < BLOCKS; b++) {
            payload((uint64_t)round * AT_ONCE_MAX + i + 1, b);
            if (ends[i].result.outcome == BATON_COMPLETED) {
                sums->wrong += differs(memory, blocks[b], page);
            }
            must(!cu.fill(memory + (uint64_t)blocks[b] * BLOCK_BYTES, CANARY, BLOCK_BYTES), "set");
        }
    }
    memset(page, CANARY, BLOCK_BYTES);
    for (uint32_t i = 0; i < s->at_once; i++) {
        slot_blocks(i, blocks);
        for (uint32_t b = 0; b < BLOCKS; b++) {
            sums->late += differs(memory, blocks[b], page);
        }
        baton_handoff_unref(handoffs[i]);
    }
}

static void decode(const struct settings *s, int channel)
{
    unsigned long long memory = gpu_memory(s->device);
    unsigned proofs[BATON_PROOF_COUNT_] = {0};
    struct sums sums = {0};
    baton_pool *pool;
    baton_engine *engine = engine_make(s, memory, &pool);

    srand(s->seed);
    for (unsigned round = 0; round < s->rounds; round++) {
        decode_round(s, round, channel, memory, engine, pool, &sums, proofs);
        if (round == 0) {
            sums.seconds = 0; /* the first makes the connections */
            sums.bytes = 0;
        }
    }
    printf("%-4s %3u at once: %4u completed, %4u cancelled, %u other; %llu wrong, %llu late bytes; "
           "%.1f GB/s;",
           s->mode == BATON_PUSH ? "push" : "pull", s->at_once, sums.completed, sums.cancelled,
           sums.other, (unsigned long long)sums.wrong, (unsigned long long)sums.late,
           (double)sums.bytes / sums.seconds / 1e9);
    for (int p = 0; p < BATON_PROOF_COUNT_; p++) {
        if (proofs[p]) {
            printf(" %s %u", baton_proof_name((baton_proof)p), proofs[p]);
        }
    }
    printf("\n");
    fflush(stdout);
    must(sums.wrong == 0 && sums.late == 0 && sums.other == 0, "a check failed");
    end(engine);
}

static int run(baton_mode mode, unsigned at_once, unsigned devices)
{
    const struct settings s[2] = {{0, at_once, 8, 1, mode}, {devices > 1, at_once, 8, 1, mode}};
    int channel[2], failed = 0;
    pid_t child[2];

    must(!socketpair(AF_UNIX, SOCK_STREAM, 0, channel), "socketpair");
    for (int i = 0; i < 2; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            who = i ? "decode" : "prefill";
            alarm(120);
            close(channel[!i]);
            if (i) {
                decode(&s[1], channel[1]);
            }
            prefill(&s[0], channel[0]);
        }
    }
    close(channel[0]);
    close(channel[1]);
    for (int i = 0; i < 2; i++) {
        int status = 0;

        waitpid(child[i], &status, 0);
        failed |= status;
    }
    return failed;
}

int main(int argc, char **argv)
{
    unsigned devices = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
    int failed = 0;

    who = "nixl_vram";
    for (int mode = BATON_PULL; mode <= BATON_PUSH; mode++) {
        failed |= run((baton_mode)mode, 16, devices) | run((baton_mode)mode, 48, devices) |
                  run((baton_mode)mode, 128, devices);
    }
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
