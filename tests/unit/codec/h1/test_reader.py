"""A chunked body taken apart, however it arrives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.codec.base import CodecLimits
from sidecar.codec.h1.names import HeadError
from sidecar.codec.h1.reader import ChunkedReader, check_line_ends, check_partial, is_oversized

CHUNKS = st.lists(st.binary(min_size=1, max_size=20), max_size=5)


@given(CHUNKS, st.lists(st.integers(1, 7), min_size=1, max_size=30))
def test_F21_pieces_of_any_size_give_the_same_body(chunks: list[bytes], steps: list[int]) -> None:
    wire = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nT: 1\r\n\r\nrest"
    reader, body, at, turn = ChunkedReader(CodecLimits()), b"", 0, 0
    while not reader.done:
        size = steps[turn % len(steps)]
        body += reader.feed(wire[at : at + size], 0)[0]
        at, turn = at + size, turn + 1
    assert body == b"".join(chunks)
    assert [field[:2] for field in reader.trailers] == [(b"t", b"1")]


@pytest.mark.parametrize(
    "wire",
    [b"0x1\r\n", b"g\r\n", b"-1\r\n", b"1 \r\n", b"1" * 17 + b"\r\n", b"1\n", b"1\r\nab", b"1\r\na\rX", b"\r\n"],
)
def test_F7_a_size_that_cannot_be_believed(wire: bytes) -> None:
    with pytest.raises(HeadError) as refused:
        ChunkedReader(CodecLimits()).feed(wire, 0)
    assert refused.value.status == 400


def test_the_first_byte_behind_the_message_is_told() -> None:
    assert ChunkedReader(CodecLimits()).feed(b"1\r\na\r\n0\r\n\r\nGET", 0) == (b"a", 11)


def test_F7_extensions_have_one_room_for_the_whole_body() -> None:
    reader = ChunkedReader(CodecLimits(chunk_ext=10))
    reader.feed(b"1;abcdef\r\nx\r\n", 0)
    with pytest.raises(HeadError) as refused:
        reader.feed(b"1;abcdef\r\nx\r\n", 0)
    assert refused.value.limit == "chunk_ext"


def test_trailers_have_the_limits_of_a_head() -> None:
    with pytest.raises(HeadError) as refused:
        ChunkedReader(CodecLimits(header_bytes=10)).feed(b"0\r\nName: a long value\r\n\r\n", 0)
    assert refused.value.status == 431


def test_a_line_that_ends_in_lf_alone_is_told_at_once() -> None:
    with pytest.raises(HeadError):
        check_line_ends(b"GET / HTTP/1.1\nHost", 0, 19)
    check_line_ends(b"GET / HTTP/1.1\r\nHost", 0, 20)


def test_a_head_that_can_never_be_small_enough_is_told_before_it_ends() -> None:
    with pytest.raises(HeadError) as refused:
        check_partial(b"GET /" + b"a" * 50, 0, 0, CodecLimits(request_line=20), no_line)
    assert refused.value.status == 414


def no_line(data: bytes, start: int, end: int) -> None:
    raise HeadError(505, bytes(data[start:end]).decode())


def accept(data: bytes, start: int, end: int) -> None: ...


@pytest.mark.parametrize("size", [20, 21, 22, 23])
def test_a_start_line_of_the_full_length_may_be_cut_before_its_end(size: int) -> None:
    """Nobody can tell that a line is too long before its line end is due."""
    limits = CodecLimits(request_line=20)
    held = (b"a" * 20 + b"\r\nA: b\r\n")[:size]
    check_partial(held, 0, 0, limits, accept)
    with pytest.raises(HeadError):
        check_partial(b"a" * 22, 0, 0, limits, accept)


def test_F15_a_start_line_is_judged_as_soon_as_it_is_there() -> None:
    """HTTP/0.9 sends nothing more: to wait for a head would be to wait for ever."""
    with pytest.raises(HeadError) as refused:
        check_partial(b"xGET /\r\nA", 1, 1, CodecLimits(), no_line)
    assert (refused.value.status, refused.value.detail) == (505, "GET /\r\n")
    check_partial(b"GET /\r\nA", 0, 7, CodecLimits(), no_line)


@pytest.mark.parametrize("first", [b"\x16\x03\x01", b"\n", b" ", b"\x7f", b"\x80"])
def test_a_first_byte_that_begins_no_message_is_told_at_once(first: bytes) -> None:
    with pytest.raises(HeadError) as refused:
        check_partial(first, 0, 0, CodecLimits(), accept)
    assert refused.value.status == 400


def test_the_first_fault_is_told_whichever_is_worse() -> None:
    limits = CodecLimits(header_bytes=30)
    line = b"GET / HTTP/1.1\r\n"
    for held, status in ((b"A: b\nC" + b"c" * 40, 400), (b"A: " + b"b" * 40 + b"\nC", 431)):
        with pytest.raises(HeadError) as refused:
            check_partial(line + held, 0, 0, limits, accept)
        assert refused.value.status == status


@pytest.mark.parametrize("size", [29, 30, 31, 32, 33])
def test_the_room_of_a_head_is_the_same_whole_or_in_pieces(size: int) -> None:
    limits = CodecLimits(header_bytes=30)
    whole = b"GET / HTTP/1.1\r\nA: " + b"b" * (size - 5) + b"\r\n\r\n"
    is_too_large = is_oversized(whole, 0, len(whole) - 4, limits)
    assert is_too_large == (size > 30)
    refused = False
    for end in range(1, len(whole)):
        try:
            check_partial(whole[:end], 0, end - 1, limits, accept)
        except HeadError as error:
            assert error.status == 431
            refused = True
            break
    assert not refused or is_too_large
    if is_too_large:
        with pytest.raises(HeadError):
            check_partial(whole, 0, 0, limits, accept)


def test_S1_trailers_that_drip_are_looked_at_once() -> None:
    """Many short lines, one byte at a time: looking at all of them each time would take minutes."""
    reader = ChunkedReader(CodecLimits())
    reader.feed(b"0\r\n", 0)
    for byte in b"a:\r\n" * 5000:
        reader.feed(bytes([byte]), 0)
    with pytest.raises(HeadError) as refused:
        reader.feed(b"\n", 0)
    assert refused.value.status == 400


@pytest.mark.parametrize("size", [19, 20, 21])
def test_the_room_of_trailers_is_the_same_whole_or_in_pieces(size: int) -> None:
    section = b"0\r\nA: " + b"b" * (size - 3) + b"\r\n\r\n"
    found = []
    for step in (len(section), 1):
        reader = ChunkedReader(CodecLimits(header_bytes=20))
        try:
            for at in range(0, len(section), step):
                reader.feed(section[at : at + step], 0)
            found.append("done" if reader.done else "open")
        except HeadError as error:
            found.append(str(error.status))
    assert found == ["done" if size <= 20 else "431"] * 2


@pytest.mark.parametrize("cut", range(1, 24))
def test_F21_the_place_behind_the_message_counts_in_the_bytes_that_were_fed(cut: int) -> None:
    """What the reader kept from before must not move it: the next request begins there."""
    wire = b"junk3;e=1\r\nabc\r\n0\r\n\r\nnext"
    reader = ChunkedReader(CodecLimits())
    first, second = wire[: 4 + cut], b"pad" + wire[4 + cut :]
    _, at = reader.feed(first, 4)
    if reader.done:
        assert first[at:] + second[3:] == b"next"
        return
    assert at == len(first)
    _, at = reader.feed(second, 3)
    assert (reader.done, second[at:]) == (True, b"next")
