/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of errors: the only place of the library that formats text for a person. */
#include "util/error.h"

#include "util/assert.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void format_text(struct baton_error *ret_error, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

static void format_text(struct baton_error *ret_error, const char *format, va_list args)
{
    if (vsnprintf(ret_error->text, sizeof(ret_error->text), format, args) < 0) {
        ret_error->text[0] = '\0';
    }
}

baton_err error_set(struct baton_error *ret_error, baton_err code, const char *format, ...)
{
    va_list args;

    BATON_ASSERT(code != BATON_OK);
    if (ret_error) {
        ret_error->code = code;
        va_start(args, format);
        format_text(ret_error, format, args);
        va_end(args);
    }
    return code;
}

static baton_err code_of(int errno_value)
{
    switch (errno_value) {
    case ENOMEM:
    case EMFILE:
    case ENFILE:
        return BATON_ENOMEM;
    default:
        return BATON_ESYSTEM;
    }
}

static void append_errno(struct baton_error *ret_error, int errno_value)
{
    size_t length = strlen(ret_error->text);
    char buffer[128];
    /* The GNU one: thread-safe, and may return a text of its own instead of filling `buffer`. */
    const char *reason = strerror_r(errno_value, buffer, sizeof(buffer));

    snprintf(ret_error->text + length, sizeof(ret_error->text) - length, ": %s", reason);
}

baton_err error_system(struct baton_error *ret_error, int errno_value, const char *format, ...)
{
    baton_err code = code_of(errno_value);
    va_list args;

    if (ret_error) {
        ret_error->code = code;
        va_start(args, format);
        format_text(ret_error, format, args);
        va_end(args);
        append_errno(ret_error, errno_value);
    }
    return code;
}
