/* SPDX-License-Identifier: Apache-2.0 */
/* When faults come and go: see burst/fault.h. */
#include "burst/fault.h"

#include "baton.h"

enum {
    AIM_MS = 1000,
    STOP_MS_MIN = 1000,
    STOP_MS_MAX = 3000,
    /* What was decided so shortly before or after a fault may have its receipt late because of it:
     * it takes the other side a moment to notice. */
    NOTICE_MS = 100,
};

#define NS_PER_MS UINT64_C(1000000)

bool fault_due(const struct burst_config *config, unsigned made, uint64_t elapsed_ms,
               uint64_t issued)
{
    if (config->fault == BURST_FAULT_NONE || made >= BURST_FAULTS) {
        return false;
    }
    if (config->requests) {
        return issued * (BURST_FAULTS + 1) >= config->requests * (made + 1);
    }
    return elapsed_ms * (BURST_FAULTS + 1) >= config->duration_ms * (made + 1);
}

bool fault_aimed(uint64_t moving, uint64_t waited_ms)
{
    return moving > 0 || waited_ms >= AIM_MS;
}

/* The source stores into the sink's pool itself: while it is stopped, who cancels is in doubt. */
static bool doubt_is_due(const struct burst_config *config)
{
    return config->push && config->transport != BURST_TCP && !config->fault_decode &&
           config->cancel_rate > 0;
}

bool fault_seen(const struct burst_config *config, const struct fault *fault, uint64_t now_ns,
                uint64_t doubts)
{
    uint64_t ms = (now_ns - fault->start_ns) / NS_PER_MS;

    return ms >= STOP_MS_MAX ||
           (ms >= STOP_MS_MIN && (!doubt_is_due(config) || doubts > fault->doubts_first));
}

void fault_sample(struct fault *faults, unsigned count, uint64_t now_ns, uint64_t blocks,
                  uint64_t since_ns)
{
    while (count > 0 && faults[count - 1].start_ns > since_ns + NOTICE_MS * NS_PER_MS) {
        count--;
    }
    if (count == 0 || blocks == 0) {
        return;
    }
    struct fault *fault = &faults[count - 1];
    if (fault->end_ns && since_ns > fault->end_ns + NOTICE_MS * NS_PER_MS) {
        return;
    }
    fault->quarantined = blocks > fault->quarantined ? blocks : fault->quarantined;
    fault->held_ns = now_ns;
}

uint64_t fault_quarantine_us(const struct fault *fault)
{
    return fault->held_ns > fault->end_ns ? (fault->held_ns - fault->end_ns) / 1000 : 0;
}

bool fault_unproven(const struct burst_config *config, bool lanes_own)
{
    bool dies =
        config->fault == BURST_FAULT_KILL ||
        (config->fault == BURST_FAULT_STOP && config->on_doubt == BATON_ON_DOUBT_KILL_LOCAL_PEER);

    return dies && !config->fault_decode && config->push && config->transport == BURST_NIXL &&
           config->host != BATON_HOST_IN_PROCESS && !lanes_own;
}

bool fault_loses(const struct burst_config *config)
{
    return config->fault == BURST_FAULT_KILL ||
           (config->fault == BURST_FAULT_STOP && config->on_doubt != BATON_ON_DOUBT_WAIT);
}
