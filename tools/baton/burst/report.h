/* SPDX-License-Identifier: Apache-2.0 */
/* What a burst tells: progress while it runs, a summary for a person, one JSON object for programs.
 */
#ifndef BATON_TOOLS_BURST_REPORT_H
#define BATON_TOOLS_BURST_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "burst/account.h"
#include "burst/config.h"
#include "burst/driver.h"

struct report {
    const struct burst_config *config;
    const char *model; /* for a person */
    struct account *account;
    struct account_check checks[ACCOUNT_CHECKS_MAX];
    size_t check_count;
    bool ok;
};

/* Runs the checks.  `whole`: the burst ran to its end. */
void report_init(struct report *report, const struct burst_config *config, const char *model,
                 struct account *account, bool whole);

/* One line on stderr; on a terminal each takes the place of the last. */
void report_progress(const struct burst_progress *progress);
void report_progress_end(void);

void report_summary(struct report *report, FILE *file);

/* False: it could not be written. */
bool report_json(struct report *report, FILE *file);

#endif
