/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `baton top`: what an engine serves on its stats socket, live or once.  Here are the options, the
 * choice of the socket, and the terminal; top_socket.c asks and top_format.c prints.
 */
#include "command.h"
#include "options.h"
#include "top/format.h"
#include "top/socket.h"

#include "baton.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum top_form {
    TOP_LIVE = 0, /* once, and plain, where the output is not a terminal */
    TOP_JSON,
    TOP_PROMETHEUS,
};

struct top_options {
    char *path; /* NULL: look for it */
    enum top_form form;
    uint64_t interval_ms;
};

static const char help_text[] =
    "Usage: baton top [SOCKET] [--json | --prometheus] [--interval S]\n"
    "\n"
    "Show the counters of an engine that serves them (engine option stats_path) on the Unix "
    "socket\n"
    "SOCKET.  Without SOCKET, the only one of $XDG_RUNTIME_DIR/baton-*.sock and "
    "/tmp/baton-*.sock.\n"
    "Live on a terminal: q or Ctrl-C leaves.  Elsewhere one table, once.\n"
    "\n"
    "  --json          print the stats object once\n"
    "  --prometheus    print it once in Prometheus' text exposition format\n"
    "  --interval S    time between two looks, such as 2, 0.5s or 200ms (default 1)\n"
    "  --help          print this text\n"
    "  --version       print the version\n"
    "\n"
    "Exit codes: 0 ok; 2 usage, also when there are several sockets; 3 the engine can not be\n"
    "reached, or the socket is not one of an engine.  docs/METRICS.md explains every name.\n";

/* Returns an exit code, or -1 to go on. */
static int options_read(int argc, char **argv, struct top_options *ret_options)
{
    static const struct option names[] = {
        {"json", no_argument, NULL, 'j'},           {"prometheus", no_argument, NULL, 'p'},
        {"interval", required_argument, NULL, 'i'}, {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},        {0},
    };
    struct top_options options = {.interval_ms = 1000};
    int name;

    optind = 0; /* glibc: start anew, also when the arguments of the main command were parsed */
    while ((name = getopt_long(argc, argv, "h", names, NULL)) != -1) {
        switch (name) {
        case 'j':
        case 'p':
            if (options.form != TOP_LIVE) {
                fputs("baton top: --json and --prometheus exclude each other\n", stderr);
                return EXIT_USAGE;
            }
            options.form = name == 'j' ? TOP_JSON : TOP_PROMETHEUS;
            break;
        case 'i':
            if (!option_duration((struct option_place){"top", "--interval"}, optarg, 50, 3600000,
                                 &options.interval_ms)) {
                return EXIT_USAGE;
            }
            break;
        case 'h':
            fputs(help_text, stdout);
            return EXIT_OK;
        case 'V':
            printf("baton %s\n", baton_version());
            return EXIT_OK;
        default:
            fputs("Try `baton top --help`.\n", stderr);
            return EXIT_USAGE;
        }
    }
    if (argc - optind > 1) {
        fprintf(stderr, "baton top: one socket at a time, not also \"%s\"\n", argv[optind + 1]);
        return EXIT_USAGE;
    }
    options.path = optind < argc ? argv[optind] : NULL;
    *ret_options = options;
    return -1;
}

/* The only socket there is.  Returns an exit code, or -1 with `*ret_path` to free(). */
static int socket_choose(char **ret_path)
{
    char *paths[TOP_SOCKETS_MAX];
    size_t count = top_sockets_find(paths);

    if (count == 1) {
        *ret_path = paths[0];
        return -1;
    }
    if (!count) {
        fputs("baton top: no engine serves stats at $XDG_RUNTIME_DIR/baton-*.sock or "
              "/tmp/baton-*.sock: set the engine's stats_path, or name its socket\n",
              stderr);
        return EXIT_ENVIRONMENT;
    }
    fputs("baton top: several engines serve stats; name one:\n", stderr);
    for (size_t i = 0; i < count; i++) {
        fprintf(stderr, "  %s\n", paths[i]);
        free(paths[i]);
    }
    return EXIT_USAGE;
}

/* One look at an engine.  On TOP_ANSWERED `*ret_stats` is the caller's; else `why` is set. */
static enum top_answer look(const char *path, json_t **ret_stats, char why[TOP_WHY_BYTES])
{
    char *text, parse_why[TOP_WHY_BYTES / 2];
    size_t length;
    enum top_answer answer = top_ask(path, &text, &length, why);

    if (answer != TOP_ANSWERED) {
        return answer;
    }
    if (!top_parse(text, length, ret_stats, parse_why, sizeof(parse_why))) {
        snprintf(why, TOP_WHY_BYTES, "%.100s is not a baton socket: %s", path, parse_why);
        answer = TOP_BROKEN;
    }
    free(text);
    return answer;
}

static int print_once(const char *path, enum top_form form)
{
    char why[TOP_WHY_BYTES];
    json_t *stats;

    if (look(path, &stats, why) != TOP_ANSWERED) {
        fprintf(stderr, "baton top: %s\n", why);
        return EXIT_ENVIRONMENT;
    }
    if (form == TOP_JSON) {
        json_dumpf(stats, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (form == TOP_PROMETHEUS) {
        top_prometheus(stats, stdout);
    } else {
        top_table(stats, NULL, 0, stdout);
    }
    json_decref(stats);
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "baton top: cannot write the output: %s\n", strerror(errno));
        return EXIT_ENVIRONMENT;
    }
    return EXIT_OK;
}

/* What was last seen of the engine. */
struct seen {
    json_t *stats; /* NULL before the first look */
    double seconds;
};

static double seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool same_engine(const json_t *a, const json_t *b)
{
    return json_equal(json_object_get(a, "incarnation"), json_object_get(b, "incarnation"));
}

/* How many lines of a table fit above the note: a longer one would scroll its head away. */
static unsigned lines_that_fit(void)
{
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || size.ws_row < 4) {
        return UINT_MAX;
    }
    return size.ws_row - 2u;
}

/* Prints the first `lines` lines of `text`.  Returns how many there were not room for. */
static unsigned lines_print(const char *text, unsigned lines, FILE *out)
{
    unsigned left_out = 0;

    while (*text) {
        size_t length = strcspn(text, "\n");

        length += text[length] == '\n';
        if (lines) {
            fwrite(text, 1, length, out);
            lines--;
        } else {
            left_out++;
        }
        text += length;
    }
    return left_out;
}

/* Draws the whole screen in one write, so that it does not flicker: stdout is fully buffered. */
static void screen_draw(const struct seen *now, const struct seen *before, const char *note)
{
    char *text = NULL;
    size_t length = 0;
    unsigned left_out = 0;
    FILE *table = open_memstream(&text, &length);

    if (!table) {
        return;
    }
    if (now->stats) {
        top_table(now->stats, before->stats, now->seconds - before->seconds, table);
    }
    if (!fclose(table)) {
        fputs("\033[H\033[2J", stdout);
        left_out = lines_print(text, lines_that_fit(), stdout);
    }
    if (left_out) {
        printf("(%u more lines: a taller window shows them)  %s\n", left_out, note);
    } else {
        printf("\n%s\n", note);
    }
    fflush(stdout);
    free(text);
}

/* Wait for the next look.  True: the person wants to leave. */
static bool wait_or_leave(int signals, int timeout_ms)
{
    struct pollfd fds[] = {{.fd = signals, .events = POLLIN},
                           {.fd = STDIN_FILENO, .events = POLLIN}};
    double end = seconds_now() + timeout_ms / 1e3;

    for (;;) {
        int left_ms = (int)((end - seconds_now()) * 1e3) + 1;
        char key;

        if (left_ms <= 0 || poll(fds, 2, left_ms) == 0) {
            return false;
        }
        if (fds[0].revents) {
            return true;
        }
        if (fds[1].revents) {
            ssize_t got = read(STDIN_FILENO, &key, 1);

            if (got == 1 && (key == 'q' || key == 'Q')) {
                return true;
            }
            if (got != 1) {
                fds[1].fd = -1; /* no keyboard: Ctrl-C still leaves */
            }
        }
    }
}

/* Looks again and again.  Returns an exit code. */
static int watch(const struct top_options *options, int signals)
{
    struct seen now = {0}, before = {0};
    char why[TOP_WHY_BYTES], note[TOP_WHY_BYTES];
    enum top_answer answer;
    int code = EXIT_OK;

    do {
        json_t *stats;

        answer = look(options->path, &stats, why);
        if (answer == TOP_BROKEN && now.stats) {
            answer = look(options->path, &stats, why); /* it may have ended in mid answer */
        }
        snprintf(note, sizeof(note), "q leaves");
        if (answer == TOP_ANSWERED) {
            json_decref(before.stats);
            before = now;
            now = (struct seen){stats, seconds_now()};
            if (before.stats && !same_engine(before.stats, now.stats)) {
                json_decref(before.stats);
                before.stats = NULL;
            }
        } else if (answer == TOP_SILENT) {
            memcpy(note, why, sizeof(note));
        } else {
            break;
        }
        screen_draw(&now, &before, note);
    } while (!wait_or_leave(signals, (int)options->interval_ms));
    if (answer == TOP_GONE && now.stats) {
        printf("The engine has ended.\n");
        fflush(stdout);
    } else if (answer == TOP_GONE || answer == TOP_BROKEN) {
        fprintf(stderr, "baton top: %s\n", why);
        code = EXIT_ENVIRONMENT;
    }
    json_decref(before.stats);
    json_decref(now.stats);
    return code;
}

/* Takes the terminal: single keys, and signals as a descriptor; gives both back. */
static int watch_on_terminal(const struct top_options *options)
{
    struct termios as_was, keys;
    bool keyboard = isatty(STDIN_FILENO) && !tcgetattr(STDIN_FILENO, &as_was);
    sigset_t ends, mask_was;
    int signals, code;

    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGHUP);
    sigprocmask(SIG_BLOCK, &ends, &mask_was);
    signals = signalfd(-1, &ends, SFD_CLOEXEC);
    if (signals < 0) {
        fprintf(stderr, "baton top: signalfd: %s\n", strerror(errno));
        sigprocmask(SIG_SETMASK, &mask_was, NULL);
        return EXIT_ENVIRONMENT;
    }
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    if (keyboard) {
        keys = as_was;
        keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        tcsetattr(STDIN_FILENO, TCSANOW, &keys);
    }
    code = watch(options, signals);
    if (keyboard) {
        tcsetattr(STDIN_FILENO, TCSANOW, &as_was);
    }
    /* The signal that ended the watch was wanted: it must not end the process once unblocked. */
    while (sigtimedwait(&ends, NULL, &(struct timespec){0}) > 0) {
    }
    sigprocmask(SIG_SETMASK, &mask_was, NULL);
    close(signals);
    return code;
}

int top_command(int argc, char **argv)
{
    struct top_options options = {0};
    char *found = NULL;
    int code = options_read(argc, argv, &options);

    if (code < 0 && !options.path) {
        code = socket_choose(&found);
        options.path = found;
    }
    if (code >= 0) {
        return code;
    }
    if (options.form == TOP_LIVE && isatty(STDOUT_FILENO)) {
        code = watch_on_terminal(&options);
    } else {
        code = print_once(options.path, options.form);
    }
    free(found);
    return code;
}
