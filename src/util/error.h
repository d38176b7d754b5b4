/* SPDX-License-Identifier: Apache-2.0 */
/* Errors with a message, for functions that take a last `struct baton_error *ret_error`. */
#ifndef BATON_UTIL_ERROR_H
#define BATON_UTIL_ERROR_H

#include "baton.h"

/* Fill `*ret_error`, unless it is NULL, and return `code`.  A message that is too long is cut. */
baton_err error_set(struct baton_error *ret_error, baton_err code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with BATON_ESYSTEM (BATON_ENOMEM for ENOMEM, EMFILE, ENFILE), adding ": " and the text
 * of `errno_value`. */
baton_err error_system(struct baton_error *ret_error, int errno_value, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
