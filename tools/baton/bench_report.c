/* SPDX-License-Identifier: Apache-2.0 */
/* The results of `baton bench`, for people and as JSON.  Measures nothing. */
#include "bench_report.h"

#include "baton.h"

static const char *const baseline_names[BENCH_TRANSPORTS] = {"memcpy", "raw tcp",
                                                             "process_vm_readv"};

static double median(struct samples *samples)
{
    return samples_percentile(samples, 50);
}

static double ratio(struct bench_row *row)
{
    double baseline = median(&row->baseline);

    return baseline > 0 ? median(&row->ours) / baseline : 0;
}

void report_heading(const struct bench_options *options, enum bench_transport transport, FILE *out)
{
    fprintf(out,
            "\n%s: %u handoffs at once, %.0f MiB a run, %u runs in turns with %s, %u mover%s\n"
            "%-10s %-22s %-22s %-7s %-18s %-9s %s\n",
            bench_transport_names[transport], options->handoffs, (double)options->bytes / (1 << 20),
            options->runs, baseline_names[transport], options->movers,
            options->movers == 1 ? "" : "s", "block", "baton GB/s", baseline_names[transport],
            "ratio", "run by run", "CPU s/GiB", "and without baton");
}

static void three_print(struct samples *samples, const char *format, FILE *out)
{
    fprintf(out, format, samples_percentile(samples, 0), median(samples), samples_max(samples));
}

void report_row(struct bench_row *row, FILE *out)
{
    bool kib = row->block_bytes % 1024 == 0;

    fprintf(out, "%6zu %-3s ", kib ? row->block_bytes / 1024 : row->block_bytes, kib ? "KiB" : "B");
    three_print(&row->ours, "%5.2f %6.2f %6.2f    ", out);
    three_print(&row->baseline, "%5.2f %6.2f %6.2f    ", out);
    fprintf(out, "%5.2f   ", ratio(row));
    three_print(&row->paired, "%4.2f %4.2f %4.2f     ", out);
    fprintf(out, "%9.3f %9.3f\n", median(&row->cpu), median(&row->baseline_cpu));
    fflush(out);
}

static void times_line(const char *name, struct samples *samples, FILE *out)
{
    if (!samples->count) {
        fprintf(out, "  %-44s %9s\n", name, "none");
        return;
    }
    fprintf(out, "  %-44s %9.1f %9.1f %9.1f %9zu\n", name, median(samples),
            samples_percentile(samples, 99), samples_max(samples), samples->count);
}

void report_times(struct bench_times *times, FILE *out)
{
    fprintf(out, "\n%s, microseconds%*s %9s %9s %9s %9s\n", bench_transport_names[times->transport],
            times->transport == BENCH_PROCESS ? 25 : 29, "", "p50", "p99", "max", "samples");
    times_line("fetch of one 16 KiB block", &times->fetch, out);
    times_line("cancel of a fetch to its receipt", &times->cancel, out);
    times_line("  the same, source stopped", &times->cancel_stopped, out);
    times_line("cancel of an offer being read to its receipt", &times->reclaim, out);
    times_line("  the same, reader stopped", &times->reclaim_stopped, out);
    times_line("bare eventfd round trip of two threads", &times->bare_wakeup, out);
    fflush(out);
}

static json_t *three_json(struct samples *samples)
{
    return json_pack("{s:f, s:f, s:f}", "min", samples_percentile(samples, 0), "med",
                     median(samples), "max", samples_max(samples));
}

json_t *report_row_json(struct bench_row *row)
{
    static const char *const ratio_names[BENCH_TRANSPORTS] = {"ratio_memcpy", "ratio_raw_tcp",
                                                              "ratio_process"};
    json_t *object =
        json_pack("{s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:n, s:n, s:n, s:f, s:f}", "transport",
                  bench_transport_names[row->transport], "mode", "pull", "block_bytes",
                  (json_int_t)row->block_bytes, "handoffs", (json_int_t)row->handoffs, "gb_per_s",
                  three_json(&row->ours), "baseline_gb_per_s", three_json(&row->baseline),
                  "paired_ratio", three_json(&row->paired), ratio_names[BENCH_SHM],
                  ratio_names[BENCH_TCP], ratio_names[BENCH_PROCESS], "cpu_s_per_gib",
                  median(&row->cpu), "baseline_cpu_s_per_gib", median(&row->baseline_cpu));

    if (object) {
        json_object_set_new(object, ratio_names[row->transport], json_real(ratio(row)));
    }
    return object;
}

static json_t *percentiles_json(struct samples *samples)
{
    return json_pack("{s:f, s:f, s:f, s:I}", "p50", median(samples), "p99",
                     samples_percentile(samples, 99), "max", samples_max(samples), "samples",
                     (json_int_t)samples->count);
}

json_t *report_times_json(struct bench_times *times)
{
    return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "transport",
                     bench_transport_names[times->transport], "latency_us",
                     percentiles_json(&times->fetch), "cancel_to_quiet_us",
                     percentiles_json(&times->cancel), "cancel_to_quiet_stopped_us",
                     percentiles_json(&times->cancel_stopped), "source_reclaim_us",
                     percentiles_json(&times->reclaim), "source_reclaim_stopped_us",
                     percentiles_json(&times->reclaim_stopped), "bare_wakeup_us",
                     percentiles_json(&times->bare_wakeup));
}

void bench_row_fini(struct bench_row *row)
{
    samples_fini(&row->ours);
    samples_fini(&row->baseline);
    samples_fini(&row->paired);
    samples_fini(&row->cpu);
    samples_fini(&row->baseline_cpu);
}

void bench_times_fini(struct bench_times *times)
{
    samples_fini(&times->fetch);
    samples_fini(&times->cancel);
    samples_fini(&times->cancel_stopped);
    samples_fini(&times->reclaim);
    samples_fini(&times->reclaim_stopped);
    samples_fini(&times->bare_wakeup);
}
