/* SPDX-License-Identifier: Apache-2.0 */
/* The results of `baton bench` as JSON.  Measures nothing. */
#include "bench/report.h"

#include "baton.h"

static const char *const baseline_keys[BENCH_BASELINES] = {
    [BENCH_MEMCPY] = "memcpy",
    [BENCH_MEMCPY_THREADS] = "memcpy_threads",
    [BENCH_CONTIGUOUS] = "contiguous",
    [BENCH_RAW_POLLED] = "raw_tcp_polled",
    [BENCH_RAW_BLOCKING] = "raw_tcp_blocking",
    [BENCH_READV] = "process_vm_readv",
    [BENCH_RAW_NIXL] = "nixl",
    [BENCH_RAW_NIXL_PREPARING] = "nixl_preparing",
};

/* All of these take any samples: none give null. */

static json_t *median_json(struct samples *samples)
{
    return samples->count ? json_real(samples_percentile(samples, 50)) : json_null();
}

static json_t *three_json(struct samples *samples)
{
    return samples->count
               ? json_pack("{s:f, s:f, s:f}", "min", samples_percentile(samples, 0), "med",
                           samples_percentile(samples, 50), "max", samples_max(samples))
               : json_null();
}

static json_t *percentiles_json(struct samples *samples)
{
    return samples->count
               ? json_pack("{s:f, s:f, s:f, s:I}", "p50", samples_percentile(samples, 50), "p99",
                           samples_percentile(samples, 99), "max", samples_max(samples), "samples",
                           (json_int_t)samples->count)
               : json_null();
}

/* A key without spaces for a way of connecting. */
static const char *way_key(enum bench_transport transport, bool link_tcp)
{
    return link_tcp ? "tcp_link" : bench_transport_names[transport];
}

void json_init(struct bench_json *ret_json)
{
    *ret_json = (struct bench_json){
        .rows = json_array(),
        .sweep = json_null(),
        .post = json_object(),
        .latency = json_object(),
        .latencies = json_array(),
        .cancel = json_object(),
        .reclaim = json_object(),
        .bare = json_object(),
        .idle = json_object(),
        .lanes = json_null(),
    };
}

void json_fini(struct bench_json *json)
{
    json_decref(json->rows);
    json_decref(json->sweep);
    json_decref(json->post);
    json_decref(json->latency);
    json_decref(json->latencies);
    json_decref(json->cancel);
    json_decref(json->reclaim);
    json_decref(json->bare);
    json_decref(json->idle);
    json_decref(json->lanes);
}

void json_set_lanes(struct bench_json *json, const char *lanes)
{
    json_decref(json->lanes);
    json->lanes = json_string(lanes);
}

static json_t *choice_json(const struct raw_choice *choice)
{
    return json_pack("{s:i, s:i, s:I, s:i, s:f}", "tries", (int)choice->config.tries, "connections",
                     (int)choice->config.connections, "call_bytes",
                     (json_int_t)choice->config.call_bytes, "buffer_bytes",
                     choice->config.buffer_bytes, "gb_per_s", choice->gb_per_s);
}

void json_add_sweep(struct bench_json *json, const struct raw_choice choices[RAW_PLACES])
{
    json_decref(json->sweep);
    json->sweep = json_pack("{s:o, s:o}", "polled", choice_json(&choices[RAW_POLLED]), "blocking",
                            choice_json(&choices[RAW_BLOCKING]));
}

static json_t *baselines_json(struct bench_row *row)
{
    json_t *object = json_object();

    for (unsigned i = 0; i < BENCH_BASELINES; i++) {
        struct bench_rate *rate = &row->baselines[i];

        if (rate->gb_per_s.count) {
            json_object_set_new(
                object, baseline_keys[i],
                json_pack("{s:o, s:o, s:o}", "gb_per_s", three_json(&rate->gb_per_s), "ratio",
                          three_json(&rate->ratio), "cpu_s_per_gib", median_json(&rate->cpu)));
        }
    }
    return object;
}

/* ratio_memcpy is to as many threads as there are movers. */
void json_add_row(struct bench_json *json, struct bench_row *row)
{
    enum bench_baseline judge = bench_baseline_judge(row->transport, row->movers);
    struct bench_rate *judges = &row->baselines[judge];
    struct bench_rate *memcpys =
        &row->baselines[judge == BENCH_MEMCPY_THREADS ? judge : BENCH_MEMCPY];
    json_t *object = json_pack(
        "{s:s, s:s, s:I, s:I, s:i, s:i, s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o}",
        "transport", bench_transport_names[row->transport], "mode", row->push ? "push" : "pull",
        "block_bytes", (json_int_t)row->block_bytes, "bytes", (json_int_t)row->bytes, "handoffs",
        (int)row->handoffs, "movers", (int)row->movers, "gb_per_s", three_json(&row->ours.gb_per_s),
        "ratio_memcpy", median_json(&memcpys->ratio), "ratio_raw_tcp",
        median_json(&row->baselines[BENCH_RAW_POLLED].ratio), "ratio_process",
        median_json(&row->baselines[BENCH_READV].ratio), "baseline", baseline_keys[judge],
        "ratio_baseline", three_json(&judges->ratio), "baseline_gb_per_s",
        three_json(&judges->gb_per_s), "cpu_s_per_gib", median_json(&row->ours.cpu),
        "baseline_cpu_s_per_gib", median_json(&judges->cpu), "post_ns_per_block",
        median_json(&row->post), "baselines", baselines_json(row));

    json_array_append_new(json->rows, object);
}

void json_add_post(struct bench_json *json, struct bench_post *post)
{
    json_object_set_new(json->post, bench_transport_names[post->transport],
                        json_pack("{s:I, s:o, s:o, s:o}", "blocks", (json_int_t)post->blocks,
                                  "offer", three_json(&post->offer), "fetch",
                                  three_json(&post->fetch), "opened", three_json(&post->opened)));
}

static json_t *machine_json(struct bench_latency *latency, unsigned machine)
{
    double needed = report_trips_needed(latency, machine);
    json_t *object = json_pack(
        "{s:o, s:o, s:o, s:o, s:n, s:n}", "polled", percentiles_json(&latency->polled[machine]),
        "threads", percentiles_json(&latency->threads[machine]), "raw_tcp_block",
        percentiles_json(&latency->raw_block[machine]), "raw_tcp_small",
        percentiles_json(&latency->raw_small[machine]), "raw_tcp_needed", "ratio_raw_tcp_needed");

    if (object && latency->link_tcp && needed > 0) {
        json_object_set_new(object, "raw_tcp_needed", json_real(needed));
        json_object_set_new(object, "ratio_raw_tcp_needed",
                            json_real(samples_percentile(&latency->polled[machine], 50) / needed));
    }
    return object;
}

void json_add_latency(struct bench_json *json, struct bench_latency *latency)
{
    json_object_set_new(json->latency, way_key(latency->transport, latency->link_tcp),
                        json_pack("{s:o, s:o}", "as_is", machine_json(latency, BENCH_IDLE_MACHINE),
                                  "busy", machine_json(latency, BENCH_BUSY_MACHINE)));
    if (!latency->link_tcp) {
        /* In short: callers that poll, the machine as it is. */
        json_array_append_new(json->latencies,
                              json_pack("{s:s, s:o}", "transport",
                                        bench_transport_names[latency->transport], "latency_us",
                                        percentiles_json(&latency->polled[BENCH_IDLE_MACHINE])));
    }
}

static json_t *cancel_json(struct bench_cancel *cancel, unsigned handoffs)
{
    json_t *object = percentiles_json(&cancel->us);

    if (json_is_object(object)) {
        json_object_set_new(object, "handoffs", json_integer(handoffs));
        json_object_set_new(object, "ratio_bare", three_json(&cancel->ratio));
    }
    return object;
}

void json_add_cancels(struct bench_json *json, struct bench_cancels *cancels)
{
    const char *key = bench_transport_names[cancels->transport];
    struct bench_cancel(*of)[2] = cancels->of;

    json_object_set_new(json->cancel, key,
                        json_pack("{s:o, s:o}", "live", cancel_json(&of[0][0], cancels->handoffs),
                                  "stopped", cancel_json(&of[0][1], cancels->handoffs)));
    json_object_set_new(json->reclaim, key,
                        json_pack("{s:o, s:o}", "live", cancel_json(&of[1][0], cancels->handoffs),
                                  "stopped", cancel_json(&of[1][1], cancels->handoffs)));
    json_object_set_new(json->bare, key,
                        json_pack("{s:o, s:o, s:o, s:o}", "cancel",
                                  percentiles_json(&of[0][0].bare), "cancel_stopped",
                                  percentiles_json(&of[0][1].bare), "reclaim",
                                  percentiles_json(&of[1][0].bare), "reclaim_stopped",
                                  percentiles_json(&of[1][1].bare)));
}

void json_add_idle(struct bench_json *json, const struct bench_idle *idle)
{
    json_object_set_new(json->idle, way_key(idle->transport, idle->link_tcp),
                        json_real(idle->cores));
}

json_t *json_whole(const struct bench_json *json, const struct bench_options *options,
                   const struct machine *machine)
{
    return json_pack(
        "{s:s, s:I, s:i, s:{s:i, s:s, s:s, s:f}, s:O, s:O, s:O, s:O, s:O, s:O, s:O, s:O, s:O, s:O}",
        "version", baton_version(), "bytes", (json_int_t)options->bytes, "runs", (int)options->runs,
        "machine", "cpus", (int)machine->cpus, "processor", machine->processor, "kernel",
        machine->kernel, "load", machine->load, "raw_tcp_sweep", json->sweep, "rows", json->rows,
        "post_ns_per_block", json->post, "latency_us", json->latency, "latencies", json->latencies,
        "cancel_to_quiet_us", json->cancel, "source_reclaim_us", json->reclaim, "bare_wakeup_us",
        json->bare, "idle_cores", json->idle, "lanes", json->lanes);
}
