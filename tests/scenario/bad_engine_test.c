/* SPDX-License-Identifier: Apache-2.0 */
/* Engine and pool options that can not work: the right code, a message that names what clashes,
 * nothing left. */
#include "scenario/pair.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Creation fails with `code`, and the message has `word`; also without a place for the message. */
static void refuse_engine(struct baton_engine_options options, baton_err code, const char *word)
{
    baton_engine *engine = NULL;
    struct baton_error error = {0};
    baton_err err;

    options.size = options.size ? options.size : sizeof(options);
    err = baton_engine_create(&options, &engine, &error);
    if (!CHECK(err == code) || !CHECK(error.code == code) || !CHECK(strstr(error.text, word))) {
        printf("    %s, expected %s; text \"%s\", expected \"%s\"\n", baton_strerror(err),
               baton_strerror(code), error.text, word);
    }
    CHECK(!engine);
    CHECK(baton_engine_create(&options, &engine, NULL) == code && !engine);
}

/* An engine can be made and destroyed at once. */
static void accept_engine(struct baton_engine_options options)
{
    baton_engine *engine = NULL;
    struct baton_error error = {0};

    options.size = sizeof(options);
    if (!CHECK(baton_engine_create(&options, &engine, &error) == BATON_OK)) {
        printf("    %s\n", error.text);
        return;
    }
    baton_engine_close(engine);
    CHECK(baton_engine_destroy(engine, NULL) == BATON_OK);
}

/* A struct of another size is of another version, and the message names both sizes. */
TEST(wrong_option_sizes_are_named)
{
    struct baton_engine_options options = {.size = 0};
    baton_engine *engine = NULL;
    struct baton_error error = {0};
    char size[24];

    snprintf(size, sizeof(size), "%zu", sizeof(options));
    CHECK(baton_engine_create(&options, &engine, &error) == BATON_EINVAL);
    CHECK(strstr(error.text, size) && strstr(error.text, "0"));
    refuse_engine((struct baton_engine_options){.size = 4}, BATON_EINVAL, "4");
    refuse_engine((struct baton_engine_options){.size = sizeof(options) + 4096}, BATON_EINVAL,
                  size);
    CHECK(!engine);
}

/* Addresses that are no addresses are refused, and named. */
TEST(malformed_endpoints_are_named)
{
    static const char *const bad[] = {
        "",
        "nonsense",
        "tcp:",
        "tcp:127.0.0.1",
        "tcp:127.0.0.1:",
        "tcp:127.0.0.1:port",
        "tcp:127.0.0.1:65536",
        "tcp:127.0.0.1:-1",
        "tcp:127.0.0.1:1x",
        "tcp:127.0.0.1: 1",
        "tcp:300.0.0.1:0",
        "tcp::0",
        "udp:127.0.0.1:0",
        "unix:",
        "unix:@",
        "TCP:127.0.0.1:0",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        refuse_engine((struct baton_engine_options){.listen = &bad[i], .listen_count = 1},
                      BATON_EADDRESS, bad[i]);
        refuse_engine((struct baton_engine_options){.advertise = &bad[i], .advertise_count = 1},
                      BATON_EADDRESS, bad[i]);
    }
}

/* An address that does not fit, one too many, and a missing one. */
TEST(endpoints_beyond_the_limits_are_refused)
{
    char longer[400] = "unix:@";
    const char *one = longer, *none = NULL;
    const char *many[BATON_ENDPOINTS_MAX + 1];

    memset(longer + 6, 'x', sizeof(longer) - 7);
    refuse_engine((struct baton_engine_options){.listen = &one, .listen_count = 1}, BATON_EADDRESS,
                  "107");
    longer[BATON_ENDPOINT_BYTES_MAX] = '\0';
    refuse_engine((struct baton_engine_options){.listen = &one, .listen_count = 1}, BATON_EADDRESS,
                  "107");
    for (unsigned i = 0; i <= BATON_ENDPOINTS_MAX; i++) {
        many[i] = "tcp:127.0.0.1:0";
    }
    refuse_engine(
        (struct baton_engine_options){.listen = many, .listen_count = BATON_ENDPOINTS_MAX + 1},
        BATON_EINVAL, "5");
    refuse_engine((struct baton_engine_options){.advertise = many,
                                                .advertise_count = BATON_ENDPOINTS_MAX + 1},
                  BATON_EINVAL, "5");
    refuse_engine((struct baton_engine_options){.listen = NULL, .listen_count = 1}, BATON_EINVAL,
                  "listen");
    refuse_engine((struct baton_engine_options){.listen = &none, .listen_count = 1}, BATON_EINVAL,
                  "listen");
    accept_engine(
        (struct baton_engine_options){.listen = many, .listen_count = BATON_ENDPOINTS_MAX});
}

/* An endpoint of exactly the longest length works, and comes back whole. */
TEST(the_longest_endpoint_works)
{
    struct pair pair;
    struct end offer = {0}, fetch = {0};
    char longest[BATON_ENDPOINT_BYTES_MAX] = {0}, back[BATON_ENDPOINT_BYTES_MAX];
    const char *listen = longest;

    endpoint_new(longest);
    memset(longest + strlen(longest), 'y', sizeof(longest) - 1 - strlen(longest));
    pair_open(&pair, &(struct pair_setup){.kind = plain_shm,
                                          .source = {.listen = &listen, .listen_count = 1}});
    CHECK(baton_engine_endpoint(pair.source, 0, back) && strcmp(back, longest) == 0);
    CHECK(offer_start(&pair, &offer, 2, 9, NULL) == BATON_OK);
    CHECK(fetch_start(&pair, &fetch, &offer.ticket, 2, NULL) == BATON_OK);
    end_finish(&fetch);
    end_finish(&offer);
    CHECK(fetch.result.outcome == BATON_COMPLETED);
    pair_close(&pair);
}

/* Four endpoints so long that no ticket could hold them fail the engine, not its offers. */
TEST(endpoints_that_no_ticket_can_hold_are_refused)
{
    char longest[BATON_ENDPOINTS_MAX][BATON_ENDPOINT_BYTES_MAX] = {0};
    const char *advertise[BATON_ENDPOINTS_MAX];

    for (unsigned i = 0; i < BATON_ENDPOINTS_MAX; i++) {
        endpoint_new(longest[i]);
        memset(longest[i] + strlen(longest[i]), 'z', sizeof(longest[i]) - 1 - strlen(longest[i]));
        advertise[i] = longest[i];
    }
    refuse_engine((struct baton_engine_options){.advertise = advertise,
                                                .advertise_count = BATON_ENDPOINTS_MAX},
                  BATON_EADDRESS, "ticket");
    accept_engine((struct baton_engine_options){.advertise = advertise, .advertise_count = 3});
}

/* Nobody listens to all the world by accident, or tells readers to dial it. */
TEST(wildcard_addresses_need_an_option)
{
    static const char *const wild[] = {"tcp:0.0.0.0:0", "tcp:[::]:0"};
    const char *reachable = "tcp:127.0.0.1:4000";
    struct baton_engine_options options = {
        .listen = wild, .listen_count = 1, .allow_wildcard = true};

    for (size_t i = 0; i < 2; i++) {
        refuse_engine((struct baton_engine_options){.listen = &wild[i], .listen_count = 1},
                      BATON_EADDRESS, wild[i]);
    }
    refuse_engine(options, BATON_EADDRESS, "advertise");
    options.advertise = &reachable;
    options.advertise_count = 1;
    accept_engine(options);
}

/* A port that another socket has is named, and free again for us once that has gone. */
TEST(a_port_in_use_is_named)
{
    int other = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    char endpoint[BATON_ENDPOINT_BYTES_MAX];
    const char *one = endpoint;

    CHECK(bind(other, (struct sockaddr *)&address, sizeof(address)) == 0);
    CHECK(listen(other, 1) == 0);
    CHECK(getsockname(other, (struct sockaddr *)&address, &length) == 0);
    snprintf(endpoint, sizeof(endpoint), "tcp:127.0.0.1:%u", ntohs(address.sin_port));
    refuse_engine((struct baton_engine_options){.listen = &one, .listen_count = 1}, BATON_EADDRESS,
                  endpoint);
    close(other);
    accept_engine((struct baton_engine_options){.listen = &one, .listen_count = 1});
}

/* The second engine at a Unix name is refused, and the first goes on. */
TEST(a_unix_name_in_use_is_named)
{
    char endpoint[BATON_ENDPOINT_BYTES_MAX];
    const char *listen = endpoint;
    struct pair pair;
    struct end offer = {0}, fetch = {0};

    endpoint_new(endpoint);
    pair_open(&pair, &(struct pair_setup){.kind = plain_shm,
                                          .source = {.listen = &listen, .listen_count = 1}});
    refuse_engine((struct baton_engine_options){.listen = &listen, .listen_count = 1},
                  BATON_EADDRESS, endpoint);
    CHECK(offer_start(&pair, &offer, 2, 9, NULL) == BATON_OK);
    CHECK(fetch_start(&pair, &fetch, &offer.ticket, 2, NULL) == BATON_OK);
    end_finish(&fetch);
    end_finish(&offer);
    CHECK(fetch.result.outcome == BATON_COMPLETED);
    pair_close(&pair);
}

/* A transport that does not exist is named, wherever it stands in the list. */
TEST(unknown_transports_are_named)
{
    static const char *const unknown[] = {"shm", "rdma"};
    const char *none = NULL, *empty = "";

    refuse_engine((struct baton_engine_options){.transports = unknown, .transports_count = 2},
                  BATON_EINVAL, "rdma");
    refuse_engine((struct baton_engine_options){.transports = &empty, .transports_count = 1},
                  BATON_EINVAL, "transport");
    refuse_engine((struct baton_engine_options){.transports = &none, .transports_count = 1},
                  BATON_EINVAL, "transport");
    refuse_engine((struct baton_engine_options){.transports = NULL, .transports_count = 1},
                  BATON_EINVAL, "transport");
}

/* Numbers beyond their stated limits are refused, with the option, the value or the limit. */
TEST(option_values_beyond_their_limits_are_named)
{
    refuse_engine((struct baton_engine_options){.offers_max = BATON_HANDOFFS_MAX + 1}, BATON_EINVAL,
                  "offers_max");
    refuse_engine((struct baton_engine_options){.fetches_max = BATON_HANDOFFS_MAX + 1},
                  BATON_EINVAL, "fetches_max");
    refuse_engine((struct baton_engine_options){.links_max = BATON_LINKS_MAX + 1}, BATON_EINVAL,
                  "1025");
    refuse_engine((struct baton_engine_options){.movers = BATON_MOVERS_MAX + 1}, BATON_EINVAL,
                  "17");
    refuse_engine((struct baton_engine_options){.movers = -2}, BATON_EINVAL, "-2");
    refuse_engine((struct baton_engine_options){.progress = (baton_progress)7}, BATON_EINVAL,
                  "progress");
    refuse_engine((struct baton_engine_options){.link = (baton_link_kind)7}, BATON_EINVAL, "link");
    refuse_engine((struct baton_engine_options){.host = (baton_host)3}, BATON_EINVAL, "host is 3");
    refuse_engine((struct baton_engine_options){.on_doubt = (baton_on_doubt)3}, BATON_EINVAL,
                  "on_doubt is 3");
    refuse_engine((struct baton_engine_options){.helpers_max = BATON_LINKS_MAX + 1}, BATON_EINVAL,
                  "helpers_max is 1025: it must be 1 to 1024");
    refuse_engine((struct baton_engine_options){.quarantine_percent_max = 101}, BATON_EINVAL,
                  "quarantine_percent_max is 101: it must be 1 to 100");
}

/* The last values that are in their limits. */
TEST(option_values_at_their_limits_are_taken)
{
    accept_engine((struct baton_engine_options){.host = BATON_HOST_IN_PROCESS,
                                                .on_doubt = BATON_ON_DOUBT_KILL_LOCAL_PEER,
                                                .on_doubt_ms = UINT32_MAX,
                                                .helpers_max = BATON_LINKS_MAX,
                                                .quarantine_bytes_max = UINT64_MAX,
                                                .quarantine_percent_max = 100});
    accept_engine((struct baton_engine_options){.on_doubt = BATON_ON_DOUBT_FENCE,
                                                .on_doubt_ms = 1,
                                                .helpers_max = 1,
                                                .quarantine_bytes_max = 1,
                                                .quarantine_percent_max = 1});
}

/* A stats socket that can not be made fails the whole engine, by name. */
TEST(a_bad_stats_path_is_named)
{
    baton_engine *engine = NULL;
    struct baton_error error = {0};
    struct baton_engine_options options = {.size = sizeof(options),
                                           .stats_path = "/nonexistent-folder/stats.sock"};
    baton_err err = baton_engine_create(&options, &engine, &error);

    CHECK(err == BATON_EADDRESS || err == BATON_ESYSTEM);
    CHECK(error.code == err && strstr(error.text, "/nonexistent-folder"));
    CHECK(!engine);
}

static void refuse_pool(struct pair *pair, struct baton_pool_options options, const char *word,
                        const char *word2)
{
    baton_pool *pool = NULL;
    struct baton_error error = {0};
    baton_err err;

    options.size = options.size ? options.size : sizeof(options);
    err = baton_pool_create(pair->source, &options, &pool, &error);
    if (!CHECK(err == BATON_EINVAL) || !CHECK(error.code == err) ||
        !CHECK(strstr(error.text, word)) || !CHECK(strstr(error.text, word2))) {
        printf("    %s: \"%s\", expected \"%s\" and \"%s\"\n", baton_strerror(err), error.text,
               word, word2);
    }
    CHECK(!pool && baton_pool_create(pair->source, &options, &pool, NULL) == BATON_EINVAL);
}

/* Pools of impossible shapes are refused, and the message names the numbers that clash. */
TEST(impossible_pools_are_named)
{
    struct pair pair;

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    refuse_pool(&pair, (struct baton_pool_options){.block_bytes = 0, .block_count = 1}, "0", "");
    refuse_pool(&pair, (struct baton_pool_options){.block_bytes = 12, .block_count = 1}, "12", "8");
    refuse_pool(&pair, (struct baton_pool_options){.block_bytes = (1 << 30) + 8, .block_count = 1},
                "1073741832", "1073741824");
    refuse_pool(&pair, (struct baton_pool_options){.block_bytes = 64, .block_count = 0}, "0", "");
    refuse_pool(
        &pair,
        (struct baton_pool_options){.block_bytes = 8, .block_count = BATON_POOL_BLOCKS_MAX + 1},
        "16777217", "16777216");
    refuse_pool(&pair,
                (struct baton_pool_options){
                    .block_bytes = 4096, .block_count = 4, .layout = {2, 2, 4, 8, 16, 3}},
                "4096", "6144");
    refuse_pool(&pair,
                (struct baton_pool_options){
                    .block_bytes = 4096, .block_count = 4, .layout = {2, 0, 4, 8, 16, 4}},
                "4096", "");
    refuse_pool(&pair,
                (struct baton_pool_options){.block_bytes = 64,
                                            .block_count = 4,
                                            .layout = {65536, 65536, 65536, 65536, 16, 4}},
                "64", "");
    refuse_pool(&pair, (struct baton_pool_options){.size = 16, .block_bytes = 64, .block_count = 4},
                "16", "");
    refuse_pool(&pair,
                (struct baton_pool_options){.block_bytes = 64, .block_count = 4, .flags = 1 << 20},
                "flag", "");
    pair_close(&pair);
}

/* More blocks than are free: the message says how many are free, and none is taken. */
TEST(a_pool_that_is_too_small_says_how_small)
{
    struct pair pair;
    uint32_t blocks[8], held[8] = {0};
    struct baton_error error = {0};
    struct end offer = {0};

    pair_open(&pair, &(struct pair_setup){.kind = plain_shm, .block_count = 7});
    CHECK(offer_start(&pair, &offer, 2, 1, NULL) == BATON_OK);
    CHECK(baton_pool_alloc(pair.source_pool, 6, held, &error) == BATON_EFULL);
    CHECK(error.code == BATON_EFULL && strstr(error.text, "6") && strstr(error.text, "5"));
    CHECK(strstr(error.text, "2") && held[0] == 0 && held[5] == 0);
    CHECK(baton_pool_alloc(pair.source_pool, 6, held, NULL) == BATON_EFULL);
    CHECK(pool_stats(pair.source_pool).free_blocks == 5);
    CHECK(baton_pool_alloc(pair.source_pool, 5, blocks, &error) == BATON_OK);
    CHECK(baton_pool_free(pair.source_pool, blocks, 5, &error) == BATON_OK);
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_finish(&offer);
    pair_close(&pair);
}
