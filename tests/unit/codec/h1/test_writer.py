"""Bodies as they go out, and the refusal to write one that is not what its head said."""

from __future__ import annotations

import pytest

from sidecar.codec.h1.state import Framing
from sidecar.codec.h1.writer import MessageWriter
from sidecar.errors import LocalProtocolError
from sidecar.http.headers import HeaderMap


def writer(framing: Framing) -> MessageWriter:
    message = MessageWriter()
    message.framing = framing
    message.write(b"head ")
    return message


def declared(length: bytes, end_stream: bool = False) -> MessageWriter:
    message = MessageWriter()
    message.declare(length, end_stream)
    return message


def test_head_and_body_leave_as_one_piece_and_once() -> None:
    message = declared(b"4")
    message.write(b"head ")
    message.write_body(b"bo", False)
    message.write_body(b"", False)
    message.write_body(b"dy", True)
    assert message.take() == b"head body"
    assert message.take() == b""


@pytest.mark.parametrize(
    ("framing", "wire"),
    [
        (Framing.CHUNKED, b"head a\r\n0123456789\r\n0\r\n\r\n"),
        (Framing.CLOSE, b"head 0123456789"),
        (Framing.RAW, b"head 0123456789"),
        (Framing.NONE, b"head "),
    ],
)
def test_each_framing_tells_the_end_in_its_way(framing: Framing, wire: bytes) -> None:
    message = writer(framing)
    message.write_body(b"0123456789", False)
    message.write_body(b"", True)
    assert message.take() == wire


@pytest.mark.parametrize("length", [b"", b"x", b"-1", b"01", b"1, 1"])
def test_what_is_no_length_is_not_declared(length: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        declared(length)


def test_whole_message_without_a_body_has_length_zero() -> None:
    assert declared(b"0", True).framing == Framing.LENGTH
    with pytest.raises(LocalProtocolError):
        declared(b"1", True)


@pytest.mark.parametrize(("data", "end"), [(b"abcd", False), (b"ab", True), (b"", True)])
def test_body_of_another_length_is_not_written(data: bytes, end: bool) -> None:
    message = declared(b"3")
    with pytest.raises(LocalProtocolError):
        message.write_body(data, end)
    assert message.take() == b""


def test_trailers_go_with_chunks_only() -> None:
    trailers = HeaderMap.of([(b"X-Sum", b"1"), (b"Content-Length", b"9"), (b"Host", b"b"), (b"x-sidecar-x", b"2")])
    message = writer(Framing.CHUNKED)
    message.write_trailers(trailers)
    assert message.take() == b"head 0\r\nX-Sum: 1\r\n\r\n"
    message = writer(Framing.CLOSE)
    message.write_trailers(trailers)
    assert message.take() == b"head "
    with pytest.raises(LocalProtocolError):
        declared(b"1").write_trailers(trailers)


def test_trailers_cannot_be_split() -> None:
    with pytest.raises(LocalProtocolError):
        writer(Framing.CHUNKED).write_trailers(HeaderMap.of([(b"x", b"1\r\n\r\nGET / HTTP/1.1")]))


def test_what_is_dropped_is_never_sent() -> None:
    message = writer(Framing.RAW)
    message.drop()
    assert message.take() == b""
