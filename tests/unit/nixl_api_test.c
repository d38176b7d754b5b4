/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unit tests of transport/nixl_api.h: what is refused, and why, with fakes of the library; and the
 * real one where BATON_NIXL_LIBRARY names it.  Each load is made in a child: it is for life.
 */
#include "test.h"
#include "transport/nixl_api.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATH_BYTES = 1024 };

struct outcome {
    baton_err err, again, other; /* of the load, of one more, and of one of another file */
    bool same;                   /* one more gave the same functions */
    struct baton_error error;
    char version[32];
};

static void load_here(const char *before, const char *path, struct outcome *ret_outcome)
{
    const struct nixl_api *api = NULL, *again = NULL, *other = NULL;
    struct outcome outcome = {0};

    if (before && !dlopen(before, RTLD_NOW)) {
        return;
    }
    outcome.err = nixl_api_load(path, &api, &outcome.error);
    if (!outcome.err) {
        outcome.again = nixl_api_load(path, &again, NULL);
        outcome.same = again == api;
        outcome.other = nixl_api_load("libm.so.6", &other, &outcome.error);
        memcpy(outcome.version, api->version, sizeof(outcome.version));
    }
    *ret_outcome = outcome;
}

/* What a process that has opened `before` sees when it loads `path`. */
static struct outcome load(const char *before, const char *path)
{
    struct outcome *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct outcome outcome;
    pid_t child;

    /* No code that a load returns: the child did not come to it. */
    shared->err = BATON_EFORKED;
    child = fork();
    if (child == 0) {
        load_here(before, path, shared);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    outcome = *shared;
    munmap(shared, sizeof(*shared));
    return outcome;
}

static char *fake(const char *name, char path[PATH_BYTES])
{
    const char *root = getenv("BATON_BUILD_ROOT");

    snprintf(path, PATH_BYTES, "%s/tests/%s", root ? root : ".", name);
    return path;
}

static bool says(const struct outcome *outcome, const char *text)
{
    bool found = strstr(outcome->error.text, text);

    if (!found) {
        printf("the message: %s\n", outcome->error.text);
    }
    return found;
}

/* Without the library: the message says what to install and where to name it. */
TEST(nixl_api_is_not_there)
{
    struct outcome outcome = load(NULL, "/nonexistent/libnixl_capi.so");

    CHECK(outcome.err == BATON_ESYSTEM && says(&outcome, "pip install --no-deps nixl-cu13"));
    CHECK(says(&outcome, "BATON_NIXL_LIBRARY") && says(&outcome, "/nonexistent"));
}

/* A file that is no library, and a library that is not NIXL's. */
TEST(nixl_api_is_another_file)
{
    struct outcome text = load(NULL, "/proc/self/status"), math = load(NULL, "libm.so.6");

    CHECK(text.err == BATON_ESYSTEM && says(&text, "/proc/self/status"));
    CHECK(math.err == BATON_EINVAL && says(&math, "not NIXL's C library"));
}

/* A stub that says so, and one that would forward every call to itself. */
TEST(nixl_api_is_a_stub)
{
    char path[PATH_BYTES];
    struct outcome honest = load(NULL, fake("libnixl_stub.so", path));
    struct outcome forwards = load(NULL, fake("libnixl_forwards.so", path));

    CHECK(honest.err == BATON_EINVAL && says(&honest, "is a stub"));
    CHECK(forwards.err == BATON_EINVAL && says(&forwards, "is a stub"));
}

/* A function that is not there is named. */
TEST(nixl_api_lacks_a_function)
{
    char path[PATH_BYTES];
    struct outcome outcome = load(NULL, fake("libnixl_lacks.so", path));

    CHECK(outcome.err == BATON_EINVAL && says(&outcome, "no function nixl_capi_release_xfer_req"));
}

/* All functions are there, but a status is not what it was. */
TEST(nixl_api_behaves_otherwise)
{
    char path[PATH_BYTES], whole[PATH_BYTES];
    struct outcome outcome = load(fake("libnixl.so", whole), fake("libnixl_wrong.so", path));

    CHECK(outcome.err == BATON_EINVAL && says(&outcome, "does not behave"));
}

/* Loaded once: the same functions for everybody, and no second library beside them. */
TEST(nixl_api_is_loaded_once)
{
    char path[PATH_BYTES];
    struct outcome outcome = load(NULL, fake("libnixl.so", path));

    CHECK(outcome.err == BATON_OK && outcome.again == BATON_OK && outcome.same);
    CHECK(outcome.other == BATON_EBUSY && says(&outcome, "libm.so.6"));
    CHECK(!strcmp(outcome.version, ""));
}

/* A folder as a wheel makes it, with the whole fake in it; its libraries' path into `path`. */
static bool wheel_make(char root[PATH_BYTES], const char *version, char path[PATH_BYTES])
{
    char whole[PATH_BYTES], made[PATH_BYTES + 64];

    fake("nixl-XXXXXX", root);
    if (!mkdtemp(root)) {
        return false;
    }
    snprintf(made, sizeof(made), "%s/nixl_cu13-%s.dist-info", root, version);
    mkdir(made, 0700);
    snprintf(made, sizeof(made), "%s/.nixl_cu13.mesonpy.libs", root);
    mkdir(made, 0700);
    snprintf(made, sizeof(made), "%s/.nixl_cu13.mesonpy.libs/libnixl.so", root);
    snprintf(path, PATH_BYTES, "%.*s", PATH_BYTES - 1, made);
    return link(fake("libnixl.so", whole), path) == 0;
}

static void wheel_remove(const char *root, const char *version, const char *path)
{
    char made[PATH_BYTES + 64];

    unlink(path);
    snprintf(made, sizeof(made), "%s/nixl_cu13-%s.dist-info", root, version);
    rmdir(made);
    snprintf(made, sizeof(made), "%s/.nixl_cu13.mesonpy.libs", root);
    rmdir(made);
    CHECK(rmdir(root) == 0);
}

/* The version stands beside a wheel's libraries: one of the next major version is refused. */
TEST(nixl_api_reads_the_wheels_version)
{
    char root[PATH_BYTES], path[PATH_BYTES];
    struct outcome known, unknown;

    CHECK(wheel_make(root, "1.5.9", path));
    known = load(NULL, path);
    wheel_remove(root, "1.5.9", path);
    CHECK(wheel_make(root, "2.0.0", path));
    unknown = load(NULL, path);
    wheel_remove(root, "2.0.0", path);
    CHECK(known.err == BATON_OK && !strcmp(known.version, "1.5.9"));
    CHECK(unknown.err == BATON_EINVAL && says(&unknown, "NIXL 2.0.0 is not known"));
}

/* A UCX that came from elsewhere: NIXL would bring a second one. */
TEST(nixl_api_is_refused_beside_another_ucx)
{
    char root[PATH_BYTES], path[PATH_BYTES], ucx[PATH_BYTES];
    struct outcome outcome;

    CHECK(wheel_make(root, "1.5.1", path));
    outcome = load(fake("libucp.so", ucx), path);
    wheel_remove(root, "1.5.1", path);
    CHECK(outcome.err == BATON_EBUSY && says(&outcome, "another UCX"));
}

/* The real one. */
TEST(nixl_api_loads_nixl)
{
    const char *path = getenv(NIXL_LIBRARY_VARIABLE);
    struct outcome outcome;

    if (!path) {
        test_skip("NIXL is not named: set " NIXL_LIBRARY_VARIABLE " to a wheel's libnixl_capi.so");
        return;
    }
    outcome = load(NULL, NULL);
    CHECK(outcome.err == BATON_OK && outcome.same && outcome.other == BATON_EBUSY);
    CHECK(!strncmp(outcome.version, "1.", 2));
}
