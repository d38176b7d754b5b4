/* SPDX-License-Identifier: Apache-2.0 */
/* NIXL's lanes: see lanes.h. */
#include "lanes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transport/nixl_worker.h"

#define LANES_VARIABLE "UCX_TLS"

bool lanes_read(struct option_place place, const char *text, char ret_lanes[LANES_BYTES])
{
    size_t length = strlen(text);

    if (length == 0 || length >= LANES_BYTES ||
        strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_,^") != length) {
        fprintf(stderr,
                "baton %s: %s \"%s\" is no list of UCX's transports, such as tcp or posix\n",
                place.command, place.option, text);
        return false;
    }
    memcpy(ret_lanes, text, length + 1);
    return true;
}

const char *lanes_set(const char *lanes)
{
    if (*lanes) {
        setenv(LANES_VARIABLE, lanes, true);
    } else {
        setenv(LANES_VARIABLE, "tcp", false);
    }
    nixl_lanes_complete();
    /* Of no use here, and with it some processes crash when they end. */
    setenv("UCX_MODULES", "^ib", false);
    setenv("UCX_LOG_LEVEL", "fatal", false);
    setenv("NIXL_LOG_LEVEL", "FATAL", false);
    return getenv(LANES_VARIABLE);
}

bool lanes_on_host(const char *lanes)
{
    static const char *const local[] = {"shm",   "sm",  "posix", "sysv",     "self",
                                        "xpmem", "cma", "knem",  "cuda_copy"};
    const char *at = lanes;
    bool all = *at != '\0';

    while (*at && all) {
        size_t length = strcspn(at, ",");

        all = false;
        for (size_t i = 0; i < sizeof(local) / sizeof(*local); i++) {
            all = all || (strlen(local[i]) == length && !strncmp(at, local[i], length));
        }
        at += length + (at[length] == ',');
    }
    return all;
}

bool lanes_own(const char *lanes)
{
    return nixl_lanes(lanes) == NIXL_LANES_OWN;
}

_Noreturn void lanes_exit(int code)
{
    fflush(NULL);
    _exit(code);
}
