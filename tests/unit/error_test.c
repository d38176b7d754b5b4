/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests of util/error.h. */
#include "test.h"
#include "util/error.h"

#include <errno.h>
#include <string.h>

/* The message is formatted, and the code is both kept and returned. */
TEST(error_set_fills_and_returns)
{
    struct baton_error error;

    CHECK(error_set(&error, BATON_EINVAL, "%d blocks, %s", 3, "not 4") == BATON_EINVAL);
    CHECK(error.code == BATON_EINVAL);
    CHECK(strcmp(error.text, "3 blocks, not 4") == 0);
}

/* A caller that does not want the message gets the code. */
TEST(error_without_a_place_for_it)
{
    CHECK(error_set(NULL, BATON_ELIMIT, "%d", 1) == BATON_ELIMIT);
    CHECK(error_system(NULL, EPERM, "open") == BATON_ESYSTEM);
}

/* A message that is too long is cut and closed, never written past its end. */
TEST(error_text_is_bounded)
{
    struct {
        struct baton_error error;
        char after[8];
    } guarded;
    char text[2 * BATON_ERROR_TEXT_BYTES];

    memset(&guarded, 0x55, sizeof(guarded));
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    CHECK(error_set(&guarded.error, BATON_EINVAL, "%s", text) == BATON_EINVAL);
    CHECK(strlen(guarded.error.text) == BATON_ERROR_TEXT_BYTES - 1);
    CHECK(error_system(&guarded.error, EPERM, "%s", text) == BATON_ESYSTEM);
    CHECK(strlen(guarded.error.text) == BATON_ERROR_TEXT_BYTES - 1);
    CHECK(guarded.after[0] == 0x55);
}

/* The system's reason stands behind the message; resources that ran out have a code of their own.
 */
TEST(error_system_names_the_reason)
{
    struct baton_error error;

    CHECK(error_system(&error, EACCES, "open %s", "/x") == BATON_ESYSTEM);
    CHECK(strcmp(error.text, "open /x: Permission denied") == 0);
    CHECK(error_system(&error, ENOMEM, "mmap") == BATON_ENOMEM && error.code == BATON_ENOMEM);
    CHECK(error_system(&error, EMFILE, "accept") == BATON_ENOMEM);
    CHECK(error_system(&error, ENFILE, "accept") == BATON_ENOMEM);
}

/* An unknown errno value still gives a text. */
TEST(error_system_survives_any_value)
{
    struct baton_error error;

    CHECK(error_system(&error, 123456, "call") == BATON_ESYSTEM);
    CHECK(strncmp(error.text, "call: ", 6) == 0 && strlen(error.text) > 6);
}
