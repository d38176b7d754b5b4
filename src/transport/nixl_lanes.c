/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What UCX_TLS says about who stores.  Only lists of names that are known here promise anything:
 * an alias, a name that is new, and a list of what is left out can stand for any lane.
 */
#include "transport/nixl_worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct lane {
    const char *name;
    enum nixl_lanes lanes;
} known[] = {
    {"tcp", NIXL_LANES_OWN},
    {"self", NIXL_LANES_OWN},
    /* Queues in shared memory; the receiver copies out of them. */
    {"posix", NIXL_LANES_OWN},
    {"sysv", NIXL_LANES_OWN},
    /* Between GPU memory and a process's own: of a link that moves none of it nothing goes here. */
    {"cuda_copy", NIXL_LANES_OWN},
    /* One process copies from or to the memory of the other. */
    {"cma", NIXL_LANES_HOST},
    {"xpmem", NIXL_LANES_HOST},
    {"knem", NIXL_LANES_HOST},
    /* Aliases of UCX for all of this host's. */
    {"shm", NIXL_LANES_HOST},
    {"sm", NIXL_LANES_HOST},
};

static enum nixl_lanes lane(const char *name, size_t length)
{
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strlen(known[i].name) == length && !memcmp(known[i].name, name, length)) {
            return known[i].lanes;
        }
    }
    return NIXL_LANES_ANY;
}

enum nixl_lanes nixl_lanes(const char *tls)
{
    enum nixl_lanes least = NIXL_LANES_OWN;

    /* The least of them all is what can be promised; no name at all is no known one. */
    for (const char *at = tls ? tls : "";; at++) {
        size_t length = strcspn(at, ",");
        enum nixl_lanes one = lane(at, length);

        least = one < least ? one : least;
        at += length;
        if (*at == '\0') {
            return least;
        }
    }
}

void nixl_lanes_complete(void)
{
    const char *tls = getenv("UCX_TLS");
    char complete[256];

    if (nixl_lanes(tls) != NIXL_LANES_ANY && !strstr(tls, "cuda_copy") &&
        !access("/dev/nvidiactl", F_OK) &&
        snprintf(complete, sizeof(complete), "%s,cuda_copy", tls) < (int)sizeof(complete)) {
        setenv("UCX_TLS", complete, true);
    }
}
