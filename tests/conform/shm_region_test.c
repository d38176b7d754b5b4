/* SPDX-License-Identifier: Apache-2.0 */
/* Regions: what is accepted of a peer, what is refused, and what the message says. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"
#include "transport/transport.h"

enum {
    BYTES = 1 << 16,
    BLOCK_BYTES = 1 << 12,
    BOTH_SEALS = F_SEAL_SHRINK | F_SEAL_GROW,
};

static int memfd_make(int seals)
{
    int fd = memfd_create("region", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    CHECK(fd >= 0 && ftruncate(fd, BYTES) == 0);
    CHECK(seals == 0 || fcntl(fd, F_ADD_SEALS, seals) == 0);
    return fd;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* The exported descriptor reads the pool's bytes as they change, and can not be mapped writable. */
TEST(an_exported_pool_is_read_only)
{
    int memfd = memfd_make(BOTH_SEALS), fd = region_export(memfd);
    unsigned char *pool = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    struct transport_region region;

    CHECK(mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    CHECK(errno == EACCES);
    CHECK(region_map(&region, 5, BYTES, BLOCK_BYTES, fd, NULL) == BATON_OK);
    CHECK(!is_open(fd));
    pool[BYTES - 1] = 42;
    CHECK(region.map[BYTES - 1] == 42);
    CHECK(region.id == 5 && region.length == BYTES && region.block_bytes == BLOCK_BYTES);
    CHECK(!region.process && region.pidfd == -1);
    CHECK(mprotect((void *)(uintptr_t)region.map, BYTES, PROT_READ | PROT_WRITE) != 0);
    region_unmap(&region);
    munmap(pool, BYTES);
    close(memfd);
}

TEST(export_of_no_descriptor_fails)
{
    CHECK(region_export(-1) == -1);
}

/* A forked child does not get the peer's memory. */
TEST(a_region_is_not_inherited)
{
    struct transport_region region;
    int status;
    pid_t pid;

    CHECK(region_map(&region, 0, BYTES, BLOCK_BYTES, memfd_make(BOTH_SEALS), NULL) == BATON_OK);
    pid = fork();
    if (pid == 0) {
        _exit(msync((void *)(uintptr_t)region.map, BYTES, MS_ASYNC) == 0 || errno != ENOMEM);
    }
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    region_unmap(&region);
}

/* Nothing is taken or changed, and the message names `why`. */
static void check_refused(int fd, uint64_t length, uint64_t block_bytes, const char *why)
{
    struct transport_region region = {.id = 77};
    struct baton_error error = {0};

    CHECK(region_map(&region, 1, length, block_bytes, fd, &error) == BATON_EINVAL);
    CHECK(strstr(error.text, why) != NULL);
    CHECK(region.id == 77);
    CHECK(is_open(fd));
}

TEST(unsealed_short_and_odd_descriptors_are_refused)
{
    int sealed = memfd_make(BOTH_SEALS), plain = memfd_make(0);
    int shrink = memfd_make(F_SEAL_SHRINK), grow = memfd_make(F_SEAL_GROW);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    check_refused(plain, BYTES, BLOCK_BYTES, "F_SEAL_SHRINK");
    check_refused(shrink, BYTES, BLOCK_BYTES, "F_SEAL_GROW");
    check_refused(grow, BYTES, BLOCK_BYTES, "F_SEAL_SHRINK");
    check_refused(null, BYTES, BLOCK_BYTES, "no memfd");
    check_refused(sealed, 2 * BYTES, BLOCK_BYTES, "131072");
    check_refused(sealed, 0, BLOCK_BYTES, "0 bytes");
    check_refused(sealed, BYTES, 0, "blocks of 0");
    check_refused(sealed, BYTES, 4099, "4099");
    check_refused(sealed, UINT64_MAX, 1, "18446744073709551615");
    close(sealed);
    close(plain);
    close(shrink);
    close(grow);
    close(null);
}

static const uint8_t nonce[16] = "sixteen bytes..";
static unsigned char memory[BYTES];

static uint64_t address(const void *pointer)
{
    return (uint64_t)(uintptr_t)pointer;
}

/* Attach to this very process, which looks like any other to process_vm_readv(). */
static baton_err attach(pid_t pid, int pidfd, uint64_t base, uint64_t nonce_base,
                        const uint8_t *expected, struct baton_error *ret_error)
{
    struct transport_region region;

    return region_attach(&region, 9, BYTES, BLOCK_BYTES, pid, pidfd, base, nonce_base, expected,
                         ret_error);
}

static bool allowed(pid_t pid)
{
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    bool ok = attach(pid, pidfd, address(memory), address(nonce), nonce, NULL) == BATON_OK;

    close(pidfd);
    return ok;
}

TEST(a_process_is_attached_by_its_nonce)
{
    static const uint8_t other[16] = "another nonce..";
    int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    struct transport_region region;
    struct baton_error error;

    if (!allowed(getpid())) {
        test_skip("process_vm_readv is not allowed here");
        return;
    }
    CHECK(region_attach(&region, 9, BYTES, BLOCK_BYTES, getpid(), pidfd, address(memory),
                        address(nonce), nonce, NULL) == BATON_OK);
    CHECK(region.process && region.remote_base == address(memory) && region.pidfd == pidfd);
    region_unmap(&region);
    CHECK(attach(getpid(), pidfd, address(memory), address(nonce), other, &error) == BATON_EINVAL);
    CHECK(strstr(error.text, "nonce") != NULL);
    close(pidfd);
}

/* Addresses that overflow, or that nothing is at. */
TEST(addresses_that_can_not_be_are_refused)
{
    int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    struct baton_error error;

    if (!allowed(getpid())) {
        test_skip("process_vm_readv is not allowed here");
        return;
    }
    CHECK(attach(getpid(), pidfd, UINT64_MAX - 5, address(nonce), nonce, &error) == BATON_EINVAL);
    CHECK(attach(getpid(), pidfd, address(memory), UINT64_MAX, nonce, &error) == BATON_EINVAL);
    CHECK(attach(getpid(), pidfd, 0, address(nonce), nonce, &error) == BATON_EINVAL);
    CHECK(attach(getpid(), pidfd, address(memory), 8, nonce, &error) == BATON_ESYSTEM);
    CHECK(strstr(error.text, "no memory") != NULL);
    close(pidfd);
}

/* A process that ended: as a zombie, whose memory is gone, and after it was reaped. */
TEST(a_process_that_ended_is_refused)
{
    pid_t pid = fork();
    siginfo_t info;
    struct baton_error error;
    int pidfd;

    if (pid == 0) {
        _exit(0);
    }
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    CHECK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0);
    CHECK(attach(pid, pidfd, address(memory), address(nonce), nonce, &error) == BATON_ESYSTEM);
    CHECK(waitpid(pid, NULL, 0) == pid);
    CHECK(attach(pid, pidfd, address(memory), address(nonce), nonce, &error) == BATON_ESYSTEM);
    CHECK(strstr(error.text, "process") != NULL);
    close(pidfd);
}
