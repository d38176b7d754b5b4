# SPDX-License-Identifier: Apache-2.0
"""Stats, addresses, the log, and what objects say of themselves."""

import logging

from baton_kv import Engine, Layout, Proof, Receipt, Stage, ticket
from pair import BLOCK_BYTES, WAIT_MS


def test_stats_and_addresses(pair, tmp_path):
    with Engine(listen=["tcp:127.0.0.1:0"], stats_path=str(tmp_path / "stats")) as engine:
        (endpoint,) = engine.endpoints
        assert endpoint.startswith("tcp:127.0.0.1:") and len(engine.incarnation) == 16
        assert (tmp_path / "stats").is_socket()
        layout = Layout(layers=2, kv_parts=2, block_tokens=4, heads=2, head_size=8, dtype_bytes=2)
        pool = engine.pool(512, 4, layout=layout, check=True, huge=True)
        offer = engine.offer(pool, pool.alloc(1))
        view = ticket.inspect(offer.ticket())
        assert view.endpoints == (endpoint,) and view.incarnation == engine.incarnation
        assert (view.offer_id, view.bytes_total, view.block_count) == (offer.id, 512, 1)
        assert engine.stats()["pools"][0]["lent_blocks"] == pool.stats().lent_blocks == 1
        assert pool.verify() == 3
        assert pool.address(1) - pool.address(0) == 512


def test_the_log(pair):
    """It comes from Baton's thread, with its level."""
    records = []
    logger = logging.getLogger("baton_kv test")
    logger.setLevel(logging.DEBUG)
    handler = logging.Handler()
    handler.emit = records.append
    logger.addHandler(handler)
    with Engine(logger=logger) as engine:
        pool = engine.pool(BLOCK_BYTES, 1)
        offer = pair.offer(1)
        fetch = engine.fetch(offer.ticket(), pool, pool.alloc(1))
        assert fetch.outcome.wait(WAIT_MS).completed
        pair.retire(offer)
    assert any(r.levelno == logging.INFO and "link" in r.getMessage() for r in records)


def test_what_they_say(pair):
    offer, fetch = pair.half()
    assert repr(fetch) == f"<Fetch {fetch.id:#x}: open>"
    fetch.cancel()
    receipt = fetch.quiet.wait(WAIT_MS)
    assert repr(fetch) == f"<Fetch {fetch.id:#x}: cancelled, quiet>"
    assert isinstance(receipt, Receipt)
    assert f"{Proof.LOCAL_DRAIN}" == str(Proof.LOCAL_DRAIN) == "local_drain"
    assert str(receipt.nonce) not in repr(receipt)
    assert offer.outcome.wait(WAIT_MS).slots[0].stage is Stage.REVOKED
    pair.retire(offer, fetch)
