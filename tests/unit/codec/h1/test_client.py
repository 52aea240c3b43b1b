"""The client's codec: how a request is framed, which answers are believed, when a connection may serve again."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.codec.base import CodecLimits
from sidecar.codec.h1 import H1ClientCodec
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

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def request(method: bytes = b"GET", *pairs: tuple[bytes, bytes], end: bool = True) -> RequestHeaders:
    pseudo = [(b":method", method), (b":scheme", b"http"), (b":authority", b"app"), (b":path", b"/a")]
    return RequestHeaders(1, HeaderMap.of([*pseudo, *pairs]), end)


def asked(method: bytes = b"GET", *pairs: tuple[bytes, bytes], end: bool = True, **limits: int) -> H1ClientCodec:
    client = H1ClientCodec(CodecLimits(**limits))
    client.open_stream()
    client.send(request(method, *pairs, end=end))
    return client


class TestRequests:
    def test_host_comes_first_and_fields_keep_their_order(self) -> None:
        client = asked(b"GET", (b"X-B", b"1"), (b"x-a", b"2"), (b"X-B", b"3"))
        assert client.data_to_send() == b"GET /a HTTP/1.1\r\nHost: app\r\nX-B: 1\r\nx-a: 2\r\nX-B: 3\r\n\r\n"

    def test_a_body_without_a_length_is_chunked(self) -> None:
        client = asked(b"POST", end=False)
        client.send(RequestData(1, b"abc"))
        client.send(RequestTrailers(1, HeaderMap.of([(b"t", b"1")])))
        assert client.data_to_send().endswith(b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nt: 1\r\n\r\n")

    def test_a_declared_length_is_kept_and_held(self) -> None:
        client = asked(b"POST", (b"content-length", b"3"), end=False)
        client.send(RequestData(1, b"abc", True))
        assert client.data_to_send().endswith(b"content-length: 3\r\n\r\nabc")
        client = asked(b"POST", (b"content-length", b"3"), end=False)
        with pytest.raises(LocalProtocolError):
            client.send(RequestData(1, b"ab", True))

    def test_a_post_without_a_body_says_so(self) -> None:
        assert b"content-length: 0\r\n" in asked(b"POST").data_to_send()
        assert b"content-length" not in asked(b"GET").data_to_send()

    def test_trailers_are_asked_for_hop_by_hop(self) -> None:
        assert b"te: trailers\r\nconnection: TE\r\n" in asked(b"GET", (b"te", b"trailers")).data_to_send()

    def test_a_request_line_cannot_be_split(self) -> None:
        client = H1ClientCodec(CodecLimits())
        client.open_stream()
        head = request()
        head.headers.set(b":path", b"/ HTTP/1.1\r\nX: y")
        with pytest.raises(LocalProtocolError):
            client.send(head)

    def test_one_request_at_a_time(self) -> None:
        with pytest.raises(LocalProtocolError):
            asked().open_stream()


class TestAnswers:
    def test_a_whole_answer_leaves_the_connection_idle(self) -> None:
        client = asked()
        head, data = client.receive(OK, 0.0)
        assert type(head) is ResponseHeaders
        assert (data.data, data.end_stream) == (b"ok", True)  # type: ignore[union-attr]
        assert (client.is_idle, client.should_close) == (True, False)

    def test_cut_anywhere_it_is_the_same_answer(self) -> None:
        wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nT: 1\r\n\r\n"
        for cut in range(1, len(wire)):
            client = asked()
            events = client.receive(wire[:cut], 0.0) + client.receive(wire[cut:], 0.0)
            assert b"".join(event.data for event in events if type(event) is ResponseData) == b"ok"
            assert type(events[-1]) is ResponseTrailers
            assert client.is_idle

    def test_without_a_length_it_ends_with_the_connection(self) -> None:
        client = asked()
        client.receive(b"HTTP/1.1 200 OK\r\n\r\nab", 0.0)
        (end,) = client.receive_eof(0.0)
        assert (type(end), end.end_stream) == (ResponseData, True)  # type: ignore[union-attr]
        assert client.should_close

    @pytest.mark.parametrize(("method", "status"), [(b"HEAD", b"200 OK"), (b"GET", b"304 Not Modified")])
    def test_answers_without_a_body(self, method: bytes, status: bytes) -> None:
        client = asked(method)
        (head,) = client.receive(b"HTTP/1.1 " + status + b"\r\nContent-Length: 9\r\n\r\n", 0.0)
        assert head.end_stream  # type: ignore[union-attr]
        assert client.is_idle

    def test_interim_answers_come_before_the_final_one(self) -> None:
        events = asked().receive(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, 0.0)
        assert [type(event) for event in events] == [InformationalHeaders, ResponseHeaders, ResponseData]

    @pytest.mark.parametrize(
        "wire",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            b"HTTP/1.1 99 Low\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            b"HTTP/2 200\r\n\r\n",
            b"junk\r\n\r\n",
        ],
    )
    def test_F13_an_answer_that_cannot_be_believed(self, wire: bytes) -> None:
        client = asked()
        events = client.receive(wire, 0.0)
        assert type(events[-1]) is Violation
        assert (client.should_close, client.is_idle) == (True, False)

    def test_F13_interim_answers_without_end(self) -> None:
        client = asked(interim=2)
        events: list[Any] = []
        for _ in range(3):
            events += client.receive(b"HTTP/1.1 102 Processing\r\n\r\n", 0.0)
        assert [type(event) for event in events] == [InformationalHeaders, InformationalHeaders, Violation]
        assert events[-1].limit == "interim"

    def test_F14_bytes_that_nobody_asked_for_end_the_connection(self) -> None:
        client = H1ClientCodec(CodecLimits())
        (event,) = client.receive(OK, 0.0)
        assert type(event) is Violation
        assert client.should_close

    def test_F14_bytes_behind_an_answer_are_never_the_next_one(self) -> None:
        client = asked()
        events = client.receive(OK + OK, 0.0)
        assert len(events) == 2
        assert (client.should_close, client.is_idle) == (True, False)

    def test_an_end_before_or_inside_an_answer_is_a_reset(self) -> None:
        client = asked()
        (event,) = client.receive_eof(0.0)
        assert type(event) is Reset
        assert not client.response_started
        client = asked()
        client.receive(OK[:-1], 0.0)
        (event,) = client.receive_eof(0.0)
        assert type(event) is Reset
        assert client.response_started

    def test_an_early_answer_ends_the_connection_with_it(self) -> None:
        client = asked(b"POST", (b"content-length", b"9"), end=False)
        client.receive(OK, 0.0)
        assert (client.should_close, client.is_idle) == (True, False)

    def test_close_is_obeyed(self) -> None:
        client = asked()
        client.receive(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 0.0)
        assert client.should_close

    def test_unread_bytes_stop_reading_until_they_are_consumed(self) -> None:
        client = asked(watermark=4)
        client.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabcdef", 0.0)
        assert client.is_reading_paused
        client.consumed(1, 6)
        assert not client.is_reading_paused

    def test_giving_up_is_a_cut(self) -> None:
        client = asked()
        client.send(Reset(1, ResetReason.CANCEL))
        assert (client.should_close, client.should_reset, client.data_to_send()) == (True, True, b"")
        assert client.receive(OK, 0.0) == []


class TestTunnels:
    def test_bytes_flow_after_101(self) -> None:
        client = asked(b"GET", (b"upgrade", b"websocket"), end=False)
        assert b"upgrade: websocket\r\nconnection: upgrade\r\n" in client.data_to_send()
        head, data = client.receive(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nhi", 0.0)
        assert head.headers.get(b":status") == b"101"  # type: ignore[union-attr]
        assert data.data == b"hi"  # type: ignore[union-attr]
        client.send(RequestData(1, b"ho"))
        assert client.data_to_send() == b"ho"

    def test_no_byte_goes_before_it(self) -> None:
        client = asked(b"GET", (b"upgrade", b"websocket"), end=False)
        with pytest.raises(LocalProtocolError):
            client.send(RequestData(1, b"early"))

    def test_a_refusal_leaves_an_ordinary_connection(self) -> None:
        client = asked(b"GET", (b"upgrade", b"websocket"), end=False)
        client.receive(OK, 0.0)
        assert client.is_idle
