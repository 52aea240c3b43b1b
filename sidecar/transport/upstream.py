"""Upstream connections and the streams on them; which one serves whom is the pool's decision."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.codec.base import Codec
from sidecar.errors import ErrorKind, LocalProtocolError, ProxyError, Retry, Source
from sidecar.exchange.ports import UpstreamHandler
from sidecar.http.events import (
    InformationalHeaders,
    RequestEvent,
    RequestHeaders,
    Reset,
    ResetReason,
    ResponseTrailers,
    StreamEvent,
    Violation,
)
from sidecar.transport.tcp import Connection

if TYPE_CHECKING:
    from sidecar.transport.pool import EndpointPool


class ClientStream:
    """One attempt; implements :class:`sidecar.exchange.ports.UpstreamStream`."""

    __slots__ = ("address", "connection", "handler", "is_reused", "latency", "local_address", "started", "stream_id")

    is_open = True

    def __init__(
        self, connection: UpstreamConnection, stream_id: int, handler: UpstreamHandler, is_reused: bool
    ) -> None:
        self.connection = connection
        self.stream_id = stream_id
        self.handler = handler
        self.is_reused = is_reused
        self.address = connection.address
        self.local_address = connection.local_address
        self.started = time.monotonic()
        self.latency = -1.0
        """Seconds to the head of the answer, negative before: how long a body or a tunnel lasts says nothing about
        the endpoint."""

    def send(self, event: RequestEvent) -> bool:
        connection = self.connection
        event.stream_id = self.stream_id
        try:
            connection.codec.send(event)
        except LocalProtocolError as fault:
            connection.fail_stream(self, ProxyError(ErrorKind.BAD_REQUEST, f"cannot be sent on: {fault}"))
            return True
        if type(event) is not RequestHeaders or event.end_stream:
            connection.flush()
            if connection.codec.should_half_close:
                connection.half_close()
        return connection.is_writable

    def flush(self) -> None:
        self.connection.flush()

    def consumed(self, size: int) -> None:
        connection = self.connection
        connection.codec.consumed(self.stream_id, size)
        connection.set_reading(not connection.codec.is_reading_paused)

    def reset(self, reason: ResetReason) -> None:
        self.connection.reset_stream(self, reason)


class UpstreamConnection(Connection):
    """A connection to one endpoint, owned by that endpoint's pool."""

    __slots__ = ("address", "codec", "local_address", "pool", "served", "streams")

    def __init__(self, codec: Codec, pool: EndpointPool, report_bug: Callable[[str, BaseException], None]) -> None:
        super().__init__(report_bug)
        self.codec = codec
        self.pool = pool
        self.address = str(pool.endpoint)
        self.local_address = ""
        self.streams: dict[int, ClientStream] = {}
        self.served = 0

    def open_stream(self, handler: UpstreamHandler) -> ClientStream:
        """Begin an attempt on this connection."""
        stream = ClientStream(self, self.codec.open_stream(), handler, self.served > 0)
        self.served += 1
        self.streams[stream.stream_id] = stream
        return stream

    def flush(self) -> None:
        data = self.codec.data_to_send()
        if data:
            self.write(data)

    def on_made(self) -> None:
        self.local_address = str(self.local)

    def on_bytes(self, data: bytes) -> None:
        now = time.monotonic()
        self._dispatch(self.codec.receive(data, now), now)

    def on_eof(self) -> None:
        now = time.monotonic()
        self._dispatch(self.codec.receive_eof(now), now)
        if not self.streams:
            self.close()

    def on_writable(self) -> None:
        for stream in tuple(self.streams.values()):
            stream.handler.on_upstream_writable()

    def on_lost(self) -> None:
        # A clean end came by on_eof: what is open now was cut, and must not pass for an answer that ends by closing.
        for stream in tuple(self.streams.values()):
            self.fail_stream(stream, self._gone(stream, "connection lost"))
        self.pool.on_connection_lost(self)

    def reset_stream(self, stream: ClientStream, reason: ResetReason) -> None:
        """Our side gives a stream up; the connection goes when the codec cannot end one stream alone."""
        if self.streams.pop(stream.stream_id, None) is None:
            return
        self.codec.send(Reset(stream.stream_id, reason))
        self.pool.on_stream_end(self, stream, False)
        self._settle()

    def fail_stream(self, stream: ClientStream, error: ProxyError) -> None:
        """The attempt is dead; its handler hears why."""
        if self.streams.pop(stream.stream_id, None) is None:
            return
        self.pool.on_stream_end(self, stream, False)
        if self.codec.should_close or not self.codec.is_idle:
            self.abort()
        stream.handler.on_upstream_error(error)

    def _dispatch(self, events: list[StreamEvent], now: float) -> None:
        last: ClientStream | None = None
        for event in events:
            stream = self.streams.get(event.stream_id)
            if stream is None:
                if type(event) is Violation:
                    self.abort()
                continue
            last = stream
            kind = type(event)
            if stream.latency < 0.0:
                stream.latency = now - stream.started
            if kind is Violation:
                self._poison(stream, event)  # type: ignore[arg-type]
            elif kind is Reset:
                self.fail_stream(stream, self._gone(stream, event.detail or event.reason.value))  # type: ignore[union-attr]
            elif kind is ResponseTrailers or (kind is not InformationalHeaders and event.end_stream):  # type: ignore[union-attr]
                del self.streams[event.stream_id]
                last = None
                # Back in the pool before the handler hears the end: a retry or the next request may want it at once.
                self._settle()
                self.pool.on_stream_end(self, stream, True)
                stream.handler.on_upstream_event(event)  # type: ignore[arg-type]
            else:
                stream.handler.on_upstream_event(event)  # type: ignore[arg-type]
        if last is not None and last.stream_id in self.streams:
            last.handler.on_upstream_flush()
            self.set_reading(not self.codec.is_reading_paused)
        elif not self.streams and events:
            self._settle()

    def _settle(self) -> None:
        """After a stream has ended: flush, or close a connection that is of no more use."""
        self.flush()
        if self.codec.should_close and not self.streams:
            self.abort() if not self.codec.is_idle else self.close()
        else:
            self.set_reading(True)

    def _poison(self, stream: ClientStream, violation: Violation) -> None:
        """An answer that must not be believed: nothing more is read from this connection."""
        error = ProxyError(
            ErrorKind.UPSTREAM_RESET, violation.detail, source=Source.UPSTREAM, limit=violation.limit or None
        )
        self.fail_stream(stream, error)
        self.abort()

    def _gone(self, stream: ClientStream, detail: str) -> ProxyError:
        retry = Retry.REUSED if stream.is_reused and not self.codec.response_started else Retry.NEVER
        return ProxyError(ErrorKind.UPSTREAM_RESET, detail, source=Source.UPSTREAM, retry=retry)
