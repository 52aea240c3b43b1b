"""The exchange: one request with its responses, as a synchronous reactor without sockets.

It stands between two ports. The downstream codec's events come in by :meth:`Exchange.on_request`, travel
through the filters (:mod:`sidecar.exchange.flow`) to the terminal, which brings the upstream's events back by
:meth:`Exchange.on_response`. Both directions run at once: an answer may begin, and end, while the request is
still arriving.

Rules
* Bytes are credited to their sender only once they have been passed on or taken into a bounded hold.
* The exchange ends exactly once (:meth:`Exchange._finish`): log phase for every filter, then destruction.
* A filter that raises ends its own exchange with ``internal``, nothing else: this is one of the three
  firewalls of the house.
"""

# long-module: one reactor, whose two directions and one ending are only understood side by side

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.errors import ErrorKind, ProxyError, Source
from sidecar.exchange.chain import GONE, FilterChain, Terminal
from sidecar.exchange.filter import Direction, Filter, LocalReply
from sidecar.exchange.flow import Flow, HoldBudget
from sidecar.exchange.local_reply import render, reply_for
from sidecar.exchange.ports import DownstreamPort, TimerPort
from sidecar.http.events import (
    InformationalHeaders,
    RequestData,
    RequestEvent,
    RequestHeaders,
    RequestTrailers,
    ResetReason,
    ResponseData,
    ResponseEvent,
    ResponseHeaders,
    ResponseTrailers,
)
from sidecar.http.headers import HeaderMap
from sidecar.telemetry.record import ExchangeRecord

BugReporter = Callable[[str, BaseException], None]


class Exchange:
    """See the module; implements :class:`sidecar.exchange.filter.ExchangeView`."""

    __slots__ = (
        "_chain",
        "_credit_request",
        "_credit_response",
        "_downstream",
        "_downstream_ready",
        "_filters",
        "_request",
        "_response",
        "_response_started",
        "_stream_id",
        "_terminal",
        "_upstream_ready",
        "budget",
        "is_over",
        "is_tunnel",
        "record",
        "report_bug",
        "request_done",
        "request_headers",
        "request_trailers",
        "response_headers",
        "response_trailers",
        "route",
        "timers",
    )

    def __init__(
        self,
        chain: FilterChain,
        route: object,
        stream_id: int,
        downstream: DownstreamPort,
        timers: TimerPort,
        record: ExchangeRecord,
        budget: HoldBudget,
        report_bug: BugReporter,
    ) -> None:
        self.route = route
        self.timers = timers
        self.record = record
        self.budget = budget
        self.report_bug = report_bug
        self.request_headers = HeaderMap()
        self.request_trailers: HeaderMap | None = None
        self.response_headers: HeaderMap | None = None
        self.response_trailers: HeaderMap | None = None
        self.request_done = False
        """The whole request has arrived (it may still be held by a filter)."""
        self.is_over = False
        self.is_tunnel = False
        """After 101, or 2xx to CONNECT: the data events carry whatever the peers like."""
        self._chain = chain
        self._stream_id = stream_id
        self._downstream = downstream
        self._downstream_ready = True
        self._upstream_ready = True
        self._credit_request = 0
        self._credit_response = 0
        self._response_started = False
        self._filters = [factory.create(self) for factory in chain.factories]
        self._terminal: Terminal = chain.terminal.create(self)
        self._request = Flow(
            Direction.REQUEST,
            self._filters,
            chain.request_heads,
            chain.request_data,
            chain.request_trailers,
            bool(chain.request_data),
            self,
            budget,
        )
        self._response: Flow | None = None

    # --- from downstream -------------------------------------------------------------------------------------

    def on_request(self, event: RequestEvent) -> None:
        """An event of the request, in order."""
        if self.is_over:
            return
        try:
            if type(event) is RequestData:
                self._on_request_data(event)
            elif type(event) is RequestHeaders:
                self.request_headers = event.headers
                self._note_end(event.end_stream)
                self._request.head(event)
                if not event.end_stream:
                    self._answer_expectation()
            elif type(event) is RequestTrailers:
                self.request_trailers = event.headers
                self._note_end(True)
                if not self._request.stopped:
                    self._request.trailers(event)
        except ProxyError as error:
            self.fail(None, error)
        except Exception as bug:  # firewall: a filter call
            self._on_bug("request", bug)

    def on_downstream_reset(self, reason: ResetReason) -> None:
        """The peer is gone or gave the stream up."""
        if self.is_over:
            return
        if not self.record.details:
            self.record.details = "downstream_" + reason.value
        self._finish(ResetReason.CANCEL)

    def on_downstream_writable(self) -> None:
        """The peer has taken enough for more to be written."""
        self._downstream_ready = True
        self._settle_response()

    def flush(self) -> None:
        """No more events in this turn of the loop."""
        self._terminal.flush()

    # --- from the terminal -----------------------------------------------------------------------------------

    def on_response(self, event: ResponseEvent) -> None:
        """An event of the upstream's answer, in order."""
        if self.is_over:
            return
        try:
            if type(event) is ResponseData:
                response = self._response
                if response is None or response.stopped:
                    return
                self._credit_response += len(event.data)
                self.record.response_body_bytes += len(event.data)
                response.data(event)
                self._settle_response()
            elif type(event) is ResponseHeaders:
                self._begin_response(event, 0)
            elif type(event) is ResponseTrailers:
                self.response_trailers = event.headers
                if self._response is not None and not self._response.stopped:
                    self._response.trailers(event)
            elif type(event) is InformationalHeaders and not self._response_started:
                self._downstream.send(event)
        except ProxyError as error:
            self.fail(None, error)
        except Exception as bug:  # firewall: a filter call
            self._on_bug("response", bug)

    def flush_downstream(self) -> None:
        """No more events of the answer in this turn of the loop."""
        if not self.is_over:
            self._downstream.flush()

    def on_upstream_ready(self, is_ready: bool) -> None:
        """The upstream side can, or cannot, take more request bytes."""
        self._upstream_ready = is_ready
        if is_ready:
            self._settle_request()

    # --- what filters may ask (ExchangeView) -----------------------------------------------------------------

    def resume(self, by: Filter, direction: Direction) -> None:
        if self.is_over:
            return
        flow = self._request if direction is Direction.REQUEST else self._response
        if flow is None or flow.stopped:
            return
        try:
            flow.resume(by)
            if direction is Direction.REQUEST:
                self._settle_request()
                self._terminal.flush()
            elif not self.is_over:
                self._settle_response()
                self._downstream.flush()
        except ProxyError as error:
            self.fail(None, error)
        except Exception as bug:  # firewall: a filter call
            self._on_bug("resume", bug)

    def local_reply(self, by: Filter | None, reply: LocalReply) -> bool:
        if self.is_over:
            return False
        if self._response_started:
            self._cut("local reply after the answer began", reply.error)
            return False
        self.record.details = reply.details
        if reply.error is not None:
            self.record.error = reply.error.kind
            self.record.error_detail = reply.error.detail
            self.record.limit = reply.error.limit or ""
        skips_filters = self._response is not None
        if self._response is not None:
            self._response.stop()
        self._request.stop()
        self._terminal.abort(ResetReason.CANCEL)
        headers, body = render(reply, self.request_headers)
        event = ResponseHeaders(self._stream_id, headers, not body)
        start = len(self._filters) if skips_filters else self._reply_start(by)
        self._begin_response(event, start)
        if body and not self.is_over and self._response is not None and not self._response.stopped:
            self._response.data(ResponseData(self._stream_id, body, True))
        self._settle_request()
        self._downstream.flush()
        return True

    def fail(self, by: Filter | None, error: ProxyError) -> None:
        if self.is_over:
            return
        if self._response_started:
            self._cut(error.detail, error)
            return
        has_response = self._response is not None
        try:
            self.local_reply(by, reply_for(error))
            return
        except ProxyError as refusal:
            another = refusal
        except Exception as bug:  # firewall: a filter call
            self.report_bug("local_reply", bug)
            another = ProxyError(ErrorKind.INTERNAL, f"{type(bug).__name__}: {bug}")
        # A filter refused the refusal. The next answer passes no filter; when that fails too, there is none.
        if has_response or self._response is None:
            self._cut(another.detail, another)
        else:
            self.fail(None, another)

    def reset(self, detail: str) -> None:
        if not self.is_over:
            self._cut(detail, None)

    def held_body(self, by: Filter, direction: Direction) -> bytes | None:
        if self.is_over:
            return None
        flow = self._request if direction is Direction.REQUEST else self._response
        hold = flow.held(by) if flow is not None else None
        return hold.data if hold is not None else None

    def set_held_body(self, by: Filter, direction: Direction, data: bytes) -> bool:
        if self.is_over:
            return False
        flow = self._request if direction is Direction.REQUEST else self._response
        hold = flow.held(by) if flow is not None else None
        if flow is None or hold is None:
            return False
        flow.replace_held(hold, data)
        return True

    def is_headers_writable(self, by: Filter, direction: Direction) -> bool:
        if self.is_over:
            return False
        flow = self._request if direction is Direction.REQUEST else self._response
        return flow is not None and flow.is_head_behind(by)

    def create_trailers(self, by: Filter, direction: Direction) -> HeaderMap | None:
        flow = self._request if direction is Direction.REQUEST else self._response
        if self.is_over or flow is None or flow.stopped:
            return None
        if flow.created_trailers is None:
            flow.created_trailers = HeaderMap()
        if direction is Direction.REQUEST:
            self.request_trailers = flow.created_trailers
        else:
            self.response_trailers = flow.created_trailers
        return flow.created_trailers

    # --- inside ----------------------------------------------------------------------------------------------

    def _on_request_data(self, event: RequestData) -> None:
        size = len(event.data)
        self.record.request_body_bytes += size
        if event.end_stream:
            self._note_end(True)
        if self._request.stopped:
            self._downstream.consumed(size)
            return
        self._credit_request += size
        self._request.data(event)
        self._settle_request()

    def _note_end(self, end_stream: bool) -> None:
        if end_stream:
            self.request_done = True
            self.record.request_end = self.timers.now()

    def _answer_expectation(self) -> None:
        """Say 100 ourselves when the head stays here until the body comes (RFC 9110 section 10.1.1).

        Otherwise the expectation travels with the head and the app answers it.
        """
        flow = self._request
        if flow.stopped or flow.head_emitted or self.is_over:
            return
        if any(hold.blocks for hold in flow.holds.values()) or b"expect" not in self.request_headers:
            return
        self.request_headers.remove(b"expect")
        go_on = HeaderMap([(b":status", b"100", b":status")])
        self._downstream.send(InformationalHeaders(self._stream_id, go_on))
        self._downstream.flush()

    def _reply_start(self, by: Filter | None) -> int:
        """Travel position where a local reply begins: the last filter that saw the request head."""
        return len(self._filters) - 1 - self._request.reached if self._request.reached >= 0 else len(self._filters)

    def _begin_response(self, event: ResponseHeaders, start: int) -> None:
        chain = self._chain
        self.response_headers = event.headers
        flow = Flow(
            Direction.RESPONSE,
            self._filters[::-1],
            chain.response_heads,
            chain.response_data,
            chain.response_trailers,
            bool(chain.response_data) and start < len(self._filters),
            self,
            self.budget,
            start,
        )
        self._response = flow
        flow.head(event)

    def _send(self, event: ResponseEvent) -> None:
        """The end of the response path."""
        ended = True
        if type(event) is ResponseHeaders:
            self._response_started = True
            record = self.record
            record.response_start = self.timers.now()
            record.status = int(event.headers.get(b":status") or 0)
            ended = event.end_stream
            self.is_tunnel = record.status == 101 or (record.method == b"CONNECT" and record.status < 300)
        elif type(event) is ResponseData:
            ended = event.end_stream
        self._downstream_ready = self._downstream.send(event)
        if ended and not self.is_over:
            self._finish(ResetReason.CANCEL)

    def _settle_request(self) -> None:
        size = self._credit_request
        is_ready = self._upstream_ready or self._request.stopped
        if size and is_ready and not self._request.queued and not self.is_over:
            self._credit_request = 0
            self._downstream.consumed(size)

    def _settle_response(self) -> None:
        size = self._credit_response
        is_queued = self._response is not None and self._response.queued
        if size and self._downstream_ready and not self.is_over and not is_queued:
            self._credit_response = 0
            self._terminal.response_consumed(size)

    def _cut(self, detail: str, error: ProxyError | None) -> None:
        if error is not None:
            self.record.error = error.kind
            self.record.error_detail = error.detail
            self.record.limit = error.limit or ""
        self.record.details = self.record.details or detail
        self._downstream.reset(ResetReason.UPSTREAM_GONE)
        self._finish(ResetReason.CANCEL)

    def _on_bug(self, where: str, bug: BaseException) -> None:
        self.report_bug(where, bug)
        self.fail(None, ProxyError(ErrorKind.INTERNAL, f"{type(bug).__name__}: {bug}", source=Source.INTERNAL))

    def _finish(self, reason: ResetReason) -> None:
        """The one ending: logs, destroys, tells both sides. Never twice."""
        if self.is_over:
            return
        self.is_over = True
        self.record.end = self.timers.now()
        self._request.stop()
        if self._response is not None:
            self._response.stop()
        self._terminal.abort(reason)
        for position in self._chain.log:
            try:
                self._filters[position].on_log()
            except Exception as bug:  # firewall: a filter call
                self.report_bug("log", bug)
        for position in self._chain.log:
            try:
                self._filters[position].on_destroy()
            except Exception as bug:  # firewall: a filter call
                self.report_bug("destroy", bug)
        self._downstream.finished()
        # Filters, flows and terminal point back here. Let go of them, so that an exchange ends when it is over and not
        # when the garbage collector comes by.
        self._filters = []
        self._terminal = GONE
        self._request.release()
        if self._response is not None:
            self._response.release()

    # --- what the flows ask (FlowOwner) ----------------------------------------------------------------------

    def pass_on(self, direction: Direction, event: Any) -> None:
        if direction is Direction.REQUEST:
            self._terminal.on_request(event)
        else:
            self._send(event)

    def make_data(self, direction: Direction, data: bytes, end_stream: bool) -> Any:
        kind = RequestData if direction is Direction.REQUEST else ResponseData
        return kind(self._stream_id, data, end_stream)

    def make_trailers(self, direction: Direction, headers: HeaderMap) -> Any:
        kind = RequestTrailers if direction is Direction.REQUEST else ResponseTrailers
        return kind(self._stream_id, headers)

    def on_overflow(self, error: ProxyError) -> None:
        self.fail(None, error)
