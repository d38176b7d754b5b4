/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network between two processes that are linked as between hosts is cut: one way, by a filter
 * that drops what arrives at one process, or wholly, in a network namespace of the test's own.
 */
#include "fault/party.h"

#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <net/if.h>

#include "test.h"

enum {
    HALF = PARTY_BYTES / 2,
    LINK_TIMEOUT_MS = 600,
    END_US_MAX = LINK_TIMEOUT_MS * 1000 + 1000000, /* from the cut to the receipt */
};

static const struct way tcp_link = {"tcp", BATON_LINK_TCP, BATON_PULL};
static const struct party_options options = {.way = &tcp_link, .link_timeout_ms = LINK_TIMEOUT_MS};

static bool is_link_end(baton_cause cause)
{
    return cause == BATON_CAUSE_LINK_SILENT || cause == BATON_CAUSE_LINK_CLOSED;
}

/* Both ends have heard of the cut that began then; the offer can be cancelled with a receipt. */
static void check_ends(struct party *source, struct party *sink, uint64_t cut_us)
{
    party_await_end(sink, 0);
    CHECK(party_outcome(sink, 0) == BATON_LINK_LOST);
    CHECK(is_link_end(party_cause(sink, 0)));
    CHECK(party_quiet_us(sink, 0) - cut_us < END_US_MAX);
    party_await_stage(source, 0, BATON_STAGE_OFFERED);
    CHECK(source->seen->handoff[0].stage_us - cut_us < END_US_MAX);
}

/* Nothing is left of the cut: the same two processes make a new link, and the offer is read. */
static void check_recovery(struct party *source, struct party *sink,
                           const struct party_ticket *ticket)
{
    party_advance(source, 0, BATON_WATERMARK_END);
    party_fetch(sink, 1, ticket);
    party_await_end(sink, 1);
    CHECK(party_outcome(sink, 1) == BATON_COMPLETED && party_wrong_bytes(sink, 1, 1) == 0);
    party_await_end(source, 0);
    CHECK(party_outcome(source, 0) == BATON_COMPLETED);
}

/* One of them hears nothing from now on, and is heard. */
static void cut_one_way(bool source_is_deaf)
{
    struct party *source = party_start(&options), *sink = party_start(&options);
    struct party_ticket ticket = party_offer(source, 0, 1, HALF);
    uint64_t cut_us;

    party_fetch(sink, 0, &ticket);
    party_await_landed(sink, 0, HALF);
    cut_us = party_now_us();
    /* A control and a bulk connection, at the least. */
    CHECK(party_deafen(source_is_deaf ? source : sink, true) >= 2);
    check_ends(source, sink, cut_us);
    check_recovery(source, sink, &ticket);
    party_finish(sink);
    party_finish(source);
}

/* The source hears nothing, but is heard: it goes silent to nobody, and both ends still part. */
TEST(source_is_deaf)
{
    cut_one_way(true);
}

/* The sink hears nothing, but is heard. */
TEST(sink_is_deaf)
{
    cut_one_way(false);
}

/* The sink is cut off in mid read and cancels: quiet at once, although nobody can be told. */
TEST(cancel_while_cut_off)
{
    struct party_options slow = {.way = &tcp_link};
    struct party *source = party_start(&slow), *sink = party_start(&slow);
    struct party_ticket ticket = party_offer(source, 0, 1, HALF);
    uint64_t cancelled_us;

    party_fetch(sink, 0, &ticket);
    party_await_landed(sink, 0, HALF);
    CHECK(party_deafen(sink, true) >= 2);
    CHECK(party_deafen(source, true) >= 2);
    cancelled_us = party_cancel(sink, 0, BATON_CANCEL_OFFER);
    party_await_end(sink, 0);
    CHECK(party_outcome(sink, 0) == BATON_CANCELLED);
    CHECK(party_quiet_us(sink, 0) - cancelled_us < 1000000);
    cancelled_us = party_cancel(source, 0, BATON_CANCEL_OFFER);
    party_await_end(source, 0);
    CHECK(party_outcome(source, 0) == BATON_CANCELLED);
    CHECK(party_quiet_us(source, 0) - cancelled_us < 1000000);
    party_finish(sink);
    party_finish(source);
}

/* ---- a network of our own ---- */

static bool set_loopback(bool up)
{
    struct ifreq interface = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &interface) == 0;

    if (ok) {
        interface.ifr_flags =
            (short)(up ? interface.ifr_flags | IFF_UP : interface.ifr_flags & ~IFF_UP);
        ok = ioctl(fd, SIOCSIFFLAGS, &interface) == 0;
    }
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

/* This process, and those that it starts from here on, have a network of their own. */
static bool own_network(void)
{
    return (unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0) &&
           set_loopback(true);
}

/* The whole network goes down in mid read: both ends part, and meet again when it is back. */
TEST(network_down)
{
    struct party *source, *sink;
    struct party_ticket ticket;
    uint64_t cut_us;

    if (!own_network()) {
        test_skip("a network namespace can not be made here");
        return;
    }
    source = party_start(&options);
    sink = party_start(&options);
    ticket = party_offer(source, 0, 1, HALF);
    party_fetch(sink, 0, &ticket);
    party_await_landed(sink, 0, HALF);
    cut_us = party_now_us();
    CHECK(set_loopback(false));
    check_ends(source, sink, cut_us);
    CHECK(party_cause(sink, 0) == BATON_CAUSE_LINK_SILENT);
    CHECK(set_loopback(true));
    check_recovery(source, sink, &ticket);
    party_finish(sink);
    party_finish(source);
}
