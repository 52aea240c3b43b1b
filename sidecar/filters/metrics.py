"""Counts and times every exchange from its record, once, when it is over."""

from __future__ import annotations

from typing import Final

from sidecar.exchange.filter import CONTINUE, ExchangeView, Filter, Phase, Status
from sidecar.http.events import RequestHeaders
from sidecar.telemetry.metrics import Counter, Histogram, MetricsRegistry

METHODS: Final = {
    name.encode(): name
    for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
}
"""RFC 9110 section 9.3 and RFC 5789; anything else is ``_OTHER``."""
MAX_CACHED: Final = 4096


class MetricsFilter(Filter):
    """One per exchange: notes that it began, and reads the record at its end."""

    __slots__ = ("_factory", "_is_counted", "_view")

    def __init__(self, factory: MetricsFilterFactory, view: ExchangeView) -> None:
        self._factory = factory
        self._view = view
        self._is_counted = False

    def on_request_headers(self, event: RequestHeaders) -> Status:
        self._is_counted = True
        self._factory.in_flight[self._view.record.connection.direction].value += 1
        return CONTINUE

    def on_log(self) -> None:
        record = self._view.record
        factory = self._factory
        connection = record.connection
        direction = connection.direction
        if self._is_counted:
            factory.in_flight[direction].value -= 1
        if record.limit:
            factory.limit_hit(record.limit)
        key = (direction, record.route_id, record.method, record.status, connection.protocol)
        children = factory.requests.get(key)
        if children is None:
            children = factory.request_children(key)
        children[0].value += 1
        children[1].observe(record.end - record.start)
        if record.attempts:
            status = record.status if record.error is None else record.error.value
            upstream = factory.upstreams.get((record.upstream, status))
            if upstream is None:
                upstream = factory.upstream_children(record.upstream, status)
            upstream[0].value += 1
            if record.upstream_start:
                upstream[1].observe(record.end - record.upstream_start)


class MetricsFilterFactory:
    """Keeps the children each kind of exchange updates, so that the request path looks up one dict key."""

    phases = frozenset({Phase.REQUEST_HEADERS, Phase.LOG})

    def __init__(self, registry: MetricsRegistry) -> None:
        self._registry = registry
        self.limit_hit = registry.limit_hit
        self.in_flight = {direction: registry.in_flight(direction) for direction in ("inbound", "outbound")}
        self.requests: dict[tuple[str, str, bytes, int, str], tuple[Counter, Histogram]] = {}
        self.upstreams: dict[tuple[str, int | str], tuple[Counter, Histogram]] = {}

    def create(self, view: ExchangeView) -> Filter:
        return MetricsFilter(self, view)

    def request_children(self, key: tuple[str, str, bytes, int, str]) -> tuple[Counter, Histogram]:
        """The children of a kind of exchange; remembered unless a stranger could make us remember without end."""
        direction, route, method, status, protocol = key
        registry = self._registry
        children = (
            registry.counter(
                "loom_requests_total", direction, route, METHODS.get(method, "_OTHER"), str(status), protocol
            ),
            registry.histogram("loom_request_duration_seconds", direction, route),
        )
        if method in METHODS and len(self.requests) < MAX_CACHED:
            self.requests[key] = children
        return children

    def upstream_children(self, upstream: str, status: int | str) -> tuple[Counter, Histogram]:
        """``status`` is the answer's code, or the code of the error that stood in its place."""
        registry = self._registry
        children = (
            registry.counter("loom_upstream_requests_total", upstream, str(status)),
            registry.histogram("loom_upstream_duration_seconds", upstream),
        )
        if len(self.upstreams) < MAX_CACHED:
            self.upstreams[upstream, status] = children
        return children
