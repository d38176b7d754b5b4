# SPDX-License-Identifier: Apache-2.0
"""What is written in Python once more is what baton.h says."""

import dataclasses
import inspect
import pathlib

import baton_kv
import pytest
from baton_kv import choice, errors, outcome, pool, receipt, ticket
from baton_kv._library import ffi, lib

HERE = pathlib.Path(__file__).resolve().parent
ENUMS = {
    "baton_outcome": outcome.Outcome,
    "baton_cause": outcome.Cause,
    "baton_stage": outcome.Stage,
    "baton_proof": receipt.Proof,
    "baton_progress": choice.Progress,
    "baton_link_kind": choice.LinkKind,
    "baton_host": choice.Host,
    "baton_on_doubt": choice.OnDoubt,
    "baton_mode": choice.Mode,
    "baton_cancel_scope": choice.Scope,
    "baton_cancel": choice.Cancel,
    "baton_notice": choice.Notice,
}
NAMED = {"baton_outcome", "baton_cause", "baton_stage", "baton_proof"}
STRUCTS = {
    "baton_receipt": receipt.Receipt,
    "baton_abandoned": receipt.Abandoned,
    "baton_pool_stats": pool.PoolStats,
    "baton_layout": pool.Layout,
}
# Of a struct, what Python says in another way, and how.
ENGINE_OPTIONS = ({"size", "listen_count", "advertise_count", "transports_count", "on_log",
                   "on_trace", "arg"}, {"logger"})
FETCH = ({"size", "ticket_length", "block_count", "notices"}, set())
OFFER = ({"size", "block_count", "notices"}, set())
CALLS = {
    "baton_engine_options": (baton_kv.Engine, *ENGINE_OPTIONS),
    "baton_fetch_args": (baton_kv.Engine.fetch, *FETCH),
    "baton_offer_args": (baton_kv.Engine.offer, *OFFER),
}


def fields_of(struct):
    return {name for name, _ in ffi.typeof(f"struct {struct}").fields}


@pytest.mark.parametrize("name", ENUMS)
def test_enumerations(name):
    """Word for word: NAME of the enumeration X is BATON_X_NAME or BATON_NAME."""
    values = {value: c_name for value, c_name in ffi.typeof(name).elements.items()
              if not c_name.endswith("_COUNT_")}
    assert {word.value for word in ENUMS[name]} == set(values)
    for word in ENUMS[name]:
        assert values[word.value].endswith("_" + word.name)
        if name in NAMED:
            assert ffi.string(getattr(lib, name + "_name")(word)).decode() == str(word)


def test_errors():
    codes = set(ffi.typeof("baton_err").elements) - {lib.BATON_OK}
    assert set(errors.CLASSES) == codes


@pytest.mark.parametrize("name", STRUCTS)
def test_structs(name):
    assert {field.name for field in dataclasses.fields(STRUCTS[name])} == fields_of(name)


@pytest.mark.parametrize("name", CALLS)
def test_arguments(name):
    """Each field of a struct of arguments or options can be given."""
    call, not_in_python, only_in_python = CALLS[name]
    parameters = set(inspect.signature(call).parameters) - {"self"}
    assert parameters - only_in_python == fields_of(name) - not_in_python


def test_constants():
    assert baton_kv.WATERMARK_END == (1 << 64) - 1 == lib.BATON_WATERMARK_END
    assert lib.BATON_HANDOFFS_MAX == 1 << 17 and lib.BATON_READERS_MAX == 8
    assert baton_kv.__version__ == ffi.string(lib.baton_version()).decode()


def test_everything_public_says_what_it_does():
    for name in baton_kv.__all__:
        thing = getattr(baton_kv, name)
        if not inspect.isclass(thing):
            continue
        assert thing.__doc__, name
        for member, value in vars(thing).items():
            if not member.startswith("_") and (inspect.isfunction(value) or
                                               isinstance(value, property)):
                assert value.__doc__ or member in ("happen", "fail"), f"{name}.{member}"
    for function in (ticket.to_text, ticket.from_text, ticket.inspect):
        assert function.__doc__


def test_the_package_is_whole():
    package = pathlib.Path(baton_kv.__file__).parent
    built = {path.name for path in package.iterdir() if path.is_file()}
    sources = {path.name for path in (HERE.parent / "baton_kv").iterdir() if path.is_file()}
    assert built == sources | {"_declarations.py", "libbaton.so", "baton-helper"}
