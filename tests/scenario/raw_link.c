/* SPDX-License-Identifier: Apache-2.0 */
/* See raw_link.h. */
#include "scenario/raw_link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <linux/sockios.h>

#include "util/bytes.h"
#include "wire/ticket.h"

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void init(struct raw_link *raw)
{
    static uint64_t lives;

    memset(raw, 0, sizeof(*raw));
    raw->listener = raw->socket = raw->memfd = -1;
    lives++;
    memcpy(raw->incarnation, &lives, sizeof(lives));
    raw->incarnation[ID_BYTES - 1] = 7;
}

int raw_memfd(size_t bytes, unsigned seals)
{
    int fd = memfd_create("baton-raw", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0 ||
        (seals && fcntl(fd, F_ADD_SEALS, seals) != 0)) {
        abort();
    }
    return fd;
}

static void map(struct raw_link *raw, int fd, unsigned in)
{
    void *memory = mmap(NULL, RAW_RINGS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (memory != MAP_FAILED) {
        raw->map = memory;
        raw->in = (struct ring_end){.ring = &raw->map[in]};
        raw->out = (struct ring_end){.ring = &raw->map[1 - in]};
        raw->memfd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    }
}

/* ---- bytes ---- */

static bool send_fds(int socket, const void *bytes, size_t length, const int *fds, unsigned count)
{
    union {
        char bytes[CMSG_SPACE(RAW_FDS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control = {.bytes = {0}};
    struct iovec iov = {(void *)(uintptr_t)bytes, length};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    if (count) {
        struct cmsghdr *m;

        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        m = CMSG_FIRSTHDR(&message);
        m->cmsg_level = SOL_SOCKET;
        m->cmsg_type = SCM_RIGHTS;
        m->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(m), fds, count * sizeof(int));
    }
    return sendmsg(socket, &message, MSG_NOSIGNAL) == (ssize_t)length;
}

/* Bytes of the socket, and the first descriptor that came with them.  0: its end, or too late. */
static size_t receive(int socket, void *ret_bytes, size_t room, int *ret_fd)
{
    union {
        char bytes[CMSG_SPACE(RAW_FDS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {ret_bytes, room};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    struct pollfd readable = {.fd = socket, .events = POLLIN};
    ssize_t got = poll(&readable, 1, RAW_WAIT_MS) == 1 ? recvmsg(socket, &message, 0) : 0;
    struct cmsghdr *m = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;

    if (m && m->cmsg_type == SCM_RIGHTS) {
        int fd;

        memcpy(&fd, CMSG_DATA(m), sizeof(fd));
        if (ret_fd) {
            *ret_fd = fd;
        } else {
            close(fd);
        }
    }
    return got > 0 ? (size_t)got : 0;
}

bool raw_bell(const struct raw_link *raw, int fd)
{
    return send_fds(raw->socket, "", 1, &fd, fd >= 0 ? 1 : 0);
}

size_t raw_write(struct raw_link *raw, const void *bytes, size_t length)
{
    size_t written = 0;
    bool wake;

    ring_write(&raw->out, bytes, length, &written, &wake);
    return written;
}

bool raw_say(struct raw_link *raw, const struct frame *frame)
{
    uint8_t bytes[2048];
    size_t length = frame_encode(frame, bytes), written;
    uint64_t tail;
    bool wake;

    if (!raw->ringed) {
        return send_fds(raw->socket, bytes, length, NULL, 0);
    }
    tail = atomic_load(&raw->out.ring->tail);
    return raw->out.at - tail + length <= RING_BYTES &&
           ring_write(&raw->out, bytes, length, &written, &wake) && (!wake || raw_bell(raw, -1));
}

/* More bytes, whichever way they come. */
static bool fill(struct raw_link *raw)
{
    size_t got = 0;
    bool wake = false;
    char bells[64];

    memmove(raw->bytes, raw->bytes + raw->used, raw->length - raw->used);
    raw->length -= raw->used;
    raw->used = 0;
    if (!raw->ringed) {
        got = receive(raw->socket, raw->bytes + raw->length, RAW_IN_BYTES - raw->length, NULL);
        raw->length += got;
        return got > 0;
    }
    for (;;) {
        if (!ring_read(&raw->in, raw->bytes + raw->length, RAW_IN_BYTES - raw->length, &got,
                       &wake)) {
            return false;
        }
        raw->length += got;
        if (wake) {
            raw_bell(raw, -1);
        }
        if (got > 0) {
            return true;
        }
        if (ring_sleep(&raw->in) && receive(raw->socket, bells, sizeof(bells), NULL) == 0) {
            return false;
        }
        ring_awake(&raw->in);
    }
}

bool raw_hear(struct raw_link *raw, struct frame *ret_frame)
{
    const char *why;
    size_t used;

    for (;;) {
        enum frame_status status =
            frame_decode(raw->bytes + raw->used, raw->length - raw->used, ret_frame, &used, &why);

        if (status == FRAME_WHOLE) {
            raw->used += used;
            return true;
        }
        if (status == FRAME_BAD || !fill(raw)) {
            return false;
        }
    }
}

bool raw_gone(const struct raw_link *raw)
{
    char bells[64];
    uint64_t end_ms = now_ms() + RAW_WAIT_MS;

    while (receive(raw->socket, bells, sizeof(bells), NULL) > 0) {
    }
    return now_ms() < end_ms;
}

bool raw_taken(const struct raw_link *raw)
{
    uint64_t end_ms = now_ms() + RAW_WAIT_MS;
    int left = 1;

    while (ioctl(raw->socket, SIOCOUTQ, &left) == 0 && left > 0 && now_ms() < end_ms) {
        poll(NULL, 0, 1);
    }
    return left == 0;
}

/* ---- sink ---- */

static bool address_of(const char *endpoint, struct sockaddr_un *ret_address, socklen_t *ret_length)
{
    if (strncmp(endpoint, "unix:@", 6) != 0) {
        return false;
    }
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret_address->sun_path + 1, endpoint + 6, strlen(endpoint + 6));
    *ret_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(endpoint + 6));
    return true;
}

static bool dial(struct raw_link *raw, const baton_engine *engine)
{
    char endpoint[BATON_ENDPOINT_BYTES_MAX];
    struct sockaddr_un address;
    socklen_t length;
    unsigned i = 0;

    do {
        if (!baton_engine_endpoint(engine, i++, endpoint)) {
            return false;
        }
    } while (!address_of(endpoint, &address, &length));
    raw->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return connect(raw->socket, (struct sockaddr *)&address, length) == 0;
}

bool raw_dial(struct raw_link *raw, baton_engine *engine, uint32_t bits, const int *fds,
              unsigned fd_count)
{
    struct frame frame = {.type = FRAME_HELLO};
    struct frame answer;
    uint8_t bytes[256];

    init(raw);
    frame.hello.magic = WIRE_MAGIC;
    frame.hello.version_min = frame.hello.version_max = 1;
    frame.hello.transports = bits;
    frame.hello.dial = 1;
    memcpy(frame.hello.incarnation, raw->incarnation, ID_BYTES);
    memcpy(frame.hello.link_id, raw->incarnation, ID_BYTES);
    baton_engine_incarnation(engine, frame.hello.expected);
    if (fd_count) {
        map(raw, fds[0], 1);
    }
    if (!dial(raw, engine) ||
        !send_fds(raw->socket, bytes, frame_encode(&frame, bytes), fds, fd_count) ||
        !raw_hear(raw, &answer) || answer.type != FRAME_WELCOME) {
        return false;
    }
    raw->ringed = answer.welcome.transports & WIRE_LINK_RINGS;
    return true;
}

bool raw_dial_rings(struct raw_link *raw, baton_engine *engine)
{
    int fd = raw_memfd(RAW_RINGS_BYTES, RAW_SEALS);
    bool up = raw_dial(raw, engine, WIRE_TRANSPORT_SHM | WIRE_LINK_RINGS, &fd, 1);

    close(fd);
    return up && raw->ringed;
}

/* ---- source ---- */

bool raw_listen(struct raw_link *raw)
{
    struct sockaddr_un address;
    socklen_t length;

    init(raw);
    snprintf(raw->endpoint, sizeof(raw->endpoint), "unix:@baton-raw-%d-%u", (int)getpid(),
             raw->incarnation[0] | (unsigned)raw->incarnation[1] << 8);
    raw->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return address_of(raw->endpoint, &address, &length) &&
           bind(raw->listener, (struct sockaddr *)&address, length) == 0 &&
           listen(raw->listener, 8) == 0;
}

size_t raw_ticket(const struct raw_link *raw, uint64_t block_bytes, uint32_t block_count,
                  uint8_t *ret_ticket)
{
    struct ticket ticket = {.offer_id = 1, .block_bytes = block_bytes, .block_count = block_count};

    memcpy(ticket.incarnation, raw->incarnation, ID_BYTES);
    ticket.endpoint_count = 1;
    memcpy(ticket.endpoint[0], raw->endpoint, sizeof(raw->endpoint));
    return ticket_encode(&ticket, ret_ticket);
}

bool raw_accept(struct raw_link *raw)
{
    struct pollfd readable = {.fd = raw->listener, .events = POLLIN};
    struct frame frame = {.type = FRAME_WELCOME};
    int fd = -1;

    if (poll(&readable, 1, RAW_WAIT_MS) != 1) {
        return false;
    }
    raw->socket = accept4(raw->listener, NULL, NULL, SOCK_CLOEXEC);
    if (receive(raw->socket, raw->bytes, RAW_IN_BYTES, &fd) == 0 || fd < 0) {
        return false;
    }
    map(raw, fd, 0);
    close(fd);
    frame.welcome.magic = WIRE_MAGIC;
    frame.welcome.version = 1;
    frame.welcome.transports = WIRE_TRANSPORT_SHM | WIRE_LINK_RINGS;
    memcpy(frame.welcome.incarnation, raw->incarnation, ID_BYTES);
    if (!raw->map || !raw_say(raw, &frame)) {
        return false;
    }
    raw->ringed = true;
    return true;
}

void raw_hang_up(struct raw_link *raw)
{
    close(raw->socket);
    close(raw->memfd);
    munmap(raw->map, RAW_RINGS_BYTES);
    raw->socket = raw->memfd = -1;
    raw->map = NULL;
    raw->ringed = false;
    raw->length = raw->used = 0;
}

void raw_close(struct raw_link *raw)
{
    const int fds[] = {raw->listener, raw->socket, raw->memfd};

    for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    if (raw->map) {
        munmap(raw->map, RAW_RINGS_BYTES);
    }
    raw->listener = raw->socket = raw->memfd = -1;
    raw->map = NULL;
}

/* ---- frames ---- */

struct frame raw_open(uint64_t fetch_id)
{
    struct frame frame = {.type = FRAME_OPEN};

    frame.open.offer_id = UINT64_MAX;
    frame.open.fetch_id = fetch_id;
    frame.open.transports = WIRE_TRANSPORT_SHM;
    frame.open.block_bytes = 8;
    frame.open.block_count = 1;
    return frame;
}

bool raw_accept_push(struct raw_link *raw, uint64_t block_bytes, uint32_t block_count,
                     struct frame *ret_grant)
{
    uint8_t run[8] = {0}; /* from block 0 on, all of them */
    struct frame f;

    bytes_put_u32(run + 4, block_count);
    if (!raw_accept(raw) || !raw_hear(raw, &f) || f.type != FRAME_REGION || !raw_hear(raw, &f) ||
        f.type != FRAME_OPEN || f.open.mode != OPEN_PUSH) {
        return false;
    }
    f = (struct frame){.type = FRAME_ACCEPT,
                       .accept = {.fetch_id = f.open.fetch_id,
                                  .attempt = RAW_ATTEMPT,
                                  .watermark = block_count * block_bytes,
                                  .total = block_count * block_bytes,
                                  .block_count = block_count,
                                  .block_bytes = block_bytes},
                       .payload = run,
                       .payload_length = sizeof(run)};
    return raw_say(raw, &f) && raw_hear(raw, ret_grant) && ret_grant->type == FRAME_GRANT &&
           ret_grant->grant.attempt == RAW_ATTEMPT;
}

struct frame raw_cancel(const uint8_t *ticket, size_t length)
{
    struct frame frame = {.type = FRAME_CANCEL};
    struct ticket decoded;

    if (ticket_decode(ticket, length, &decoded, NULL) != BATON_OK) {
        abort();
    }
    frame.cancel.offer_id = decoded.offer_id;
    frame.cancel.slot = decoded.slot;
    frame.cancel.cause = BATON_CAUSE_CANCEL;
    memcpy(frame.cancel.secret, decoded.secret, ID_BYTES);
    return frame;
}

_Atomic(const char *) raw_closed;

void raw_on_log(void *arg, baton_log_level level, const char *text)
{
    static const char *const causes[] = {"protocol", "link_closed", "peer_died"};

    (void)arg;
    (void)level;
    for (unsigned i = 0; i < sizeof(causes) / sizeof(causes[0]); i++) {
        if (strstr(text, " closed: ") && strstr(text, causes[i])) {
            raw_closed = causes[i];
        }
    }
}
