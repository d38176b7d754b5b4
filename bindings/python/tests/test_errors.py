# SPDX-License-Identifier: Apache-2.0
"""Every class of error can be reached, and says what a person can use."""


import baton_kv
import pytest
from baton_kv import Engine, Mode, Scope, ticket
from baton_kv.errors import CLASSES, BatonError, check
from pair import BLOCK_BYTES, WAIT_MS
from processes import run


def test_invalid(pair):
    offer = pair.offer(1)
    for wrong in (
        lambda: Engine(movers=99),
        lambda: Engine(transports=["carrier-pigeon"]),
        lambda: pair.sink.pool(7, 1),
        lambda: pair.to_pool.alloc(65),
        lambda: pair.to_pool.free([3]),
        lambda: pair.to_pool.address(64),
        lambda: offer.ticket(slot=1),
        lambda: offer.set_aux(b"too late"),
        lambda: pair.sink.fetch(offer.ticket(), pair.to_pool, []),
        lambda: pair.sink.fetch(offer.ticket(), pair.to_pool, [0, 0]),
        lambda: pair.sink.fetch(offer.ticket(), pair.from_pool, [0]),
        lambda: pair.fetch(offer, ("nixl", Mode.PULL)),
    ):
        with pytest.raises(baton_kv.InvalidError) as error:
            wrong()
        assert isinstance(error.value, ValueError) and str(error.value)
    offer.cancel()
    pair.retire(offer)
    with pytest.raises(baton_kv.InvalidError, match="retired"):
        offer.ticket()


def test_numbers_that_do_not_fit(pair):
    with pytest.raises(OverflowError):
        pair.source.offer(pair.from_pool, [-1])
    with pytest.raises(OverflowError):
        pair.source.offer(pair.from_pool, [0], whole_timeout_ms=1 << 32)


def test_no_memory():
    with Engine() as engine, pytest.raises(baton_kv.NoMemoryError, match="pool of") as error:
        engine.pool(1 << 30, 1 << 24)
    assert isinstance(error.value, MemoryError)


def test_limit():
    with Engine(offers_max=1) as engine:
        pool = engine.pool(BLOCK_BYTES, 2)
        blocks = pool.alloc(2)
        engine.offer(pool, blocks[:1])
        with pytest.raises(baton_kv.LimitError, match="offers_max"):
            engine.offer(pool, blocks[1:])


def test_closed(pair):
    engine = Engine()
    pool = engine.pool(BLOCK_BYTES, 1)
    engine.close()
    with pytest.raises(baton_kv.ClosedError, match="closing"):
        engine.pool(BLOCK_BYTES, 1)
    engine.end()
    with pytest.raises(baton_kv.ClosedError, match="ended"):
        pool.stats()
    other = pair.sink.pool(BLOCK_BYTES, 1)
    other.destroy()
    with pytest.raises(baton_kv.ClosedError, match="destroyed"):
        other.alloc(1)


def test_busy(pair):
    offer, fetch = pair.half()
    with pytest.raises(baton_kv.BusyError):
        pair.sink.fetch(offer.ticket(), pair.to_pool, fetch.blocks)
    with pytest.raises(baton_kv.BusyError):
        pair.to_pool.free(fetch.blocks)
    with pytest.raises(baton_kv.BusyError):
        pair.to_pool.destroy()
    with pytest.raises(baton_kv.BusyError, match="not closed"):
        pair.sink.destroy()
    fetch.cancel()
    pair.retire(offer, fetch)


def test_full(pair):
    pair.to_pool.alloc(60)
    with pytest.raises(baton_kv.FullError, match="4"):
        pair.to_pool.alloc(5)


def test_ticket(pair):
    blocks = pair.to_pool.alloc(1)
    for wrong in (b"", b"no ticket", bytes(600)):
        with pytest.raises(baton_kv.TicketError):
            pair.sink.fetch(wrong, pair.to_pool, blocks)
        with pytest.raises(baton_kv.TicketError):
            ticket.inspect(wrong)
        with pytest.raises(baton_kv.TicketError):
            ticket.to_text(wrong)
    for wrong in ("", "no ticket", "\u00e4", "A" * 2000):
        with pytest.raises(baton_kv.TicketError):
            pair.sink.fetch(wrong, pair.to_pool, blocks)


def test_address():
    for wrong in ("carrier:pigeon", "tcp:0.0.0.0:0"):
        with pytest.raises(baton_kv.AddressError):
            Engine(listen=[wrong])


def test_receipt(pair):
    offer, fetch = pair.half()
    fetch.cancel()
    receipt, other = fetch.quiet.wait(WAIT_MS), offer.quiet.wait(WAIT_MS)
    with pytest.raises(baton_kv.ReceiptError):
        fetch.retire(other)
    assert pair.to_pool.stats().lent_blocks == 2
    pair.retire(offer, fetch)
    with pytest.raises(baton_kv.ReceiptError, match="before"):
        fetch.retire(receipt)


def test_timed_out(pair):
    offer, fetch = pair.half()
    for too_short in (lambda: fetch.quiet.wait(1), lambda: pair.sink.drain(1)):
        with pytest.raises(baton_kv.TimedOutError) as error:
            too_short()
        assert isinstance(error.value, TimeoutError)
    fetch.cancel(Scope.OFFER)
    pair.retire(offer, fetch)


def test_system_call():
    status, output, errors = run("""
        import resource, baton_kv
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        with baton_kv.Engine() as engine:
            try:
                engine.pool(4096, 2)
            except baton_kv.SystemCallError as error:
                print(error)
    """)
    assert status == 0 and "File too large" in output, errors


def test_each_code_has_its_class(pair):
    """Of ForkedError's way to come up see test_fork.py."""
    assert len(CLASSES) == 12
    for code, kind in CLASSES.items():
        with pytest.raises(kind) as error:
            check(code)
        assert isinstance(error.value, BatonError) and str(error.value) and kind.__doc__


def test_an_engine_without_descriptors_is_an_error():
    status, output, errors = run("""
        import os, resource, baton_kv
        used = len(os.listdir("/proc/self/fd"))
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        for limit in range(used, used + 12):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            try:
                baton_kv.Engine().end()
            except (baton_kv.BatonError, OSError) as error:
                print(type(error).__name__)
    """)
    assert status == 0 and errors == "", errors
    assert set(output.split()) <= {"NoMemoryError", "SystemCallError", "OSError"}
