# SPDX-License-Identifier: Apache-2.0
"""README.md: all its blocks, one after the other, are one program."""

import pathlib
import re

from processes import run

README = pathlib.Path(__file__).resolve().parent.parent / "README.md"
BLOCKS = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# What the comments beside its prints say, and the messages of its two errors.
PRINTED = """local_drain shm 8192
cancelled cancel
1000 blocks are wanted, and the pool has 64
the receipt of this handoff was used before
"""


def test_the_tutorial():
    blocks = BLOCKS.findall(README.read_text(encoding="utf-8"))
    assert len(blocks) > 10
    status, output, errors = run("".join(blocks))
    assert (status, errors) == (0, "")
    assert output == PRINTED
