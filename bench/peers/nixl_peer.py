# SPDX-License-Identifier: Apache-2.0
"""The workload through NIXL's UCX backend.

As its documents advise: the pool is registered once, descriptors are prepared once for all its
blocks (prep_xfer_dlist), and a transfer names them by index.  Mode "poll": no progress thread, both
sides call the library all the time, its fastest; "default": a progress thread in both.  Which of
UCX's transports is used comes from the environment (UCX_TLS).
"""

import os
import time

import workload

os.environ.setdefault("NIXL_LOG_LEVEL", "WARN")


class Nixl:
    def __init__(self, options, load, name):
        import nixl_cu12._api as nixl  # after the fork: it must not be loaded before
        import numpy

        self._numpy = numpy
        self._workload = load
        self._polls = options.mode == "poll"
        self._agent = nixl.nixl_agent(name, nixl.nixl_agent_config(
            enable_prog_thread=not self._polls, backends=[]))
        # UCX's shared memory has no handler of dead peers, and NIXL wants one unless told.
        shm = os.environ.get("UCX_TLS") == "shm"
        self._agent.create_backend("UCX", {"ucx_error_handling_mode": "none" if shm else "peer"})
        self._agent.register_memory(
            self._agent.get_reg_descs([(load.pool, load.bytes, 0, "")], "DRAM"))
        self.progress = self._agent.get_new_notifs if self._polls else None

    def _prepare(self, agent_name, pool):
        descs = self._numpy.zeros((self._workload.blocks, 3), dtype=self._numpy.uint64)
        descs[:, 0] = pool + self._numpy.arange(self._workload.blocks) * self._workload.block_bytes
        descs[:, 1] = self._workload.block_bytes
        return self._agent.prep_xfer_dlist(agent_name, descs, "DRAM")

    def address(self):
        return self._agent.get_agent_metadata()

    def connect(self, metadata, pool, order):
        other = self._agent.add_remote_agent(metadata)
        self._agent.make_connection(other)
        self._local = self._prepare("NIXL_INIT_AGENT", self._workload.pool)
        self._remote = self._prepare(other, pool)
        self._order = self._numpy.array(self._workload.order, dtype=self._numpy.int32)
        self._other_order = self._numpy.array(order, dtype=self._numpy.int32)

    def transfer(self, direction, only):
        part = slice(None) if only is None else slice(only, only + 1)
        start = time.perf_counter()
        handle = self._agent.make_prepped_xfer(direction.upper(), self._local, self._order[part],
                                               self._remote, self._other_order[part])
        made = time.perf_counter()
        state = self._agent.transfer(handle)
        posted = time.perf_counter()
        while state == "PROC":
            state = self._agent.check_xfer_state(handle)
        if state != "DONE":
            raise RuntimeError(f"{direction}: the transfer ended as {state}")
        self._agent.release_xfer_handle(handle)
        return made - start, posted - made


if __name__ == "__main__":
    workload.drive(workload.options_read(__doc__, ("poll", "default")), Nixl)
