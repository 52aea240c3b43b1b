"""The end of the request path: route, upstream, attempt, and the answer's way back.

Routing happens twice when it must: the listener's table is asked before the chain is built (a route picks the
plugins), and again here when a plugin changed the request, so that a rewritten ``:path`` or ``:authority`` goes
where it now belongs (the plugins stay those of the first match). What the plugins left is judged by the same
validator as what the client sent.

Tries: what has gone out is kept while it is little, so that it can go out again. Whether it may is decided in
:mod:`sidecar.upstream.retry`; a request that is itself somebody's second try (``x-sidecar-attempt``) is only repeated
when its connection was stale, so that tries do not multiply from hop to hop.

Clocks, as in Envoy: the route's timeout and that of each try begin when the whole request is there, and the first ends
with the answer, the second with its head. A tunnel only ends by silence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sidecar.errors import ErrorKind, ProxyError, Retry, Source
from sidecar.exchange.exchange import Exchange
from sidecar.exchange.ports import PendingOpen, TimerHandle, UpstreamPort, UpstreamStream
from sidecar.http.events import (
    InformationalHeaders,
    RequestData,
    RequestEvent,
    RequestHeaders,
    ResetReason,
    ResponseEvent,
    ResponseHeaders,
    ResponseTrailers,
)
from sidecar.http.headers import HeaderMap
from sidecar.http.validate import check_request
from sidecar.route.entry import RouteEntry
from sidecar.route.table import RouteTable
from sidecar.upstream.retry import RetryPolicy, may_retry

if TYPE_CHECKING:
    from sidecar.exchange.filter import ExchangeView

REPLAY_LIMIT: Final = 65536
"""Most request bytes kept for a second try; a longer body is never repeated (reliability row R3)."""


class Router:
    """Terminal of one exchange; see :class:`sidecar.exchange.chain.Terminal`."""

    __slots__ = (
        "_alarm",
        "_answered",
        "_deadline",
        "_ends",
        "_exchange",
        "_factory",
        "_last",
        "_method",
        "_policy",
        "_replay",
        "_replay_size",
        "_route",
        "_stream",
        "_try_alarm",
        "_upstream",
        "_waiting",
    )

    def __init__(self, exchange: Exchange, factory: RouterFactory) -> None:
        self._exchange = exchange
        self._factory = factory
        self._policy: RetryPolicy | None = None
        self._last = 0.0
        """When a byte went by in either direction."""
        self._deadline = 0.0
        """When the route's timeout ends; 0.0 while the request is not whole, or without one."""
        self._try_alarm: TimerHandle | None = None
        self._route: RouteEntry | None = None
        self._upstream = ""
        self._method = b""
        self._stream: UpstreamStream | None = None
        self._waiting: PendingOpen | None = None
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
        self._last = self._exchange.timers.now()
        if event.end_stream if type(event) is RequestData else True:
            self._on_whole_request()
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
        self._give_up_try(reason)
        self._replay = None

    # --- from the upstream -----------------------------------------------------------------------------------

    def on_upstream_open(self, stream: UpstreamStream) -> None:
        self._waiting = None
        self._attach(stream)

    def on_upstream_event(self, event: ResponseEvent) -> None:
        exchange = self._exchange
        self._last = exchange.timers.now()
        if type(event) is InformationalHeaders and event.headers.get(b":status") == b"101":
            # A switch is this request's final answer, and plugins see it as such.
            event = ResponseHeaders(event.stream_id, event.headers, False)
            self._deadline = 0.0
        if type(event) is ResponseHeaders:
            if self._policy is not None and self._drops(event):
                return
            self._on_answer(event.headers)
        kind = type(event)
        if kind is ResponseTrailers or (kind is not InformationalHeaders and event.end_stream):  # type: ignore[union-attr]
            self._stream = None
        exchange.on_response(event)

    def on_upstream_flush(self) -> None:
        self._exchange.flush_downstream()

    def on_upstream_writable(self) -> None:
        self._exchange.on_upstream_ready(True)

    def on_upstream_error(self, error: ProxyError) -> None:
        self._stream = None
        self._waiting = None
        if self._may_retry(error):
            self._retry(error.kind.value, error.detail)
        else:
            self._exchange.fail(None, error)

    def _on_answer(self, headers: HeaderMap) -> None:
        """This is the answer that the client gets; there is no other try."""
        self._answered = True
        self._replay = None
        if self._try_alarm is not None:
            self._try_alarm.cancel()
            self._try_alarm = None
        record = self._exchange.record
        record.details = "via_upstream"
        if record.connection.direction == "inbound":
            # The app does not speak for the mesh, nor for this address: another protocol there would pass us by.
            fields = headers.fields
            kept = [field for field in fields if field[0] != b"alt-svc" and field[0][:10] != b"x-sidecar-"]
            if len(kept) != len(fields):
                headers.fields = kept
        route = self._route
        if route is not None and route.response_headers is not None:
            route.response_headers.apply(headers)

    # --- inside ----------------------------------------------------------------------------------------------

    def _start(self, head: RequestHeaders) -> None:
        exchange = self._exchange
        headers = head.headers
        route = exchange.route
        if headers.revision:
            # Plugins did this: the filters of ours before them leave it at 0.
            refusal = check_request(headers)
            if refusal is not None:
                raise ProxyError(ErrorKind.BAD_REQUEST, f"after plugins: {refusal.detail}", status=refusal.status)
            route = self._factory.table.match(headers)
        if not isinstance(route, RouteEntry):
            raise ProxyError(ErrorKind.NO_ROUTE, source=Source.DOWNSTREAM)
        self._route = route
        self._method = headers.get(b":method") or b""
        record = exchange.record
        record.route_id = route.id
        self._upstream = record.upstream = route.pick(self._factory.random)
        if route.edits_request:
            route.edit_request(headers)
        self._policy = self._factory.policies.get(route)
        self._last = exchange.timers.now()
        if head.end_stream:
            self._on_whole_request()
            if headers.get(b"content-length") not in (None, b"0"):
                headers.remove(b"content-length")
        self._remember(head)
        self._watch()
        self._open()

    def _on_whole_request(self) -> None:
        self._ends = True
        if self._try_alarm is None and (self._stream is not None or self._waiting is not None):
            self._watch_try()
        route = self._route
        if route is not None and route.timeout and not self._exchange.is_tunnel:
            self._deadline = self._last + route.timeout
            if self._alarm is not None:
                self._watch()

    def _open(self) -> None:
        exchange = self._exchange
        record = exchange.record
        record.attempts += 1
        assert self._replay is not None
        headers = self._replay[0].headers  # type: ignore[union-attr]
        if record.attempts == 1:
            # From outside it never comes this far, so there is none to replace.
            headers.fields.append((b"x-sidecar-attempt", b"1", b"x-sidecar-attempt"))
        else:
            headers.set(b"x-sidecar-attempt", b"%d" % record.attempts)
        if self._ends:
            self._watch_try()
        opened = self._factory.port.open(self._upstream, self, record.attempts)
        if opened.is_open:
            self._attach(opened)  # type: ignore[arg-type]
        else:
            self._waiting = opened  # type: ignore[assignment]

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

    # --- trying again ----------------------------------------------------------------------------------------

    def _may_retry(self, error: ProxyError) -> bool:
        """Safe, wanted, and in the upstream's budget? A stale connection costs none: no app saw the request."""
        if self._answered or self._replay is None:
            return False
        record = self._exchange.record
        if record.is_retry and error.retry is not Retry.REUSED:
            return False
        attempts = record.attempts
        if self._policy is not None:
            is_wanted = self._policy.allows_error(self._method, error, attempts)
        else:
            is_wanted = may_retry(self._method, error, attempts)
        if not is_wanted:
            return False
        return error.retry is Retry.REUSED or self._factory.port.take_retry(self._upstream)

    def _drops(self, head: ResponseHeaders) -> bool:
        """True when the app's answer is given up for another try, which has begun then."""
        headers = head.headers
        status = headers.get(b":status") or b"0"
        policy, record = self._policy, self._exchange.record
        assert policy is not None
        if self._replay is None or record.is_retry:
            return False
        if not policy.allows_status(self._method, int(status), record.attempts):
            return False
        # A sidecar there that says it is full means it (row R6).
        if (headers.get(b"x-sidecar-error") or b"").startswith(b"overloaded"):
            return False
        if not self._factory.port.take_retry(self._upstream):
            return False
        if head.end_stream:
            self._stream = None
        self._give_up_try(ResetReason.CANCEL)
        self._retry(status.decode(), "status")
        return True

    def _retry(self, cause: str, detail: str) -> None:
        exchange = self._exchange
        record = exchange.record
        record.events.append((exchange.timers.now(), "retry", {"loom.error": cause, "reason": detail}))
        self._give_up_try(ResetReason.CANCEL)
        try:
            self._open()
        except ProxyError as refusal:
            exchange.fail(None, refusal)

    def _give_up_try(self, reason: ResetReason) -> None:
        if self._try_alarm is not None:
            self._try_alarm.cancel()
            self._try_alarm = None
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.cancel()
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.reset(reason)

    def _watch_try(self) -> None:
        policy = self._policy
        if policy is not None and policy.per_try_timeout and not self._answered:
            self._try_alarm = self._exchange.timers.call_later(policy.per_try_timeout, self._on_try_timeout)

    def _on_try_timeout(self) -> None:
        self._try_alarm = None
        # While it waited for a connection nothing of the request went anywhere.
        proof = Retry.UNPROCESSED if self._stream is None else Retry.NEVER
        self._give_up_try(ResetReason.TIMEOUT)
        self.on_upstream_error(
            ProxyError(ErrorKind.UPSTREAM_TIMEOUT, "per-try timeout", source=Source.UPSTREAM, retry=proof)
        )

    # --- time --------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """One alarm for whichever comes first: the route's timeout, or silence. Activity only moves a number."""
        if self._alarm is not None:
            self._alarm.cancel()
        timers = self._exchange.timers
        delay = self._last + self._factory.idle_timeout - timers.now()
        if self._deadline:
            delay = min(delay, self._deadline - timers.now())
        self._alarm = timers.call_later(max(delay, 0.0), self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm = None
        now = self._exchange.timers.now()
        if self._deadline and now >= self._deadline:
            detail = "route timeout"
        elif now - self._last >= self._factory.idle_timeout:
            detail = "nothing came for too long"
        else:
            self._watch()
            return
        self._exchange.fail(None, ProxyError(ErrorKind.UPSTREAM_TIMEOUT, detail, source=Source.UPSTREAM))


class RouterFactory:
    """Makes routers for one listener's table. ``idle_timeout``: seconds without a byte in either direction."""

    def __init__(
        self, table: RouteTable, port: UpstreamPort, random: Callable[[], float], idle_timeout: float = 300.0
    ) -> None:
        self.table = table
        self.port = port
        self.random = random
        self.idle_timeout = idle_timeout
        self.policies: dict[RouteEntry, RetryPolicy] = {}
        for entry in table.entries:
            retries = entry.retries
            if retries is not None:
                self.policies[entry] = RetryPolicy(retries.attempts, retries.on, retries.per_try_timeout)

    def create(self, view: ExchangeView) -> Router:
        return Router(view, self)  # type: ignore[arg-type]  # the view of an exchange is the exchange
