/* SPDX-License-Identifier: Apache-2.0 */
/* Cores, spinning processes and facts: see bench_machine.h.  Measures nothing. */
#include "bench/machine.h"
#include "util/error.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

/* What this process may use, before anything was bound. */
static cpu_set_t allowed;
static bool allowed_known;

static const cpu_set_t *allowed_cpus(void)
{
    if (!allowed_known) {
        CPU_ZERO(&allowed);
        if (sched_getaffinity(0, sizeof(allowed), &allowed)) {
            CPU_SET(0, &allowed);
        }
        allowed_known = true;
    }
    return &allowed;
}

unsigned machine_cpus(void)
{
    return (unsigned)CPU_COUNT(allowed_cpus());
}

static int topology(int cpu, const char *what)
{
    char path[96];
    int value = -1;
    FILE *file;

    snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/%s", cpu, what);
    file = fopen(path, "r");
    if (file) {
        if (fscanf(file, "%d", &value) != 1) {
            value = -1;
        }
        fclose(file);
    }
    return value;
}

/* The parent's is the first CPU; the child's the next that is another core of the same package, or
 * else just another. */
static int cpu_of(enum bench_process process)
{
    const cpu_set_t *cpus = allowed_cpus();
    int first = -1, other = -1;

    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, cpus)) {
            continue;
        }
        if (first < 0) {
            first = cpu;
        } else if (topology(cpu, "core_id") != topology(first, "core_id") &&
                   topology(cpu, "physical_package_id") == topology(first, "physical_package_id")) {
            return process == BENCH_PARENT ? first : cpu;
        } else if (other < 0) {
            other = cpu;
        }
    }
    return process == BENCH_PARENT || other < 0 ? first : other;
}

static void bind_to(int cpu)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    (void)sched_setaffinity(0, sizeof(one), &one);
}

void machine_pin(enum bench_process process)
{
    bind_to(cpu_of(process));
}

void machine_unpin(void)
{
    (void)sched_setaffinity(0, sizeof(allowed), allowed_cpus());
}

static _Noreturn void spin(int cpu)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bind_to(cpu);
    raise(SIGSTOP);
    for (volatile unsigned long turns = 0;; turns++) {
    }
}

baton_err spinners_init(struct spinners *ret_spinners, struct baton_error *ret_error)
{
    const cpu_set_t *cpus = allowed_cpus();

    ret_spinners->count = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE && ret_spinners->count < SPINNERS_MAX; cpu++) {
        pid_t pid;
        int status;

        if (!CPU_ISSET(cpu, cpus)) {
            continue;
        }
        pid = fork();
        if (pid == 0) {
            spin(cpu);
        }
        if (pid < 0) {
            baton_err err = error_system(ret_error, errno, "fork");

            spinners_fini(ret_spinners);
            return err;
        }
        ret_spinners->pids[ret_spinners->count++] = pid;
        waitpid(pid, &status, WUNTRACED);
    }
    return BATON_OK;
}

void spinners_run(const struct spinners *spinners, bool run)
{
    for (unsigned i = 0; i < spinners->count; i++) {
        kill(spinners->pids[i], run ? SIGCONT : SIGSTOP);
    }
}

void spinners_fini(struct spinners *spinners)
{
    for (unsigned i = 0; i < spinners->count; i++) {
        kill(spinners->pids[i], SIGKILL);
        waitpid(spinners->pids[i], NULL, 0);
    }
    spinners->count = 0;
}

static void processor_read(char *ret_text, size_t size)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "r");

    snprintf(ret_text, size, "unknown");
    while (file && fgets(line, sizeof(line), file)) {
        const char *colon = strchr(line, ':');

        if (!strncmp(line, "model name", 10) && colon) {
            snprintf(ret_text, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
            break;
        }
    }
    if (file) {
        fclose(file);
    }
}

void machine_read(struct machine *ret_machine)
{
    struct utsname names;

    *ret_machine = (struct machine){.cpus = machine_cpus()};
    processor_read(ret_machine->processor, sizeof(ret_machine->processor));
    if (!uname(&names)) {
        snprintf(ret_machine->kernel, sizeof(ret_machine->kernel), "%s %s", names.sysname,
                 names.release);
    }
    if (getloadavg(&ret_machine->load, 1) != 1) {
        ret_machine->load = 0;
    }
}
