# SPDX-License-Identifier: Apache-2.0
"""A source in a process of its own: offers what it is asked for, by lines of JSON.

{"count", "seed", "watermark_bytes"} -> the ticket as text; {"advance": true}; {"cancel": true}.
After its standard input ends it waits for the receipts, and says how many blocks are free.
"""

import json
import sys

import baton_kv
from pair import BLOCK_BYTES, WAIT_MS, content, write

BLOCKS = 64


def main():
    with baton_kv.Engine() as engine:
        pool = engine.pool(BLOCK_BYTES, BLOCKS, check=True)
        offers = []
        for line in sys.stdin:
            ask = json.loads(line)
            if "count" in ask:
                blocks = pool.alloc(ask["count"])
                write(pool, blocks, content(ask["seed"], ask["count"]))
                offers.append(engine.offer(pool, blocks, watermark_bytes=ask["watermark_bytes"]))
                pool.free(blocks)
                print(baton_kv.ticket.to_text(offers[-1].ticket()), flush=True)
            elif "advance" in ask:
                offers[-1].advance()
            elif "cancel" in ask:
                offers[-1].cancel()
        for offer in offers:
            offer.retire(offer.quiet.wait(WAIT_MS))
        print(pool.stats().free_blocks, flush=True)


if __name__ == "__main__":
    main()
