/* SPDX-License-Identifier: Apache-2.0 */
/* Where the stats sockets of engines are, and asking one.  Knows nothing of what they answer. */
#include "top/socket.h"

#include <errno.h>
#include <glob.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* A connected socket whose every call gives up after TOP_ANSWER_MS_MAX; -1 and errno otherwise. */
static int socket_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = TOP_ANSWER_MS_MAX / 1000,
                            .tv_usec = TOP_ANSWER_MS_MAX % 1000 * 1000};
    int fd;

    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    /* A full backlog of an engine that is stopped would hold connect() too. */
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ||
        connect(fd, (struct sockaddr *)&address, sizeof(address))) {
        int reason = errno;

        close(fd);
        errno = reason;
        return -1;
    }
    return fd;
}

static enum top_answer connect_failure(const char *path, int reason, char *why)
{
    switch (reason) {
    case ENOENT:
    case ENOTDIR:
        snprintf(why, TOP_WHY_BYTES, "no such socket: %s", path);
        return TOP_GONE;
    case ECONNREFUSED:
        snprintf(why, TOP_WHY_BYTES,
                 "nobody listens on %s: the engine has ended, or it is no "
                 "socket",
                 path);
        return TOP_GONE;
    case EAGAIN:
    case EINPROGRESS:
        snprintf(why, TOP_WHY_BYTES, "no answer from %s: is its process stopped?", path);
        return TOP_SILENT;
    default:
        snprintf(why, TOP_WHY_BYTES, "cannot connect to %s: %s", path, strerror(reason));
        return TOP_BROKEN;
    }
}

static bool room_make(char **text, size_t length, size_t *room)
{
    char *larger;

    if (length < *room) {
        return true;
    }
    *room = *room ? 2 * *room : 16384;
    larger = realloc(*text, *room);
    if (larger) {
        *text = larger;
    }
    return larger != NULL;
}

static int64_t ms_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

enum top_answer top_ask(const char *path, char **ret_text, size_t *ret_length, char *ret_why)
{
    int64_t deadline = ms_now() + TOP_ANSWER_MS_MAX;
    enum top_answer answer = TOP_BROKEN;
    size_t length = 0, room = 0;
    char *text = NULL;
    ssize_t got = 0;
    int fd = socket_connect(path);

    if (fd < 0) {
        return connect_failure(path, errno, ret_why);
    }
    do {
        if (length > TOP_ANSWER_BYTES_MAX || !room_make(&text, length, &room)) {
            snprintf(ret_why, TOP_WHY_BYTES, "the answer of %s is too long", path);
            goto close_socket;
        }
        got = read(fd, text + length, room - length);
        length += got > 0 ? (size_t)got : 0;
    } while ((got > 0 || (got < 0 && errno == EINTR)) && ms_now() < deadline);
    if (got == 0) {
        answer = TOP_ANSWERED;
    } else if (got > 0 || errno == EAGAIN) {
        answer = TOP_SILENT;
        snprintf(ret_why, TOP_WHY_BYTES, "no whole answer from %s: is its process stopped?", path);
    } else {
        snprintf(ret_why, TOP_WHY_BYTES, "cannot read from %s: %s", path, strerror(errno));
    }

close_socket:
    close(fd);
    if (answer == TOP_ANSWERED) {
        *ret_text = text;
        *ret_length = length;
    } else {
        free(text);
    }
    return answer;
}

static bool is_listened_on(const char *path)
{
    int fd = socket_connect(path);

    if (fd >= 0) {
        close(fd);
    }
    /* One that is there and refuses for another reason is listed: asking it says why. */
    return fd >= 0 || (errno != ECONNREFUSED && errno != ENOENT);
}

size_t top_sockets_find(char *ret_paths[TOP_SOCKETS_MAX])
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    char pattern[512];
    glob_t found = {0};
    size_t count = 0;

    if (runtime && runtime[0] == '/' && strlen(runtime) < sizeof(pattern) - 32) {
        snprintf(pattern, sizeof(pattern), "%s/baton-*.sock", runtime);
        glob(pattern, 0, NULL, &found);
        glob("/tmp/baton-*.sock", GLOB_APPEND, NULL, &found);
    } else {
        glob("/tmp/baton-*.sock", 0, NULL, &found);
    }
    for (size_t i = 0; i < found.gl_pathc && count < TOP_SOCKETS_MAX; i++) {
        if (is_listened_on(found.gl_pathv[i])) {
            ret_paths[count] = strdup(found.gl_pathv[i]);
            count += ret_paths[count] != NULL;
        }
    }
    globfree(&found);
    return count;
}
