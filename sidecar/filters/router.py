"""The end of the request path: route, upstream, attempt, and the answer's way back.

Routing happens twice when it must: the listener's table is asked before the chain is built (a route picks the
plugins), and again here when a plugin changed the request, so that a rewritten ``:path`` or ``:authority`` goes
where it now belongs (the plugins stay those of the first match). What the plugins left is judged by the same
validator as what the client sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sidecar.errors import ErrorKind, ProxyError, Retry, Source
from sidecar.exchange.exchange import Exchange
from sidecar.exchange.ports import TimerHandle, UpstreamPort, UpstreamStream
from sidecar.http.events import (
    InformationalHeaders,
    RequestData,
    RequestEvent,
    RequestHeaders,
    ResetReason,
    ResponseData,
    ResponseEvent,
    ResponseHeaders,
    ResponseTrailers,
)
from sidecar.http.validate import check_request
from sidecar.route.table import RouteEntry, RouteTable
from sidecar.upstream.retry import may_retry

REPLAY_LIMIT: Final = 65536
"""Most request bytes kept for a second try; a longer body is never repeated (reliability row R3)."""


class Router:
    """Terminal of one exchange; see :class:`sidecar.exchange.chain.Terminal`."""

    __slots__ = (
        "_alarm",
        "_answered",
        "_ends",
        "_exchange",
        "_method",
        "_port",
        "_random",
        "_replay",
        "_replay_size",
        "_route",
        "_stream",
        "_table",
        "_upstream",
        "_waiting",
    )

    def __init__(
        self, exchange: Exchange, table: RouteTable, port: UpstreamPort, random: Callable[[], float]
    ) -> None:
        self._exchange = exchange
        self._table = table
        self._port = port
        self._random = random
        self._route: RouteEntry | None = None
        self._upstream = ""
        self._method = b""
        self._stream: UpstreamStream | None = None
        self._waiting: Any = None
        self._replay: list[RequestEvent] | None = []
        self._replay_size = 0
        self._answered = False
        self._ends = False
        self._alarm: TimerHandle | None = None

    # --- from the filters ------------------------------------------------------------------------------------

    def on_request(self, event: RequestEvent) -> None:
        """Take an event that came through the chain; raises ProxyError when the request cannot go anywhere."""
        if type(event) is RequestHeaders:
            self._start(event)
            return
        if self._ends:
            return
        self._ends = event.end_stream if type(event) is RequestData else True
        self._remember(event)
        if self._stream is not None and not self._stream.send(event):
            self._exchange.on_upstream_ready(False)

    def flush(self) -> None:
        if self._stream is not None:
            self._stream.flush()

    def response_consumed(self, size: int) -> None:
        if self._stream is not None:
            self._stream.consumed(size)

    def abort(self, reason: ResetReason) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.cancel()
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.reset(reason)
        self._replay = None

    # --- from the upstream -----------------------------------------------------------------------------------

    def on_upstream_open(self, stream: UpstreamStream) -> None:
        self._waiting = None
        self._attach(stream)

    def on_upstream_event(self, event: ResponseEvent) -> None:
        kind = type(event)
        if kind is ResponseHeaders:
            self._answered = True
            self._replay = None
            exchange = self._exchange
            exchange.record.details = "via_upstream"
            route = self._route
            if route is not None and route.response_headers is not None:
                route.response_headers.apply(event.headers)
        elif kind is InformationalHeaders and event.headers.get(b":status") == b"101":
            # A switch is this request's final answer, and plugins see it as such.
            self._answered = True
            event = ResponseHeaders(event.stream_id, event.headers, False)
        if kind is ResponseTrailers or (kind is not InformationalHeaders and event.end_stream):  # type: ignore[union-attr]
            self._stream = None
        self._exchange.on_response(event)

    def on_upstream_flush(self) -> None:
        self._exchange.flush_downstream()

    def on_upstream_writable(self) -> None:
        self._exchange.on_upstream_ready(True)

    def on_upstream_error(self, error: ProxyError) -> None:
        self._stream = None
        self._waiting = None
        exchange = self._exchange
        record = exchange.record
        if not self._answered and self._replay is not None and may_retry(self._method, error, record.attempts):
            record.events.append((exchange.timers.now(), "retry", {"loom.error": error.kind.value, "reason": error.detail}))
            try:
                self._open()
            except ProxyError as refusal:
                exchange.fail(None, refusal)
            return
        exchange.fail(None, error)

    # --- inside ----------------------------------------------------------------------------------------------

    def _start(self, head: RequestHeaders) -> None:
        exchange = self._exchange
        headers = head.headers
        route = exchange.route
        if headers.revision:
            # Only plugins count changes here: the forwarding filter edits fields that no route looks at.
            refusal = check_request(headers)
            if refusal is not None:
                raise ProxyError(ErrorKind.BAD_REQUEST, f"after plugins: {refusal.detail}", status=refusal.status)
            route = self._table.match(headers)
        if not isinstance(route, RouteEntry):
            raise ProxyError(ErrorKind.NO_ROUTE, source=Source.DOWNSTREAM)
        self._route = route
        self._method = headers.get(b":method") or b""
        record = exchange.record
        record.route_id = route.id
        self._upstream = record.upstream = route.pick(self._random)
        if route.edits_request:
            route.edit_request(headers)
        if head.end_stream:
            self._ends = True
            if headers.get(b"content-length") not in (None, b"0"):
                headers.remove(b"content-length")
        if route.timeout:
            self._alarm = exchange.timers.call_later(route.timeout, self._on_timeout)
        self._remember(head)
        self._open()

    def _open(self) -> None:
        exchange = self._exchange
        record = exchange.record
        record.attempts += 1
        assert self._replay is not None
        self._replay[0].headers.set(b"x-sidecar-attempt", b"%d" % record.attempts)  # type: ignore[union-attr]
        opened = self._port.open(self._upstream, self)
        if opened.is_open:
            self._attach(opened)  # type: ignore[arg-type]
        else:
            self._waiting = opened

    def _attach(self, stream: UpstreamStream) -> None:
        self._stream = stream
        exchange = self._exchange
        record = exchange.record
        record.upstream_start = exchange.timers.now()
        record.upstream_address = stream.address
        record.upstream_local_address = stream.local_address
        is_ready = True
        for event in self._replay or ():
            is_ready = stream.send(event)
            if self._stream is not stream:
                return
        if self._replay_size > REPLAY_LIMIT:
            self._replay = None
        stream.flush()
        exchange.on_upstream_ready(is_ready)

    def _remember(self, event: RequestEvent) -> None:
        """Keep what has been sent, while it is little, for a second attempt; before the first, keep everything.

        Nothing is credited to the client while no stream is open, so the queue is bounded by the codec's watermark.
        """
        replay = self._replay
        if replay is None:
            return
        if type(event) is RequestData:
            self._replay_size += len(event.data)
            if self._stream is None:
                self._exchange.on_upstream_ready(False)
            elif self._replay_size > REPLAY_LIMIT:
                self._replay = None
                return
        replay.append(event)

    def _on_timeout(self) -> None:
        self._alarm = None
        self._exchange.fail(None, ProxyError(ErrorKind.UPSTREAM_TIMEOUT, "route timeout", source=Source.UPSTREAM))


class RouterFactory:
    """Makes routers for one listener's table."""

    def __init__(self, table: RouteTable, port: UpstreamPort, random: Callable[[], float]) -> None:
        self._table = table
        self._port = port
        self._random = random

    def create(self, view: Any) -> Router:
        return Router(view, self._table, self._port, self._random)
