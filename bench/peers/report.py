# SPDX-License-Identifier: Apache-2.0
"""What a run of peers says: medians over the rounds, tables, a plot, versions."""

import ctypes
import importlib.metadata
import os
import pathlib
import platform
import statistics
import subprocess

COLOURS = {("Baton", ""): "#111111", ("NIXL", "both poll, tuned"): "#1f6fb4",
           ("NIXL", "both poll"): "#5f9fd4", ("NIXL", "default"): "#a9cdec",
           ("Mooncake", "batch"): "#2e8b57", ("UCX AM", "rendezvous"): "#8e5bb5",
           ("UCX AM", "eager"): "#c4a6dc", ("ZeroMQ", "zero-copy send"): "#d1782c"}
SIDES = {"read": "pull", "write": "push"}


def key_of(row):
    return tuple(row[name] for name in ("peer", "transport", "mode", "direction", "block_bytes"))


def three(values):
    return {"min": min(values), "med": statistics.median(values), "max": max(values)}


def rows_of(samples):
    """One row for each key; `baton_ratio` is the median over rounds of Baton's pull in the round
    divided by it, on the same transport and block size."""
    baton = {(s["round"], s["transport"], s["block_bytes"]): s["gb_per_s"] for s in samples
             if s["peer"] == "Baton" and s["direction"] == "read" and "gb_per_s" in s}
    rows = {}
    for sample in samples:
        key = key_of(sample)
        row = rows.setdefault(key, {"key": key, "lists": {}})
        values = {k: v for k, v in sample.items() if isinstance(v, float)}
        for percentile in ("p50", "p99"):
            if "latency_us" in sample:
                values[percentile] = sample["latency_us"][percentile]
        if "gb_per_s" in sample:
            ours = baton.get((sample["round"], sample["transport"], sample["block_bytes"]))
            if ours:
                values["baton_ratio"] = ours / sample["gb_per_s"]
        for name, value in values.items():
            row["lists"].setdefault(name, []).append(value)
    return [finished(row) for row in rows.values()]


def finished(row):
    done = dict(zip(("peer", "transport", "mode", "direction", "block_bytes"), row["key"]))
    for name, values in row["lists"].items():
        done[name] = three(values) if name == "gb_per_s" else statistics.median(values)
    done["rounds"] = len(row["lists"].get("gb_per_s", []))
    return done


def number(value, digits):
    return "" if value is None else f"{value:.{digits}f}"


def table(rows, transport):
    yield (f"| over {transport} | block | GB/s min / median / max | Baton's ÷ its | CPU s/GiB | "
           "16 KiB p50 / p99 µs |")
    yield "|---|---|---|---|---|---|"
    mine = [row for row in rows if row["transport"] == transport and "gb_per_s" in row]
    mine.sort(key=lambda row: (row["block_bytes"], row["peer"] != "Baton"))
    for row in mine:
        rate = row["gb_per_s"]
        name = " ".join(filter(None, (row["peer"] + ",", row["mode"] and row["mode"] + ",",
                                      SIDES[row["direction"]])))
        latency = f"{row['p50']:.1f} / {row['p99']:.1f}" if "p50" in row else ""
        ratio = "" if row["peer"] == "Baton" else number(row.get("baton_ratio"), 2)
        cpu_s = number(row.get("cpu_s_per_gib"), 2)
        yield (f"| {name} | {row['block_bytes'] >> 10} KiB | "
               f"{rate['min']:.2f} / **{rate['med']:.2f}** / {rate['max']:.2f} | "
               f"{ratio} | {cpu_s} | {latency} |")


def posts(rows):
    yield "| NIXL | block | to make, ns a block | to post, ns a block |"
    yield "|---|---|---|---|"
    for row in rows:
        if "post_ns_per_block" in row:
            yield (f"| {row['transport']}, {row['mode']}, {SIDES[row['direction']]} | "
                   f"{row['block_bytes'] >> 10} KiB | {row['make_ns_per_block']:.0f} | "
                   f"{row['post_ns_per_block']:.0f} |")


def failures(whole):
    seen = {}
    for failure in whole["failures"]:
        what = ", ".join(str(failure[name]) for name in ("peer", "transport", "mode", "direction")
                         if failure.get(name))
        size = f", {failure['block_bytes'] >> 10} KiB" if "block_bytes" in failure else ""
        seen.setdefault((what + size, failure["what"]), []).append(failure["round"])
    for (who, what), rounds in seen.items():
        yield f"- {who}: {what} ({len(rounds)} of {whole['rounds']} rounds)"
    if not seen:
        yield "- none"


def settings(whole):
    for entry in whole["settings"]:
        environment = " ".join(f"`{k}={v}`" for k, v in entry["environment"].items())
        yield f"- {entry['peer']}, {entry['transport']}, {entry['mode']}: {environment or 'none'}"


def markdown(whole):
    lines = [f"{whole['date']}, {whole['rounds']} rounds, {whole['bytes'] >> 20} MiB each, "
             f"cores that others used meanwhile: median {whole['others_cores']['med']:.1f}, "
             f"at most {whole['others_cores']['max']:.1f}; "
             + "; ".join(f"{name} {version}" for name, version in whole["versions"].items()), ""]
    for transport in ("tcp", "shm"):
        lines += [*table(whole["rows"], transport), ""]
    lines += [*posts(whole["rows"]), "", "Failures, as seen:", "", *failures(whole), "",
              "Settings:", "", *settings(whole), ""]
    return "\n".join(lines)


def best_direction(rows, transport):
    """{(peer, mode): {block size: GB/s}}, the faster direction of each."""
    best = {}
    for row in rows:
        if row["transport"] == transport and "gb_per_s" in row:
            sizes = best.setdefault((row["peer"], row["mode"]), {})
            old = sizes.get(row["block_bytes"])
            if old is None or row["gb_per_s"]["med"] > old["med"]:
                sizes[row["block_bytes"]] = row["gb_per_s"]
    return sorted(best.items(), key=lambda item: item[0][0] != "Baton")


def panel(rows, transport, top, height, width):
    """Grouped bars: medians, with a line from the slowest to the fastest round."""
    series = best_direction(rows, transport)
    sizes = sorted({size for _, rates in series for size in rates})
    if not sizes:
        return
    high = max(rate["max"] for _, rates in series for rate in rates.values()) * 1.05
    left, plot = 50, width - 250
    group = plot / len(sizes)
    bar = group * 0.85 / len(series)
    scale = (height - 50) / high
    base = top + height - 25
    yield (f'<text x="{left}" y="{top + 12}" font-weight="bold">{transport}, the faster direction: '
           'GB/s, median, slowest to fastest round</text>')
    for tick in range(int(high) + 1):
        y = base - tick * scale
        yield f'<path d="M{left} {y:.1f}h{plot}" stroke="#ccc"/>'
        yield f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick}</text>'
    for s, ((peer, mode), rates) in enumerate(series):
        colour = COLOURS.get((peer, mode), "#999999")
        y = top + 30 + s * 18
        yield f'<rect x="{left + plot + 15}" y="{y - 10}" width="12" height="12" fill="{colour}"/>'
        yield f'<text x="{left + plot + 32}" y="{y}">{peer}{", " + mode if mode else ""}</text>'
        for g, size in enumerate(sizes):
            if size not in rates:
                continue
            x = left + g * group + group * 0.075 + s * bar
            rate = rates[size]
            high_bar = rate["med"] * scale
            yield (f'<rect x="{x:.1f}" y="{base - high_bar:.1f}" width="{bar * 0.9:.1f}" '
                   f'height="{high_bar:.1f}" fill="{colour}"/>')
            yield (f'<path d="M{x + bar * 0.45:.1f} {base - rate["min"] * scale:.1f}'
                   f'V{base - rate["max"] * scale:.1f}" stroke="#888"/>')
    for g, size in enumerate(sizes):
        yield (f'<text x="{left + (g + 0.5) * group:.1f}" y="{base + 17}" text-anchor="middle">'
               f'{size >> 10} KiB</text>')


def svg(whole):
    width, height = 900, 300
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {2 * height + 10}" '
             'font-family="sans-serif" font-size="12">',
             '<rect width="100%" height="100%" fill="white"/>']
    for i, transport in enumerate(("tcp", "shm")):
        lines += panel(whole["rows"], transport, 5 + i * height, height, width)
    return "\n".join([*lines, "</svg>", ""])


def output_of(*command):
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def bundled_ucx():
    """The UCX inside NIXL's wheel."""
    import nixl_cu12

    libraries = pathlib.Path(nixl_cu12.__file__).parent.parent / "nixl_cu12.libs"
    for path in libraries.glob("libucp-*.so*"):
        library = ctypes.CDLL(str(path))
        library.ucp_get_version_string.restype = ctypes.c_char_p
        return library.ucp_get_version_string().decode()
    return "unknown"


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


def versions():
    return {"NIXL": importlib.metadata.version("nixl-cu12"), "its UCX": bundled_ucx(),
            "Mooncake": importlib.metadata.version("mooncake-transfer-engine-non-cuda"),
            "UCX": output_of("pkg-config", "--modversion", "ucx"),
            "ZeroMQ": output_of("pkg-config", "--modversion", "libzmq"),
            "Linux": platform.release(), "Python": platform.python_version(),
            "CPU": f"{os.cpu_count()} x {processor()}"}
