/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The monotonic clock of this host, which no one sets and which runs on while a process is stopped.
 * It is not comparable between hosts.  Pure code gets time as a parameter and never includes this.
 */
#ifndef BATON_UTIL_CLOCK_H
#define BATON_UTIL_CLOCK_H

#include <stdint.h>

uint64_t clock_now_us(void);
uint64_t clock_now_ns(void);

#endif
