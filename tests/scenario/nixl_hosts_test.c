/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attacks on where NIXL runs, both engines in this process: helpers that can not be had, are too
 * few or are something else, libraries that are none, descriptors that run out, links that come and
 * go by the dozen.
 */
#include "scenario/pair.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    COUNT = 8, /* blocks of a handoff */
    CLOCK_MS = 300,
    TEXT_BYTES = 1 << 16,
    AGENT_BYTES = 800 << 10, /* of the library's; with 8 descriptors */
    FEW = 4,
};

/* A sanitizer keeps what was freed. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

extern char **environ;

static const struct kind nixl = {"nixl", "nixl", 0, BATON_PROGRESS_THREAD, 0, false};
static const struct kind wrapped = {"wrapped, nixl", "nixl", 0, BATON_PROGRESS_THREAD, 0, true};
static const struct kind either = {.name = "nixl and tcp"};
static const char *const both[] = {"nixl", "tcp"};
static const baton_host hosts[] = {BATON_HOST_IN_PROCESS, BATON_HOST_HELPER};
static const struct baton_fetch_args pull = {.mode = BATON_PULL, .transport = "nixl"};
static const struct baton_fetch_args push = {.mode = BATON_PUSH, .transport = "nixl"};
static const struct baton_fetch_args tcp = {.transport = "tcp"};
static const struct baton_fetch_args *const ways[] = {&pull, &push};

static bool have_nixl(void)
{
    if (!getenv("BATON_NIXL_LIBRARY")) {
        test_skip("BATON_NIXL_LIBRARY is not set: see docs/NIXL.md");
        return false;
    }
    return true;
}

/* What the engines have logged. */
static char logged[TEXT_BYTES];
static pthread_mutex_t logged_lock = PTHREAD_MUTEX_INITIALIZER;

static void on_log(void *arg, baton_log_level level, const char *text)
{
    (void)arg;
    pthread_mutex_lock(&logged_lock);
    if (level <= BATON_LOG_WARN) {
        strncat(logged, text, sizeof(logged) - strlen(logged) - 2);
        strcat(logged, "\n");
    }
    pthread_mutex_unlock(&logged_lock);
}

static bool was_logged(const char *what)
{
    bool was;

    pthread_mutex_lock(&logged_lock);
    was = strstr(logged, what) != NULL;
    pthread_mutex_unlock(&logged_lock);
    if (!was) {
        printf("    \"%s\" was not logged, but: %s\n", what, logged);
    }
    return was;
}

static void forget_log(void)
{
    pthread_mutex_lock(&logged_lock);
    logged[0] = '\0';
    pthread_mutex_unlock(&logged_lock);
}

static struct pair_setup on_host(const struct kind *kind, baton_host host)
{
    struct pair_setup setup = {.kind = kind,
                               .any_host = true,
                               .source = {.host = host, .on_log = on_log},
                               .sink = {.host = host, .on_log = on_log},
                               .pool_flags = BATON_POOL_CHECK};

    if (!kind->transport) {
        setup.source.transports = setup.sink.transports = both;
        setup.source.transports_count = setup.sink.transports_count = 2;
    }
    return setup;
}

/* Runs the test of that name in a process of its own. */
static void run_alone(const char *test, const char *variable, const char *value)
{
    char *const argv[] = {"nixl_hosts_test", (char *)(uintptr_t)test, NULL};
    int status = -1;
    pid_t child;

    setenv(variable, value, true);
    if (CHECK(posix_spawn(&child, "/proc/self/exe", NULL, NULL, argv, environ) == 0)) {
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    unsetenv(variable);
}

/* A handoff from `source` to `sink`; its outcome, with everything let go. */
static struct baton_result hand(struct pair *source, struct pair *sink,
                                const struct baton_fetch_args *way)
{
    static uint64_t content;
    struct end offer = {0}, fetch = {0};

    content++;
    CHECK(offer_start(source, &offer, COUNT, content, NULL) == BATON_OK);
    CHECK(fetch_start(sink, &fetch, &offer.ticket, COUNT, way) == BATON_OK);
    end_retire(&fetch);
    CHECK(fetch.result.outcome != BATON_COMPLETED || end_holds(&fetch, content, 0));
    end_drop(&fetch);
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_finish(&offer);
    return fetch.result;
}

static bool completes(struct pair *pair, const struct baton_fetch_args *way)
{
    return hand(pair, pair, way).outcome == BATON_COMPLETED;
}

static bool completes_in_time(struct pair *source, struct pair *sink,
                              const struct baton_fetch_args *way)
{
    uint64_t until = now_ns() + (uint64_t)PAIR_WAIT_MS * 1000000;

    while (hand(source, sink, way).outcome != BATON_COMPLETED) {
        if (now_ns() > until) {
            return false;
        }
    }
    return true;
}

/* ---- helpers ---- */

/* Three peers of an engine that may have one helper.  Who gets none has its link lost, and nothing
 * else; where NIXL may run in this process too, nobody sees that. */
static void few_helpers(baton_host host)
{
    struct pair_setup setup = on_host(&nixl, host);
    struct pair pairs[3];

    setup.sink.helpers_max = setup.source.helpers_max = 1;
    for (unsigned i = 0; i < 3; i++) {
        pair_open(&pairs[i], &setup);
    }
    for (unsigned i = 0; i < 12; i++) {
        struct baton_result result = hand(&pairs[i % 3], &pairs[0], ways[i / 3 % 2]);

        CHECK(i % 3 && host == BATON_HOST_HELPER ? result.outcome == BATON_LINK_LOST
                                                 : result.outcome == BATON_COMPLETED);
    }
    CHECK(host == BATON_HOST_AUTO || was_logged("helpers_max"));
    forget_log();
    for (unsigned i = 0; i < 3; i++) {
        pair_close(&pairs[i]);
    }
}

TEST(few_helpers_for_many_links)
{
    if (have_nixl()) {
        few_helpers(BATON_HOST_HELPER);
        few_helpers(BATON_HOST_AUTO);
    }
}

/* Links that get no helper serve tcp, also after one of them was lost for that. */
TEST(few_helpers_and_tcp)
{
    struct pair_setup setup = on_host(&either, BATON_HOST_HELPER);
    struct pair pairs[3];

    setup.sink.helpers_max = 1;
    for (unsigned i = 0; i < 3 && have_nixl(); i++) {
        pair_open(&pairs[i], &setup);
    }
    for (unsigned i = 0; i < 9 && have_nixl(); i++) {
        baton_outcome outcome = hand(&pairs[i % 3], &pairs[0], i / 3 == 1 ? NULL : &tcp).outcome;

        CHECK(outcome == BATON_COMPLETED || (i / 3 == 1 && i % 3));
    }
    forget_log();
    for (unsigned i = 0; i < 3 && have_nixl(); i++) {
        pair_close(&pairs[i]);
    }
}

/* A helper's place is free again once its link has ended. */
TEST(a_helpers_place_is_free_again)
{
    struct pair_setup setup = on_host(&nixl, BATON_HOST_HELPER);
    struct pair one, two;

    if (!have_nixl()) {
        return;
    }
    setup.sink.helpers_max = 1;
    pair_open(&one, &setup);
    pair_open(&two, &setup);
    CHECK(completes(&one, &pull));
    pair_renew_source(&one, &setup);
    CHECK(completes_in_time(&two, &one, &push));
    forget_log();
    pair_close(&two);
    pair_close(&one);
}

/* A script that is the helper for the first time it is run, or never, and else does `then`. */
static void script_make(char path[PATH_MAX], bool first, const char *then)
{
    const char *build = getenv("BATON_BUILD_ROOT");
    char text[2 * PATH_MAX];
    int fd;

    snprintf(path, PATH_MAX, "%s/baton-script-XXXXXX", build ? build : "/tmp");
    fd = mkstemp(path);
    snprintf(
        text, sizeof(text),
        "#!/bin/sh\n[ %u = 1 ] && [ ! -e \"$0.ran\" ] && : >\"$0.ran\" && exec %s \"$@\"\n%s\n",
        first, getenv("BATON_HELPER") ? getenv("BATON_HELPER") : "baton-helper", then);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    CHECK(fchmod(fd, 0700) == 0 && close(fd) == 0);
}

static void script_remove(const char *path)
{
    char ran[PATH_MAX + 8];

    snprintf(ran, sizeof(ran), "%s.ran", path);
    remove(ran);
    CHECK(remove(path) == 0);
}

static baton_err create_with(const char *helper, baton_host host, struct baton_error *ret_error)
{
    const struct baton_engine_options options = {.size = sizeof(options),
                                                 .transports = both,
                                                 .transports_count = 2,
                                                 .host = host,
                                                 .helper_path = helper,
                                                 .on_log = on_log};
    baton_engine *engine = NULL;
    baton_err err = baton_engine_create(&options, &engine, ret_error);

    if (!err) {
        baton_engine_close(engine);
        CHECK(baton_engine_drain(engine, PAIR_WAIT_MS) == BATON_OK);
        CHECK(baton_engine_destroy(engine, NULL) == BATON_OK);
    }
    CHECK(!engine == !!err);
    return err;
}

/* What is no helper is said when the engine is made, by its name; what can not even be started is
 * none where it need not be. */
TEST(helpers_that_are_none)
{
    char script[PATH_MAX];
    const struct {
        const char *path, *says;
        bool starts;
    } none[] = {{"/nonexistent/helper", "No such file", false},
                {"/tmp", "Permission denied", false},
                {"/etc/passwd", "Permission denied", false},
                {"/bin/true", "ended", true},
                {script, "ended", true}};

    if (!have_nixl()) {
        return;
    }
    script_make(script, false, "exit 3");
    for (unsigned i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        struct baton_error error = {0};

        CHECK(create_with(none[i].path, BATON_HOST_HELPER, &error) == BATON_ESYSTEM);
        CHECK(strstr(error.text, none[i].says) && strstr(error.text, none[i].path));
        CHECK(create_with(none[i].path, BATON_HOST_AUTO, &error) ==
              (none[i].starts ? BATON_ESYSTEM : BATON_OK));
        CHECK(none[i].starts || was_logged(none[i].path));
        CHECK(create_with(none[i].path, BATON_HOST_IN_PROCESS, &error) == BATON_OK);
        forget_log();
    }
    script_remove(script);
}

/* Helpers that end, or do nothing, when a second link begins: that link's handoffs end, with
 * receipts; the first link is not harmed. */
static void later_helper(const char *then, const struct baton_fetch_args *way)
{
    struct baton_fetch_args timed = *way;
    struct pair_setup setup = on_host(&nixl, BATON_HOST_HELPER);
    char script[PATH_MAX];
    struct pair one, two;

    script_make(script, true, then);
    setup.sink.helper_path = script;
    pair_open(&one, &setup);
    setup.sink.helper_path = NULL;
    pair_open(&two, &setup);
    timed.progress_timeout_ms = CLOCK_MS;
    for (unsigned i = 0; i < 2; i++) {
        baton_outcome outcome;

        CHECK(completes(&one, way));
        outcome = hand(&two, &one, &timed).outcome;
        CHECK(outcome == BATON_LINK_LOST || outcome == BATON_TIMED_OUT);
    }
    CHECK(completes(&one, way));
    forget_log();
    pair_close(&two);
    pair_close(&one);
    script_remove(script);
}

TEST(helpers_that_end_at_once)
{
    for (unsigned i = 0; i < 2 && have_nixl(); i++) {
        later_helper("exit 0", ways[i]);
    }
}

TEST(helpers_that_do_nothing)
{
    for (unsigned i = 0; i < 2 && have_nixl(); i++) {
        later_helper("read -r nothing <&3", ways[i]);
    }
}

/* A link of a push is fenced, or lost, while the sink's end of it is not there yet: no peer was
 * told of that, so nobody can write. */
static void fenced_early(baton_host host)
{
    static const struct kind driven = {"caller, nixl", "nixl", 0, BATON_PROGRESS_CALLER, 0, false};
    struct pair_setup setup = on_host(&driven, host);
    struct end offer = {0}, fetch = {0};
    struct pair pair;

    setup.sink.on_doubt = BATON_ON_DOUBT_FENCE;
    setup.sink.doubt_ms = setup.sink.on_doubt_ms = 1;
    pair_open(&pair, &setup);
    CHECK(offer_start(&pair, &offer, COUNT, 1, NULL) == BATON_OK);
    CHECK(fetch_start(&pair, &fetch, &offer.ticket, COUNT, &push) == BATON_OK);
    CHECK(end_wait_stage(&fetch, BATON_STAGE_READING));
    pair.source_frozen = true;
    baton_handoff_cancel(fetch.handoff, BATON_CANCEL_ATTEMPT);
    end_finish(&fetch);
    pair.source_frozen = false;
    CHECK(fetch.receipt.proof ==
          (host == BATON_HOST_HELPER ? BATON_PROOF_HELPER_EXITED : BATON_PROOF_LINK_FENCED));
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_finish(&offer);
    forget_log();
    pair_close(&pair);
}

TEST(a_push_is_fenced_before_it_begins)
{
    for (unsigned i = 0; i < 2 && have_nixl(); i++) {
        fenced_early(hosts[i]);
    }
}

/* Memory that no helper can map: where it must be a helper, the handoff fails and says why. */
TEST(wrapped_memory_and_helpers)
{
    struct pair_setup setup = on_host(&wrapped, BATON_HOST_HELPER);
    struct pair pair;

    for (unsigned i = 0; i < 2 && have_nixl(); i++) {
        pair_open(&pair, &setup);
        CHECK(!completes(&pair, ways[i]));
        CHECK(was_logged("can not be mapped by a helper"));
        forget_log();
        pair_close(&pair);
    }
}

/* ---- libraries ---- */

static void library_refused(const char *library, const char *says)
{
    struct baton_error error = {0};

    setenv("BATON_NIXL_LIBRARY", library, true);
    for (unsigned i = 0; i < 2; i++) {
        error.text[0] = '\0';
        CHECK(create_with(NULL, hosts[i], &error) != BATON_OK);
        if (!CHECK(strstr(error.text, says))) {
            printf("    %s\n", error.text);
        }
        CHECK(create_with(NULL, hosts[i], NULL) != BATON_OK);
    }
}

/* What is no NIXL is refused, in this process and by a helper; engines without it are made all the
 * same, and with it when the right one is named. */
TEST(libraries_that_are_none)
{
    const char *real = getenv("BATON_NIXL_LIBRARY");
    char name[PATH_MAX];
    struct pair pair;

    if (!have_nixl()) {
        return;
    }
    if (!getenv("BATON_TEST_ALONE")) {
        run_alone("libraries_that_are_none", "BATON_TEST_ALONE", "1"); /* none is loaded yet */
        return;
    }
    snprintf(name, sizeof(name), "%s", real);
    library_refused("/etc/passwd", "/etc/passwd");
    library_refused("/nonexistent/libnixl_capi.so", "No such file");
    library_refused("/tmp", "/tmp");
    library_refused("libm.so.6", "libm.so.6");
    library_refused("", "NIXL");
    pair_open(&pair, &(struct pair_setup){.kind = plain_shm});
    CHECK(completes(&pair, NULL));
    pair_close(&pair);
    setenv("BATON_NIXL_LIBRARY", name, true);
    for (unsigned i = 0; i < 2; i++) {
        struct pair_setup setup = on_host(&nixl, hosts[i]);

        pair_open(&pair, &setup);
        CHECK(completes(&pair, &pull));
        pair_close(&pair);
    }
}

/* ---- resources ---- */

/* How many descriptors this process has. */
static unsigned descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned count = 0;

    while (folder && readdir(folder)) {
        count++;
    }
    CHECK(folder && closedir(folder) == 0);
    return count;
}

static uint64_t resident_bytes(void)
{
    unsigned long all, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    CHECK(file && fscanf(file, "%lu %lu", &all, &resident) == 2 && fclose(file) == 0);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static bool have_children(void)
{
    siginfo_t info;

    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/* The lowest number that a descriptor can get now. */
static unsigned lowest(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    CHECK(fd >= 0 && close(fd) == 0);
    return (unsigned)fd;
}

/* A link begins when only so many descriptors are left. */
static baton_outcome begin_with(struct pair *pair, unsigned left,
                                const struct baton_fetch_args *way)
{
    struct baton_fetch_args timed = *way;
    struct rlimit before, limit;
    struct end offer = {0}, fetch = {0};

    timed.opening_timeout_ms = timed.progress_timeout_ms = CLOCK_MS;
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    limit = (struct rlimit){lowest() + left, before.rlim_max};
    CHECK(offer_start(pair, &offer, COUNT, left, NULL) == BATON_OK);
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (fetch_start(pair, &fetch, &offer.ticket, COUNT, &timed) == BATON_OK) {
        CHECK(end_wait_outcome(&fetch));
        CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
        end_retire(&fetch);
        CHECK(fetch.result.outcome != BATON_COMPLETED || end_holds(&fetch, left, 0));
        end_drop(&fetch);
    }
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    baton_handoff_cancel(offer.handoff, BATON_CANCEL_OFFER);
    end_finish(&offer);
    return fetch.result.outcome;
}

/* With so few descriptors a link fails, and nothing else: with enough of them it comes up. */
static void few_descriptors(baton_host host, unsigned step, const struct baton_fetch_args *way)
{
    struct pair_setup setup = on_host(&nixl, host);
    unsigned failed = 0;
    struct pair pair;

    for (unsigned left = 0; left < 100; left += left < 12 ? 4 : step) {
        pair_open(&pair, &setup);
        failed += begin_with(&pair, left, way) != BATON_COMPLETED;
        CHECK(completes_in_time(&pair, &pair, way));
        pair_close(&pair);
    }
    CHECK(failed > 0);
    forget_log();
}

TEST(few_descriptors_in_process)
{
    for (unsigned i = 0; i < 2 && have_nixl(); i++) {
        few_descriptors(BATON_HOST_IN_PROCESS, 13, ways[i]);
    }
}

TEST(few_descriptors_helper)
{
    for (unsigned i = 0; i < 2 && have_nixl(); i++) {
        few_descriptors(BATON_HOST_HELPER, 44, ways[i]);
    }
}

/* A sink that may have one link takes from two sources in turn, so each handoff makes a link. */
static void many_links(struct pair pairs[2], unsigned links)
{
    for (unsigned i = 0; i < links; i++) {
        CHECK(completes_in_time(&pairs[i % 2], &pairs[0], ways[i / 2 % 2]));
    }
}

static void leave_nothing(baton_host host, unsigned links)
{
    struct pair_setup setup = on_host(&nixl, host);
    unsigned before, after;
    uint64_t resident;
    struct pair pairs[2];

    setup.sink.links_max = 1;
    pair_open(&pairs[0], &setup);
    pair_open(&pairs[1], &setup);
    many_links(pairs, 4); /* what is made once */
    before = descriptors();
    resident = resident_bytes();
    many_links(pairs, links);
    after = descriptors();
    CHECK(after <= before + 2 * FEW);
    CHECK(SANITIZED || resident_bytes() <= resident + AGENT_BYTES * FEW);
    forget_log();
    pair_close(&pairs[1]);
    pair_close(&pairs[0]);
    CHECK(!have_children());
}

TEST(links_leave_nothing_in_process)
{
    if (have_nixl()) {
        leave_nothing(BATON_HOST_IN_PROCESS, 30);
    }
}

TEST(links_leave_nothing_helper)
{
    if (have_nixl()) {
        leave_nothing(BATON_HOST_HELPER, 12);
    }
}
