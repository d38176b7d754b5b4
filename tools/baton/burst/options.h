/* SPDX-License-Identifier: Apache-2.0 */
/* The options of `baton burst`.  Starts nothing. */
#ifndef BATON_TOOLS_BURST_OPTIONS_H
#define BATON_TOOLS_BURST_OPTIONS_H

#include <stdio.h>

#include "burst/config.h"

struct burst_options {
    struct burst_config config;
    const char *model; /* NULL: by --kv-bytes-per-token alone */
    const char *trace_path;
    const char *json_path;
    const char *role; /* hidden: what the driver starts */
    uint64_t channel_fd, board_fd;
    bool fault_peer;     /* it was given */
    uint32_t tokens_max; /* 0: no prompt is cut */
};

/* Returns an exit code (with its message printed), or -1 to go on with `*ret_options`. */
int burst_options_read(int argc, char **argv, struct burst_options *ret_options);

/* The command line that runs the same burst again, as a line of text. */
void burst_options_print(const struct burst_options *options, FILE *file);

#endif
