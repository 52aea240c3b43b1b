"""Rows F, H and P of the catalogue where they are decided: in the codec and the validator, without a socket.

The same rows go over the wire in test_wire_*.py; here each runs in every cut of its bytes, and what must not become an
event is seen not to become one.
"""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.http.events import (
    InformationalHeaders,
    RequestHeaders,
    RequestTrailers,
    Reset,
    ResponseHeaders,
    Violation,
)
from sidecar.http.validate import check_request
from tests.support.codecs import NOW, answer, asked, body, interim, names, refusal, serve_all, server

CHUNKED = b"Transfer-Encoding: chunked\r\n"


def head(*lines: bytes, first: bytes = b"POST /f HTTP/1.1", host: bytes = b"Host: a\r\n") -> bytes:
    return first + b"\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def verdicts(data: bytes, **limits: int) -> set[tuple[str, int]]:
    """How the first request ends, over all ways to cut it once: refused by codec or validator, or heard whole."""
    found = set()
    for cut in {0, 1, *range(0, len(data), max(len(data) // 60, 1)), len(data) - 1}:
        events = serve_all(server(**limits), data, [cut] if 0 < cut < len(data) else [])
        violations = [event for event in events if isinstance(event, Violation)]
        requests = [event for event in events if isinstance(event, RequestHeaders)]
        if violations:
            assert events[-1] is violations[0]
            found.add(("violation", violations[0].status))
        elif requests and (reason := check_request(requests[0].headers)):
            found.add(("refusal", reason.status))
        else:
            found.add(("passed", len(requests)))
    return found


REFUSED: list[tuple[str, bytes, int]] = [
    ("F1", head(b"Content-Length: 6", CHUNKED[:-2]) + b"0\r\n\r\nG", 400),
    ("F1", head(CHUNKED[:-2], b"Content-Length: 0") + b"0\r\n\r\n", 400),
    *[
        ("F2", head(b"Content-Length: " + value) + b"x", 400)
        for value in (b"+1", b"-0", b"1_0", b"0x1", b"", b"1" * 23, b"01", b"1, 1", b"1,", b"1 1", b"\xb2")
    ],
    ("F2", head(b"Content-Length: 1", b"Content-Length: 1") + b"x", 400),
    ("F2", head(b"Content-Length: 1", b"content-length: 2") + b"xx", 400),
    ("F2", head(b"Content_Length: 1", b"Content-Length: 1") + b"x", 400),
    *[
        ("F3", head(b"Transfer-Encoding: " + value) + b"0\r\n\r\n", 400)
        for value in (
            b"xchunked", b"chunked, identity", b"identity, chunked", b"gzip, chunked", b",chunked", b"chunked, chunked",
            b"\x0bchunked", b"identity", b"", b'"chunked"',
        )
    ],
    ("F3", head(CHUNKED[:-2], CHUNKED[:-2]) + b"0\r\n\r\n", 400),
    ("F3", head(b"Transfer_Encoding: chunked"), 400),
    ("F4", head(CHUNKED[:-2], first=b"POST /f HTTP/1.0") + b"0\r\n\r\n", 400),
    ("F5", b"GET / HTTP/1.1\nHost: a\n\n", 400),
    ("F5", head(b"A: b\nC: d"), 400),
    ("F5", head(b"A: b\rc"), 400),
    *[("F5", head(b"A: b" + bytes([code]) + b"c"), 400) for code in (0, 1, 8, 11, 12, 31, 127)],
    ("F6", head(b"A : b"), 400),
    ("F6", head(b"A: b", b" folded"), 400),
    ("F6", head(b": b"), 400),
    ("F6", head(b"A(: b"), 400),
    *[
        ("F7", head(CHUNKED[:-2]) + chunk, 400)
        for chunk in (
            b"0x1\r\nx\r\n0\r\n\r\n", b"10000000000000001\r\nx", b"1\nx\r\n0\r\n\r\n", b"1;a\nb\r\nx\r\n0\r\n\r\n",
            b"\r\n\r\n",
            b"1;" + b"e" * 5000 + b"\r\nx\r\n", b"1 \r\nx\r\n0\r\n\r\n", b" 1\r\nx\r\n", b"+1\r\nx\r\n", b"-1\r\nx\r\n",
            b"1\r\nxy\r\n0\r\n\r\n", b"8000000000000000\r\nx", b"1\r\nx\n0\r\n\r\n",
        )
    ],
    ("F12", head(b"Expect: 200-ok", b"Content-Length: 1") + b"x", 417),
    ("F15", b"GET /\r\n", 400),
    ("F15", head(first=b"GET / HTTP/1.2"), 505),
    ("F15", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("F15", head(first=b"GET / ICE/1.0"), 400),
    ("F15", head(first=b"GET / RTSP/1.0"), 400),
    ("F15", b"\r\n\r\n" + head(first=b"GET / HTTP/1.1"), 400),
    ("F16", head(host=b""), 400),
    ("F16", head(b"Host: a"), 400),
    *[
        ("F16", head(host=b"Host: " + value + b"\r\n"), 400)
        for value in (b"u@a", b"a b", b"a,b", b"a/b", b"a:99999", b"a:b", b"[::1", b"a\xff")
    ],
    ("F19", head(first=b"CONNECT a:443 HTTP/1.1", host=b"Host: a:443\r\n"), 405),
    ("F19", head(b"Content-Length: 1", first=b"CONNECT a:443 HTTP/1.1", host=b"Host: a:443\r\n") + b"x", 400),
    ("H1", head(b"X: " + b"y" * 65537), 431),
    ("H1", head(*[b"X: y"] * 101), 431),
    ("H1", head(b"n" * 300 + b": y"), 431),
    ("H3", head(first=b"GET /" + b"p" * 65537 + b" HTTP/1.1"), 414),
    *[
        (row, head(first=b"GET " + target + b" HTTP/1.1"), 400)
        for row, target in (
            ("P1", b"/public/../x"), ("P1", b"/./"), ("P1", b"/a/.."), ("P1", b"/..;/a"), ("P2", b"/%2e%2e/a"),
            ("P2", b"/%2E."), ("P2", b"/.%2e/"), ("P3", b"/a%2fb"), ("P3", b"/a%5cb"), ("P3", b"/a\\b"), ("P4", b"//a"),
            ("P4", b"/a//b"), ("P4", b"http://a//"), ("P7", b"/%00"), ("P7", b"/%0d%0a"), ("P7", b"/%zz"),
            ("P7", b"/%"),
            ("P7", b"/%c0%af"), ("P8", b"/a#b"), ("P8", b"/a b"), ("P8", b"/\xc3\xa9"), ("P9", b"http://other/x"),
            ("P10", b"*"), ("P10", b"x"), ("P11", b"http://b:80/"),
        )
    ],
    ("P13", head(first=b"get / HTTP/1.1"), 400),
    ("P13", head(first=b"GET /x / HTTP/1.1"), 400),
    ("P13", head(first=b"M" * 1024 + b" / HTTP/1.1"), 400),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "status"), [pytest.param(data, status, id=f"{row}-{n}") for n, (row, data, status) in enumerate(REFUSED)]
)
def test_refused_however_it_is_cut(data: bytes, status: int) -> None:
    assert {found[1] for found in verdicts(data)} == {status}
    assert "passed" not in {found[0] for found in verdicts(data)}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(head(b"transfer-encoding: Chunked") + b"1;a=b\r\nx\r\n0\r\n\r\n", id="F3-lone-token"),
        pytest.param(b"\r\n" + head(b"Content-Length: 0"), id="F15-one-blank-line"),
        pytest.param(head(b"X: \xff\x80\xc3"), id="H6-bytes"),
        pytest.param(head(b"X_Real-IP: 1", b"X-Real-IP: 2"), id="H5-both"),
        pytest.param(head(first=b"GET /a;v=1 HTTP/1.1"), id="P5-parameter"),
        pytest.param(head(first=b"GET /PRIVATE HTTP/1.1"), id="P6-case"),
        pytest.param(head(first=b"GET /%252e%252e HTTP/1.1"), id="P2-decoded-once"),
        pytest.param(head(first=b"GET http://A:80/x HTTP/1.1"), id="P9-same-host"),
        pytest.param(head(first=b"OPTIONS * HTTP/1.1"), id="P10-asterisk"),
        pytest.param(head(host=b"Host: ORDERS.shop.:8080\r\n"), id="P12-host-forms"),
        pytest.param(head(b"X-HTTP-Method-Override: DELETE"), id="P13-override-is-a-field"),
    ],
)
def test_odd_but_lawful_passes_however_it_is_cut(data: bytes) -> None:
    assert verdicts(data) == {("passed", 1)}


def test_F7_extensions_of_one_body_share_their_room() -> None:
    codec = server()
    codec.receive(head(CHUNKED[:-2]), NOW)
    (event,) = codec.receive((b"1;" + b"e" * 1000 + b"\r\nx\r\n") * 5, NOW)
    assert refusal([event]) == (400, "bad_request", "chunk_ext")


@pytest.mark.parametrize("data", [head(CHUNKED[:-2]) + b"5\r\nhello\r\n", head(b"Content-Length: 9") + b"hello"])
def test_F8_body_that_stops_is_reset_and_never_ended(data: bytes) -> None:
    codec = server()
    events = codec.receive(data, NOW)
    assert not any(getattr(event, "end_stream", False) for event in events)
    (event,) = codec.receive_eof(NOW)
    assert isinstance(event, Reset)


def test_F9_trailers_cannot_frame_address_or_authorise() -> None:
    section = b"Content-Length: 5\r\nTransfer-Encoding: x\r\nHost: b\r\nAuthorization: c\r\nX-Sum: 1\r\n\r\n"
    events = server().receive(head(CHUNKED[:-2]) + b"0\r\n" + section, NOW)
    assert isinstance(events[-1], RequestTrailers)
    assert events[-1].headers.pairs() == [(b"x-sum", b"1")]


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE"])
def test_F10_request_in_a_body_is_a_body(method: bytes) -> None:
    inner = head(first=b"GET /hidden HTTP/1.1")
    data = head(b"Content-Length: %d" % len(inner), first=method + b" /f HTTP/1.1") + inner
    events = serve_all(server(), data + head(first=b"GET /next HTTP/1.1"))
    assert [event.headers.get(b":path") for event in events if isinstance(event, RequestHeaders)] == [b"/f", b"/next"]
    assert body(events) == inner


@pytest.mark.parametrize("status", [b"413", b"401", b"503", b"200"])
def test_F11_early_answer_is_the_last_and_nothing_behind_it_is_a_request(status: bytes) -> None:
    codec = server()
    codec.receive(head(b"Content-Length: 10") + b"half", NOW)
    written = answer(codec, status)
    assert b"connection: close\r\n" in written
    assert (codec.should_close, codec.is_lingering, codec.should_reset) == (True, True, False)
    assert codec.receive(b"halfXX" + head(first=b"GET /smuggled HTTP/1.1"), NOW) == []


@pytest.mark.parametrize("lines", [(b"Expect: 100-continue",), (b"expect: 100-Continue", b"X: y")])
def test_F12_expectation_passes_with_or_without_its_body(lines: tuple[bytes, ...]) -> None:
    codec = server()
    (event,) = codec.receive(head(b"Content-Length: 2", *lines), NOW)
    assert b"expect" in event.headers
    assert interim(codec, b"100") == b"HTTP/1.1 100 Continue\r\n\r\n"
    codec.receive(b"ok", NOW)
    assert b"close" not in answer(codec)
    assert codec.is_idle and not codec.should_close


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx",
        b"HTTP/1.1 99 Bad\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx",
        b"HTTP/1.1 103 Hints\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 103 Hints\r\n\r\n" * 17,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 65537 + b"\r\n\r\n",
    ],
)
def test_F13_answer_that_two_could_read_in_two_ways_is_no_answer(data: bytes) -> None:
    for cut in {0, 1, len(data) // 2, len(data) - 1}:
        codec = asked()
        events: list[Any] = []
        for piece in (data[:cut], data[cut:]):
            events += codec.receive(piece, NOW) if piece else []
        assert isinstance(events[-1], Violation), cut
        assert not any(isinstance(event, ResponseHeaders) for event in events)
        assert all(isinstance(event, InformationalHeaders) for event in events[:-1])
        assert (codec.should_close, codec.is_idle) == (True, False)


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_F13_body_where_there_is_none_is_nobodys(method: bytes) -> None:
    status = b"204 No Content" if method == b"GET" else b"200 OK"
    codec = asked(method)
    events = codec.receive(b"HTTP/1.1 " + status + b"\r\nContent-Length: 6\r\n\r\npoison", NOW)
    assert names(events) == ["ResponseHeaders"]
    assert (codec.should_close, codec.is_idle) == (True, False)


def test_F14_bytes_before_the_question_or_behind_the_answer_end_the_connection() -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    codec = asked()
    assert body(codec.receive(reply + reply, NOW)) == b"ok"
    assert (codec.should_close, codec.is_idle) == (True, False)
    codec = asked()
    codec.receive(reply, NOW)
    assert codec.is_idle
    assert names(codec.receive(reply, NOW)) == ["Violation"]
    assert (codec.should_close, codec.is_idle) == (True, False)
    codec = asked()
    codec.receive(reply, NOW)
    codec.open_stream()
    assert names(codec.receive(reply, NOW)) == ["Violation"]


def test_F17_connection_takes_away_only_what_is_the_connections() -> None:
    kept = (b"X-Forwarded-Client-Cert: c", b"Content-Length: 1", b"X-Request-ID: 1", b"Traceparent: t", b"Cookie: k")
    options = b"Connection: close, host, x-forwarded-client-cert, content-length, x-request-id, traceparent, "
    options += b"cookie, x-own"
    (event, _) = server().receive(head(*kept, options, b"X-Own: 1") + b"x", NOW)
    found = {name for name, _ in event.headers.pairs()}
    assert found >= {b":authority", *(line.partition(b":")[0].lower() for line in kept)}
    assert not found & {b"x-own", b"connection"}


def test_F18_h2c_is_ignored_and_both_of_its_fields_removed() -> None:
    lines = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQ")
    (event,) = server().receive(head(*lines, first=b"GET / HTTP/1.1"), NOW)
    assert event.end_stream
    assert [name for name, _ in event.headers.pairs() if name[:1] != b":"] == []


def test_F18_glued_request_is_a_tunnels_or_nobodys() -> None:
    glued = head(first=b"GET /glued HTTP/1.1")
    request = head(b"Connection: upgrade", b"Upgrade: websocket", first=b"GET / HTTP/1.1") + glued
    codec = server()
    assert names(codec.receive(request, NOW)) == ["RequestHeaders"]
    assert b"connection: close\r\n" in answer(codec)
    assert (codec.should_close, codec.is_lingering, codec.has_buffered()) == (True, True, False)
    codec = server()
    codec.receive(request, NOW)
    interim(codec, b"101", (b"upgrade", b"websocket"))
    assert body(codec.receive(b"", NOW)) == glued


def test_F20_ten_thousand_in_one_segment_wait_as_bytes_and_keep_their_order() -> None:
    wire = b"".join(head(first=b"GET /%d HTTP/1.1" % n) for n in range(10_000))
    codec = server()
    assert names(codec.receive(wire, NOW)) == ["RequestHeaders"]
    assert codec.is_reading_paused
    few = server()
    few.receive(wire[: len(head(first=b"GET /0 HTTP/1.1")) * 9], NOW)
    assert not few.is_reading_paused
    events = serve_all(server(), wire)
    assert [event.headers.get(b":path") for event in events] == [b"/%d" % n for n in range(10_000)]


def test_H5_names_are_compared_lower_case_and_every_duplicate_is_seen() -> None:
    (event,) = server().receive(head(b"X-A: 1", b"x-a: 2", b"X_A: 3", first=b"GET / HTTP/1.1"), NOW)
    assert event.headers.get_all(b"x-a") == [b"1", b"2"]
    assert event.headers.get_all(b"x_a") == [b"3"]


def test_P9_target_wins_over_host() -> None:
    (event,) = server().receive(head(first=b"GET HTTP://A:80/x HTTP/1.1"), NOW)
    assert (event.headers.get(b":authority"), event.headers.get(b":path")) == (b"A:80", b"/x")
