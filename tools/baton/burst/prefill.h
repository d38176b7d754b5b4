/* SPDX-License-Identifier: Apache-2.0 */
/* The burst's prefill process: entered by `baton burst --role prefill`, which only the
 * driver calls.  `fd` is the socket to the driver.  Returns an exit code. */
#ifndef BATON_TOOLS_BURST_PREFILL_H
#define BATON_TOOLS_BURST_PREFILL_H

int burst_prefill(int fd, int board_fd);

#endif
