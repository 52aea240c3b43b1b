"""What every codec owes the connection that holds it, whichever version and role: one class, run on all of them.

A case is a codec in a role with the bytes of one message it reads. What differs between versions is in the case;
what the contract says (sidecar/codec/base.py) is in the class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from sidecar.codec.base import Codec, CodecLimits
from sidecar.codec.h1 import H1ClientCodec, H1ServerCodec
from sidecar.errors import LocalProtocolError
from sidecar.http.events import (
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
from tests.support.codecs import NOW, ask, body, joined, names

BODY = b"0123456789" * 10


class Case(NamedTuple):
    """``opened`` is ready to read ``message`` (a head, BODY, trailers); ``ends`` tells a whole message by its end."""

    label: str
    make: Callable[[CodecLimits], Any]
    opened: Callable[[CodecLimits], Any]
    message: bytes
    broken: bytes
    data: type
    finish: Callable[[Any], None]


def _asked(limits: CodecLimits) -> Any:
    codec = H1ClientCodec(limits)
    ask(codec)
    return codec


def _answered(codec: Any) -> None:
    codec.send(ResponseHeaders(1, HeaderMap.of([(b":status", b"204")]), True))


_CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n64\r\n" + BODY + b"\r\n0\r\nX-Sum: 1\r\n\r\n"

CASES = [
    Case(
        "h1-server",
        H1ServerCodec,
        H1ServerCodec,
        b"POST /x HTTP/1.1\r\nHost: a\r\n" + _CHUNKED,
        b"GET / HTTP/3.7\r\n\r\n",
        RequestData,
        _answered,
    ),
    Case(
        "h1-client",
        H1ClientCodec,
        _asked,
        b"HTTP/1.1 200 OK\r\n" + _CHUNKED,
        b"HTTP/1.1 99 Bad\r\n\r\n",
        ResponseData,
        lambda codec: None,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.label for case in CASES])
class TestCodec:
    def test_it_offers_the_whole_contract(self, case: Case) -> None:
        codec = case.make(CodecLimits())
        wanted = {name for name in (*Codec.__annotations__, *vars(Codec)) if not name.startswith("_")}
        assert [name for name in sorted(wanted) if not hasattr(codec, name)] == []
        assert codec.protocol in ("h1", "h2", "h3")

    def test_a_new_codec_is_idle_and_has_nothing_to_say(self, case: Case) -> None:
        codec = case.make(CodecLimits())
        assert codec.is_idle
        assert not (codec.is_reading_paused or codec.should_close or codec.should_reset or codec.is_lingering)
        assert not (codec.should_half_close or codec.response_started or codec.has_buffered())
        assert codec.data_to_send() == b""

    def test_a_message_is_head_data_trailers(self, case: Case) -> None:
        events = case.opened(CodecLimits()).receive(case.message, NOW)
        assert [type(event) for event in events] in (
            [RequestHeaders, RequestData, RequestTrailers],
            [ResponseHeaders, ResponseData, ResponseTrailers],
        )
        assert not any(getattr(event, "end_stream", False) for event in events)
        assert body(events) == BODY
        assert len({event.stream_id for event in events}) == 1

    def test_cut_anywhere_it_is_the_same_message(self, case: Case) -> None:
        whole = joined(case.opened(CodecLimits()).receive(case.message, NOW))
        for cut in range(1, len(case.message)):
            codec = case.opened(CodecLimits())
            events = codec.receive(case.message[:cut], NOW) + codec.receive(case.message[cut:], NOW)
            assert joined(events) == whole, cut

    def test_an_open_stream_is_not_idle(self, case: Case) -> None:
        codec = case.opened(CodecLimits())
        codec.receive(case.message[:-1], NOW)
        assert not codec.is_idle

    def test_bytes_are_taken_once(self, case: Case) -> None:
        codec = case.opened(CodecLimits())
        codec.receive(case.message, NOW)
        case.finish(codec)
        assert bool(codec.data_to_send())
        assert codec.data_to_send() == b""

    def test_unread_bytes_stop_reading_and_credit_resumes_it(self, case: Case) -> None:
        codec = case.opened(CodecLimits(watermark=40))
        events = codec.receive(case.message[: case.message.index(BODY) + 60], NOW)
        assert len(body(events)) == 60
        assert codec.is_reading_paused
        codec.consumed(events[0].stream_id, 19)
        assert codec.is_reading_paused
        codec.consumed(events[0].stream_id, 1)
        assert not codec.is_reading_paused

    def test_credit_of_another_stream_changes_nothing(self, case: Case) -> None:
        codec = case.opened(CodecLimits(watermark=40))
        events = codec.receive(case.message[: case.message.index(BODY) + 60], NOW)
        codec.consumed(events[0].stream_id + 2, 60)
        assert codec.is_reading_paused

    def test_an_end_inside_a_message_is_a_reset_and_never_an_end(self, case: Case) -> None:
        codec = case.opened(CodecLimits())
        codec.receive(case.message[: case.message.index(BODY) + 60], NOW)
        (event,) = codec.receive_eof(NOW)
        assert type(event) is Reset
        assert event.reason in (ResetReason.CANCEL, ResetReason.UPSTREAM_GONE)

    def test_what_is_broken_is_one_violation_and_nothing_after_it_is_read(self, case: Case) -> None:
        codec = case.opened(CodecLimits())
        (event,) = codec.receive(case.broken + case.message, NOW)
        assert type(event) is Violation
        assert 400 <= event.status < 600
        assert codec.receive(case.message, NOW) == []
        assert not codec.is_idle

    def test_giving_up_is_a_cut(self, case: Case) -> None:
        codec = case.opened(CodecLimits())
        codec.receive(case.message[:-1], NOW)
        codec.send(Reset(1, ResetReason.CANCEL))
        assert (codec.should_close, codec.should_reset) == (True, True)
        assert codec.receive(case.message[-1:], NOW) == []

    def test_what_the_role_does_not_send_is_refused(self, case: Case) -> None:
        codec = case.opened(CodecLimits())
        codec.receive(case.message[:-1], NOW)
        other = RequestHeaders if case.data is RequestData else ResponseHeaders
        with pytest.raises(LocalProtocolError):
            codec.send(other(1, HeaderMap.of([(b":status", b"200")])))

    def test_body_bytes_before_a_head_are_refused(self, case: Case) -> None:
        codec = case.make(CodecLimits())
        with pytest.raises(LocalProtocolError):
            codec.send((ResponseData if case.data is RequestData else RequestData)(1, b"x", True))

    @pytest.mark.parametrize("read", [0, 5, -1])
    def test_draining_ends_with_the_open_stream(self, case: Case, read: int) -> None:
        codec = case.opened(CodecLimits())
        codec.receive(case.message[:read], NOW)
        codec.drain()
        assert not codec.should_close
        events = codec.receive(case.message[read:], NOW)
        assert names(events)[-1].endswith("Trailers")
        case.finish(codec)
        assert (codec.should_close, codec.should_reset) == (True, False)


def test_server_opens_no_streams_and_client_gives_no_time() -> None:
    with pytest.raises(LocalProtocolError):
        H1ServerCodec(CodecLimits()).open_stream()
    assert H1ClientCodec(CodecLimits()).expire("late", "header_timeout") == []


def test_client_takes_no_second_stream() -> None:
    codec = _asked(CodecLimits())
    with pytest.raises(LocalProtocolError):
        codec.open_stream()
