from __future__ import annotations

from typing import Any

import pytest

from sidecar.errors import ErrorKind, ProxyError, Retry, Source
from sidecar.exchange.ports import CallResult
from sidecar.http.events import (
    InformationalHeaders,
    RequestData,
    RequestHeaders,
    RequestTrailers,
    ResponseData,
    ResponseHeaders,
    ResponseTrailers,
)
from sidecar.http.headers import HeaderMap
from sidecar.proxy.callout import DEFAULT_TIMEOUT, CallPorts
from tests.support.exchanges import FakeTimers


class FakeStream:
    is_open = True
    address = "127.0.0.1:9"
    local_address = ""
    is_reused = False

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.credited = 0
        self.resets: list[Any] = []

    def send(self, event: Any) -> bool:
        self.sent.append(event)
        return True

    def flush(self) -> None: ...

    def consumed(self, size: int) -> None:
        self.credited += size

    def reset(self, reason: Any) -> None:
        self.resets.append(reason)


class Waiting:
    is_open = False

    def __init__(self) -> None:
        self.cancels = 0

    def cancel(self) -> None:
        self.cancels += 1


class FakePort:
    """Hands out what it was told to, and remembers who asked."""

    def __init__(self, given: Any) -> None:
        self.given = given
        self.handler: Any = None
        self.attempts: list[int] = []

    def open(self, upstream: str, handler: Any, attempt: int = 1) -> Any:
        self.handler = handler
        self.attempts.append(attempt)
        if isinstance(self.given, ProxyError):
            raise self.given
        return self.given


class Call:
    def __init__(self, given: Any = None, *, body: bytes = b"", timeout: float = 5.0, max_body: int = 100, **more: Any):
        self.timers = FakeTimers()
        self.stream = FakeStream() if given is None else given
        self.port = FakePort(self.stream)
        self.results: list[CallResult] = []
        ports = CallPorts(self.port, self.timers, {"auth"}, max_body)  # type: ignore[arg-type]
        headers = more.get("headers") or HeaderMap.of(
            [(b":method", b"POST"), (b":path", b"/v"), (b":authority", b"auth"), (b"x-request-id", b"id")]
        )
        self.handle = ports.http_call("auth", headers, body, more.get("trailers"), timeout, self.results.append)

    def answer(self, *pairs: tuple[bytes, bytes], end: bool = False) -> None:
        self.handle.on_upstream_event(ResponseHeaders(1, HeaderMap.of([(b":status", b"200"), *pairs]), end))

    @property
    def result(self) -> CallResult:
        assert len(self.results) == 1
        return self.results[0]


def test_the_request_goes_out_as_the_plugin_made_it_with_its_length():
    call = Call(body=b"token")
    head, data = call.stream.sent
    assert type(head) is RequestHeaders
    assert head.headers.get(b"x-request-id") == b"id"
    assert head.headers.get(b"content-length") == b"5"
    assert head.headers.get(b":scheme") == b"http"
    assert [name for name, _, _ in head.headers][:4] == [b":method", b":path", b":authority", b":scheme"]
    assert (type(data), data.data, data.end_stream) == (RequestData, b"token", True)


def test_trailers_end_the_request():
    call = Call(body=b"token", trailers=HeaderMap.of([(b"sum", b"1")]))
    assert [type(event) for event in call.stream.sent] == [RequestHeaders, RequestData, RequestTrailers]
    assert b"content-length" not in call.stream.sent[0].headers


def test_a_request_without_a_body_ends_with_its_head():
    call = Call()
    assert call.stream.sent[0].end_stream


def test_the_answer_comes_whole_and_once():
    call = Call()
    call.handle.on_upstream_event(InformationalHeaders(1, HeaderMap.of([(b":status", b"103")])))
    call.answer()
    call.handle.on_upstream_event(ResponseData(1, b"all"))
    assert call.stream.credited == 3
    call.handle.on_upstream_event(ResponseData(1, b"owed", True))
    assert (call.result.body, call.result.failure) == (b"allowed", "")
    assert call.result.headers.get(b":status") == b"200"
    assert call.stream.resets == []
    call.timers.advance(100)
    assert len(call.results) == 1


def test_trailers_of_the_answer_are_kept():
    call = Call()
    call.answer()
    call.handle.on_upstream_event(ResponseTrailers(1, HeaderMap.of([(b"sum", b"1")])))
    assert call.result.trailers is not None
    assert call.result.trailers.get(b"sum") == b"1"


def test_a_call_waits_for_its_connection():
    call = Call(Waiting())
    assert call.results == []
    stream = FakeStream()
    call.handle.on_upstream_open(stream)  # type: ignore[arg-type]
    assert type(stream.sent[0]) is RequestHeaders


@pytest.mark.parametrize(
    ("kind", "failure"),
    [(ErrorKind.UPSTREAM_CONNECT, "connect"), (ErrorKind.OVERLOADED, "connect"), (ErrorKind.UPSTREAM_RESET, "reset")],
)
def test_a_failure_before_the_answer_is_a_503_made_here(kind, failure):
    call = Call()
    call.handle.on_upstream_error(ProxyError(kind, "why"))
    assert call.result.headers.get(b":status") == b"503"
    assert call.result.failure == failure
    assert call.result.headers.get(b"content-length") == b"%d" % len(call.result.body)


@pytest.mark.parametrize(("method", "tries"), [(b"GET", 2), (b"POST", 1)])
def test_R2_a_stale_connection_is_no_news_for_a_plugin_whose_call_may_be_repeated(method, tries):
    headers = HeaderMap.of([(b":method", method), (b":path", b"/v"), (b":authority", b"auth")])
    call = Call(headers=headers)
    stale = ProxyError(ErrorKind.UPSTREAM_RESET, "lost", source=Source.UPSTREAM, retry=Retry.REUSED)
    for _ in range(tries):
        assert call.results == []
        call.handle.on_upstream_error(stale)
    assert call.result.failure == "reset" and call.port.attempts == list(range(1, tries + 1))
    assert len(call.stream.sent) == tries


def test_an_answer_cut_short_is_no_answer():
    call = Call()
    call.answer()
    call.handle.on_upstream_error(ProxyError(ErrorKind.UPSTREAM_RESET, "why"))
    assert (len(call.result.headers), call.result.failure) == (0, "reset")


def test_a_refusal_is_told_later_never_inside_the_call():
    call = Call(ProxyError(ErrorKind.OVERLOADED, "full"))
    assert call.results == []
    call.timers.advance(0.1)
    assert call.result.headers.get(b":status") == b"503"


def test_a_timeout_before_the_answer_is_a_504_and_gives_the_stream_up():
    call = Call(timeout=2.0)
    call.timers.advance(2.1)
    assert call.result.headers.get(b":status") == b"504"
    assert len(call.stream.resets) == 1


def test_a_timeout_inside_the_answer_is_no_answer():
    call = Call(timeout=2.0)
    call.answer()
    call.timers.advance(2.1)
    assert (len(call.result.headers), call.result.failure) == (0, "timeout")


def test_a_call_without_a_timeout_has_ours():
    call = Call(timeout=0.0)
    call.timers.advance(DEFAULT_TIMEOUT - 1)
    assert call.results == []
    call.timers.advance(2)
    assert call.result.failure == "timeout"


def test_an_answer_over_the_limit_is_given_up():
    call = Call(max_body=4)
    call.answer()
    call.handle.on_upstream_event(ResponseData(1, b"12345"))
    assert call.result.failure == "reset"
    assert len(call.stream.resets) == 1


def test_a_cancelled_call_says_nothing_more():
    call = Call(Waiting())
    call.handle.cancel()
    assert call.stream.cancels == 1
    call.timers.advance(100)
    assert call.results == []


def test_upstreams_are_known_by_name():
    ports = CallPorts(FakePort(None), FakeTimers(), {"auth"}, 100)  # type: ignore[arg-type]
    assert ports.has_upstream("auth")
    assert not ports.has_upstream("other")
