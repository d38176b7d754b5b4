/* SPDX-License-Identifier: Apache-2.0 */
/* The last things that happened, as a sequence chart that a person can read, and as JSON.  PING and
 * PONG are left out: they would fill it. */
#include "sim/world.h"

#include <inttypes.h>
#include <string.h>

enum { COLUMN = 26 };

void chart_note(struct sim *s, unsigned from, unsigned to, unsigned frame, const char *text,
                uint64_t id, uint64_t number)
{
    struct mark *m;

    if (frame == FRAME_PING || frame == FRAME_PONG) {
        return;
    }
    m = &s->chart.mark[s->chart.count++ % CHART_MAX];
    *m = (struct mark){.time = s->world->now,
                       .from = (uint8_t)from,
                       .to = (uint8_t)to,
                       .frame = (uint8_t)frame,
                       .text = text,
                       .id = id,
                       .number = number};
}

static uint64_t first_of(const struct sim *s, unsigned lines)
{
    uint64_t kept = s->chart.count < CHART_MAX ? s->chart.count : CHART_MAX;

    lines = lines < kept ? lines : (unsigned)kept;
    return s->chart.count - lines;
}

static void label(const struct mark *m, char *ret_text, size_t room)
{
    if (m->frame) {
        snprintf(ret_text, room, "%s", frame_name((enum frame_type)m->frame));
    } else if (m->id >> CORE_INDEX_BITS) {
        snprintf(ret_text, room, "%" PRIu64 ".%" PRIu64 " %s", m->id >> CORE_INDEX_BITS,
                 m->id & ((1U << CORE_INDEX_BITS) - 1), m->text);
    } else {
        snprintf(ret_text, room, "%s %" PRIu64, m->text, m->id);
    }
}

static void put(char *line, size_t at, const char *text)
{
    memcpy(line + at, text, strlen(text));
}

static void print_mark(const struct sim *s, const struct mark *m, FILE *file)
{
    char line[NODES_MAX * COLUMN + 120], text[64];
    unsigned low = m->from < m->to ? m->from : m->to, high = m->from < m->to ? m->to : m->from;
    size_t end;

    memset(line, ' ', sizeof(line));
    for (unsigned i = 0; i < s->world->options.nodes; i++) {
        line[i * COLUMN] = '|';
    }
    label(m, text, sizeof(text));
    if (m->from == m->to) {
        put(line, (size_t)m->to * COLUMN + 2, text);
    } else {
        for (size_t i = (size_t)low * COLUMN + 1; i < (size_t)high * COLUMN; i++) {
            line[i] = line[i] == '|' ? '+' : '-';
        }
        line[m->to > m->from ? (size_t)high * COLUMN - 1 : (size_t)low * COLUMN + 1] =
            m->to > m->from ? '>' : '<';
        put(line, (size_t)low * COLUMN + 4, text);
    }
    end = sizeof(line) - 1;
    while (end > 0 && line[end - 1] == ' ') {
        end--;
    }
    line[end] = '\0';
    fprintf(file, "%9" PRIu64 "  %s\n", m->time, line);
}

void sim_print_chart(const struct sim *s, unsigned lines, FILE *file)
{
    fprintf(file, "%9s  ", "us");
    for (unsigned i = 0; i < s->world->options.nodes; i++) {
        fprintf(file, "node %-*u", COLUMN - 5, i);
    }
    fputc('\n', file);
    for (uint64_t i = first_of(s, lines); i < s->chart.count; i++) {
        print_mark(s, &s->chart.mark[i % CHART_MAX], file);
    }
}

void sim_print_chart_json(const struct sim *s, unsigned lines, FILE *file)
{
    const char *comma = "";

    fputc('[', file);
    for (uint64_t i = first_of(s, lines); i < s->chart.count; i++) {
        const struct mark *m = &s->chart.mark[i % CHART_MAX];
        char text[64];

        label(m, text, sizeof(text));
        fprintf(file, "%s\n    {\"us\": %" PRIu64 ", \"from\": %u, \"to\": %u, \"what\": \"%s\"}",
                comma, m->time, m->from, m->to, text);
        comma = ",";
    }
    fputs("\n  ]", file);
}
