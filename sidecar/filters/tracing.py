"""Gives every exchange its span: first in the chain, so that everything after it sees the context."""

from __future__ import annotations

from sidecar.exchange.filter import CONTINUE, ExchangeView, Filter, Phase, Status
from sidecar.http.events import RequestHeaders
from sidecar.telemetry.span import Span
from sidecar.telemetry.tracer import Tracer


class TracingFilter(Filter):
    __slots__ = ("_span", "_tracer", "_view")

    def __init__(self, tracer: Tracer, view: ExchangeView) -> None:
        self._tracer = tracer
        self._view = view
        self._span: Span | None = None

    def on_request_headers(self, event: RequestHeaders) -> Status:
        self._span = self._tracer.start(event.headers, self._view.record)
        return CONTINUE

    def on_log(self) -> None:
        view = self._view
        # A request refused before it reached the filters is an exchange too.
        span = self._span or self._tracer.start(view.request_headers, view.record)
        self._tracer.finish(span, view.request_headers, view.record)


class TracingFilterFactory:
    """``direction`` is the listener's: inbound spans are SERVER, outbound ones CLIENT."""

    phases = frozenset({Phase.REQUEST_HEADERS, Phase.LOG})

    def __init__(self, tracer: Tracer, direction: str) -> None:
        self.direction = direction
        self._tracer = tracer

    def create(self, view: ExchangeView) -> Filter:
        return TracingFilter(self._tracer, view)
