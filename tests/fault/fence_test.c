/* SPDX-License-Identifier: Apache-2.0 */
/*
 * baton-helper's own test of fences, with the NIXL that is here.  It fails when nothing is late
 * without a fence, too.
 */
#include "test.h"
#include "transport/nixl_api.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void fences_hold(const char *tls)
{
    const char *root = getenv("BATON_BUILD_ROOT");
    char path[1024];
    int status = -1;
    pid_t child;

    if (!getenv(NIXL_LIBRARY_VARIABLE)) {
        test_skip("NIXL is not named: set " NIXL_LIBRARY_VARIABLE " to a wheel's libnixl_capi.so");
        return;
    }
    snprintf(path, sizeof(path), "%s/baton-helper", root ? root : ".");
    fflush(stdout);
    child = fork();
    if (child == 0) {
        setenv("UCX_TLS", tls, 1);
        execl(path, "baton-helper", "fence", NULL);
        _exit(127);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Sockets. */
TEST(fences_hold_on_tcp)
{
    fences_hold("tcp");
}

/* Queues in shared memory. */
TEST(fences_hold_on_posix)
{
    fences_hold("posix");
}
