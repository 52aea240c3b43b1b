"""The HTTP connection manager: one downstream connection, its codec, and the exchanges on it.

Life of a connection: bytes go to the codec; each request head that the validator accepts becomes an
:class:`~sidecar.exchange.exchange.Exchange` with the chain of its route; what follows goes to that exchange; the
exchange writes through a :class:`ServerStream`. A request that is refused before routing gets an exchange too, with a
chain of telemetry only, so that nothing is ever answered without being counted and logged.

Every state in which a peer can keep us waiting has a deadline: before a head is whole, while a body drips, while
nobody reads our answer, while nothing happens at all, and while we linger for a peer to read our last words.
"""

from __future__ import annotations

import time
from typing import Final

from sidecar.codec.base import Codec
from sidecar.errors import ErrorKind, LocalProtocolError, ProxyError, Source
from sidecar.exchange.chain import FilterChain
from sidecar.exchange.exchange import Exchange
from sidecar.http.events import (
    InformationalHeaders,
    RequestData,
    RequestHeaders,
    RequestTrailers,
    Reset,
    ResetReason,
    ResponseEvent,
    ResponseHeaders,
    StreamEvent,
    Violation,
)
from sidecar.http.headers import HeaderMap
from sidecar.http.validate import check_request
from sidecar.proxy.site import Site
from sidecar.telemetry.record import ConnectionInfo, ExchangeRecord
from sidecar.transport.tcp import Connection
from sidecar.transport.timers import Alarm

LINGER_BYTES: Final = 65536
"""Most bytes of an unread request we take and drop so that the peer gets to read our answer (RFC 9112 9.6)."""


class ServerStream:
    """One request's way back; implements :class:`sidecar.exchange.ports.DownstreamPort`."""

    __slots__ = ("exchange", "manager", "progress", "stream_id")

    def __init__(self, manager: HttpManager, stream_id: int) -> None:
        self.manager = manager
        self.stream_id = stream_id
        self.exchange: Exchange | None = None
        self.progress = 0

    def send(self, event: ResponseEvent) -> bool:
        manager = self.manager
        event.stream_id = self.stream_id
        try:
            manager.codec.send(event)
        except LocalProtocolError as fault:
            # Bytes that no longer fit the declared length, say: a cut is honest, a padded answer is not.
            manager.cut(self, str(fault))
            return True
        kind = type(event)
        if kind is InformationalHeaders or kind is not ResponseHeaders or event.end_stream:  # type: ignore[union-attr]
            manager.flush()
        return manager.is_writable

    def flush(self) -> None:
        self.manager.flush()

    def consumed(self, size: int) -> None:
        manager = self.manager
        manager.codec.consumed(self.stream_id, size)
        manager.set_reading(not manager.codec.is_reading_paused)

    def reset(self, reason: ResetReason) -> None:
        manager = self.manager
        manager.codec.send(Reset(self.stream_id, reason))
        manager.flush()
        if manager.codec.should_close:
            manager.abort()

    def finished(self) -> None:
        self.manager.on_stream_finished(self)


class HttpManager(Connection):
    """See the module."""

    __slots__ = (
        "_alarm",
        "_head_since",
        "_info",
        "_is_refused",
        "_last_activity",
        "_linger_left",
        "_stall_alarm",
        "_streams",
        "codec",
        "site",
    )

    def __init__(self, site: Site) -> None:
        super().__init__(site.report_bug)
        self.site = site
        self.codec: Codec = site.make_codec()
        self._streams: dict[int, ServerStream] = {}
        self._info: ConnectionInfo | None = None
        self._alarm: Alarm | None = None
        self._stall_alarm: Alarm | None = None
        self._last_activity = 0.0
        self._head_since = 0.0
        self._linger_left = -1
        self._is_refused = False

    # --- Connection ------------------------------------------------------------------------------------------

    def on_made(self) -> None:
        site = self.site
        site.connections.add(self)
        site.open_count += 1
        self._is_refused = site.open_count > site.max_connections
        if site.open_count > 2 * site.max_connections:
            site.metrics.limit_hit("connections")
            self.abort()
            return
        self._info = ConnectionInfo(
            site.new_connection_id(), site.name, site.direction, self.peer, self.local, self.codec.protocol
        )
        self._last_activity = site.timers.now()
        self._alarm = site.timers.call_later(site.deadlines.idle, self._on_idle_alarm)
        if site.is_draining:
            self.codec.drain()

    def on_bytes(self, data: bytes) -> None:
        if self._linger_left >= 0:
            self._linger(len(data))
            return
        now = time.monotonic()
        events = self.codec.receive(data, now)
        if events:
            self._head_since = 0.0
            self._dispatch(events)
        elif not self._streams and not self._head_since:
            self._head_since = now
            self.site.timers.call_later(self.site.deadlines.header, self._on_head_alarm)

    def on_eof(self) -> None:
        if self._linger_left >= 0:
            self.close()
            return
        self._dispatch(self.codec.receive_eof(time.monotonic()))
        if not self._streams and not self.codec.has_buffered():
            self.close()

    def on_writable(self) -> None:
        for stream in tuple(self._streams.values()):
            if stream.exchange is not None:
                stream.exchange.on_downstream_writable()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stall_alarm is None:
            self._watch_writes()

    def on_lost(self) -> None:
        site = self.site
        site.connections.discard(self)
        site.open_count -= 1
        for alarm in (self._alarm, self._stall_alarm):
            if alarm is not None:
                alarm.cancel()
        for stream in tuple(self._streams.values()):
            if stream.exchange is not None:
                stream.exchange.on_downstream_reset(ResetReason.CANCEL)

    # --- for the streams -------------------------------------------------------------------------------------

    def flush(self) -> None:
        data = self.codec.data_to_send()
        if data:
            self.write(data)

    def cut(self, stream: ServerStream, detail: str) -> None:
        """Give up a stream whose message cannot be finished; on one connection per stream that is the connection."""
        exchange = stream.exchange
        if exchange is not None:
            exchange.record.error = exchange.record.error or ErrorKind.INTERNAL
            exchange.record.error_detail = exchange.record.error_detail or detail
        self.flush()
        self.abort()

    def on_stream_finished(self, stream: ServerStream) -> None:
        """The exchange is over: make room for the next, or end the connection."""
        if self._streams.pop(stream.stream_id, None) is None:
            return
        site = self.site
        site.in_flight -= 1
        codec = self.codec
        if self.is_lost:
            return
        self.flush()
        if codec.should_close:
            if not self._streams:
                self._end(codec)
            return
        self._last_activity = site.timers.now()
        if codec.has_buffered():
            # Not in this stack: the exchange that just ended is still on it.
            site.timers.call_soon(self._continue)
        else:
            self.set_reading(True)

    def begin_drain(self) -> None:
        """Finish what is open, take nothing new."""
        self.codec.drain()
        if not self._streams and self._linger_left < 0:
            self.flush()
            self.close()

    # --- inside ----------------------------------------------------------------------------------------------

    def _continue(self) -> None:
        if not self.is_lost and self._linger_left < 0 and not self._streams:
            self._dispatch(self.codec.receive(b"", time.monotonic()))

    def _dispatch(self, events: list[StreamEvent]) -> None:
        stream: ServerStream | None = None
        for event in events:
            kind = type(event)
            if kind is RequestHeaders:
                stream = self._begin(event)  # type: ignore[arg-type]
                continue
            if kind is Violation:
                self._refuse(event)  # type: ignore[arg-type]
                continue
            stream = self._streams.get(event.stream_id)
            if stream is None or stream.exchange is None:
                if kind is RequestData:
                    self.codec.consumed(event.stream_id, len(event.data))  # type: ignore[union-attr]
            elif kind is Reset:
                stream.exchange.on_downstream_reset(event.reason)  # type: ignore[union-attr]
            elif kind is RequestData or kind is RequestTrailers:
                stream.progress += len(event.data) if kind is RequestData else 0  # type: ignore[union-attr]
                stream.exchange.on_request(event)  # type: ignore[arg-type]
        if stream is not None and stream.exchange is not None and not stream.exchange.is_over:
            stream.exchange.flush()
        if self._linger_left < 0:
            self.set_reading(not self.codec.is_reading_paused)

    def _begin(self, event: RequestHeaders) -> ServerStream:
        site = self.site
        snapshot = site.snapshot
        headers = event.headers
        refusal = check_request(headers)
        if refusal is not None:
            error = ProxyError(
                ErrorKind.BAD_REQUEST, refusal.detail, source=Source.DOWNSTREAM, status=refusal.status
            )
            return self._answer(event, snapshot.refusals, error)
        if self._is_refused or site.in_flight >= site.max_in_flight:
            self.codec.drain()
            limit = "connections" if self._is_refused else "requests_in_flight"
            return self._answer(event, snapshot.refusals, ProxyError(ErrorKind.OVERLOADED, limit, limit=limit))
        route = snapshot.table.match(headers)
        stream = self._open(event, snapshot.chain(route), route)
        exchange = stream.exchange
        assert exchange is not None
        if not event.end_stream and site.deadlines.body_rate:
            self._watch_body(stream)
        exchange.on_request(event)
        return stream

    def _open(self, event: RequestHeaders, chain: FilterChain, route: object) -> ServerStream:
        site = self.site
        timers = site.timers
        assert self._info is not None
        record = ExchangeRecord(self._info, timers.now(), timers.unix_nanos())
        headers = event.headers
        record.http_version = event.version
        record.method = headers.get(b":method") or b""
        record.path = headers.get(b":path") or b""
        stream = ServerStream(self, event.stream_id)
        site.in_flight += 1
        self._streams[event.stream_id] = stream
        stream.exchange = Exchange(
            chain, route, event.stream_id, stream, timers, record, site.budget, site.report_bug
        )
        return stream

    def _answer(self, event: RequestHeaders, chain: FilterChain, error: ProxyError) -> ServerStream:
        """Refuse a request before it is routed."""
        if error.limit:
            self.site.metrics.limit_hit(error.limit)
        stream = self._open(event, chain, None)
        exchange = stream.exchange
        assert exchange is not None
        exchange.request_headers = event.headers
        exchange.fail(None, error)
        return stream

    def _refuse(self, violation: Violation) -> None:
        """Answer bytes that are no request; nothing more of this connection is read as one."""
        stream = self._streams.get(violation.stream_id)
        error = ProxyError(
            ErrorKind[violation.kind.upper()],
            violation.detail,
            source=Source.DOWNSTREAM,
            status=violation.status,
            limit=violation.limit or None,
        )
        if stream is not None and stream.exchange is not None:
            if error.limit:
                self.site.metrics.limit_hit(error.limit)
            stream.exchange.fail(None, error)
            return
        self._answer(RequestHeaders(violation.stream_id, HeaderMap(), True), self.site.snapshot.refusals, error)

    def _end(self, codec: Codec) -> None:
        """The last answer is written: close, letting the peer read it first when it is still sending."""
        if codec.should_reset:
            self.abort()
        elif codec.is_lingering:
            self._linger_left = LINGER_BYTES
            self.half_close()
            self.set_reading(True)
            self.site.timers.call_later(self.site.deadlines.linger, self.abort)
        else:
            self.close()

    def _linger(self, size: int) -> None:
        self._linger_left -= size
        if self._linger_left < 0:
            self._linger_left = 0
            self.abort()

    # --- deadlines -------------------------------------------------------------------------------------------

    def _on_idle_alarm(self) -> None:
        """Re-armed lazily: activity only moves a number, the alarm looks at it when it fires."""
        site = self.site
        now = site.timers.now()
        left = site.deadlines.idle - (now - self._last_activity)
        if self._streams or left > 0:
            self._alarm = site.timers.call_later(max(left, 0.05) if not self._streams else site.deadlines.idle, self._on_idle_alarm)
            return
        self.close()

    def _on_head_alarm(self) -> None:
        if not self._head_since or self.is_lost or self._streams:
            return
        left = self._head_since + self.site.deadlines.header - self.site.timers.now()
        if left > 0:
            self.site.timers.call_later(left, self._on_head_alarm)
            return
        self._head_since = 0.0
        self._dispatch(self.codec.expire("request head not complete in time", "header_timeout"))

    def _watch_body(self, stream: ServerStream) -> None:
        deadlines = self.site.deadlines
        seen = stream.progress

        def check() -> None:
            exchange = stream.exchange
            if exchange is None or exchange.is_over or exchange.request_done or exchange.is_tunnel:
                return
            paused = self.codec.is_reading_paused
            if not paused and stream.progress - seen < deadlines.body_rate * deadlines.body_grace:
                self.site.metrics.limit_hit("body_rate")
                exchange.fail(None, ProxyError(ErrorKind.REQUEST_TIMEOUT, "request body too slow", source=Source.DOWNSTREAM))
                return
            self._watch_body(stream)

        self.site.timers.call_later(deadlines.body_grace, check)

    def _watch_writes(self) -> None:
        transport = self.transport
        if transport is None:
            return
        before = transport.get_write_buffer_size()

        def check() -> None:
            self._stall_alarm = None
            if self.is_writable or self.is_lost or self.transport is None:
                return
            if self.transport.get_write_buffer_size() >= before:
                self.site.metrics.limit_hit("write_stall")
                self.abort()
                return
            self._watch_writes()

        self._stall_alarm = self.site.timers.call_later(self.site.deadlines.write_stall, check)
