/* SPDX-License-Identifier: Apache-2.0 */
/* Where the stats sockets of engines are, and asking one. */
#ifndef BATON_TOOLS_TOP_SOCKET_H
#define BATON_TOOLS_TOP_SOCKET_H

#include <stdbool.h>
#include <stddef.h>

enum {
    TOP_ANSWER_BYTES_MAX = 8 << 20, /* an engine with every link and pool stays far below */
    TOP_ANSWER_MS_MAX = 2000,       /* an engine answers at once, unless it is stopped */
    TOP_SOCKETS_MAX = 64,
    TOP_WHY_BYTES = 256,
};

enum top_answer {
    TOP_ANSWERED = 0,
    TOP_GONE,   /* no such socket, or nobody listens on it */
    TOP_SILENT, /* somebody listens and does not answer */
    TOP_BROKEN, /* the operating system refused, or the answer is too long */
};

/*
 * Connect and read until the other end closes.  On TOP_ANSWERED `*ret_text` is the caller's to
 * free(); on all others `ret_why`, of TOP_WHY_BYTES, says what is wrong.
 */
enum top_answer top_ask(const char *path, char **ret_text, size_t *ret_length, char *ret_why);

/*
 * The paths of sockets that somebody listens on among $XDG_RUNTIME_DIR/baton-*.sock and
 * /tmp/baton-*.sock; at most TOP_SOCKETS_MAX.  The strings are the caller's to free().
 */
size_t top_sockets_find(char *ret_paths[TOP_SOCKETS_MAX]);

#endif
