"""The wire form of header maps; every test runs on each twin."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.wasm.abi import _pairs_py, pairs

TWINS: list[ModuleType] = [_pairs_py]
if importlib.util.find_spec("sidecar.wasm.abi._pairs_c") is not None:
    TWINS.append(importlib.import_module("sidecar.wasm.abi._pairs_c"))
each_twin = pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.__name__.rpartition("_")[2])

PAIRS = st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=30)


@each_twin
def test_the_example_of_the_specification_with_its_sizes_right(twin: ModuleType) -> None:
    data = bytes.fromhex("02000000 01000000 01000000 01000000 02000000 61003100 6200323200")
    assert twin.encode([(b"a", b"1"), (b"b", b"22")]) == data
    assert twin.decode(data) == [(b"a", b"1"), (b"b", b"22")]


@each_twin
@given(items=PAIRS)
def test_abi_41_every_map_comes_back(twin: ModuleType, items: list[tuple[bytes, bytes]]) -> None:
    data = twin.encode(items)
    assert twin.decode(data) == items
    assert twin.encoded_size(items) == len(data)


@each_twin
@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\0\0"])
def test_empty_maps(twin: ModuleType, data: bytes) -> None:
    assert twin.decode(data) == []


@each_twin
@pytest.mark.parametrize(
    "data",
    [
        b"\1\0",
        b"\1\0\0\0",
        b"\xff\xff\xff\xff",
        b"\0\0\0\0x",
        pairs.encode([(b"a", b"1")])[:-1],
        pairs.encode([(b"a", b"1")])[:-1] + b"x",
        pairs.encode([(b"a", b"1")]) + b"\0",
        pairs.encode([(b"a", b"1")] * 1025),
        b"\1\0\0\0" + b"\xff" * 8 + b"a\0b\0",
    ],
)
def test_abi_42_W8_one_wrong_byte_is_enough(twin: ModuleType, data: bytes) -> None:
    with pytest.raises(pairs.MalformedPairs):
        twin.decode(data)


@each_twin
@given(data=st.binary(max_size=64))
def test_any_bytes_are_a_map_or_refused(twin: ModuleType, data: bytes) -> None:
    try:
        found = twin.decode(data)
    except pairs.MalformedPairs:
        return
    assert data in (b"", b"\0") or twin.encode(found) == data


@given(st.one_of(st.binary(max_size=40), PAIRS.map(_pairs_py.encode)), st.data())
def test_the_twins_answer_alike(data: bytes, draw: st.DataObject) -> None:
    if data:
        changed = bytearray(data)
        changed[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
        data = bytes(changed)
    answers = []
    for twin in TWINS:
        try:
            answers.append(twin.decode(data))
        except pairs.MalformedPairs as why:
            answers.append(str(why))
    assert all(answer == answers[0] for answer in answers)


@each_twin
def test_only_the_first_two_items_of_an_entry_count(twin: ModuleType) -> None:
    assert twin.encode([(b"a", b"1", b"A")]) == twin.encode([(b"a", b"1")])


@each_twin
@pytest.mark.parametrize("entry", [("a", b"1"), (b"a", None), (b"a",), 5])
def test_what_is_no_pair_of_bytes_is_an_error(twin: ModuleType, entry: object) -> None:
    with pytest.raises((TypeError, IndexError)):
        twin.encode([entry])
