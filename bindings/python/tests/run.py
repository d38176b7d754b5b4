#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the tests of baton_kv, and mypy over it; the last line is 'N passed, N failed, N skipped'.

Arguments are pytest's.
"""

import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
PYTEST = ["-q", "-p", "no:cacheprovider", "-W", "error", "--no-header", "--tb=short"]


class Totals:
    """A plugin of pytest's: a test that fails in its set-up or end has failed, once."""

    def __init__(self):
        self.results = {}

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            if self.results.get(report.nodeid) != "failed":
                self.results[report.nodeid] = report.outcome

    def pytest_collectreport(self, report):
        if report.failed:
            self.results[report.nodeid] = "failed"


def types_are_right():
    mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", "/dev/null", "-p", "baton_kv"]
    return subprocess.run(mypy, check=False).returncode == 0


def main():
    totals = Totals()
    pytest.main([*PYTEST, *(sys.argv[1:] or [str(HERE)])], plugins=[totals])
    if len(sys.argv) == 1:
        totals.results["mypy"] = "passed" if types_are_right() else "failed"
    count = [list(totals.results.values()).count(name) for name in ("passed", "failed", "skipped")]
    print("{} passed, {} failed, {} skipped".format(*count))
    return 1 if count[1] or not count[0] else 0


sys.exit(main())
