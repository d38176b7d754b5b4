# SPDX-License-Identifier: Apache-2.0
"""The workload through Mooncake's Transfer Engine over tcp.

Its engine moves the bytes on threads of its own, in both processes; the caller blocks in a batch
call.  Settings come from the environment (MC_*).
"""

import os

import workload

os.environ.setdefault("MC_LOG_LEVEL", "ERROR")
os.environ.setdefault("GLOG_minloglevel", "2")
HOST = "127.0.0.1"


class Mooncake:
    progress = None

    def __init__(self, options, load, name):
        from mooncake.engine import TransferEngine  # after the fork

        self._workload = load
        self._engine = TransferEngine()
        if self._engine.initialize(HOST, "P2PHANDSHAKE", "tcp", ""):
            raise RuntimeError("the engine can not be initialized")
        if self._engine.register_memory(load.pool, load.bytes):
            raise RuntimeError("the pool can not be registered")

    def address(self):
        return f"{HOST}:{self._engine.get_rpc_port()}"

    def connect(self, address, pool, order):
        block_bytes = self._workload.block_bytes
        self._other = address
        self._local = [self._workload.pool + i * block_bytes for i in self._workload.order]
        self._remote = [pool + i * block_bytes for i in order]
        self._lengths = [block_bytes] * self._workload.blocks

    def transfer(self, direction, only):
        part = slice(None) if only is None else slice(only, only + 1)
        call = getattr(self._engine, f"batch_transfer_sync_{direction}")
        status = call(self._other, self._local[part], self._remote[part], self._lengths[part])
        if status:
            blocks = len(self._lengths[part])
            raise RuntimeError(f"{direction} of {blocks} blocks returned {status}")
        return 0, 0


if __name__ == "__main__":
    workload.drive(workload.options_read(__doc__, ("batch",)), Mooncake)
