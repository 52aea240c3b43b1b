"""The server's codec: what is a request, what is refused, how an answer is framed, when the connection ends."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.codec.base import CodecLimits
from sidecar.codec.h1 import H1ServerCodec
from sidecar.errors import LocalProtocolError
from sidecar.http.events import (
    InformationalHeaders,
    RequestData,
    RequestHeaders,
    RequestTrailers,
    Reset,
    ResetReason,
    ResponseData,
    ResponseHeaders,
    ResponseTrailers,
    Violation,
)
from sidecar.http.headers import HeaderMap

GET = b"GET /a HTTP/1.1\r\nHost: shop\r\n\r\n"


def codec(**limits: int) -> H1ServerCodec:
    return H1ServerCodec(CodecLimits(**limits))


def head(status: bytes = b"200", *pairs: tuple[bytes, bytes], end: bool = False) -> ResponseHeaders:
    return ResponseHeaders(1, HeaderMap.of([(b":status", status), *pairs]), end)


def one(server: H1ServerCodec, data: bytes) -> Any:
    (event,) = server.receive(data, 0.0)
    return event


class TestRequests:
    def test_a_head_becomes_pseudo_headers_and_fields_in_order(self) -> None:
        event = one(codec(), b"GET /a?b HTTP/1.1\r\nX-One: 1\r\nHost: Shop:80\r\nx-one: 2\r\n\r\n")
        assert type(event) is RequestHeaders
        assert event.end_stream
        assert [(name, value) for name, value, _ in event.headers] == [
            (b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"Shop:80"), (b":path", b"/a?b"),
            (b"x-one", b"1"), (b"x-one", b"2"),
        ]  # fmt: skip
        assert event.headers.fields[4][2] == b"X-One"

    def test_F21_cut_anywhere_it_is_the_same_request(self) -> None:
        wire = b"POST /a HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n"
        wire += b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n"
        for cut in range(1, len(wire)):
            server = codec()
            events = server.receive(wire[:cut], 0.0) + server.receive(wire[cut:], 0.0)
            assert type(events[0]) is RequestHeaders
            assert b"".join(event.data for event in events if type(event) is RequestData) == b"abcde"
            assert type(events[-1]) is RequestTrailers
            assert events[-1].headers.pairs() == [(b"t", b"1")]

    def test_a_declared_body_ends_with_its_last_byte(self) -> None:
        events = codec().receive(b"POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 3\r\n\r\nabcGET", 0.0)
        assert [type(event) for event in events] == [RequestHeaders, RequestData]
        assert (events[1].data, events[1].end_stream) == (b"abc", True)  # type: ignore[union-attr]

    def test_connection_fields_end_here_and_protected_names_stay(self) -> None:
        wire = (
            b"GET / HTTP/1.1\r\nHost: s\r\nConnection: close, x-hop, x-forwarded-for\r\nX-Hop: 1\r\n"
            b"X-Forwarded-For: 1.2.3.4\r\nKeep-Alive: 1\r\nTE: trailers\r\n\r\n"
        )
        names = [field[0] for field in one(codec(), wire).headers]
        assert names[4:] == [b"x-forwarded-for", b"te"]

    @pytest.mark.parametrize(
        ("wire", "authority", "path"),
        [
            (b"GET http://shop/x?y HTTP/1.1\r\nHost: shop\r\n\r\n", b"shop", b"/x?y"),
            (b"GET http://shop HTTP/1.1\r\nHost: SHOP:80\r\n\r\n", b"shop", b"/"),
            (b"OPTIONS * HTTP/1.1\r\nHost: shop\r\n\r\n", b"shop", b"*"),
        ],
    )
    def test_a_target_is_brought_into_origin_form(self, wire: bytes, authority: bytes, path: bytes) -> None:
        headers = one(codec(), wire).headers
        assert (headers.get(b":authority"), headers.get(b":path")) == (authority, path)

    def test_one_empty_line_before_a_request_is_ignored(self) -> None:
        assert type(one(codec(), b"\r\n" + GET)) is RequestHeaders
        assert one(codec(), b"\r\n\r\n" + GET).status == 400

    @pytest.mark.parametrize(
        ("row", "head", "status"),
        [
            ("F1", b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
            ("F2", b"Content-Length: 1\r\nContent-Length: 1\r\n", 400),
            ("F2", b"Content-Length: +1\r\n", 400),
            ("F2", b"Content-Length: 01\r\n", 400),
            ("F3", b"Transfer-Encoding: gzip, chunked\r\n", 400),
            ("F3", b"Transfer_Encoding: chunked\r\n", 400),
            ("F5", b"X: a\x00b\r\n", 400),
            ("F6", b"X : 1\r\n", 400),
            ("F6", b" folded: 1\r\n", 400),
            ("F12", b"Expect: tea\r\n", 417),
            ("F16", b"Host: other\r\n", 400),
        ],
    )
    def test_what_two_could_read_in_two_ways_is_refused(self, row: str, head: bytes, status: int) -> None:
        server = codec()
        event = one(server, b"POST / HTTP/1.1\r\nHost: s\r\n" + head + b"\r\n")
        assert type(event) is Violation
        assert event.status == status
        assert server.receive(GET, 0.0) == []

    @pytest.mark.parametrize(
        ("wire", "status"),
        [
            (b"GET / HTTP/1.1\r\n\r\n", 400),
            (b"GET / HTTP/1.2\r\nHost: s\r\n\r\n", 505),
            (b"GET / HTTP/2.0\r\nHost: s\r\n\r\n", 505),
            (b"GET /\r\n\r\n", 400),
            (b"GET  / HTTP/1.1\r\nHost: s\r\n\r\n", 400),
            (b"GET / HTTP/1.1\nHost: s\n\n", 400),
            (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            (b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", 400),
            (b"GET x HTTP/1.1\r\nHost: b\r\n\r\n", 400),
        ],
    )
    def test_F15_no_request_at_all(self, wire: bytes, status: int) -> None:
        assert one(codec(), wire).status == status

    def test_H1_limits_have_their_own_status(self) -> None:
        long = b"GET / HTTP/1.1\r\nHost: s\r\nX: " + b"a" * 200 + b"\r\n\r\n"
        refused = one(codec(header_bytes=100), long)
        assert (refused.status, refused.kind, refused.limit) == (431, "headers_too_large", "header_bytes")
        assert one(codec(header_count=1), b"GET / HTTP/1.1\r\nHost: s\r\nA: 1\r\n\r\n").limit == "header_count"
        assert one(codec(request_line=10), b"GET /" + b"a" * 20 + b" HTTP/1.1\r\nHost: s\r\n\r\n").status == 414

    def test_F7_a_chunk_that_lies_is_a_violation_of_its_stream(self) -> None:
        server = codec()
        server.receive(b"POST / HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n", 0.0)
        event = one(server, b"0x1\r\n")
        assert (event.status, event.stream_id) == (400, 1)

    def test_a_head_that_never_ends_is_408(self) -> None:
        server = codec()
        server.receive(b"GET / HT", 0.0)
        (event,) = server.expire("too slow", "header_timeout")
        assert (event.status, event.kind) == (408, "request_timeout")  # type: ignore[union-attr]


class TestPipelining:
    def test_the_next_request_waits_for_the_answer(self) -> None:
        server = codec()
        assert len(server.receive(GET + GET, 0.0)) == 1
        server.send(head(b"204", end=True))
        assert server.has_buffered()
        assert one(server, b"").stream_id == 2

    def test_F20_reading_stops_at_the_limit(self) -> None:
        server = codec(pipeline=2)
        server.receive(GET * 2, 0.0)
        assert not server.is_reading_paused
        server.receive(GET * 2, 0.0)
        assert server.is_reading_paused

    def test_unread_body_bytes_stop_reading_until_they_are_consumed(self) -> None:
        server = codec(watermark=4)
        server.receive(b"POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 9\r\n\r\nabcdef", 0.0)
        assert server.is_reading_paused
        server.consumed(1, 6)
        assert not server.is_reading_paused


def answer(request: bytes, *events: Any) -> tuple[bytes, H1ServerCodec]:
    server = codec()
    server.receive(request, 0.0)
    for event in events:
        server.send(event)
    return server.data_to_send(), server


class TestAnswers:
    def test_a_declared_length_is_kept(self) -> None:
        wire, server = answer(GET, head(b"200", (b"Content-Length", b"2")), ResponseData(1, b"ok", True))
        assert wire == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        assert not server.should_close

    def test_without_a_length_it_is_chunked_and_may_have_trailers(self) -> None:
        trailers = ResponseTrailers(1, HeaderMap.of([(b"T", b"1"), (b"content-length", b"9")]))
        wire, _ = answer(GET, head(), ResponseData(1, b"ok"), trailers)
        assert wire == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nT: 1\r\n\r\n"

    def test_an_old_client_gets_no_chunks(self) -> None:
        wire, server = answer(b"GET / HTTP/1.0\r\n\r\n", head(), ResponseData(1, b"ok", True))
        assert wire == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok"
        assert server.should_close

    def test_an_old_client_may_keep_the_connection(self) -> None:
        request = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        wire, server = answer(request, head(b"200", (b"content-length", b"0"), end=True))
        assert b"connection: keep-alive\r\n" in wire
        assert not server.should_close

    @pytest.mark.parametrize(
        ("request_line", "status", "expected"),
        [
            (b"HEAD", b"200", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
            (b"GET", b"304", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"),
            (b"GET", b"204", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ],
    )
    def test_answers_without_a_body(self, request_line: bytes, status: bytes, expected: bytes) -> None:
        request = request_line + b" / HTTP/1.1\r\nHost: s\r\n\r\n"
        wire, _ = answer(request, head(status, (b"content-length", b"5"), end=True))
        assert wire == expected

    def test_a_body_that_does_not_fit_its_length_is_our_fault(self) -> None:
        for data, end in ((b"abc", False), (b"a", True)):
            server = codec()
            server.receive(GET, 0.0)
            server.send(head(b"200", (b"content-length", b"2")))
            with pytest.raises(LocalProtocolError):
                server.send(ResponseData(1, data, end))

    def test_control_bytes_never_reach_the_wire(self) -> None:
        server = codec()
        server.receive(GET, 0.0)
        with pytest.raises(LocalProtocolError):
            server.send(head(b"200", (b"x", b"a\r\nb: c")))

    def test_interim_answers_pass_and_old_clients_get_none(self) -> None:
        early = InformationalHeaders(1, HeaderMap.of([(b":status", b"103"), (b"link", b"x")]))
        assert answer(GET, early)[0] == b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        assert answer(b"GET / HTTP/1.0\r\n\r\n", early)[0] == b""

    def test_a_second_answer_is_our_fault(self) -> None:
        server = codec()
        server.receive(GET, 0.0)
        server.send(head(b"204", end=True))
        with pytest.raises(LocalProtocolError):
            server.send(head(b"204", end=True))


class TestEnds:
    def test_F11_an_early_refusal_closes_and_lingers(self) -> None:
        request = b"POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 100\r\n\r\nabc"
        wire, server = answer(request, head(b"413", (b"content-length", b"0"), end=True))
        assert b"connection: close\r\n" in wire
        assert (server.should_close, server.is_lingering) == (True, True)
        assert server.receive(GET, 0.0) == []

    def test_a_client_that_asked_for_the_end_gets_it(self) -> None:
        wire, server = answer(b"GET / HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n", head(b"204", end=True))
        assert b"connection: close" in wire
        assert server.should_close

    def test_draining_says_so_in_the_next_answer(self) -> None:
        server = codec()
        server.drain()
        server.receive(GET, 0.0)
        server.send(head(b"204", end=True))
        assert b"connection: close" in server.data_to_send()

    def test_F8_an_end_inside_a_body_is_a_reset(self) -> None:
        server = codec()
        server.receive(b"POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 9\r\n\r\nabc", 0.0)
        (event,) = server.receive_eof(0.0)
        assert type(event) is Reset

    def test_half_a_close_after_the_request_still_gets_its_answer(self) -> None:
        server = codec()
        server.receive(GET, 0.0)
        assert server.receive_eof(0.0) == []
        server.send(head(b"204", end=True))
        assert server.should_close

    def test_a_reset_is_a_cut(self) -> None:
        server = codec()
        server.receive(GET, 0.0)
        server.send(Reset(1, ResetReason.UPSTREAM_GONE))
        assert (server.should_close, server.should_reset) == (True, True)


UPGRADE = b"GET /chat HTTP/1.1\r\nHost: s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class TestTunnels:
    def test_F18_bytes_flow_after_101_and_not_before(self) -> None:
        server = codec()
        event = one(server, UPGRADE + b"early")
        assert not event.end_stream
        assert event.headers.get(b"upgrade") == b"websocket"
        server.send(head(b"101", (b"upgrade", b"websocket")))
        assert b"connection: upgrade\r\n" in server.data_to_send()
        assert one(server, b"").data == b"early"
        assert one(server, b"late").data == b"late"

    def test_F18_a_refused_upgrade_is_an_ordinary_answer_and_the_last(self) -> None:
        """A hop in front may believe in the tunnel all the same, and send what is no request of its own."""
        written, server = answer(UPGRADE + GET, head(b"200", (b"content-length", b"0"), end=True))
        assert b"connection: close\r\n" in written
        assert (server.should_close, server.is_lingering, server.has_buffered()) == (True, True, False)

    def test_a_client_that_leaves_before_the_101_is_gone(self) -> None:
        server = codec()
        server.receive(UPGRADE, 0.0)
        (event,) = server.receive_eof(0.0)
        assert type(event) is Reset

    def test_F18_h2c_is_ignored(self) -> None:
        request = b"GET / HTTP/1.1\r\nHost: s\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        request += b"Upgrade: h2c\r\nHTTP2-Settings: A\r\n\r\n"
        event = one(codec(), request)
        assert event.end_stream
        assert len(event.headers) == 4

    def test_101_that_nobody_asked_for_is_our_fault(self) -> None:
        server = codec()
        server.receive(GET, 0.0)
        with pytest.raises(LocalProtocolError):
            server.send(head(b"101"))

    def test_F19_connect_names_an_authority_and_no_path(self) -> None:
        headers = one(codec(), b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n").headers
        assert (headers.get(b":authority"), headers.get(b":path")) == (b"a:1", None)


class TestHalfClose:
    def test_pipelined_requests_are_all_answered_and_the_last_says_so(self) -> None:
        server = codec()
        server.receive(GET * 2, 0.0)
        assert server.receive_eof(0.0) == []
        server.send(head(b"204", end=True))
        assert b"close" not in server.data_to_send()
        assert (server.should_close, server.has_buffered()) == (False, True)
        assert len(server.receive(b"", 0.0)) == 1
        server.send(head(b"204", end=True))
        assert b"connection: close\r\n" in server.data_to_send()
        assert server.should_close

    def test_a_head_that_nobody_will_complete_ends_the_connection(self) -> None:
        server = codec()
        server.receive(GET + b"GET / HT", 0.0)
        server.receive_eof(0.0)
        server.send(head(b"204", end=True))
        assert server.has_buffered()
        assert server.receive(b"", 0.0) == []
        assert (server.should_close, server.has_buffered()) == (True, False)

    def test_between_requests_it_is_the_end(self) -> None:
        server = codec()
        server.receive(b"GET / HT", 0.0)
        assert server.receive_eof(0.0) == []
        assert (server.should_close, server.has_buffered()) == (True, False)


class TestWaiting:
    def test_an_empty_line_begins_no_head_and_is_no_reason_for_408(self) -> None:
        server = codec()
        assert server.receive(b"\r\n", 0.0) == []
        assert server.expire("too slow", "header_timeout") == []
        assert one(server, GET).end_stream

    def test_a_second_empty_line_is_refused_however_it_comes(self) -> None:
        server = codec()
        server.receive(b"\r", 0.0)
        server.receive(b"\n", 0.0)
        (event,) = server.receive(b"\r\n", 0.0)
        assert event.status == 400

    def test_a_partial_head_is_not_looked_at_twice(self) -> None:
        server = codec()
        server.receive(b"GET / HT", 0.0)
        assert not server.has_buffered()

    def test_a_tunnel_that_the_app_ends_lingers(self) -> None:
        server = codec()
        server.receive(UPGRADE, 0.0)
        server.send(head(b"101", (b"upgrade", b"websocket")))
        server.send(ResponseData(1, b"bye", True))
        assert (server.should_close, server.is_lingering) == (True, True)

    def test_101_may_come_as_an_interim_answer(self) -> None:
        server = codec()
        server.receive(UPGRADE, 0.0)
        server.send(InformationalHeaders(1, HeaderMap.of([(b":status", b"101"), (b"upgrade", b"websocket")])))
        assert b"connection: upgrade\r\n" in server.data_to_send()
        assert one(server, b"late").data == b"late"

    @pytest.mark.parametrize("status", [b"100", b"103", b"199"])
    def test_an_interim_status_is_no_final_answer(self, status: bytes) -> None:
        server = codec()
        server.receive(GET, 0.0)
        with pytest.raises(LocalProtocolError):
            server.send(head(status, end=True))
