/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests of nixl_lanes(): what a list of UCX's transports promises. */
#include "test.h"
#include "transport/nixl_worker.h"

/* Sockets and queues: what is stored in a process its own library stores. */
TEST(lanes_that_store_for_their_own_process)
{
    static const char *const lists[] = {"tcp",         "posix",        "sysv",
                                        "self",        "tcp,self",     "posix,sysv,tcp,self",
                                        "tcp,tcp,tcp", "tcp,cuda_copy"};

    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        CHECK(nixl_lanes(lists[i]) == NIXL_LANES_OWN);
    }
}

/* One that lets a process store into another is enough, wherever it stands. */
TEST(lanes_that_store_for_another_process)
{
    static const char *const lists[] = {"cma",     "shm",         "sm",           "xpmem",
                                        "knem",    "tcp,cma",     "cma,tcp",      "tcp,knem,self",
                                        "shm,tcp", "posix,xpmem", "cuda_copy,cma"};

    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        CHECK(nixl_lanes(lists[i]) == NIXL_LANES_HOST);
    }
}

/* Nothing said, everything but something, and every name that is not known as it stands. */
TEST(lanes_that_promise_nothing)
{
    static const char *const lists[] = {NULL,
                                        "",
                                        "all",
                                        "^cma",
                                        "^tcp",
                                        "rc",
                                        "rc,tcp",
                                        "tcp,rc",
                                        "tcp,cma,ud",
                                        "cuda,tcp",
                                        "cuda_ipc,cuda_copy,tcp",
                                        "ib",
                                        "tcp,",
                                        ",tcp",
                                        "tcp,,self",
                                        ",",
                                        "TCP",
                                        " tcp",
                                        "tcp ",
                                        "tcp, self",
                                        "tcpx",
                                        "tc",
                                        "tcp:aux",
                                        "\\tcp",
                                        "tcp;self",
                                        "posix,^cma",
                                        "self,all"};

    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        CHECK(nixl_lanes(lists[i]) == NIXL_LANES_ANY);
    }
}
