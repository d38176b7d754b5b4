/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole handoff, and a cancelled one, between two processes.  The parent is the prefill server:
 * it offers blocks and sends tickets.  The child is the decode server: it fetches the first offer
 * and cancels the second.  Either way both get their blocks back with a receipt, and not before.
 */
#include <baton.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    BLOCK_BYTES = 4096,
    BLOCKS = 2, /* of one request */
};

static const char *role;
static struct baton_error error;

static void must(baton_err err)
{
    if (err != BATON_OK) {
        fprintf(stderr, "%s: %s %s\n", role, baton_strerror(err), error.text);
        exit(EXIT_FAILURE);
    }
}

/* Wait for the next handoff's outcome and receipt.  Using the receipt gives the blocks back. */
static baton_outcome retire_next(baton_engine *engine)
{
    struct pollfd wait = {.fd = baton_engine_completion_fd(engine), .events = POLLIN};
    struct baton_completion c = {0};

    while (c.notice != BATON_NOTICE_QUIET) {
        if (baton_engine_collect(engine, &c, 1) == 0) {
            poll(&wait, 1, -1);
            continue;
        }
        if (c.notice == BATON_NOTICE_OUTCOME) {
            printf("%s: outcome %s, cause %s\n", role, baton_outcome_name(c.result.outcome),
                   baton_cause_name(c.result.cause));
        } else if (c.notice == BATON_NOTICE_QUIET) {
            printf("%s: receipt, proof %s, transport %s, %llu bytes landed\n", role,
                   baton_proof_name(c.receipt.proof), c.receipt.transport,
                   (unsigned long long)c.receipt.bytes_landed);
            must(baton_retire(c.handoff, &c.receipt, NULL, NULL, &error));
        }
        baton_handoff_unref(c.handoff);
    }
    return c.result.outcome;
}

/* Offer a request's blocks and send the ticket; then compute the first `computed` of them. */
static void offer(baton_engine *engine, baton_pool *pool, uint32_t computed, int to_decode)
{
    struct baton_offer_args args = {.size = sizeof(args), .pool = pool, .block_count = BLOCKS};
    char text[BATON_TICKET_TEXT_BYTES_MAX] = {0};
    uint8_t ticket[BATON_TICKET_BYTES_MAX];
    uint32_t blocks[BLOCKS];
    baton_handoff *handoff;
    size_t length;

    must(baton_pool_alloc(pool, BLOCKS, blocks, &error));
    args.blocks = blocks;
    args.whole_timeout_ms = 10000;
    must(baton_offer(engine, &args, &handoff, &error));
    must(baton_offer_ticket(handoff, 0, ticket, &length));
    must(baton_ticket_to_text(ticket, length, text));
    must(write(to_decode, text, sizeof(text)) == sizeof(text) ? BATON_OK : BATON_ESYSTEM);
    /* Decode reads what is below the watermark, and waits for the rest. */
    for (uint32_t i = 0; i < computed; i++) {
        snprintf(baton_pool_block(pool, blocks[i]), BLOCK_BYTES, "KV cache, block %u", i);
        baton_offer_advance(handoff, (uint64_t)(i + 1) * BLOCK_BYTES);
    }
    /* We need them no more: they become free when the receipt is used. */
    must(baton_pool_free(pool, blocks, BLOCKS, &error));
    baton_handoff_unref(handoff);
}

/* Fetch the next ticket's offer into blocks of our own; with `cancel`, change our mind. */
static void fetch(baton_engine *engine, baton_pool *pool, bool cancel, int from_prefill)
{
    struct baton_fetch_args args = {.size = sizeof(args), .pool = pool, .block_count = BLOCKS};
    char text[BATON_TICKET_TEXT_BYTES_MAX];
    uint8_t ticket[BATON_TICKET_BYTES_MAX];
    uint32_t blocks[BLOCKS];
    baton_handoff *handoff;

    must(read(from_prefill, text, sizeof(text)) == sizeof(text) ? BATON_OK : BATON_ESYSTEM);
    must(baton_ticket_from_text(text, ticket, &args.ticket_length, &error));
    must(baton_pool_alloc(pool, BLOCKS, blocks, &error));
    args.ticket = ticket;
    args.blocks = blocks;
    must(baton_fetch(engine, &args, &handoff, &error));
    if (cancel) {
        baton_handoff_cancel(handoff, BATON_CANCEL_OFFER);
    }
    /* The blocks are ours again, whatever the outcome; after COMPLETED they hold the bytes. */
    if (retire_next(engine) == BATON_COMPLETED) {
        for (uint32_t i = 0; i < BLOCKS; i++) {
            printf("%s: got \"%s\"\n", role, (char *)baton_pool_block(pool, blocks[i]));
        }
    } else {
        must(cancel ? BATON_OK : BATON_ESYSTEM);
    }
    must(baton_pool_free(pool, blocks, BLOCKS, &error));
    baton_handoff_unref(handoff);
}

int main(void)
{
    struct baton_engine_options options = {.size = sizeof(options)};
    struct baton_pool_options pool_options = {
        .size = sizeof(pool_options), .block_bytes = BLOCK_BYTES, .block_count = 2 * BLOCKS};
    int tickets[2], status = 0;
    baton_engine *engine;
    baton_pool *pool;
    pid_t child;

    /* Fork first: an engine does not live on in a child. */
    if (pipe(tickets) != 0 || (child = fork()) < 0) {
        perror("handoff");
        return EXIT_FAILURE;
    }
    role = child ? "prefill" : "decode";
    close(tickets[child ? 0 : 1]);
    must(baton_engine_create(&options, &engine, &error));
    must(baton_pool_create(engine, &pool_options, &pool, &error));
    if (child) {
        offer(engine, pool, BLOCKS, tickets[1]);
        offer(engine, pool, BLOCKS - 1, tickets[1]); /* not all: decode can only cancel it */
        retire_next(engine);
        retire_next(engine);
    } else {
        fetch(engine, pool, false, tickets[0]);
        fetch(engine, pool, true, tickets[0]);
    }
    baton_engine_close(engine);
    must(baton_engine_drain(engine, 5000));
    must(baton_engine_destroy(engine, &error));
    return child && (waitpid(child, &status, 0) != child || status) ? EXIT_FAILURE : EXIT_SUCCESS;
}
