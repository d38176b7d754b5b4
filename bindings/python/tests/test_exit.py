# SPDX-License-Identifier: Apache-2.0
"""The interpreter ends in mid transfer, in every way that it can: at once, and without a word."""

import pytest
from processes import run

BEGIN = """
import asyncio, atexit, gc, os, sys, threading
import baton_kv
from pair import BLOCK_BYTES, WAIT_MS, WAYS, Pair
pair = Pair()
handoffs = [pair.half(way=way) for way in WAYS]
offer, fetch = handoffs[0]
print("begun", flush=True)
"""

ENDS = {
    "at the end of the program": "",
    "by sys.exit": "sys.exit(0)",
    "without exit handlers": "os._exit(0)",
    "in a view's life": "view = pair.to_pool.block(0)",
    "with wrapped memory": """
import numpy
memory = numpy.zeros(4 * BLOCK_BYTES, dtype=numpy.uint8)
pool = pair.sink.wrap(memory, BLOCK_BYTES)
wrapped = pair.sink.fetch(pair.offer(2, watermark_bytes=BLOCK_BYTES).ticket(), pool, [0, 1])
""",
    "in a cycle": """
pair.itself, pair.handoffs = pair, handoffs
gc.disable()
del pair, offer, fetch, handoffs
""",
    "in an asyncio loop": """
async def main():
    async with fetch:
        asyncio.get_running_loop().call_soon(sys.exit, 0)
        await fetch.outcome
asyncio.run(main())
""",
    "in an asyncio loop that is left open": """
async def wait():
    await fetch.outcome
loop = asyncio.new_event_loop()
loop.set_debug(False)  # what it prints of itself then is no matter of this test
task = loop.create_task(wait())
loop.run_until_complete(asyncio.sleep(0))
task._log_destroy_pending = False
""",
    "while daemon threads wait": """
def wait(call):
    try:
        call()
    except baton_kv.ClosedError:
        pass
for call in (fetch.quiet.wait, fetch.outcome.wait, pair.source.poll):
    threading.Thread(target=wait, args=[call], daemon=True).start()
""",
    "while a daemon thread calls": """
def call():
    try:
        while True:
            pair.sink.stats()
            pair.sink.collect()
    except baton_kv.ClosedError:
        pass
threading.Thread(target=call, daemon=True).start()
""",
    "in an exit handler": "atexit.register(fetch.cancel)",
    "in an exit handler that makes an engine": """
def make():
    baton_kv.Engine().pool(64, 1)
atexit.register(make)
""",
    "after its engine was abandoned": "pair.sink.abandon()",
    "with a logger": """
import logging
logging.basicConfig(level=logging.DEBUG, stream=open(os.devnull, "w"))
logged = baton_kv.Engine(logger=logging.getLogger("baton"))
pool = logged.pool(BLOCK_BYTES, 2)
also = logged.fetch(offer.ticket(), pool, [pool.alloc(1)[0]])
""",
}


@pytest.mark.parametrize("end", ENDS)
def test_exit(end):
    status, output, errors = run(BEGIN + ENDS[end])
    assert (status, output) == (0, "begun\n"), errors
    assert [line for line in errors.splitlines() if "ResourceWarning" not in line
            and "warnings.warn" not in line] == []


def test_exit_by_an_exception():
    status, output, errors = run(BEGIN + "raise KeyboardInterrupt")
    assert output == "begun\n" and errors.endswith("KeyboardInterrupt\n")
    assert status == -2 or status == 130


def test_the_peer_of_an_exit_is_told():
    """A process that ends in mid transfer holds nobody up."""
    status, _, errors = run("""
        import subprocess, sys
        import baton_kv
        from pair import BLOCK_BYTES, WAIT_MS, Pair
        pair = Pair()
        offer = pair.offer(2, watermark_bytes=BLOCK_BYTES)
        sink = '''if True:
            import sys, baton_kv
            from pair import BLOCK_BYTES
            engine = baton_kv.Engine()
            pool = engine.pool(BLOCK_BYTES, 2)
            fetch = engine.fetch(sys.argv[1], pool, pool.alloc(2))
            sys.stdin.readline()
        '''
        text = baton_kv.ticket.to_text(offer.ticket())
        program = subprocess.Popen([sys.executable, "-c", sink, text], stdin=subprocess.PIPE)
        while pair.source.stats()["counters"]["leases"] == 0:
            pass
        program.communicate(b"\\n", timeout=WAIT_MS / 1000)
        assert program.returncode == 0
        # Its fetch was cancelled or its link is gone: either way nobody reads the offer now.
        while pair.source.stats()["gauges"]["links"] > 0:
            pass
        offer.cancel()
        offer.retire(offer.quiet.wait(WAIT_MS))
        pair.end()
    """)
    assert status == 0, errors
