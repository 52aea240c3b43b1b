"""HTTP calls a plugin makes (``proxy_http_call``), over the same upstreams and pools as the traffic.

Failures look as a plugin written for Envoy expects: no connection, or the connection lost before an answer, is an
answer with ``:status`` 503 made here; a timeout before an answer one with 504; an answer cut short is no answer at
all (``failure`` set, no headers).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from sidecar.errors import ErrorKind, ProxyError, Retry
from sidecar.exchange.ports import CallResult, TimerHandle, TimerPort, UpstreamPort, UpstreamStream
from sidecar.http.events import (
    InformationalHeaders,
    RequestData,
    RequestHeaders,
    RequestTrailers,
    ResetReason,
    ResponseData,
    ResponseEvent,
    ResponseHeaders,
    ResponseTrailers,
)
from sidecar.http.headers import HeaderMap
from sidecar.upstream.retry import may_retry

DEFAULT_TIMEOUT = 60.0
"""Seconds for a call that named none: a plugin must not be able to wait for ever."""


class Callout:
    """One call; implements :class:`sidecar.exchange.ports.UpstreamHandler` and ``CallHandle``."""

    __slots__ = (
        "_alarm",
        "_attempts",
        "_body",
        "_done",
        "_events",
        "_headers",
        "_max_body",
        "_port",
        "_stream",
        "_timers",
        "_upstream",
        "_waiting",
    )

    def __init__(
        self,
        events: list[RequestHeaders | RequestData | RequestTrailers],
        timers: TimerPort,
        timeout: float,
        max_body: int,
        done: Callable[[CallResult], None],
        port: UpstreamPort,
        upstream: str,
    ) -> None:
        self._events = events
        self._port = port
        self._upstream = upstream
        self._attempts = 0
        self._timers = timers
        self._max_body = max_body
        self._done: Callable[[CallResult], None] | None = done
        self._headers: HeaderMap | None = None
        self._body = bytearray()
        self._stream: UpstreamStream | None = None
        self._waiting: Any = None
        self._alarm: TimerHandle | None = timers.call_later(timeout or DEFAULT_TIMEOUT, self._on_timeout)

    def start(self) -> None:
        """Begin a try."""
        self._attempts += 1
        try:
            opened = self._port.open(self._upstream, self, self._attempts)
        except ProxyError as error:
            # The result must not come before the call has returned its id.
            reason = error
            self._timers.call_later(0, lambda: self.on_upstream_error(reason))
            return
        if opened.is_open:
            self.on_upstream_open(opened)  # type: ignore[arg-type]
        else:
            self._waiting = opened

    def cancel(self) -> None:
        self._done = None
        self._give_up()

    def on_upstream_open(self, stream: UpstreamStream) -> None:
        self._waiting = None
        self._stream = stream
        for event in self._events:
            stream.send(event)
        stream.flush()

    def on_upstream_event(self, event: ResponseEvent) -> None:
        if type(event) is InformationalHeaders:
            return
        trailers: HeaderMap | None = None
        ended = True
        if type(event) is ResponseHeaders:
            self._headers = event.headers
            ended = event.end_stream
        elif type(event) is ResponseData:
            self._body += event.data
            ended = event.end_stream
            if len(self._body) > self._max_body:
                self._fail("reset")
                return
            if not ended and self._stream is not None:
                self._stream.consumed(len(event.data))
        elif type(event) is ResponseTrailers:
            trailers = event.headers
        if ended:
            self._stream = None
            self._finish(CallResult(self._headers or HeaderMap(), bytes(self._body), trailers))

    def on_upstream_flush(self) -> None:
        """Nothing waits here."""

    def on_upstream_writable(self) -> None:
        """The request went out whole."""

    def on_upstream_error(self, error: ProxyError) -> None:
        self._stream = None
        self._waiting = None
        if self._headers is not None:
            self._fail("reset")
            return
        method = self._events[0].headers.get(b":method") or b""  # type: ignore[union-attr]
        if error.retry is Retry.REUSED and self._done is not None and may_retry(method, error, self._attempts):
            # The connection was stale: that is no news for a plugin.
            self.start()
            return
        name = "connect" if error.kind in (ErrorKind.UPSTREAM_CONNECT, ErrorKind.OVERLOADED) else "reset"
        self._finish(_made(b"503", f"upstream connect error or disconnect/reset before headers. {error.detail}", name))

    def _on_timeout(self) -> None:
        self._alarm = None
        if self._headers is not None:
            self._fail("timeout")
        else:
            self._finish(_made(b"504", "upstream request timeout", "timeout"))

    def _fail(self, failure: str) -> None:
        self._finish(CallResult(HeaderMap(), b"", None, failure))

    def _finish(self, result: CallResult) -> None:
        done, self._done = self._done, None
        self._give_up()
        if done is not None:
            done(result)

    def _give_up(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.cancel()
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.reset(ResetReason.CANCEL)


def _made(status: bytes, text: str, failure: str) -> CallResult:
    body = text.encode()
    headers = HeaderMap.of(
        [(b":status", status), (b"content-length", b"%d" % len(body)), (b"content-type", b"text/plain")]
    )
    return CallResult(headers, body, None, failure)


class CallPorts:
    """Implements :class:`sidecar.exchange.ports.CallPort` over the pools."""

    def __init__(self, port: UpstreamPort, timers: TimerPort, upstreams: Collection[str], max_body: int) -> None:
        self._port = port
        self._timers = timers
        self._upstreams = upstreams
        self._max_body = max_body

    def has_upstream(self, name: str) -> bool:
        return name in self._upstreams

    def http_call(
        self,
        upstream: str,
        headers: HeaderMap,
        body: bytes,
        trailers: HeaderMap | None,
        timeout: float,
        done: Callable[[CallResult], None],
    ) -> Callout:
        if b":scheme" not in headers:
            headers.add(b":scheme", b"http")
        if body and not trailers:
            headers.set(b"content-length", b"%d" % len(body))
        events: list[RequestHeaders | RequestData | RequestTrailers] = [
            RequestHeaders(0, headers, not body and not trailers)
        ]
        if body:
            events.append(RequestData(0, body, not trailers))
        if trailers:
            events.append(RequestTrailers(0, trailers))
        call = Callout(events, self._timers, timeout, self._max_body, done, self._port, upstream)
        call.start()
        return call
