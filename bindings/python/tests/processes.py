# SPDX-License-Identifier: Apache-2.0
"""Other processes of a test, with a limit on how long they may take."""

import json
import pathlib
import subprocess
import sys
import textwrap

from pair import WAIT_MS

HERE = pathlib.Path(__file__).resolve().parent
LIMIT_S = WAIT_MS / 1000


class Source:
    """peer.py."""

    def __init__(self):
        self.program = subprocess.Popen([sys.executable, "-B", HERE / "peer.py"], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, **what):
        self.program.stdin.write(json.dumps(what) + "\n")
        self.program.stdin.flush()

    def offer(self, count, seed, watermark_bytes=(1 << 64) - 1):
        self.ask(count=count, seed=seed, watermark_bytes=watermark_bytes)
        return self.program.stdout.readline().strip()

    def free_blocks(self):
        """Its last word."""
        output, _ = self.program.communicate(timeout=LIMIT_S)
        assert self.program.returncode == 0
        return int(output)

    def kill(self):
        self.program.kill()
        self.program.communicate()


def run(script):
    """Run Python code as a program, to its end.  Returns (exit status, output, errors)."""
    done = subprocess.run([sys.executable, "-B", "-X", "dev", "-c", textwrap.dedent(script)],
                          cwd=HERE, text=True, capture_output=True, timeout=LIMIT_S, check=False)
    return done.returncode, done.stdout, done.stderr
