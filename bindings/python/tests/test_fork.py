# SPDX-License-Identifier: Apache-2.0
"""In the child of a fork an engine is dead, and the parent's goes on."""

from processes import run

FORK = """
import asyncio, gc, os, sys
import baton_kv
from baton_kv import ForkedError
from pair import BLOCK_BYTES, WAIT_MS, Pair, content, read

def refused(*calls):
    for call in calls:
        try:
            call()
        except ForkedError:
            continue
        raise AssertionError(f"{call} was not refused")

def ended(child):
    assert os.waitpid(child, 0)[1] == 0

pair = Pair()
offer, fetch = pair.half()
receipt = None
"""

GO_ON = """
offer.advance()
assert fetch.outcome.wait(WAIT_MS).completed
assert read(pair.to_pool, fetch.blocks) == content(1, 2)
pair.retire(offer, fetch)
pair.end()
print("done")
"""


def check(script):
    status, output, errors = run(FORK + script + GO_ON)
    assert (status, output) == (0, "done\n"), errors


def test_every_call_in_the_child_is_refused():
    check("""
child = os.fork()
if child == 0:
    async def wait():
        await fetch.quiet
    refused(
        pair.sink.collect, pair.sink.stats, pair.sink.drain, pair.sink.fileno, pair.sink.abandon,
        pair.sink.destroy, lambda: pair.sink.poll(1), lambda: pair.sink.pool(64, 1),
        lambda: pair.sink.wrap(bytearray(64), 64), lambda: pair.sink.incarnation,
        lambda: pair.sink.endpoints, lambda: pair.to_pool.alloc(1), lambda: pair.to_pool.free([0]),
        lambda: pair.to_pool.block(0), pair.to_pool.stats, pair.to_pool.verify,
        pair.to_pool.destroy, lambda: pair.source.offer(pair.from_pool, [0]),
        lambda: pair.sink.fetch(b"", pair.to_pool, [0]), offer.ticket, lambda: offer.set_aux(b""),
        lambda: fetch.retire(receipt), lambda: fetch.quiet.wait(1), lambda: asyncio.run(wait()))
    # These never fail.
    assert fetch.cancel() is baton_kv.Cancel.ALREADY_DECIDED
    offer.advance()
    fetch.release()
    pair.sink.close()
    assert pair.sink.end() is None
    sys.exit(0)
ended(child)
""")


def test_the_child_ends_as_interpreters_do():
    """Exit handlers and finalizers of the parent's objects run in the child, and do nothing."""
    check("""
child = os.fork()
if child == 0:
    del offer, fetch, pair
    gc.collect()
    sys.exit(0)
ended(child)
""")


def test_the_child_leaves_the_parents_with():
    check("""
with pair.sink.pool(64, 1), pair.sink, fetch:
    child = os.fork()
    if child == 0:
        sys.exit(0)
    ended(child)
    print("done")
    sys.stdout.flush()
    os._exit(0)  # what the parent does when it leaves them is no matter of this test
""")


def test_a_fork_while_another_thread_calls():
    """The child does not wait for a lock that nobody holds any more."""
    check("""
import threading
stop = threading.Event()
def call():
    while not stop.is_set():
        pair.sink.stats()
caller = threading.Thread(target=call)
caller.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        refused(pair.sink.stats)
        fetch.cancel()
        os._exit(0)
    ended(child)
stop.set()
caller.join()
""")


def test_the_child_makes_engines_of_its_own():
    check("""
child = os.fork()
if child == 0:
    own = Pair()
    other = own.offer(2)
    mine = own.fetch(other)
    assert mine.outcome.wait(WAIT_MS).completed
    own.retire(mine, other)
    own.end()
    sys.exit(0)
ended(child)
""")
