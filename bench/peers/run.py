#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the same workload through Baton and its peers, in turns, in one run: see docs/BENCHMARKS.md.

Every measurement is a program of its own with a time limit, so that a peer that hangs or crashes
costs one row of one round; what it did is written down.  Measures nothing itself.
"""

import argparse
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time

import report

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
QUIET_CORES = 0.15  # what others may use of the machine for it to count as quiet
TIMEOUTS_MAX = 2  # of one configuration and block size, then it is not tried again

# Settings that a sweep on the loopback interface found best, each named by the peer's documents.
UCX_TCP = {"UCX_TLS": "tcp", "UCX_NET_DEVICES": "lo", "UCX_TCP_TX_SEG_SIZE": "512k",
           "UCX_TCP_RX_SEG_SIZE": "512k", "UCX_TCP_SNDBUF": "2m", "UCX_TCP_RCVBUF": "2m"}
UCX_SHM = {"UCX_TLS": "shm"}
RENDEZVOUS = {"UCX_RNDV_THRESH": "8192"}
EAGER = {"UCX_RNDV_THRESH": "inf"}
MOONCAKE = {"MC_TCP_ENABLE_CONNECTION_POOL": "1", "MC_TCP_SLICE_SIZE": "1048576"}
MOONCAKE_QUEUES = {"MC_TCP_MAX_QUEUED_TRANSFERS_PER_PEER": "65535",
                   "MC_TCP_MAX_PENDING_ADMISSIONS_PER_PEER": "65535"}

NIXL_POLL = ["nixl_peer.py", "--mode", "poll"]
NIXL_DEFAULT = ["nixl_peer.py", "--mode", "default"]

# peer, transport, mode, program and its arguments, environment.  No program: Baton's own bench.
CONFIGURATIONS = [
    ("Baton", "shm", "", None, {}),
    ("NIXL", "shm", "both poll", NIXL_POLL, UCX_SHM),
    ("NIXL", "shm", "default", NIXL_DEFAULT, UCX_SHM),
    ("UCX AM", "shm", "rendezvous", ["ucx_peer"], {**UCX_SHM, **RENDEZVOUS}),
    ("UCX AM", "shm", "eager", ["ucx_peer"], {**UCX_SHM, **EAGER}),
    ("NIXL", "tcp", "both poll, tuned", NIXL_POLL, UCX_TCP),
    ("NIXL", "tcp", "both poll", NIXL_POLL, {"UCX_TLS": "tcp"}),
    ("NIXL", "tcp", "default", NIXL_DEFAULT, {"UCX_TLS": "tcp"}),
    ("Baton", "tcp", "", None, {}),
    ("Mooncake", "tcp", "batch", ["mooncake_peer.py"], {**MOONCAKE, **MOONCAKE_QUEUES}),
    ("Mooncake", "tcp", "batch, default queues", ["mooncake_peer.py"], MOONCAKE),
    ("UCX AM", "tcp", "rendezvous", ["ucx_peer"], {**UCX_TCP, **RENDEZVOUS}),
    ("UCX AM", "tcp", "eager", ["ucx_peer"], {**UCX_TCP, **EAGER}),
    ("ZeroMQ", "tcp", "zero-copy send", ["zeromq_peer"], {}),
]
# What is known to be refused is shown once, at one size.
ONCE = {("Mooncake", "batch, default queues"): 16 << 10}


def options_read():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--bytes", type=int, default=256 << 20, help="of one measurement")
    parser.add_argument("--block-bytes", default="16384,65536,262144")
    parser.add_argument("--limit", type=float, default=40, help="seconds for one measurement")
    parser.add_argument("--patience", type=float, default=2,
                        help="seconds to wait for a quiet machine before each measurement")
    parser.add_argument("--only", default="", help="only peers whose name has this in it")
    parser.add_argument("--baton", default=str(ROOT / "build/baton"))
    parser.add_argument("--programs", default=str(ROOT / "build-peers/programs"))
    parser.add_argument("--out", default=str(ROOT / "build-peers/peers"),
                        help="writes OUT.json, OUT.md and OUT.svg")
    options = parser.parse_args()
    options.block_bytes = [int(size) for size in options.block_bytes.split(",")]
    return options


def last_words(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:160] if lines else "no message"


def busy_s():
    """CPU time of the whole machine so far, without what it was idle."""
    fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, _idle, _wait, irq, soft, steal = map(int, fields)
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def quiet_wait(patience_s):
    """A program that polls needs a core of its own: what runs beside it halves it."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        start, busy = time.monotonic(), busy_s()
        time.sleep(0.25)
        if (busy_s() - busy) / (time.monotonic() - start) < QUIET_CORES:
            return


def own_s():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def watched_call(options, command, environment):
    """call() on a machine as quiet as it gets; returns also how many cores others used."""
    quiet_wait(options.patience)
    start, busy, own = time.monotonic(), busy_s(), own_s()
    out, failure = call(command, environment, options.limit)
    others = (busy_s() - busy - (own_s() - own)) / (time.monotonic() - start)
    return out, failure, max(0.0, others)


def call(command, environment, limit_s):
    """Returns the standard output, and None or what went wrong."""
    process = subprocess.Popen(command, env={**os.environ, **environment}, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, start_new_session=True)
    timed_out = False
    try:
        out, err = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        timed_out = True
    # Whether it ended or not: nothing of it may run on beside the next measurement.
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    if timed_out:
        out, err = process.communicate()
        return out, f"hung: stopped after {limit_s:.0f} s"
    if process.returncode < 0:
        return out, f"killed by {signal.Signals(-process.returncode).name}: {last_words(err)}"
    if process.returncode:
        return out, f"exit {process.returncode}: {last_words(err)}"
    return out, None


class Results:
    def __init__(self):
        self.samples = []   # one row each round
        self.failures = []

    def add(self, round_number, key, values):
        self.samples.append({"round": round_number, **key, **values})

    def fail(self, round_number, key, what):
        self.failures.append({"round": round_number, **key, "what": what})
        print(f"    {key}: {what}", flush=True)

    def timeouts(self, key):
        return sum(f["what"].startswith("hung") and key.items() <= f.items()
                   for f in self.failures)


def peer_measure(options, results, round_number, configuration, block_bytes):
    peer, transport, mode, program, environment = configuration
    key = {"peer": peer, "transport": transport, "mode": mode, "block_bytes": block_bytes}
    if results.timeouts(key) >= TIMEOUTS_MAX:
        return
    programs = pathlib.Path(options.programs)
    if program[0].endswith(".py"):
        command = [sys.executable, "-B", str(HERE / program[0]), *program[1:], "--library",
                   str(programs / "libworkload.so"), "--block-bytes", str(block_bytes),
                   "--bytes", str(options.bytes)]
    else:
        command = [str(programs / program[0]), str(block_bytes), str(options.bytes)]
    out, failure, others = watched_call(options, command, environment)
    for line in out.splitlines():
        if not line.startswith("{"):
            continue
        values = json.loads(line)
        if values.get("wrong_blocks"):
            results.fail(round_number, {**key, "direction": values["direction"]},
                         f"wrong bytes in {values['wrong_blocks']} blocks")
        else:
            results.add(round_number, key, {**values, "others_cores": others})
    if failure:
        results.fail(round_number, key, failure)


def baton_measure(options, results, round_number, transport):
    key = {"peer": "Baton", "transport": transport}
    command = [options.baton, "bench", "--transport", transport, "--runs", "1", "--bytes",
               str(options.bytes), "--block-bytes", ",".join(map(str, options.block_bytes)),
               "--only", "throughput,latency",
               "--json", "-"]
    out, failure, others = watched_call(options, command, {})
    if failure:
        results.fail(round_number, key, failure)
        return
    whole = json.loads(out)
    latency = {entry["transport"]: entry["latency_us"] for entry in whole["latencies"]}
    for row in whole["rows"]:
        if row["transport"] != transport:
            continue
        mine = {**key, "mode": "", "block_bytes": row["block_bytes"]}
        direction = "read" if row["mode"] == "pull" else "write"
        results.add(round_number, mine,
                    {"direction": direction, "gb_per_s": row["gb_per_s"]["med"],
                     "cpu_s_per_gib": row["cpu_s_per_gib"], "others_cores": others})
        if row["block_bytes"] == 16 << 10 and direction == "read":
            results.add(round_number, mine,
                        {"direction": direction, "latency_us": latency[transport]})


def round_run(options, results, round_number):
    """Every second round goes backwards, so that a machine that slows down favours nobody."""
    for configuration in CONFIGURATIONS[::-1 if round_number % 2 else 1]:
        peer, transport, mode, program, _ = configuration
        if not program:
            baton_measure(options, results, round_number, transport)
        elif options.only.lower() in peer.lower():
            once = ONCE.get((peer, mode))
            for block_bytes in options.block_bytes:
                if once is None or (round_number == 0 and block_bytes == once):
                    peer_measure(options, results, round_number, configuration, block_bytes)


def main():
    options = options_read()
    results = Results()
    for round_number in range(options.rounds):
        start = time.monotonic()
        round_run(options, results, round_number)
        print(f"round {round_number + 1} of {options.rounds}: {time.monotonic() - start:.0f} s",
              flush=True)
    whole = {"date": time.strftime("%Y-%m-%d"), "rounds": options.rounds, "bytes": options.bytes,
             "others_cores": report.three([s["others_cores"] for s in results.samples
                                           if "others_cores" in s] or [0.0]),
             "versions": report.versions(),
             "settings": [{"peer": c[0], "transport": c[1], "mode": c[2], "environment": c[4]}
                          for c in CONFIGURATIONS if c[3]],
             "rows": report.rows_of(results.samples), "failures": results.failures,
             "samples": results.samples}
    out = pathlib.Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(whole, indent=1) + "\n")
    out.with_suffix(".md").write_text(report.markdown(whole))
    out.with_suffix(".svg").write_text(report.svg(whole))
    print(report.markdown(whole))
    return 0 if any(row["peer"] == "Baton" for row in whole["rows"]) else 1


if __name__ == "__main__":
    sys.exit(main())
