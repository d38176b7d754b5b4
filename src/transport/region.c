/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Regions: memory of this process for peers on this host to read, and of peers for this process.
 *
 * A mapped region is trusted to stay as long as it is mapped: the seals forbid the peer to shrink
 * the file under it.  It is not trusted to hold any particular bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "transport/slice.h"
#include "transport/transport.h"
#include "util/assert.h"
#include "util/error.h"

enum {
    REGION_NONCE_BYTES = 16,
};

int region_export(int memfd)
{
    char path[32];

    /* A new open file with its own access mode: a dup() would share the writable one. */
    snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static baton_err shape_check(uint64_t length, uint64_t block_bytes, struct baton_error *ret_error)
{
    if (length == 0 || length > PTRDIFF_MAX || block_bytes == 0 || length % block_bytes != 0) {
        return error_set(ret_error, BATON_EINVAL,
                         "the peer's region has %llu bytes in blocks of %llu bytes",
                         (unsigned long long)length, (unsigned long long)block_bytes);
    }
    return BATON_OK;
}

/* What makes reading the mapping safe, whatever the peer does: it has the bytes and keeps them. */
static baton_err memfd_check(int fd, uint64_t length, struct baton_error *ret_error)
{
    const int wanted = F_SEAL_SHRINK | F_SEAL_GROW;
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat stat;

    if (seals < 0) {
        return error_set(ret_error, BATON_EINVAL,
                         "the peer's descriptor is no memfd: its seals can not be read: %s",
                         strerror(errno));
    }
    if ((seals & wanted) != wanted) {
        return error_set(ret_error, BATON_EINVAL,
                         "the peer's memfd has the seals 0x%x, but 0x%x (F_SEAL_SHRINK and "
                         "F_SEAL_GROW) are needed",
                         (unsigned)seals, (unsigned)wanted);
    }
    if (fstat(fd, &stat) < 0) {
        return error_system(ret_error, errno, "fstat of the peer's memfd");
    }
    if (stat.st_size < 0 || (uint64_t)stat.st_size < length) {
        return error_set(ret_error, BATON_EINVAL,
                         "the peer's memfd has %lld bytes, its region says %llu",
                         (long long)stat.st_size, (unsigned long long)length);
    }
    return BATON_OK;
}

static baton_err map_memfd(struct transport_region *ret_region, uint32_t id, uint64_t length,
                           uint64_t block_bytes, int protection, int fd,
                           struct baton_error *ret_error)
{
    baton_err err = shape_check(length, block_bytes, ret_error);
    void *map;

    if (!err) {
        err = memfd_check(fd, length, ret_error);
    }
    if (err) {
        return err;
    }
    map = mmap(NULL, length, protection, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        return error_system(ret_error, errno, "mapping %llu bytes of the peer's memfd",
                            (unsigned long long)length);
    }
    /* A forked child must not hold the peer's memory, nor be able to read from it. */
    if (madvise(map, length, MADV_DONTFORK) < 0) {
        int errno_value = errno;

        munmap(map, length);
        return error_system(ret_error, errno_value, "madvise(MADV_DONTFORK)");
    }
    close(fd);
    *ret_region = (struct transport_region){
        .id = id, .length = length, .block_bytes = block_bytes, .map = map, .pidfd = -1};
    return BATON_OK;
}

baton_err region_map(struct transport_region *ret_region, uint32_t id, uint64_t length,
                     uint64_t block_bytes, int fd, struct baton_error *ret_error)
{
    return map_memfd(ret_region, id, length, block_bytes, PROT_READ, fd, ret_error);
}

baton_err region_map_writable(struct transport_region *ret_region, uint32_t id, uint64_t length,
                              uint64_t block_bytes, int fd, struct baton_error *ret_error)
{
    return map_memfd(ret_region, id, length, block_bytes, PROT_READ | PROT_WRITE, fd, ret_error);
}

/* Yama's ptrace_scope; -1: there is no Yama. */
static int yama_scope(void)
{
    char digit = 0;
    int fd = open("/proc/sys/kernel/yama/ptrace_scope", O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return -1;
    }
    if (read(fd, &digit, 1) != 1 || digit < '0' || digit > '9') {
        digit = '0' - 1;
    }
    close(fd);
    return digit - '0';
}

static baton_err refused(struct baton_error *ret_error, pid_t pid)
{
    int scope = yama_scope();

    if (scope > 0) {
        return error_set(
            ret_error, BATON_ESYSTEM,
            "process_vm_readv of pid %d: not permitted; Yama's ptrace_scope is %d: set "
            "kernel.yama.ptrace_scope to 0, or let the source call "
            "prctl(PR_SET_PTRACER), or use a pool that Baton makes, or tcp",
            (int)pid, scope);
    }
    return error_set(ret_error, BATON_ESYSTEM,
                     "process_vm_readv of pid %d: not permitted: run both as one user in one user "
                     "namespace, allow the call in seccomp, keep the source dumpable; or use a "
                     "pool that Baton makes, or tcp",
                     (int)pid);
}

static baton_err read_error(struct baton_error *ret_error, pid_t pid, int errno_value)
{
    switch (errno_value) {
    case EPERM:
    case EACCES:
        return refused(ret_error, pid);
    case ESRCH:
        return error_set(ret_error, BATON_ESYSTEM,
                         "process_vm_readv: no process %d: it has ended, or lives in a PID "
                         "namespace that is not seen from here (share it, or use tcp)",
                         (int)pid);
    case EFAULT:
        return error_set(ret_error, BATON_ESYSTEM,
                         "process_vm_readv of pid %d: no memory at the address that the peer "
                         "named: the pool is gone, or this is another process",
                         (int)pid);
    case ENOSYS:
        return error_set(ret_error, BATON_ESYSTEM,
                         "process_vm_readv is missing: the kernel lacks CROSS_MEMORY_ATTACH, or a "
                         "seccomp filter hides it (allow it, or use a pool that Baton makes, or "
                         "tcp)");
    default:
        return error_system(ret_error, errno_value, "process_vm_readv of pid %d", (int)pid);
    }
}

/* The bytes at the peer's address are what the peer says they are: it is the right address space.
 */
static baton_err nonce_check(pid_t pid, uint64_t nonce_base,
                             const uint8_t nonce[REGION_NONCE_BYTES], struct baton_error *ret_error)
{
    uint8_t found[REGION_NONCE_BYTES];
    struct iovec local = {.iov_base = found, .iov_len = sizeof(found)};
    struct iovec remote = {.iov_base = (void *)(uintptr_t)nonce_base, .iov_len = sizeof(found)};
    ssize_t ret = process_vm_readv(pid, &local, 1, &remote, 1, 0);

    if (ret < 0) {
        return read_error(ret_error, pid, errno);
    }
    if (ret != (ssize_t)sizeof(found) || memcmp(found, nonce, sizeof(found)) != 0) {
        return error_set(ret_error, BATON_EINVAL,
                         "pid %d does not hold the nonce that its frame names: it is another "
                         "process, or the pool is gone",
                         (int)pid);
    }
    return BATON_OK;
}

baton_err region_attach(struct transport_region *ret_region, uint32_t id, uint64_t length,
                        uint64_t block_bytes, pid_t pid, int pidfd, uint64_t base,
                        uint64_t nonce_base, const uint8_t nonce[16], struct baton_error *ret_error)
{
    baton_err err = shape_check(length, block_bytes, ret_error);

    BATON_ASSERT(pid > 0);
    BATON_ASSERT(pidfd >= 0);
    if (err) {
        return err;
    }
    if (base == 0 || base > UINTPTR_MAX - length || nonce_base > UINTPTR_MAX - REGION_NONCE_BYTES) {
        return error_set(ret_error, BATON_EINVAL,
                         "the peer's region is at 0x%llx with %llu bytes, its nonce at 0x%llx",
                         (unsigned long long)base, (unsigned long long)length,
                         (unsigned long long)nonce_base);
    }
    err = nonce_check(pid, nonce_base, nonce, ret_error);
    if (err) {
        return err;
    }
    /* Alive after the read: the pid was its own all the time. */
    if (slice_peer_gone(pidfd)) {
        return error_set(ret_error, BATON_ESYSTEM, "process %d has ended", (int)pid);
    }
    *ret_region = (struct transport_region){.id = id,
                                            .process = true,
                                            .length = length,
                                            .block_bytes = block_bytes,
                                            .remote_base = base,
                                            .pid = pid,
                                            .pidfd = pidfd};
    return BATON_OK;
}

void region_unmap(struct transport_region *region)
{
    if (region->map) {
        int ret = munmap((void *)(uintptr_t)region->map, region->length);

        BATON_ASSERT(ret == 0);
    }
    *region = (struct transport_region){.pidfd = -1};
}

struct transport_memory *transport_memory_ref(struct transport_memory *memory)
{
    atomic_fetch_add(&memory->refs, 1);
    return memory;
}

void transport_memory_unref(struct transport_memory *memory)
{
    if (atomic_fetch_sub(&memory->refs, 1) > 1) {
        return;
    }
    if (memory->fd >= 0) {
        munmap(memory->base, memory->bytes);
        close(memory->fd);
    }
    free(memory);
}
