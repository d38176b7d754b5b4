#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws what `make bench-scale` wrote: plot.py build/scale.json docs/scale.svg"""

import json
import math
import sys

WIDTH, HEIGHT, LEFT, TOP = 450, 260, 60, 34
COLOURS = ("#1f6fb4", "#d1782c", "#2e8b57", "#8e5bb5")
# A panel: title, what runs along x, and lines of (name, table, x, y, factor).
PANELS = [
    ("GB/s, handoffs of 256 KiB", "in flight",
     [("shm", "flight_shm", "at_once", "gb_per_s", 1),
      ("tcp", "flight_tcp", "at_once", "gb_per_s", 1)]),
    ("µs of CPU for a handoff of 4 KiB", "in flight",
     [("shm, source", "small_shm", "at_once", "source_cpu_us", 1),
      ("shm, sink", "small_shm", "at_once", "sink_cpu_us", 1),
      ("tcp, source", "small_tcp", "at_once", "source_cpu_us", 1),
      ("tcp, sink", "small_tcp", "at_once", "sink_cpu_us", 1)]),
    ("µs of CPU for a handoff of 4 KiB, 64 in flight", "links of one source",
     [("shm, source", "links_shm", "links", "source_cpu_us", 1),
      ("shm, all sinks", "links_shm", "links", "sink_cpu_us", 1),
      ("tcp, source", "links_tcp", "links", "source_cpu_us", 1),
      ("tcp, all sinks", "links_tcp", "links", "sink_cpu_us", 1)]),
    ("ns to lend a block", "blocks of the pool",
     [("in order", "pools", "blocks", "lend_ns", 1),
      ("at random", "pools", "blocks", "random_lend_ns", 1)]),
    ("KiB on the heap", "blocks of the handoff",
     [("an offer", "memory", "blocks", "offer_heap", 1 / 1024),
      ("a fetch", "memory", "blocks", "fetch_heap", 1 / 1024)]),
    ("KiB on the heap of a handoff of one block", "in flight",
     [("offer", "small_shm", "at_once", "source_bytes", 1 / 1024),
      ("fetch", "small_shm", "at_once", "sink_bytes", 1 / 1024)]),
]


def text(x, y, words, anchor="start", colour="#222"):
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{colour}">{words}</text>'


def panel(tables, title, along, lines, x0, y0):
    points = [[(row[x], row[y] * factor) for row in tables[table]]
              for _, table, x, y, factor in lines]
    most = max(y for line in points for _, y in line) * 1.1
    first, last = points[0][0][0], points[0][-1][0]
    width, height = WIDTH - LEFT - 35, HEIGHT - TOP - 40

    def place(x, y):
        return (x0 + LEFT + width * math.log(x / first) / math.log(last / first),
                y0 + TOP + height * (1 - y / most))

    yield text(x0 + LEFT, y0 + 18, title)
    for tick in (0, most / 2, most):
        _, y = place(first, tick)
        yield f'<path d="M{x0 + LEFT} {y:.1f}h{width}" stroke="#ddd"/>'
        yield text(x0 + LEFT - 6, y + 4, f"{tick:.3g}", "end")
    for x, _ in points[0]:
        yield text(place(x, 0)[0], y0 + TOP + height + 16, f"{x:,.0f}", "middle")
    yield text(x0 + LEFT + width / 2, y0 + TOP + height + 32, along, "middle", "#777")
    for i, ((name, *_), line) in enumerate(zip(lines, points)):
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in (place(*p) for p in line))
        yield f'<path d="M{path}" fill="none" stroke="{COLOURS[i]}" stroke-width="2"/>'
        yield text(x0 + LEFT + width * 0.45, y0 + TOP + 14 + 15 * i, name, "middle", COLOURS[i])


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        tables = json.load(file)
    rows = (len(PANELS) + 1) // 2
    svg = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {rows * HEIGHT}" '
           'font-family="sans-serif" font-size="12">',
           '<rect width="100%" height="100%" fill="white"/>']
    for i, (title, along, lines) in enumerate(PANELS):
        svg += panel(tables, title, along, lines, i % 2 * WIDTH, i // 2 * HEIGHT)
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write("\n".join([*svg, "</svg>", ""]))


if __name__ == "__main__":
    main()
