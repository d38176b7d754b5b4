# SPDX-License-Identifier: Apache-2.0
"""The workload for peers with a binding in Python: two processes, what each does in which order,
and the report.  Pools and payload are those of workload.c; knows no transport."""

import argparse
import ctypes
import json
import mmap
import multiprocessing
import os
import time

LATENCY_BYTES = 16 << 10
LATENCY_SAMPLES = 500
LATENCY_WARMUPS = 50
DIRECTIONS = ("write", "read")


class _Workload(ctypes.Structure):
    _fields_ = [("block_bytes", ctypes.c_size_t), ("blocks", ctypes.c_size_t),
                ("pool", ctypes.c_void_p), ("order", ctypes.POINTER(ctypes.c_uint32))]


class Workload:
    """One process's pool.  `order[i]` says which of its blocks holds block i of the payload."""

    def __init__(self, library, block_bytes, length, source):
        self._library = ctypes.CDLL(library)
        self._library.workload_wrong.restype = ctypes.c_size_t
        self._library.workload_cpu_s.restype = ctypes.c_double
        self._c = _Workload()
        self._ref = ctypes.byref(self._c)
        self._library.workload_init(self._ref, ctypes.c_size_t(block_bytes),
                                    ctypes.c_size_t(length), ctypes.c_bool(source))
        self.block_bytes = block_bytes
        self.blocks = self._c.blocks
        self.bytes = self.blocks * block_bytes
        self.pool = self._c.pool
        self.order = self._c.order[:self.blocks]

    def fill(self, run):
        self._library.workload_fill(self._ref, ctypes.c_uint64(run))

    def wipe(self, _run):
        self._library.workload_wipe(self._ref)

    def wrong(self, run):
        return self._library.workload_wrong(self._ref, ctypes.c_uint64(run))

    def cpu_s(self):
        return self._library.workload_cpu_s()


def percentile(samples, percent):
    return sorted(samples)[min(len(samples) - 1, len(samples) * percent // 100)]


def report(**row):
    print(json.dumps(row), flush=True)


class Passive:
    """The process that is written to and read from.  It does what the other tells it."""

    def __init__(self, workload, peer, channel, flag):
        self.workload, self.peer, self.channel, self.flag = workload, peer, channel, flag

    def serve(self):
        try:
            what, run = self.channel.recv()
            while what != "end":
                self.channel.send(self._exposed() if what == "expose"
                                  else getattr(self.workload, what)(run))
                what, run = self.channel.recv()
        except EOFError:
            pass  # the other process failed, and says why

    def _exposed(self):
        """Until the other says stop; a peer that has to be polled is polled."""
        self.channel.send(self.workload.cpu_s())
        while self.peer.progress and self.flag[0] == 0:
            self.peer.progress()
        self.channel.recv()
        return self.workload.cpu_s()


class Active:
    """The process that writes and reads, and measures."""

    def __init__(self, workload, peer, channel, flag):
        self.workload, self.peer, self.channel, self.flag = workload, peer, channel, flag

    def ask(self, what, run=0):
        self.channel.send((what, run))
        return self.channel.recv()

    def exposed(self, body):
        """Runs body() while the other process is exposed; returns the CPU time of both."""
        self.flag[0] = 0
        other = self.ask("expose")
        own = self.workload.cpu_s()
        body()
        own = self.workload.cpu_s() - own
        self.flag[0] = 1
        return own + self.ask("stop") - other

    def moved(self, direction, run):
        """All blocks once; returns a row."""
        times = {}

        def body():
            start = time.perf_counter()
            make_s, post_s = self.peer.transfer(direction, None)
            times.update(whole=time.perf_counter() - start, make=make_s, post=post_s)

        if direction == "write":
            self.workload.fill(run)
            self.ask("wipe")
        else:
            self.ask("fill", run)
            self.workload.wipe(run)
        cpu_s = self.exposed(body)
        wrong = self.ask("wrong", run) if direction == "write" else self.workload.wrong(run)
        row = {"direction": direction, "gb_per_s": self.workload.bytes / 1e9 / times["whole"],
               "cpu_s_per_gib": cpu_s / (self.workload.bytes / 2**30), "wrong_blocks": wrong}
        if times["post"]:
            row["make_ns_per_block"] = times["make"] * 1e9 / self.workload.blocks
            row["post_ns_per_block"] = times["post"] * 1e9 / self.workload.blocks
        return row

    def latency(self, direction):
        samples = []

        def body():
            for i in range(LATENCY_WARMUPS + LATENCY_SAMPLES):
                start = time.perf_counter()
                self.peer.transfer(direction, i)
                samples.append((time.perf_counter() - start) * 1e6)

        self.exposed(body)
        kept = samples[LATENCY_WARMUPS:]
        report(direction=direction, latency_us={"p50": percentile(kept, 50),
               "p99": percentile(kept, 99), "samples": len(kept)})

    def measure(self):
        for direction in DIRECTIONS:
            for run in range(2):  # the first is a warm-up: verified, not counted
                row = self.moved(direction, run)
                if run or row["wrong_blocks"]:
                    report(**row)
            if self.workload.block_bytes == LATENCY_BYTES:
                self.latency(direction)


def options_read(doc, modes):
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--library", required=True, help="libworkload.so")
    parser.add_argument("--block-bytes", type=int, required=True)
    parser.add_argument("--bytes", type=int, default=256 << 20)
    parser.add_argument("--mode", choices=modes, default=modes[0])
    return parser.parse_args()


def drive(options, make_peer):
    """Both processes, forked before the peer's library is loaded in either."""
    flag = mmap.mmap(-1, mmap.PAGESIZE)
    ends = multiprocessing.Pipe()
    child = os.fork()
    channel = ends[bool(child)]
    ends[not child].close()
    workload = Workload(options.library, options.block_bytes, options.bytes, bool(child))
    peer = make_peer(options, workload, "active" if child else "passive")
    channel.send((peer.address(), workload.pool, workload.order))
    peer.connect(*channel.recv())
    if not child:
        Passive(workload, peer, channel, flag).serve()
    else:
        Active(workload, peer, channel, flag).measure()
        channel.send(("end", 0))
        os.waitpid(child, 0)
    # What the libraries do at exit is not measured, and must not hang the bench.
    os._exit(0)
