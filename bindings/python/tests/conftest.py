# SPDX-License-Identifier: Apache-2.0
import gc

import pytest
from baton_kv import _life
from pair import Pair


@pytest.fixture
def pair():
    made = Pair()
    yield made
    made.end()


@pytest.fixture(autouse=True)
def no_engine_is_left():
    """Whatever a test does, what it made ends with it."""
    yield
    gc.collect()
    assert list(_life.alive) == []
