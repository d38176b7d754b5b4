/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unit tests of transport/helper.h, with shells as helpers: what they find when they begin, that
 * their host sees nothing of them, and that their end is seen.  What changes a whole process (its
 * signals, its descriptors, whom it adopts) is done in a child.
 */
#include "test.h"
#include "transport/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TEXT_BYTES = 4096 };

/* Says what it finds, and ends when its socket is closed. */
#define LIVES "; read line <&3"

static bool start_shell(const char *script, struct helper *ret_helper)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    struct baton_error error;
    bool ok = helper_start("/bin/sh", argv, ret_helper, &error) == BATON_OK;

    if (!ok) {
        printf("  %s\n", error.text);
    }
    return ok;
}

/* Its next words; "" when it has none to say any more. */
static const char *words(const struct helper *helper, char text[TEXT_BYTES])
{
    ssize_t got = recv(helper->socket, text, TEXT_BYTES - 1, 0);

    text[got > 0 ? got : 0] = '\0';
    return text;
}

static void wait_ended(const struct helper *helper)
{
    struct pollfd ended = {.fd = helper->pidfd, .events = POLLIN};

    CHECK(poll(&ended, 1, -1) == 1);
}

/* A helper that has ended or is about to. */
static void end(struct helper *helper, char how[HELPER_END_BYTES])
{
    wait_ended(helper);
    CHECK(helper_reaped(helper, how));
    CHECK(helper->pid == -1 && helper->pidfd == -1);
    close(helper->socket);
}

/* Run `story` in a child.  It returns what was wrong, or NULL. */
static bool in_child(const char *(*story)(void))
{
    int status = 1;
    pid_t child;

    fflush(stdout);
    child = fork();
    if (child == 0) {
        const char *wrong = story();

        printf("%s%s%s", wrong ? "  wrong: " : "", wrong ? wrong : "", wrong ? "\n" : "");
        fflush(stdout);
        _exit(wrong ? 1 : 0);
    }
    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Words go both ways, and it sees that its host has closed the socket. */
TEST(helper_talks_and_ends_with_its_socket)
{
    char text[TEXT_BYTES], how[HELPER_END_BYTES];
    struct helper helper;

    if (!CHECK(start_shell("echo ready >&3; echo \"got $(head -n1 <&3)\" >&3" LIVES, &helper))) {
        return;
    }
    CHECK(!strcmp(words(&helper, text), "ready\n"));
    CHECK(!helper_reaped(&helper, how));
    CHECK(send(helper.socket, "word\n", 5, 0) == 5);
    CHECK(!strcmp(words(&helper, text), "got word\n"));
    CHECK(!helper_reaped(&helper, how));
    shutdown(helper.socket, SHUT_RDWR);
    end(&helper, how);
}

/* One that heeds nothing is killed; asking for its end never waits. */
TEST(helper_is_killed)
{
    char text[TEXT_BYTES], how[HELPER_END_BYTES];
    struct helper helper, none = {-1, -1, -1};

    if (!CHECK(start_shell("trap '' TERM INT HUP; echo ready >&3; while :; do read line <&3; done",
                           &helper))) {
        return;
    }
    words(&helper, text);
    CHECK(!helper_reaped(&helper, how));
    helper_kill(&helper);
    end(&helper, how);
    CHECK(!strcmp(how, "signal 9, KILL") || !strcmp(how, "it ended"));
    helper_kill(&helper);
    helper_kill(&none);
}

/* A stopped one is alive, and is killed all the same. */
TEST(helper_that_is_stopped_is_killed)
{
    char how[HELPER_END_BYTES], text[TEXT_BYTES];
    struct helper helper;

    if (!CHECK(start_shell("echo ready >&3; kill -STOP $$" LIVES, &helper))) {
        return;
    }
    words(&helper, text);
    CHECK(!helper_reaped(&helper, how));
    helper_kill(&helper);
    end(&helper, how);
}

/* Of the host's descriptors it has the standard ones, whatever else is open and not CLOEXEC. */
TEST(helper_has_no_descriptor_of_its_host)
{
    char text[TEXT_BYTES], how[HELPER_END_BYTES];
    int open_ones[3] = {open("/dev/zero", O_RDONLY), open("/dev/zero", O_RDONLY), -1};
    struct helper helper;

    open_ones[2] = fcntl(open_ones[0], F_DUPFD, 700);
    CHECK(open_ones[2] >= 700);
    /* 4 is what ls reads the folder by. */
    if (CHECK(start_shell("ls /proc/self/fd >&3; readlink /proc/self/fd/0 >&3" LIVES, &helper))) {
        CHECK(!strcmp(words(&helper, text), "0\n1\n2\n3\n4\n"));
        CHECK(!strcmp(words(&helper, text), "/dev/null\n"));
        helper_kill(&helper);
        end(&helper, how);
    }
    for (int i = 0; i < 3; i++) {
        close(open_ones[i]);
    }
}

/* Whether a process has /dev/null at each of the standard descriptors. */
static bool has_null_only(pid_t pid)
{
    char link[64], at[64];
    bool ok = true;

    for (int fd = 0; fd < 3; fd++) {
        ssize_t length;

        snprintf(link, sizeof(link), "/proc/%d/fd/%d", (int)pid, fd);
        length = readlink(link, at, sizeof(at) - 1);
        at[length > 0 ? length : 0] = '\0';
        ok = ok && !strcmp(at, "/dev/null");
    }
    return ok;
}

static const char *start_without_standard_descriptors(void)
{
    char how[HELPER_END_BYTES];
    struct helper helper;
    const char *wrong = NULL;
    int told = fcntl(1, F_DUPFD_CLOEXEC, 10);

    /* Its socket takes the lowest numbers there are. */
    for (int fd = 0; fd < 10; fd++) {
        close(fd);
    }
    if (!start_shell("kill -STOP $$", &helper)) {
        wrong = "it did not start";
    } else if (!has_null_only(helper.pid)) {
        wrong = "its descriptors";
    }
    /* The host's own are as they were: the socket, the pidfd, and nothing else below 10. */
    for (int fd = 0; fd < 10 && !wrong; fd++) {
        bool open = fcntl(fd, F_GETFD) >= 0;

        wrong = open != (fd == helper.socket || fd == helper.pidfd) ? "the host's" : NULL;
    }
    helper_kill(&helper);
    wait_ended(&helper);
    wrong = !wrong && !helper_reaped(&helper, how) ? "it did not end" : wrong;
    dup2(told, 1);
    return wrong;
}

/* A host that has closed its standard descriptors: others do not take their places. */
TEST(helper_of_a_host_without_standard_descriptors)
{
    CHECK(in_child(start_without_standard_descriptors));
}

static const char *start_with_odd_signals(void)
{
    static const char script[] = "grep -E '^Sig(Blk|Ign)' /proc/self/status >&3" LIVES;
    char text[TEXT_BYTES], how[HELPER_END_BYTES];
    struct helper helper;
    sigset_t all, mask;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGRTMAX, SIG_IGN);
    if (!start_shell(script, &helper)) {
        return "it did not start";
    }
    words(&helper, text);
    helper_kill(&helper);
    wait_ended(&helper);
    if (!helper_reaped(&helper, how)) {
        return "it did not end";
    }
    if (strcmp(text, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n")) {
        return "its signals";
    }
    sigprocmask(SIG_SETMASK, NULL, &mask);
    if (!sigismember(&mask, SIGUSR2) || signal(SIGUSR1, SIG_DFL) != SIG_IGN) {
        return "the host's signals were changed";
    }
    return NULL;
}

/* What the host blocks and ignores is the host's. */
TEST(helper_begins_with_signals_at_their_default)
{
    CHECK(in_child(start_with_odd_signals));
}

/* The terminal's signals, and those to the host's group, are not for it. */
TEST(helper_has_a_session_of_its_own)
{
    char text[TEXT_BYTES], own[64], how[HELPER_END_BYTES];
    struct helper helper;

    if (CHECK(start_shell("cut -d' ' -f6 /proc/$$/stat >&3" LIVES, &helper))) {
        snprintf(own, sizeof(own), "%d\n", (int)helper.pid);
        CHECK(!strcmp(words(&helper, text), own));
        helper_kill(&helper);
        end(&helper, how);
    }
}

static unsigned descriptors(void)
{
    unsigned count = 0;

    for (int fd = 0; fd < 1024; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

static bool fails(const char *path, const char *says)
{
    const char *const argv[] = {"none", NULL};
    struct helper helper = {-2, -2, -2};
    struct baton_error error = {0};
    unsigned before = descriptors();
    bool ok = helper_start(path, argv, &helper, &error) == BATON_ESYSTEM &&
              strstr(error.text, path) && strstr(error.text, says);

    if (!ok) {
        printf("  %s\n", error.text);
    }
    return ok && helper.pid == -2 && helper.pidfd == -2 && helper.socket == -2 &&
           descriptors() == before;
}

static const char *start_what_can_not_be(void)
{
    /* Whatever processes were left would be this one's. */
    if (prctl(PR_SET_CHILD_SUBREAPER, 1)) {
        return "prctl";
    }
    if (!fails("/nonexistent/baton-helper", "No such file") || !fails("/dev/null", "denied") ||
        !fails("/", "denied")) {
        return "a failure";
    }
    return waitpid(-1, NULL, __WALL | WNOHANG) == -1 && errno == ECHILD ? NULL
                                                                        : "a process is left";
}

/* What can not be executed is an error that says so; no process and no descriptor is left. */
TEST(helper_that_can_not_be_executed)
{
    CHECK(in_child(start_what_can_not_be));
}

static const char *start_without_room(void)
{
    const char *const argv[] = {"sh", "-c", "exit", NULL};
    struct baton_error error = {0};
    struct helper helper;
    int highest = 0;

    while (highest >= 0) {
        int next = open("/dev/null", O_RDONLY | O_CLOEXEC);

        if (next < 0) {
            break;
        }
        highest = next;
    }
    /* With room for 0 to 4 descriptors: the socket takes 2, /dev/null 2 for a moment, the pidfd 1.
     */
    for (int room = 0; room < 4; room++) {
        if (helper_start("/bin/sh", argv, &helper, &error) != BATON_ENOMEM) {
            return "it is no error";
        }
        close(highest - room);
    }
    if (helper_start("/bin/sh", argv, &helper, &error)) {
        return error.text[0] ? "it does not start with room for four" : "no text";
    }
    wait_ended(&helper);
    return NULL;
}

/* Without free descriptors. */
TEST(helper_of_a_host_without_free_descriptors)
{
    CHECK(in_child(start_without_room));
}

static const char *adopt(void)
{
    char how[HELPER_END_BYTES];
    struct helper helper;

    if (prctl(PR_SET_CHILD_SUBREAPER, 1) || !start_shell("exit 7", &helper)) {
        return "it did not start";
    }
    wait_ended(&helper);
    if (!helper_reaped(&helper, how) || strcmp(how, "exit status 7")) {
        return "exit";
    }
    if (!start_shell("read line <&3", &helper)) {
        return "it did not start again";
    }
    helper_kill(&helper);
    wait_ended(&helper);
    if (!helper_reaped(&helper, how) || strcmp(how, "signal 9, KILL")) {
        return "kill";
    }
    return waitpid(-1, NULL, __WALL | WNOHANG) == -1 && errno == ECHILD ? NULL : "a zombie";
}

/* A process that adopts orphans, as a container's first does: it reaps its helpers, and knows how
 * they ended. */
TEST(helper_of_a_host_that_adopts_orphans)
{
    CHECK(in_child(adopt));
}

static const char *end_as_orphans(void)
{
    char how[HELPER_END_BYTES];
    struct helper helper;

    if (!start_shell("exit 7", &helper)) {
        return "it did not start";
    }
    wait_ended(&helper);
    if (!helper_reaped(&helper, how) || strcmp(how, "exit status 7")) {
        return "exit";
    }
    if (!start_shell("read line <&3", &helper)) {
        return "it did not start again";
    }
    helper_kill(&helper);
    wait_ended(&helper);
    return helper_reaped(&helper, how) && !strcmp(how, "signal 9, KILL") ? NULL : "kill";
}

static const char *let_orphans_lie(void)
{
    if (prctl(PR_SET_CHILD_SUBREAPER, 1)) {
        return "prctl";
    }
    return in_child(end_as_orphans) ? NULL : "in a child";
}

/* A host whose init reaps nothing. */
TEST(helper_whose_end_nobody_takes_note_of)
{
    CHECK(in_child(let_orphans_lie));
}

static const char *end_and_be_forgotten(void)
{
    char how[HELPER_END_BYTES];
    struct helper helper;

    if (!start_shell("exit 7", &helper)) {
        return "it did not start";
    }
    wait_ended(&helper);
    /* From Linux 6.15 on its end can still be asked for. */
    if (!helper_reaped(&helper, how)) {
        return "it did not end";
    }
    return !strcmp(how, "exit status 7") || !strcmp(how, "it ended") ? NULL : "another end";
}

static const char *forget_orphans(void)
{
    int ends[2];
    char ok = 0;

    signal(SIGCHLD, SIG_IGN);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) || pipe(ends)) {
        return "prctl";
    }
    /* The kernel reaps this child too, so that it tells by other means. */
    if (fork() == 0) {
        const char *wrong = end_and_be_forgotten();

        ok = !wrong;
        printf("%s%s", wrong ? wrong : "", wrong ? "\n" : "");
        fflush(stdout);
        _exit(write(ends[1], &ok, 1) != 1);
    }
    close(ends[1]);
    return read(ends[0], &ok, 1) == 1 && ok ? NULL : "in a child";
}

/* One that was reaped before its host looked. */
TEST(helper_whose_end_is_forgotten)
{
    CHECK(in_child(forget_orphans));
}

static const char *adopt_and_ignore(void)
{
    char how[HELPER_END_BYTES];
    struct helper helper;

    signal(SIGCHLD, SIG_IGN);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) || !start_shell("read line <&3", &helper)) {
        return "it did not start";
    }
    if (helper_reaped(&helper, how)) {
        return "it lives";
    }
    helper_kill(&helper);
    wait_ended(&helper);
    return helper_reaped(&helper, how) ? NULL : "it ended";
}

/* A host whose children the kernel reaps. */
TEST(helper_of_a_host_that_ignores_its_children)
{
    CHECK(in_child(adopt_and_ignore));
}

static atomic_uint children_told;

static void child_told(int number)
{
    (void)number;
    atomic_fetch_add(&children_told, 1);
}

static void *wait_for_any(void *arg)
{
    pid_t *ret_pid = arg;

    do {
        *ret_pid = waitpid(-1, NULL, 0);
    } while (*ret_pid < 0 && errno == EINTR);
    return NULL;
}

static const char *wait_beside(void)
{
    char text[TEXT_BYTES], how[HELPER_END_BYTES];
    int hold[2];
    struct helper helper;
    pthread_t thread;
    pid_t child, found = 0;

    signal(SIGCHLD, child_told);
    if (pipe(hold) || (child = fork()) < 0) {
        return "a child";
    }
    if (child == 0) {
        close(hold[1]);
        _exit(read(hold[0], text, 1) == 0 ? 0 : 1);
    }
    if (pthread_create(&thread, NULL, wait_for_any, &found)) {
        return "a thread";
    }
    for (int i = 0; i < 20; i++) {
        if (!start_shell("echo ready >&3" LIVES, &helper)) {
            return "it did not start";
        }
        words(&helper, text);
        helper_kill(&helper);
        wait_ended(&helper);
        if (!helper_reaped(&helper, how)) {
            return "it did not end";
        }
        close(helper.socket);
    }
    close(hold[1]);
    pthread_join(thread, NULL);
    if (found != child) {
        return "waitpid() found another process";
    }
    return atomic_load(&children_told) == 1 ? NULL : "SIGCHLD";
}

/* A host that has a handler for its children's ends and a thread that waits for any of them: it
 * meets those that it made, and no other. */
TEST(helper_is_not_met_by_its_host)
{
    CHECK(in_child(wait_beside));
}
