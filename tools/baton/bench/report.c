/* SPDX-License-Identifier: Apache-2.0 */
/* The results of `baton bench` as tables.  Measures nothing. */
#include "bench/report.h"

static const char *const baseline_names[BENCH_BASELINES] = {
    [BENCH_MEMCPY] = "memcpy",
    [BENCH_MEMCPY_THREADS] = "memcpy, as many threads",
    [BENCH_CONTIGUOUS] = "memcpy, contiguous",
    [BENCH_RAW_POLLED] = "raw tcp that polls",
    [BENCH_RAW_BLOCKING] = "raw tcp that blocks",
    [BENCH_READV] = "process_vm_readv",
    [BENCH_RAW_NIXL] = "NIXL",
    [BENCH_RAW_NIXL_PREPARING] = "NIXL, preparing",
};

static double median(struct samples *samples)
{
    return samples_percentile(samples, 50);
}

const char *report_way(enum bench_transport transport, bool link_tcp)
{
    return link_tcp ? "tcp, TCP link" : bench_transport_names[transport];
}

double report_trips_needed(struct bench_latency *latency, unsigned machine)
{
    return 2 * median(&latency->raw_small[machine]) + median(&latency->raw_block[machine]);
}

void report_machine(const struct machine *machine, FILE *out)
{
    fprintf(out, "%u x %s, %s, load %.2f\n", machine->cpus, machine->processor, machine->kernel,
            machine->load);
}

void report_sweep(const struct raw_choice choices[RAW_PLACES], FILE *out)
{
    for (unsigned i = 0; i < RAW_PLACES; i++) {
        const struct raw_config *config = &choices[i].config;
        char buffers[32] = "the system's";

        if (config->buffer_bytes) {
            snprintf(buffers, sizeof(buffers), "%d KiB", config->buffer_bytes / 1024);
        }
        fprintf(
            out,
            "raw tcp, best that %s%s: %u connection%s, %zu KiB a call, %s buffers (%.2f GB/s in "
            "the sweep)\n",
            config->polled ? "polls" : "blocks",
            config->polled && config->tries > 1 ? ", yielding rarely" : "", config->connections,
            config->connections == 1 ? "" : "s", config->call_bytes / 1024, buffers,
            choices[i].gb_per_s);
    }
    fflush(out);
}

static void three_print(struct samples *samples, FILE *out)
{
    fprintf(out, " %6.2f %6.2f %6.2f ", samples_percentile(samples, 0), median(samples),
            samples_max(samples));
}

void report_row_heading(const struct bench_options *options, FILE *out)
{
    fprintf(
        out,
        "\nThroughput, %.0f MiB a run, %u runs in turns: min, median, max; the ratio is Baton's "
        "rate\nto that of the line, run by run; * marks the baseline that it is judged by\n"
        "%-8s %9s %9s %6s %-24s %22s %22s %10s %7s\n",
        (double)options->bytes / (1 << 20), options->runs, "", "block", "handoffs", "movers", "",
        "GB/s", "ratio", "CPU s/GiB", "post ns");
}

static void rate_line(const char *name, bool judge, struct bench_rate *rate, FILE *out)
{
    fprintf(out, "%-23s%s", name, judge ? "*" : " ");
    three_print(&rate->gb_per_s, out);
    if (rate->ratio.count) {
        three_print(&rate->ratio, out);
    } else {
        fprintf(out, "%22s", "");
    }
    fprintf(out, "%9.3f", median(&rate->cpu));
}

void report_row(struct bench_row *row, FILE *out)
{
    bool kib = row->block_bytes % 1024 == 0;
    char way[16];

    snprintf(way, sizeof(way), "%s%s", bench_transport_names[row->transport],
             row->push ? " push" : "");
    fprintf(out, "%-9s %4zu %-3s %9u %6u ", way, kib ? row->block_bytes / 1024 : row->block_bytes,
            kib ? "KiB" : "B", row->handoffs, row->movers);
    rate_line("baton", false, &row->ours, out);
    fprintf(out, " %7.1f\n", median(&row->post));
    for (unsigned i = 0; i < BENCH_BASELINES; i++) {
        if (row->baselines[i].gb_per_s.count) {
            fprintf(out, "%36s", "");
            rate_line(baseline_names[i], i == bench_baseline_judge(row->transport, row->movers),
                      &row->baselines[i], out);
            fputc('\n', out);
        }
    }
    fflush(out);
}

void report_post_heading(FILE *out)
{
    fprintf(out, "\n%-36s %9s %9s %9s %24s\n", "Posting 16,384 blocks, ns a block, p50", "offer",
            "fetch", "both", "fetch, to first window");
}

void report_post(struct bench_post *post, FILE *out)
{
    double offer = median(&post->offer), fetch = median(&post->fetch);

    fprintf(out, "  %-36s %9.1f %9.1f %9.1f %24.1f\n", bench_transport_names[post->transport],
            offer, fetch, offer + fetch, median(&post->opened));
    fflush(out);
}

void report_latency_heading(FILE *out)
{
    fprintf(out, "\n%-36s %29s %29s\n%-36s", "One 16 KiB block, microseconds", "as it is", "busy",
            "");
    for (unsigned i = 0; i < BENCH_MACHINES; i++) {
        fprintf(out, " %9s %9s %9s", "p50", "p99", "max");
    }
    fprintf(out, " %8s\n", "samples");
}

static void percentiles_print(struct samples *samples, FILE *out)
{
    if (!samples->count) {
        fprintf(out, " %9s %9s %9s", "-", "-", "-");
        return;
    }
    fprintf(out, " %9.1f %9.1f %9.1f", median(samples), samples_percentile(samples, 99),
            samples_max(samples));
}

static void latency_line(const char *way, const char *name, struct samples samples[BENCH_MACHINES],
                         FILE *out)
{
    char text[64];

    snprintf(text, sizeof(text), "%s%s%s", way, *way ? ", " : "  ", name);
    fprintf(out, "  %-34s", text);
    for (unsigned i = 0; i < BENCH_MACHINES; i++) {
        percentiles_print(&samples[i], out);
    }
    fprintf(out, " %8zu\n", samples[0].count);
}

void report_latency(struct bench_latency *latency, FILE *out)
{
    const char *way = report_way(latency->transport, latency->link_tcp);

    latency_line(way, "callers poll", latency->polled, out);
    if (latency->link_tcp) {
        fprintf(out, "    %-32s", "the round trips that it needs");
        for (unsigned i = 0; i < BENCH_MACHINES; i++) {
            double needed = report_trips_needed(latency, i);

            fprintf(out, " %9.1f ratio %5.2f %7s", needed,
                    needed > 0 ? median(&latency->polled[i]) / needed : 0, "");
        }
        fputc('\n', out);
    }
    latency_line("", "raw tcp, 48 bytes to 64 and block", latency->raw_block, out);
    latency_line("", "raw tcp, 64 bytes to 64", latency->raw_small, out);
    latency_line(way, "Baton's threads", latency->threads, out);
    fflush(out);
}

void report_cancels_heading(const struct bench_options *options, FILE *out)
{
    fprintf(out, "\nCancel to receipt, %u in flight, us     %9s %9s %9s | %-29s | %-20s %8s\n",
            options->cancel_handoffs, "p50", "p99", "max", "eventfd round trip p50    p99",
            "ratio, min med max", "samples");
}

void report_cancels(struct bench_cancels *cancels, FILE *out)
{
    static const char *const names[2][2] = {{"of a fetch", "of a fetch, source stopped"},
                                            {"of an offer", "of an offer, reader stopped"}};

    for (unsigned i = 0; i < 4; i++) {
        struct bench_cancel *cancel = &cancels->of[i / 2][i % 2];

        fprintf(out, "  %-8s%-29s", i ? "" : bench_transport_names[cancels->transport],
                names[i / 2][i % 2]);
        if (!cancel->us.count) {
            fprintf(out, " none\n");
            continue;
        }
        percentiles_print(&cancel->us, out);
        fprintf(out, " | %22.1f %6.1f |", median(&cancel->bare),
                samples_percentile(&cancel->bare, 99));
        three_print(&cancel->ratio, out);
        fprintf(out, "%7zu\n", cancel->us.count);
    }
    fflush(out);
}

void report_idle(const struct bench_idle *idle, FILE *out)
{
    fprintf(out, "Idle, %s, Baton's threads: %.4f %% of a core an engine\n",
            report_way(idle->transport, idle->link_tcp), idle->cores * 100);
    fflush(out);
}
