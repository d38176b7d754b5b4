/* SPDX-License-Identifier: Apache-2.0 */
/* The burst's decode process: entered by `baton burst --role decode`, which only the
 * driver calls.  `fd` is the socket to the driver.  Returns an exit code. */
#ifndef BATON_TOOLS_BURST_DECODE_H
#define BATON_TOOLS_BURST_DECODE_H

int burst_decode(int fd, int board_fd);

#endif
