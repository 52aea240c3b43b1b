from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.wasm.abi import pairs

PAIRS = st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=30)


def test_the_example_of_the_specification_with_its_sizes_right() -> None:
    data = bytes.fromhex("02000000 01000000 01000000 01000000 02000000 61003100 6200323200")
    assert pairs.encode([(b"a", b"1"), (b"b", b"22")]) == data
    assert pairs.decode(data) == [(b"a", b"1"), (b"b", b"22")]


@given(PAIRS)
def test_abi_41_every_map_comes_back(items: list[tuple[bytes, bytes]]) -> None:
    data = pairs.encode(items)
    assert pairs.decode(data) == items
    assert pairs.encoded_size(items) == len(data)


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\0\0"])
def test_empty_maps(data: bytes) -> None:
    assert pairs.decode(data) == []


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
def test_abi_42_W8_one_wrong_byte_is_enough(data: bytes) -> None:
    with pytest.raises(pairs.MalformedPairs):
        pairs.decode(data)


@given(st.binary(max_size=64))
def test_any_bytes_are_a_map_or_refused(data: bytes) -> None:
    try:
        found = pairs.decode(data)
    except pairs.MalformedPairs:
        return
    assert data in (b"", b"\0") or pairs.encode(found) == data
