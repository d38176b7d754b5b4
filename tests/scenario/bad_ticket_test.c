/* SPDX-License-Identifier: Apache-2.0 */
/* Tickets that are cut, changed, foreign or out of date: their own errors, and an engine that goes
 * on. */
#include "scenario/pair.h"

#include <stdlib.h>
#include <string.h>

/* A plain handoff works: what was tried before has left nothing behind. */
static void still_works(struct pair *pair)
{
    struct end offer = {0}, fetch = {0};

    CHECK_ON(pair, offer_start(pair, &offer, 3, 77, NULL) == BATON_OK);
    CHECK_ON(pair, fetch_start(pair, &fetch, &offer.ticket, 3, NULL) == BATON_OK);
    end_retire(&fetch);
    CHECK_ON(pair, fetch.result.outcome == BATON_COMPLETED);
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_finish(&offer);
    CHECK_ON(pair, end_holds(&fetch, 77, 0));
    end_drop(&fetch);
}

/* What three calls say of `length` bytes at `bytes` that are no ticket. */
static void refuse_ticket(struct pair *pair, const uint8_t *bytes, size_t length)
{
    struct baton_error error = {0};
    struct baton_ticket_view view;
    char text[BATON_TICKET_TEXT_BYTES_MAX] = "unchanged";
    struct ticket ticket = {.length = length};
    struct end fetch = {0};

    CHECK(baton_ticket_inspect(bytes, length, &view, &error) == BATON_ETICKET);
    CHECK(error.code == BATON_ETICKET && error.text[0]);
    CHECK(baton_ticket_inspect(bytes, length, &view, NULL) == BATON_ETICKET);
    CHECK(baton_ticket_to_text(bytes, length, text) == BATON_ETICKET);
    CHECK(strcmp(text, "unchanged") == 0);
    memcpy(ticket.bytes, bytes, length < sizeof(ticket.bytes) ? length : sizeof(ticket.bytes));
    CHECK(fetch_start(pair, &fetch, &ticket, 2, NULL) == BATON_ETICKET);
    CHECK(!fetch.handoff && fetch.outcomes == 0);
}

/* A ticket cut at any length is no ticket, and a buffer of exactly that length is all that is read.
 */
TEST(truncated_tickets_are_refused_at_every_length)
{
    struct pair pair;
    struct end offer = {0};

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    CHECK(offer_start(&pair, &offer, 2, 1, NULL) == BATON_OK);
    CHECK(offer.ticket.length <= BATON_TICKET_BYTES_MAX);
    for (size_t length = 0; length < offer.ticket.length; length++) {
        uint8_t *cut = malloc(length ? length : 1);

        memcpy(cut, offer.ticket.bytes, length);
        refuse_ticket(&pair, cut, length);
        free(cut);
    }
    still_works(&pair);
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_finish(&offer);
    pair_close(&pair);
}

/* Bytes behind the ticket's end, up to and past the longest ticket, make it no ticket. */
TEST(tickets_with_bytes_behind_are_refused)
{
    struct pair pair;
    struct end offer = {0};
    uint8_t longer[BATON_TICKET_BYTES_MAX + 64] = {0};

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    CHECK(offer_start(&pair, &offer, 2, 1, NULL) == BATON_OK);
    memcpy(longer, offer.ticket.bytes, offer.ticket.length);
    for (size_t length = offer.ticket.length + 1; length <= sizeof(longer); length++) {
        refuse_ticket(&pair, longer, length);
    }
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_finish(&offer);
    pair_close(&pair);
}

/* Buffers of 64 to 512 bytes of other content, and of one value each, are no tickets. */
TEST(noise_of_64_to_512_bytes_is_no_ticket)
{
    struct pair pair;
    uint8_t noise[BATON_TICKET_BYTES_MAX];

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    for (size_t length = 64; length <= sizeof(noise); length++) {
        block_fill(noise, length & ~7ul, length, 0);
        refuse_ticket(&pair, noise, length);
        memset(noise, (int)length, sizeof(noise));
        refuse_ticket(&pair, noise, length);
    }
    still_works(&pair);
    pair_close(&pair);
}

/* Gives a changed ticket the checksum of its new bytes: CRC-32, in its last four. */
static void ticket_seal(struct ticket *ticket)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < ticket->length - 4; i++) {
        crc ^= ticket->bytes[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0);
        }
    }
    crc = ~crc;
    for (unsigned i = 0; i < 4; i++) {
        ticket->bytes[ticket->length - 4 + i] = (uint8_t)(crc >> (8 * i));
    }
}

/* Fetches with a changed ticket: it is refused, or ends, and completes with the right bytes only.
 */
static void fetch_changed(struct pair *pair, const struct ticket *ticket)
{
    struct end fetch = {0};
    struct baton_fetch_args clocks = {.whole_timeout_ms = 100};
    baton_err err = fetch_start(pair, &fetch, ticket, 2, &clocks);

    if (err == BATON_OK) {
        end_retire(&fetch);
        CHECK(fetch.result.outcome != BATON_COMPLETED || end_holds(&fetch, 5, 0));
        end_drop(&fetch);
    } else {
        CHECK(err == BATON_ETICKET || err == BATON_EINVAL);
    }
}

/* A ticket with one changed bit, with and without a right checksum, never delivers garbage. */
TEST(changed_bytes_of_a_ticket_never_deliver_garbage)
{
    struct pair pair;
    struct end offer = {0};
    size_t length = 1;

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    for (size_t at = 0; at < length; at++) {
        struct ticket ticket;

        offer = (struct end){0};
        CHECK(offer_start(&pair, &offer, 2, 5, NULL) == BATON_OK);
        ticket = offer.ticket;
        length = ticket.length;
        ticket.bytes[at] ^= (uint8_t)(1u << (at % 8));
        CHECK(baton_ticket_inspect(ticket.bytes, length, &(struct baton_ticket_view){0}, NULL) ==
              BATON_ETICKET);
        ticket_seal(&ticket);
        fetch_changed(&pair, &ticket);
        baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
        end_finish(&offer);
    }
    still_works(&pair);
    pair_close(&pair);
}

/* A wrong secret fails for good and leaves the slot to the right one; slots have different secrets.
 */
TEST(a_wrong_secret_fails_and_leaves_the_offer)
{
    struct pair pair;
    struct end offer = {0}, wrong = {0}, right = {0};
    struct ticket second;

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    CHECK(offer_start(&pair, &offer, 2, 1,
                      &(struct baton_offer_args){
                          .readers = 2, .watermark_bytes = BATON_WATERMARK_END}) == BATON_OK);
    second = offer_ticket(&offer, 1);
    second.bytes[36 + 3] ^= 1; /* of the secret: docs/PROTOCOL.md */
    ticket_seal(&second);
    CHECK(fetch_start(&pair, &wrong, &second, 2, NULL) == BATON_OK);
    end_finish(&wrong);
    CHECK(wrong.result.outcome == BATON_FAILED && wrong.result.cause == BATON_CAUSE_SECRET);
    CHECK(offer.outcomes == 0);
    CHECK(fetch_start(&pair, &right, &offer.ticket, 2, NULL) == BATON_OK);
    end_finish(&right);
    CHECK(right.result.outcome == BATON_COMPLETED);
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_finish(&offer);
    pair_close(&pair);
}

/* A fetch with the ticket of a life that has ended; `again`: another life listens there now. */
static void fetch_from_the_dead(const struct kind *kind, bool again)
{
    char endpoint[BATON_ENDPOINT_BYTES_MAX];
    const char *listen[] = {endpoint, "tcp:127.0.0.1:0"};
    struct pair_setup setup = {.kind = kind, .source = {.listen = listen, .listen_count = 2}};
    struct pair old, young;
    struct end offer = {0}, fetch = {0};
    struct ticket ticket;

    endpoint_new(endpoint);
    pair_open(&old, &setup);
    CHECK(offer_start(&old, &offer, 2, 1, NULL) == BATON_OK);
    ticket = offer.ticket;
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_finish(&offer);
    pair_close(&old);

    pair_open(&young, again ? &setup : &(struct pair_setup){.kind = kind});
    CHECK(fetch_start(&young, &fetch, &ticket, 2, NULL) == BATON_OK);
    end_finish(&fetch);
    CHECK_ON(&young, fetch.result.outcome == (again ? BATON_REFUSED : BATON_LINK_LOST));
    CHECK_ON(&young,
             fetch.result.cause == (again ? BATON_CAUSE_INCARNATION : BATON_CAUSE_UNREACHABLE));
    CHECK_ON(&young, fetch.receipt.proof == BATON_PROOF_NEVER_EXPOSED);
    still_works(&young);
    pair_close(&young);
}

/* A ticket of an older life of the same address is refused as such, at once. */
TEST(a_ticket_of_an_older_incarnation_is_refused)
{
    for (unsigned i = 0; i < kinds_count; i++) {
        if (kinds[i].link == BATON_LINK_AUTO) {
            fetch_from_the_dead(&kinds[i], true);
        }
    }
}

/* Where nobody listens any more, the fetch ends as LINK_LOST, unreachable. */
TEST(a_ticket_of_a_dead_source_is_unreachable)
{
    fetch_from_the_dead(plain_shm, false);
    fetch_from_the_dead(plain_tcp, false);
}

/* An offer that has ended and was retired is gone for a late reader, who learns so or its end. */
TEST(a_ticket_of_a_forgotten_offer_is_refused)
{
    struct pair pair;
    struct end offer = {0}, first = {0}, late = {0};

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    CHECK(offer_start(&pair, &offer, 2, 1, NULL) == BATON_OK);
    CHECK(fetch_start(&pair, &first, &offer.ticket, 2, NULL) == BATON_OK);
    end_finish(&first);
    end_finish(&offer);
    CHECK(fetch_start(&pair, &late, &offer.ticket, 2, NULL) == BATON_OK);
    end_finish(&late);
    CHECK(late.result.outcome == BATON_REFUSED);
    CHECK(late.result.cause == BATON_CAUSE_GONE || late.result.cause == BATON_CAUSE_COMMITTED);
    CHECK(late.result.bytes_landed == 0);
    pair_close(&pair);
}

/* A ticket survives its text form, and says what the offer said, without the secret. */
TEST(tickets_round_trip_as_text)
{
    struct pair pair;
    struct end offer = {0};
    struct baton_ticket_view view;
    struct ticket back = {0};
    char text[BATON_TICKET_TEXT_BYTES_MAX], endpoint[BATON_ENDPOINT_BYTES_MAX];
    uint8_t incarnation[16];

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    CHECK(offer_start(&pair, &offer, 5, 1, NULL) == BATON_OK);
    CHECK(baton_ticket_to_text(offer.ticket.bytes, offer.ticket.length, text) == BATON_OK);
    CHECK(strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") ==
          strlen(text));
    CHECK(baton_ticket_from_text(text, back.bytes, &back.length, NULL) == BATON_OK);
    CHECK(back.length == offer.ticket.length);
    CHECK(memcmp(back.bytes, offer.ticket.bytes, back.length) == 0);
    CHECK(baton_ticket_inspect(back.bytes, back.length, &view, NULL) == BATON_OK);
    baton_engine_incarnation(pair.source, incarnation);
    CHECK(memcmp(view.incarnation, incarnation, 16) == 0);
    CHECK(view.offer_id == baton_handoff_id(offer.handoff) && view.slot == 0);
    CHECK(view.block_count == 5 && view.block_bytes == PAIR_BLOCK_BYTES);
    CHECK(view.bytes_total == 5 * PAIR_BLOCK_BYTES && view.endpoints >= 1);
    for (unsigned i = 0; i < view.endpoints; i++) {
        CHECK(baton_engine_endpoint(pair.source, i, endpoint));
        CHECK(strcmp(endpoint, view.endpoint[i]) == 0);
    }
    CHECK(!baton_engine_endpoint(pair.source, view.endpoints, endpoint));
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_finish(&offer);
    pair_close(&pair);
}

/* Text that is cut, too long or of other letters is no ticket, and nothing is written. */
TEST(bad_ticket_texts_are_refused)
{
    struct pair pair;
    struct end offer = {0};
    struct baton_error error;
    struct ticket back = {.length = 4711};
    char text[BATON_TICKET_TEXT_BYTES_MAX], cut[BATON_TICKET_TEXT_BYTES_MAX], longer[2000];

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    CHECK(offer_start(&pair, &offer, 5, 1, NULL) == BATON_OK);
    CHECK(baton_ticket_to_text(offer.ticket.bytes, offer.ticket.length, text) == BATON_OK);
    for (size_t length = 0; length < strlen(text); length++) {
        snprintf(cut, sizeof(cut), "%.*s", (int)length, text);
        error = (struct baton_error){0};
        CHECK(baton_ticket_from_text(cut, back.bytes, &back.length, &error) == BATON_ETICKET);
        CHECK(error.code == BATON_ETICKET && error.text[0]);
    }
    for (const char *bad = "+/= \n.~\xff%"; *bad; bad++) {
        memcpy(cut, text, strlen(text) + 1);
        cut[strlen(text) / 2] = *bad;
        CHECK(baton_ticket_from_text(cut, back.bytes, &back.length, NULL) == BATON_ETICKET);
    }
    memset(longer, 'A', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    CHECK(baton_ticket_from_text(longer, back.bytes, &back.length, NULL) == BATON_ETICKET);
    CHECK(back.length == 4711 && back.bytes[0] == 0);
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_finish(&offer);
    pair_close(&pair);
}
