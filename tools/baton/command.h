/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of the CLI: what main.c's table holds, and the exit codes that all of them share. */
#ifndef BATON_TOOLS_COMMAND_H
#define BATON_TOOLS_COMMAND_H

enum exit_code {
    EXIT_OK = 0,
    EXIT_CHECK = 1,       /* the command ran, and a check of it failed */
    EXIT_USAGE = 2,       /* a wrong option, argument or input file: the message says what to do */
    EXIT_ENVIRONMENT = 3, /* the machine refused: memory, descriptors, sockets, a peer not there */
};

struct command {
    const char *name;
    const char *summary; /* one line of `baton --help` */
    /* argv[0] is the command's own name.  Returns an exit code. */
    int (*run)(int argc, char **argv);
};

int burst_command(int argc, char **argv);
int bench_command(int argc, char **argv);
int top_command(int argc, char **argv);
int sim_command(int argc, char **argv);
int demo_command(int argc, char **argv);

#endif
