"""Properties of HTTP/1.1: no cut changes a meaning, both twins agree, nothing but the documented errors comes out.

Fuzz targets are plain functions (``fuzz_<name>(bytes) -> None``), so that any driver can feed them.
"""

from __future__ import annotations

import importlib
import itertools
from typing import Any

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.codec.base import CodecLimits
from sidecar.codec.h1 import H1ClientCodec, H1ServerCodec, _head_py
from sidecar.codec.h1.names import COMMON, CONTENT_LENGTH, NEVER_WRITTEN, UPGRADE, HeadError
from sidecar.errors import LocalProtocolError
from sidecar.http.events import (
    RequestData,
    RequestHeaders,
    RequestTrailers,
    ResponseData,
    ResponseHeaders,
    ResponseTrailers,
    Violation,
)
from sidecar.http.headers import HeaderMap
from tests.support.codecs import NOW, answer, ask, asked, body, joined, serve_all, server

try:
    _head_c: Any = importlib.import_module("sidecar.codec.h1._head_c")
except ImportError:
    _head_c = None

needs_twin = pytest.mark.skipif(_head_c is None, reason="the compiled twin of the head parser is not built")

# --- what bytes look like -------------------------------------------------------------------------------------------

PIECES = [
    b"GET", b"POST", b"HEAD", b"CONNECT", b"OPTIONS", b" ", b"  ", b"/", b"/a?b", b"*", b"http://h/x", b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/2.0", b"\r\n", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b": ", b":", b"Host: h\r\n", b"Host", b"h", b"5",
    b"0", b"a",
    b"Content-Length: 5\r\n", b"Content-Length: 05\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding",
    b"chunked",
    b"Connection: close\r\n", b"Connection: upgrade\r\n", b"Upgrade: websocket\r\n", b"Expect: 100-continue\r\n", b"\t",
    b"TE: trailers\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b";ext=1", b"\x00", b"\x80",
    b"\xff", b"x" * 40,
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 No Content\r\n",
    b"HTTP/1.1 101 Go\r\n", b"200",
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
]  # fmt: skip

FRAMES = [
    b"Content-Length: 5\r\n\r\nhello", b"Content-Length: 0\r\n\r\n", b"\r\n", b"Content-Length: 5\r\n\r\nhell",
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\n0\r\nX: y\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", b"Transfer-Encoding: chunked\r\n\r\n3\nabc",
    b"Transfer-Encoding: gzip\r\n\r\n", b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
]  # fmt: skip
FIELD = [
    b"X: y\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Expect: 100-continue\r\n", b"X : y\r\n",
    b"TE: trailers\r\n", b"X: y\n", b"Connection: upgrade\r\nUpgrade: websocket\r\n", b"X: " + b"y" * 130 + b"\r\n",
]  # fmt: skip
LEAD = st.sampled_from([b"", b"\r\n", b"", b"\r\n\r\n"])
SOME = st.lists(st.sampled_from(FIELD), max_size=3).map(b"".join)


def messages(first: list[bytes]) -> Any:
    """Whole messages more often than not, so that what comes behind the first one is reached too."""
    one = st.tuples(LEAD, st.sampled_from(first), SOME, st.sampled_from(FRAMES)).map(b"".join)
    return st.lists(one, max_size=4).map(b"".join)


REQUESTS = messages(
    [
        b"GET / HTTP/1.1\r\nHost: h\r\n", b"POST /x HTTP/1.1\r\nHost: h\r\n",
        b"PUT http://h/ HTTP/1.1\r\nHost: h\r\n",
        b"GET / HTTP/1.0\r\n", b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n", b"GET / HTTP/1.1\r\n",
    ]
)  # fmt: skip
ANSWERS = messages(
    [
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 404 No\r\n", b"HTTP/1.1 103 Hints\r\n", b"HTTP/1.1 204 No\r\n",
        b"HTTP/1.1 101 Go\r\n", b"HTTP/1.1 304 Same\r\n",
    ]
)  # fmt: skip
WIRE = REQUESTS | st.lists(st.sampled_from(PIECES) | st.binary(max_size=6), max_size=25).map(b"".join)
CUTS = st.lists(st.integers(0, 400), max_size=12)
SMALL = {"header_bytes": 120, "request_line": 40, "header_count": 5, "chunk_ext": 20, "watermark": 50}

TOKEN = st.text("abcXYZ019-_!", min_size=1, max_size=12).map(str.encode)
NAME = TOKEN | st.sampled_from(COMMON)
VALUE = st.binary(max_size=12) | st.sampled_from([b"", b"x", b" y ", b"a\tb", b"\xe9"])
LAWFUL = st.text([chr(code) for code in (*range(0x21, 0x7F), *range(0x80, 0x100))], max_size=10).map(
    lambda text: text.encode("latin-1")
)
OWN = st.tuples(TOKEN.map(lambda name: b"X-" + name), LAWFUL)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    bounds = [0, *sorted({place for place in cuts if 0 < place < len(data)}), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(bounds)]


def meaning(events: list[Any]) -> list[Any]:
    """Events as values. How much of a body was passed on before the rest of it was refused says nothing."""
    found = joined(events)
    if found and found[-1][0] == "Violation" and len(found) > 1 and found[-2][0].endswith("Data") and not found[-2][3]:
        del found[-2]
    return found


# --- cutting --------------------------------------------------------------------------------------------------------


@given(WIRE, CUTS)
@example(b"GET /" + b"a" * 35 + b"\r\n", [41])
@example(b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", [1, 2, 3])
@example(b"GET / HTTP/1.1\r\nHost: h\r\nA: b\nC: " + b"c" * 200 + b"\r\n\r\n", list(range(0, 200, 7)))
@example(b"GET / HTTP/2.0\r\nA: b\nC: d\r\n\r\n", [16])
def test_F21_cutting_never_changes_what_a_client_said(wire: bytes, cuts: list[int]) -> None:
    whole = meaning(serve_all(server(**SMALL), wire))
    assert meaning(serve_all(server(**SMALL), wire, [place for place in cuts if place < len(wire)])) == whole
    assert meaning(serve_all(server(**SMALL), wire, list(range(1, len(wire))))) == whole


def hear(data: list[bytes], method: bytes) -> list[Any]:
    codec = asked(method, **SMALL)
    events: list[Any] = []
    for piece in data:
        events += codec.receive(piece, NOW)
        if codec.should_close or codec.is_idle:
            # What comes behind an answer belongs to nobody, and when it is noticed depends on when it comes.
            return events
    return events + codec.receive_eof(NOW)


@given(ANSWERS | WIRE, CUTS, st.sampled_from([b"GET", b"HEAD", b"CONNECT"]))
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n", [50, 60], b"GET")
def test_F21_cutting_never_changes_what_an_app_said(wire: bytes, cuts: list[int], method: bytes) -> None:
    whole = meaning(hear([wire] if wire else [], method))
    assert meaning(hear(cut(wire, cuts) if wire else [], method)) == whole
    assert meaning(hear([wire[i : i + 1] for i in range(len(wire))], method)) == whole


# --- only documented outcomes ---------------------------------------------------------------------------------------


def fuzz_h1_request(data: bytes) -> None:
    """Whatever comes in: events of the contract, no more bytes of a body than came, no request after a refusal."""
    codec = server(**SMALL)
    events = serve_all(codec, data)
    refusals = [index for index, event in enumerate(events) if isinstance(event, Violation)]
    assert refusals in ([], [len(events) - 1])
    assert len(body(events)) <= len(data)
    for event in events:
        assert isinstance(event, RequestHeaders | RequestData | RequestTrailers | Violation)
        if isinstance(event, Violation):
            assert event.status in (400, 414, 417, 431, 501, 505)
    for event in codec.receive_eof(NOW):
        assert event.stream_id


def fuzz_h1_response(data: bytes) -> None:
    codec = asked(b"GET", **SMALL)
    events = codec.receive(data, NOW) if data else []
    assert len(body(events)) <= len(data)
    finals = [event for event in events if isinstance(event, ResponseHeaders)]
    assert len(finals) <= 1
    codec.receive_eof(NOW)
    assert codec.should_close
    with pytest.raises(LocalProtocolError):
        codec.open_stream()


@given(WIRE | st.binary(max_size=200))
def test_any_bytes_of_a_client_have_a_documented_outcome(data: bytes) -> None:
    fuzz_h1_request(data)


@given(ANSWERS | WIRE | st.binary(max_size=200))
def test_any_bytes_of_an_app_have_a_documented_outcome(data: bytes) -> None:
    fuzz_h1_response(data)


# --- twins ----------------------------------------------------------------------------------------------------------


def outcome(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except HeadError as error:
        return (error.status, error.detail, error.limit)
    except ValueError as error:
        return str(error)


LINES = st.lists(
    st.builds(lambda name, colon, value: name + colon + value, NAME, st.sampled_from([b":", b": ", b" :", b""]), VALUE)
    | st.sampled_from([b"n" * 255 + b": 1", b"n" * 257 + b": 1", b"n" * 257, b""]),
    max_size=7,
)
FIRST = st.sampled_from(
    [b"GET / HTTP/1.1", b"POST /x HTTP/1.0", b"GET / HTTP/1.7", b"X" * 65 + b" / HTTP/1.1", b"HTTP/1.1 200 OK"]
)
HEADS = st.builds(lambda first, lines: b"\r\n".join((first, *lines)) + b"\r\n", FIRST, LINES) | WIRE


@needs_twin
@given(HEADS, st.integers(0, 4), st.integers(0, 6))
def test_twins_read_alike(data: bytes, start: int, most: int) -> None:
    for ends in (len(data), max(len(data) - 2, 0), len(data) + 3):
        scheme = (b":scheme", b"http", b":scheme")
        for name, extra in (("parse_request", (scheme,)), ("parse_response", ()), ("parse_trailers", ())):
            given_ = (data, start, ends, *extra, most)
            assert outcome(getattr(_head_c, name), *given_) == outcome(getattr(_head_py, name), *given_), name


FIELDS = st.lists(
    NAME.map(lambda name: (name.lower(), b"v", name))
    | st.tuples(NAME.map(bytes.lower), VALUE, NAME)
    | st.tuples(st.binary(max_size=5), VALUE, st.binary(max_size=5))
    | st.builds(lambda name, value: (name, value, name), st.sampled_from([b":method", b":path", b":authority"]), VALUE)
    | st.just((b":authority", b"h", b"host")),
    max_size=8,
)


@needs_twin
@given(FIELDS, st.sampled_from([0, UPGRADE, CONTENT_LENGTH, NEVER_WRITTEN]))
def test_twins_write_alike(fields: Any, leaves_out: int) -> None:
    for line in (b"", b"HTTP/1.1 200 OK\r\n"):
        given_ = (line, fields, leaves_out)
        assert outcome(_head_c.write_fields, *given_) == outcome(_head_py.write_fields, *given_)
    lead = [(b":method", b"GET", b":method"), (b":path", b"/", b":path")]
    for request in (fields, lead + fields):
        given_ = (request, leaves_out)
        assert outcome(_head_c.write_request, *given_) == outcome(_head_py.write_request, *given_)


@given(FIELDS)
def test_what_is_written_reads_back(fields: Any) -> None:
    """No field makes another one, whatever a plugin put into it."""
    written = outcome(_head_py.write_fields, b"HTTP/1.1 200 OK\r\n", fields, 0)
    if isinstance(written, str):
        return
    read, _, _ = _head_py.parse_response(written[0], 0, len(written[0]), 100)
    kept = [field for field in fields if field[0][:1] != b":" and not _head_py.FLAGS.get(field[0], 0) & NEVER_WRITTEN]
    if max((len(field[0]) for field in kept), default=0) <= 256:
        assert [field[:2] for field in read[1:]] == [(name, value.strip(b" \t")) for name, value, _ in kept]


# --- another reader -------------------------------------------------------------------------------------------------

BODIES = st.lists(st.binary(min_size=1, max_size=30), max_size=4)


def h11_events(peer: Any) -> list[Any]:
    found = []
    while True:
        event = peer.next_event()
        if event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
            return found
        found.append(event)
        if isinstance(event, h11.EndOfMessage):
            return found


@given(st.lists(OWN, max_size=6), BODIES, st.booleans(), st.sampled_from([b"POST", b"PUT", b"DELETE"]))
def test_F22_h11_reads_what_our_client_writes(pairs: Any, pieces: list[bytes], declared: bool, method: bytes) -> None:
    codec = H1ClientCodec(CodecLimits())
    size = sum(map(len, pieces))
    length = [(b"Content-Length", b"%d" % size)] if declared else []
    ask(codec, method, *pairs, *length, end=False)
    for piece in pieces:
        codec.send(RequestData(1, piece))
    codec.send(RequestData(1, b"", True))
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(codec.data_to_send())
    request, *rest = h11_events(peer)
    assert (request.method, request.target) == (method, b"/x")
    ours = [(name.lower(), value) for name, value in pairs]
    assert [pair for pair in request.headers if pair[0].startswith(b"x-")] == ours
    assert b"".join(bytes(event.data) for event in rest[:-1]) == b"".join(pieces)
    assert isinstance(rest[-1], h11.EndOfMessage)


@given(st.lists(OWN, max_size=6), BODIES, st.booleans(), CUTS)
def test_F22_our_server_reads_what_h11_writes(pairs: Any, pieces: list[bytes], declared: bool, cuts: list[int]) -> None:
    size = sum(map(len, pieces))
    framing = (b"Content-Length", b"%d" % size) if declared else (b"Transfer-Encoding", b"chunked")
    peer = h11.Connection(h11.CLIENT)
    data = peer.send(h11.Request(method=b"POST", target=b"/x", headers=[(b"Host", b"h"), framing, *pairs])) or b""
    for piece in pieces:
        data += peer.send(h11.Data(data=piece)) or b""
    data += peer.send(h11.EndOfMessage()) or b""
    codec = H1ServerCodec(CodecLimits())
    events = serve_all(codec, data, [place for place in cuts if place < len(data)])
    head = events[0]
    assert [pair for pair in head.headers.pairs() if pair[0].startswith(b"x-")] == [(n.lower(), v) for n, v in pairs]
    assert body(events) == b"".join(pieces)
    assert codec.is_idle


@given(st.lists(OWN, max_size=6), BODIES, st.sampled_from([b"length", b"chunked", b"trailers", b"old"]))
def test_F22_h11_reads_what_our_server_writes(pairs: Any, pieces: list[bytes], framing: bytes) -> None:
    version = b"1.0" if framing == b"old" else b"1.1"
    codec = H1ServerCodec(CodecLimits())
    codec.receive(b"GET / HTTP/" + version + b"\r\nHost: h\r\n\r\n", NOW)
    size = sum(map(len, pieces))
    length = [(b"content-length", b"%d" % size)] if framing == b"length" else []
    codec.send(ResponseHeaders(1, HeaderMap.of([(b":status", b"200"), *pairs, *length])))
    for piece in pieces:
        codec.send(ResponseData(1, piece))
    if framing == b"trailers":
        codec.send(ResponseTrailers(1, HeaderMap.of([(b"X-Sum", b"1")])))
    else:
        codec.send(ResponseData(1, b"", True))
    peer = h11.Connection(h11.CLIENT)
    peer.send(h11.Request(method=b"GET", target=b"/", headers=[(b"Host", b"h")]))
    peer.send(h11.EndOfMessage())
    peer.receive_data(codec.data_to_send())
    if codec.should_close:
        peer.receive_data(b"")
    response, *rest = h11_events(peer)
    assert response.status_code == 200
    ours = [(name.lower(), value) for name, value in pairs]
    assert [pair for pair in response.headers if pair[0].startswith(b"x-")] == ours
    assert b"".join(bytes(event.data) for event in rest[:-1]) == b"".join(pieces)
    assert list(rest[-1].headers) == ([(b"x-sum", b"1")] if framing == b"trailers" else [])
    assert codec.should_close == (framing == b"old")


@given(st.lists(OWN, max_size=6), BODIES, st.booleans())
def test_F22_our_client_reads_what_h11_writes(pairs: Any, pieces: list[bytes], declared: bool) -> None:
    peer = h11.Connection(h11.SERVER)
    codec = H1ClientCodec(CodecLimits())
    ask(codec)
    peer.receive_data(codec.data_to_send())
    h11_events(peer)
    size = sum(map(len, pieces))
    framing = (b"Content-Length", b"%d" % size) if declared else (b"Transfer-Encoding", b"chunked")
    data = peer.send(h11.Response(status_code=200, headers=[framing, *pairs])) or b""
    for piece in pieces:
        data += peer.send(h11.Data(data=piece)) or b""
    data += peer.send(h11.EndOfMessage()) or b""
    events = codec.receive(data, NOW)
    ours = [(name.lower(), value) for name, value in pairs]
    assert [pair for pair in events[0].headers.pairs() if pair[0].startswith(b"x-")] == ours
    assert body(events) == b"".join(pieces)
    assert codec.is_idle


@given(st.lists(OWN, max_size=6), BODIES)
def test_what_one_hop_writes_the_next_one_reads(pairs: Any, pieces: list[bytes]) -> None:
    """Names, their spelling, order and repetition go through both codecs unchanged, and so does the body."""
    near, far = H1ClientCodec(CodecLimits()), H1ServerCodec(CodecLimits())
    ask(near, b"POST", *pairs, end=False)
    for piece in pieces:
        near.send(RequestData(1, piece))
    near.send(RequestTrailers(1, HeaderMap.of([(b"X-Sum", b"1")])))
    events = far.receive(near.data_to_send(), NOW)
    assert [field[1:] for field in events[0].headers.fields if field[0][:2] == b"x-"] == [(v, n) for n, v in pairs]
    assert body(events) == b"".join(pieces)
    assert isinstance(events[-1], RequestTrailers)
    written = answer(far, b"200", *pairs, body=b"ok")
    back = near.receive(written, NOW)
    assert [field[1:] for field in back[0].headers.fields if field[0][:2] == b"x-"] == [(v, n) for n, v in pairs]
    assert near.is_idle and far.is_idle
