/* SPDX-License-Identifier: Apache-2.0 */
/* An engine's options: defaults for what is zero, and limits for what is not. */
#include "engine/engine.h"

#include <string.h>

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value ? value : otherwise;
}

static baton_err check_limit(const char *name, uint64_t value, uint64_t least, uint64_t most,
                             struct baton_error *ret_error)
{
    if (value < least || value > most) {
        return error_set(ret_error, BATON_EINVAL, "%s is %llu: it must be %llu to %llu", name,
                         (unsigned long long)value, (unsigned long long)least,
                         (unsigned long long)most);
    }
    return BATON_OK;
}

static baton_err check_texts(const char *name, const char *const *texts, size_t count,
                             struct baton_error *ret_error)
{
    for (size_t i = 0; i < count; i++) {
        if (!texts || !texts[i]) {
            return error_set(ret_error, BATON_EINVAL, "%s_count is %zu, but %s%s is NULL", name,
                             count, name, texts ? "[]" : "");
        }
    }
    return BATON_OK;
}

static baton_err check_arrays(const struct baton_engine_options *o, struct baton_error *ret_error)
{
    baton_err err = check_texts("listen", o->listen, o->listen_count, ret_error);

    if (!err) {
        err = check_texts("advertise", o->advertise, o->advertise_count, ret_error);
    }
    if (!err) {
        err = check_texts("transports", o->transports, o->transports_count, ret_error);
    }
    return err;
}

static baton_err check_options(const struct baton_engine_options *o, struct baton_error *ret_error)
{
    const struct {
        const char *name;
        uint64_t value, least, most;
    } limits[] = {
        {"listen_count", o->listen_count, 0, BATON_ENDPOINTS_MAX},
        {"advertise_count", o->advertise_count, 0, BATON_ENDPOINTS_MAX},
        {"transports_count", o->transports_count, 0, ENGINE_TRANSPORTS},
        {"progress", (uint64_t)o->progress, 0, BATON_PROGRESS_CALLER},
        {"link", (uint64_t)o->link, 0, BATON_LINK_SOCKET},
        {"host", (uint64_t)o->host, 0, BATON_HOST_HELPER},
        {"on_doubt", (uint64_t)o->on_doubt, 0, BATON_ON_DOUBT_KILL_LOCAL_PEER},
        {"movers", (uint64_t)o->movers, 0, BATON_MOVERS_MAX},
        {"offers_max", o->offers_max, 1, BATON_HANDOFFS_MAX},
        {"fetches_max", o->fetches_max, 1, BATON_HANDOFFS_MAX},
        {"links_max", o->links_max, 1, BATON_LINKS_MAX},
        {"window_bytes", o->window_bytes, 4096, ENGINE_WINDOW_BYTES_MAX},
        {"slice_bytes", o->slice_bytes, 4096, 1U << 30},
        {"inflight_bytes_max", o->inflight_bytes_max, 4096, UINT64_C(1) << 40},
        {"attempts_max", o->attempts_max, 1, 1U << 30},
        {"link_timeout_ms", o->link_timeout_ms, 1, 86400000},
        {"spin_us", (uint64_t)o->spin_us, 0, ENGINE_SPIN_US_MAX},
        {"helpers_max", o->helpers_max, 1, BATON_LINKS_MAX},
        {"quarantine_percent_max", o->quarantine_percent_max, 1, 100},
    };

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        baton_err err = check_limit(limits[i].name, limits[i].value, limits[i].least,
                                    limits[i].most, ret_error);

        if (err) {
            return err;
        }
    }
    return check_arrays(o, ret_error);
}

/* Its moves are smaller than its windows, so these bound no cancel. */
static bool only_nixl(const struct baton_engine_options *o)
{
    return o->transports_count == 1 && o->transports && o->transports[0] &&
           strcmp(o->transports[0], transport_nixl.name) == 0;
}

baton_err options_copy(struct baton_engine_options *ret_options,
                       const struct baton_engine_options *options, struct baton_error *ret_error)
{
    struct baton_engine_options o = {.size = sizeof(o)};

    if (options) {
        if (options->size < offsetof(struct baton_engine_options, listen) ||
            options->size > sizeof(o)) {
            return error_set(ret_error, BATON_EINVAL,
                             "options.size is %zu: set it to sizeof(struct baton_engine_options), "
                             "%zu here; a larger one is of a newer baton.h than this library",
                             options->size, sizeof(o));
        }
        memcpy(&o, options, options->size);
    }
    if (o.movers < -1) {
        return error_set(ret_error, BATON_EINVAL,
                         "movers is %d: it must be -1 (none), 0 (the "
                         "default, one) to %d",
                         o.movers, BATON_MOVERS_MAX);
    }
    o.movers = o.movers == 0 ? 1 : o.movers == -1 ? 0 : o.movers;
    o.offers_max = or_default(o.offers_max, 4096);
    o.fetches_max = or_default(o.fetches_max, 4096);
    o.links_max = or_default(o.links_max, 64);
    o.window_bytes = or_default(o.window_bytes, only_nixl(&o) ? 4 << 20 : 1 << 20);
    o.slice_bytes = or_default(o.slice_bytes, 64 << 10);
    o.inflight_bytes_max = o.inflight_bytes_max ? o.inflight_bytes_max : 16 << 20;
    o.attempts_max = or_default(o.attempts_max, 64);
    o.link_timeout_ms = or_default(o.link_timeout_ms, 5000);
    o.doubt_ms = or_default(o.doubt_ms, 100);
    o.on_doubt_ms = or_default(o.on_doubt_ms, 1000);
    o.quarantine_percent_max = or_default(o.quarantine_percent_max, 50);
    o.helpers_max = or_default(o.helpers_max, 16);
    o.spin_us = o.spin_us == 0 ? 100 : o.spin_us == -1 ? 0 : o.spin_us;
    *ret_options = o;
    return check_options(&o, ret_error);
}
