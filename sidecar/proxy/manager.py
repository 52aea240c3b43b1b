"""The HTTP connection manager: one downstream connection, its codec, and the exchanges on it.

Life of a connection: bytes go to the codec; each request head that the validator accepts becomes an
:class:`~sidecar.exchange.exchange.Exchange` with the chain of its route; what follows goes to that exchange; the
exchange writes through a :class:`ServerStream`. A request that is refused before routing gets an exchange too, with a
chain of telemetry only, so that nothing is ever answered without being counted and logged.

Every state in which a peer can keep us waiting has a deadline: before a head is whole, while a body drips, while
nobody reads our answer, while nothing happens at all, and while we linger for a peer to read our last words.
"""

# long-module: every deadline of a connection reads and moves the same few numbers, so they live together
from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sidecar.codec.base import Codec
from sidecar.errors import ErrorKind, ProxyError, Source
from sidecar.exchange.chain import FilterChain
from sidecar.exchange.exchange import Exchange
from sidecar.http.events import (
    RequestData,
    RequestHeaders,
    RequestTrailers,
    Reset,
    ResetReason,
    StreamEvent,
    Violation,
)
from sidecar.http.headers import HeaderMap
from sidecar.http.validate import check_request
from sidecar.proxy.server_stream import ServerStream
from sidecar.proxy.site import Site
from sidecar.telemetry.record import ConnectionInfo, ExchangeRecord
from sidecar.transport.tcp import Connection
from sidecar.transport.timers import Alarm

LINGER_BYTES: Final = 65536
"""Most bytes of an unread request we take and drop so that the peer gets to read our answer (RFC 9112 9.6)."""
LONGEST_SLEEP: Final = 30.0
"""Seconds between two looks at an idle connection: an alarm lives on for that long after its connection."""
HALF_CLOSE_GRACE: Final = 5.0
"""Seconds that an answer may take to begin once the client has ended its side: it may have closed only that side, and
it may have gone for good, which looks the same."""


class HttpManager(Connection):
    """See the module."""

    __slots__ = (
        "_alarm",
        "_head_alarm",
        "_head_since",
        "_info",
        "_is_ending",
        "_last_activity",
        "_linger_left",
        "_refused",
        "_stall_alarm",
        "_streams",
        "_written",
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
        self._head_alarm: Alarm | None = None
        self._stall_alarm: Alarm | None = None
        self._last_activity = 0.0
        self._head_since = 0.0
        """When the first byte of an unfinished head came; 0.0 when there is none."""
        self._linger_left = -1
        self._refused = ""
        """The limit because of which requests are refused here."""
        self._is_ending = False
        self._written = 0

    # --- Connection ------------------------------------------------------------------------------------------

    def on_made(self) -> None:
        site = self.site
        self._refused = site.admit(self, self.peer.host)
        if self._refused and site.is_overrun:
            site.metrics.limit_hit(self._refused)
            self.abort()
            return
        self._info = ConnectionInfo(
            site.new_connection_id(), site.name, site.direction, self.peer, self.local, self.codec.protocol
        )
        self._last_activity = site.timers.now()
        self._alarm = site.timers.call_later(min(self._patience(), LONGEST_SLEEP), self._on_idle_alarm)

    def on_bytes(self, data: bytes) -> None:
        if self._linger_left >= 0:
            self._linger(len(data))
            return
        now = self.site.timers.now()
        events = self.codec.receive(data, now)
        if events:
            self._head_since = 0.0
            self._dispatch(events)
        elif not self._streams:
            self._watch_head(now)

    def on_eof(self) -> None:
        if self._linger_left >= 0:
            self._close()
            return
        self._dispatch(self.codec.receive_eof(self.site.timers.now()))
        if self._streams:
            self.site.timers.call_later(HALF_CLOSE_GRACE, self._on_half_close_alarm)
        elif not self.codec.has_buffered():
            self._close()

    def on_writable(self) -> None:
        for stream in tuple(self._streams.values()):
            if stream.exchange is not None:
                stream.exchange.on_downstream_writable()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writes()

    def on_lost(self) -> None:
        self.site.dismiss(self, self.peer.host)
        for alarm in (self._alarm, self._head_alarm, self._stall_alarm):
            if alarm is not None:
                alarm.cancel()
        for stream in tuple(self._streams.values()):
            if stream.exchange is not None:
                stream.exchange.on_downstream_reset(ResetReason.CANCEL)

    # --- for the streams -------------------------------------------------------------------------------------

    def flush(self) -> None:
        data = self.codec.data_to_send()
        if data:
            self._written += len(data)
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

    # --- for the site ----------------------------------------------------------------------------------------

    def exchanges(self) -> Iterable[Exchange]:
        return [stream.exchange for stream in self._streams.values() if stream.exchange is not None]

    def begin_drain(self) -> None:
        """The answer under way says that it is the last; an idle connection learns it from its next one."""
        if self._streams:
            self.codec.drain()

    def close_idle(self) -> None:
        """Close unless a request is open or just arriving: that one is still answered."""
        if not self._streams and not self._head_since and self._linger_left < 0 and not self.has_unread():
            self._close()

    # --- inside ----------------------------------------------------------------------------------------------

    def read_on(self) -> None:
        """What came with the request belongs to the tunnel that has just been opened; not in this stack."""
        self.site.timers.call_soon(self._read_tunnel)

    def _read_tunnel(self) -> None:
        if not self.is_lost:
            self._dispatch(self.codec.receive(b"", self.site.timers.now()))

    def _continue(self) -> None:
        if self.is_lost or self._linger_left >= 0 or self._streams:
            return
        now = self.site.timers.now()
        events = self.codec.receive(b"", now)
        if events:
            self._dispatch(events)
        elif self.codec.should_close:
            self._end(self.codec)
        else:
            # The beginning of a head came along with the request before it.
            self.set_reading(True)
            self._watch_head(now)

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
        is_paused = self.codec.is_reading_paused
        if stream is not None and stream.exchange is not None and not stream.exchange.is_over:
            exchange = stream.exchange
            exchange.flush()
            if not exchange.request_done:
                stream.was_paused |= is_paused
                if not stream.is_watched and self.site.deadlines.body_rate:
                    stream.watch_body()
        if self._linger_left < 0:
            self.set_reading(not is_paused)

    def _begin(self, event: RequestHeaders) -> ServerStream:
        site = self.site
        snapshot = site.snapshot
        headers = event.headers
        if site.is_draining:
            self.codec.drain()
        refusal = check_request(headers)
        if refusal is not None:
            error = ProxyError(
                ErrorKind.BAD_REQUEST, refusal.detail, source=Source.DOWNSTREAM, status=refusal.status
            )
            # Whoever sends what two readers could read in two ways has no further say on this connection.
            self.codec.drain()
            return self._answer(event, snapshot.refusals, error)
        if self._refused or site.in_flight >= site.max_in_flight:
            self.codec.drain()
            limit = self._refused or "requests_in_flight"
            return self._answer(event, snapshot.refusals, ProxyError(ErrorKind.OVERLOADED, limit, limit=limit))
        try:
            route = snapshot.table.match(headers)
        except ProxyError as error:
            self.codec.drain()
            return self._answer(event, snapshot.refusals, error)
        stream = self._open(event, snapshot.chain(route), route)
        exchange = stream.exchange
        assert exchange is not None
        if route is not None:  # plugins and telemetry read it; the router says it again when a plugin moved the request
            exchange.record.route_id = route.id
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
            stream.exchange.fail(None, error)
            return
        self._answer(RequestHeaders(violation.stream_id, HeaderMap(), True), self.site.snapshot.refusals, error)

    # --- the end ---------------------------------------------------------------------------------------------

    def _end(self, codec: Codec) -> None:
        """The last answer is written: close, letting the peer read it first when it is still sending."""
        if codec.should_reset:
            self.abort()
        elif codec.is_lingering:
            self._linger_left = LINGER_BYTES
            self.half_close()
            self.set_reading(True)
            self._is_ending = True
            self._watch_writes()
            self.site.timers.call_later(self.site.deadlines.linger, self._on_linger_alarm)
        else:
            self._close()

    def _close(self) -> None:
        """Close once everything is written, or nobody takes it any more."""
        self.close()
        self._is_ending = True
        self._watch_writes()

    def _linger(self, size: int) -> None:
        self._linger_left -= size
        if self._linger_left < 0:
            self._linger_left = 0
            self._drop()

    def _on_linger_alarm(self) -> None:
        transport = self.transport
        if transport is None or self.is_lost:
            return
        if transport.get_write_buffer_size():
            # Our answer is still on its way; a reader who has stopped is the write alarm's business.
            self.site.timers.call_later(self.site.deadlines.linger, self._on_linger_alarm)
        else:
            self._drop()

    def _on_half_close_alarm(self) -> None:
        for stream in tuple(self._streams.values()):
            exchange = stream.exchange
            if exchange is not None and not exchange.is_over and exchange.response_headers is None:
                exchange.on_downstream_reset(ResetReason.CANCEL)
                self.abort()

    def _drop(self) -> None:
        """Close without more patience; what the kernel has taken from us, it still delivers."""
        if self.transport is not None:
            self.transport.abort()

    # --- deadlines -------------------------------------------------------------------------------------------

    def _patience(self) -> float:
        """Seconds without a request; one whose request would be refused anyway must not hold its place for long."""
        deadlines = self.site.deadlines
        return min(deadlines.idle, deadlines.header) if self._refused else deadlines.idle

    def _on_idle_alarm(self) -> None:
        """Re-armed lazily: activity only moves a number, the alarm looks at it when it fires."""
        timers = self.site.timers
        left = self._patience() - (timers.now() - self._last_activity)
        if left <= 0 and not self._streams and not self._is_ending and not self.has_unread():
            self._close()
            return
        if left <= 0:
            left = LONGEST_SLEEP
        self._alarm = timers.call_later(min(left, LONGEST_SLEEP), self._on_idle_alarm)

    def _watch_head(self, now: float) -> None:
        """The first byte of a head is there: the last one must come in time, however they drip."""
        if not self._head_since:
            self._head_since = now
            if self._head_alarm is None:
                self._head_alarm = self.site.timers.call_later(self.site.deadlines.header, self._on_head_alarm)

    def _on_head_alarm(self) -> None:
        self._head_alarm = None
        if not self._head_since or self.is_lost or self._is_ending:
            return
        left = self._head_since + self.site.deadlines.header - self.site.timers.now()
        if left > 0:
            self._head_alarm = self.site.timers.call_later(left, self._on_head_alarm)
            return
        self._head_since = 0.0
        self._dispatch(self.codec.expire("request head not complete in time", "header_timeout"))

    def _watch_writes(self) -> None:
        """While bytes wait for the peer, some must leave in every ``write_stall`` seconds."""
        transport = self.transport
        if transport is None or self.is_lost or self._stall_alarm is not None:
            return
        waiting = transport.get_write_buffer_size()
        if not waiting:
            return
        sent = self._written - waiting

        def check() -> None:
            self._stall_alarm = None
            transport = self.transport
            if transport is None or self.is_lost or (self.is_writable and not self._is_ending):
                return
            if self._written - transport.get_write_buffer_size() <= sent:
                self.site.metrics.limit_hit("write_stall")
                self.abort()
                return
            self._watch_writes()

        self._stall_alarm = self.site.timers.call_later(self.site.deadlines.write_stall, check)
