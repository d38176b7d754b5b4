/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests of helper_find(): where the helper's executable is looked for, and what is said when
 * it is not there. */
#include "test.h"
#include "transport/helper.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT_BYTES = 4096 };

/* This program as it is started by the tests below: it says what it finds. */
__attribute__((constructor)) static void find_and_tell(void)
{
    char path[PATH_MAX];
    struct baton_error error = {0};

    if (getenv("HELPER_TEST_FINDS")) {
        const char *told = helper_find(NULL, path, &error) ? error.text : path;

        _exit(send(HELPER_SOCKET, told, strlen(told), 0) > 0 ? 0 : 1);
    }
}

/* A folder in the build with this program in its `bin`. */
static bool tree_make(char root[PATH_MAX], char program[PATH_MAX])
{
    const char *build = getenv("BATON_BUILD_ROOT");
    char made[PATH_MAX], self[PATH_MAX];

    snprintf(made, sizeof(made), "%s/tests/helper-XXXXXX", build ? build : ".");
    if (!mkdtemp(made) || !realpath(made, root) || !realpath("/proc/self/exe", self)) {
        return false;
    }
    snprintf(made, sizeof(made), "%.4000s/bin", root);
    mkdir(made, 0700);
    snprintf(made, sizeof(made), "%.4000s/libexec", root);
    mkdir(made, 0700);
    snprintf(made, sizeof(made), "%.4000s/libexec/baton", root);
    mkdir(made, 0700);
    snprintf(program, PATH_MAX, "%.4000s/bin/program", root);
    return link(self, program) == 0;
}

static void tree_remove(const char *root)
{
    static const char *const names[] = {"bin/program",
                                        "bin/baton-helper",
                                        "libexec/baton/baton-helper",
                                        "libexec/baton",
                                        "libexec",
                                        "bin",
                                        ""};
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%.4000s/%s", root, names[i]);
        remove(path);
    }
    CHECK(access(root, F_OK) == -1);
}

static void file_make(const char *root, const char *name, mode_t mode)
{
    char path[PATH_MAX];
    int fd;

    snprintf(path, sizeof(path), "%.4000s/%s", root, name);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, mode);
    CHECK(fd >= 0 && close(fd) == 0);
}

/* What `program` finds; into `text`. */
static const char *finds(const char *program, char text[TEXT_BYTES])
{
    const char *const argv[] = {"program", NULL};
    struct helper helper;
    ssize_t got = 0;

    setenv("HELPER_TEST_FINDS", "1", 1);
    if (CHECK(!helper_start(program, argv, &helper, NULL))) {
        got = recv(helper.socket, text, TEXT_BYTES - 1, 0);
        close(helper.socket);
        close(helper.pidfd);
    }
    text[got > 0 ? got : 0] = '\0';
    unsetenv("HELPER_TEST_FINDS");
    return text;
}

static bool is_in(const char *path, const char *root, const char *name)
{
    size_t length = strlen(root);

    return !strncmp(path, root, length) && !strcmp(path + length, name);
}

/* Beside the program, then in libexec; one that can not be executed is none. */
TEST(helper_is_found_near_the_program)
{
    char root[PATH_MAX], program[PATH_MAX], text[TEXT_BYTES];

    unsetenv(HELPER_VARIABLE);
    if (!CHECK(tree_make(root, program))) {
        return;
    }
    finds(program, text);
    /* Or one is installed on this machine. */
    CHECK(access(text, X_OK) == 0 ||
          (strstr(text, "/bin/baton-helper") && strstr(text, "libexec/baton/baton-helper") &&
           strstr(text, "name it with BATON_HELPER or helper_path")));
    file_make(root, "libexec/baton/baton-helper", 0700);
    CHECK(is_in(finds(program, text), root, "/libexec/baton/baton-helper"));
    file_make(root, "bin/baton-helper", 0600);
    CHECK(is_in(finds(program, text), root, "/libexec/baton/baton-helper"));
    snprintf(text, sizeof(text), "%.4000s/bin/baton-helper", root);
    CHECK(chmod(text, 0700) == 0);
    CHECK(is_in(finds(program, text), root, "/bin/baton-helper"));
    tree_remove(root);
}

/* What was named is taken, and the option before the environment. */
TEST(helper_that_was_named_is_taken)
{
    char path[PATH_MAX], wanted[PATH_MAX];

    CHECK(realpath("/bin/sh", wanted));
    setenv(HELPER_VARIABLE, "/nonexistent/variable", 1);
    CHECK(!helper_find("/bin/sh", path, NULL) && !strcmp(path, wanted));
    setenv(HELPER_VARIABLE, "/bin/sh", 1);
    CHECK(!helper_find(NULL, path, NULL) && !strcmp(path, wanted));
    unsetenv(HELPER_VARIABLE);
}

/* What was named and is not there is an error, not a search. */
TEST(helper_that_was_named_and_is_not_there)
{
    struct baton_error error = {0};
    char path[PATH_MAX] = "untouched";

    setenv(HELPER_VARIABLE, "/nonexistent/variable", 1);
    CHECK(helper_find(NULL, path, &error) == BATON_ESYSTEM);
    CHECK(strstr(error.text, "/nonexistent/variable") && strstr(error.text, "BATON_HELPER"));
    CHECK(strstr(error.text, "No such file"));
    CHECK(helper_find("/nonexistent/option", path, &error) == BATON_ESYSTEM);
    CHECK(strstr(error.text, "/nonexistent/option") && strstr(error.text, "helper_path"));
    /* A folder. */
    CHECK(helper_find("/", path, &error) == BATON_ESYSTEM && strstr(error.text, "denied"));
    CHECK(!strcmp(path, "untouched"));
    unsetenv(HELPER_VARIABLE);
}
