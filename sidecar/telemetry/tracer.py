"""Makes the one span of an exchange: decides on it when the request comes, describes it from the record at the end.

Semantics: an inbound exchange is a SERVER span whose parent is the caller's context, an outbound one a CLIENT span
whose parent is the app's; what is sent on carries the id of our span. Attributes follow OpenTelemetry's stable HTTP
conventions. Queries, credentials and cookies are never among them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from sidecar.http.headers import HeaderMap
from sidecar.telemetry.propagation import Propagation
from sidecar.telemetry.record import ExchangeRecord
from sidecar.telemetry.redact import cut_text, path_without_query, text_of
from sidecar.telemetry.sampling import Sampling, from_environment
from sidecar.telemetry.span import CLIENT, ERROR, MAX_EVENTS, SERVER, Span, Value

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

    from sidecar.config import model as config

KINDS: Final = {"inbound": SERVER, "outbound": CLIENT}
METHODS: Final = {
    name.encode(): name
    for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
}
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
MAX_CACHED: Final = 1024


class SpanSink(Protocol):
    """Who takes finished spans; never blocks."""

    def submit(self, span: Span) -> None: ...


class Tracer:
    """``exporter`` None: contexts are passed on and decided as ever, and no span goes anywhere."""

    __slots__ = ("_authorities", "_exporter", "_propagation", "_random_bits", "_sampling")

    def __init__(
        self,
        settings: config.Tracing,
        node: config.Node,
        exporter: SpanSink | None,
        *,
        random_bits: Callable[[int], int] = random.getrandbits,
    ) -> None:
        self._propagation = Propagation(settings.propagation)
        rate: float | None = settings.sample_rate
        self._sampling = from_environment() if rate is None else Sampling.of_rate(rate)
        self._exporter = exporter
        self._random_bits = random_bits
        self._authorities: dict[bytes, tuple[str, int | None]] = {}

    def start(self, headers: HeaderMap, record: ExchangeRecord) -> Span:
        """Begin the span of an exchange and write its context into ``headers``, which go on to the receiver."""
        connection = record.connection
        kind = KINDS[connection.direction]
        parent, shapes = self._propagation.extract(headers)
        if parent is None:
            trace_id = (self._random_bits(128) or 1).to_bytes(16, "big")
        else:
            trace_id = parent.trace_id
        is_trusted = kind == CLIENT or bool(connection.peer_id)
        name = METHODS.get(record.method, "HTTP")
        span = Span(
            trace_id,
            (self._random_bits(64) or 1).to_bytes(8, "big"),
            parent.span_id if parent is not None else None,
            kind,
            record.start_unix_nanos,
            is_sampled=self._sampling.is_sampled(trace_id, parent, kind, name, record.start, is_trusted=is_trusted),
            trace_state=parent.trace_state if parent is not None else "",
        )
        span.name = name
        record.span = span
        self._propagation.inject(headers, span, shapes)
        return span

    def finish(self, span: Span, headers: HeaderMap, record: ExchangeRecord) -> None:
        """Describe a sampled span from the finished record and hand it over."""
        exporter = self._exporter
        if exporter is None or not span.is_sampled:
            return
        start = record.start
        span.end = span.start + max(0, int((record.end - start) * 1e9))
        if record.route_id:
            span.name = f"{span.name} {record.route_id}"
        self._describe_request(span, headers, record)
        self._describe_outcome(span, record)
        if record.events:
            for time, name, attributes in record.events[:MAX_EVENTS]:
                span.events.append((span.start + max(0, int((time - start) * 1e9)), name, cut_values(attributes)))
            span.dropped_events = max(0, len(record.events) - MAX_EVENTS)
        exporter.submit(span)

    def _describe_request(self, span: Span, headers: HeaderMap, record: ExchangeRecord) -> None:
        attributes = span.attributes
        connection = record.connection
        authority = agent = b""
        scheme = "http"
        for name, value, _ in headers.fields:
            if name == b":authority":
                authority = value
            elif name == b":scheme":
                scheme = text_of(value, 16)
            elif name == b"user-agent":
                agent = value
                break
        method = METHODS.get(record.method)
        attributes["http.request.method"] = method or "_OTHER"
        if method is None and record.method:
            attributes["http.request.method_original"] = text_of(record.method)
        path = path_without_query(record.path)
        attributes["url.scheme"] = scheme
        attributes["url.path"] = path
        if authority:
            host, port = self._authorities.get(authority) or self._split(authority)
            attributes["server.address"] = host
            number = port or DEFAULT_PORTS.get(scheme)
            if number:
                attributes["server.port"] = number
        if span.kind == CLIENT:
            attributes["url.full"] = cut_text(f"{scheme}://{text_of(authority)}{path}")
        else:
            attributes["client.address"] = connection.source.host
        attributes["network.protocol.version"] = record.http_version.rpartition("/")[2]
        if agent:
            attributes["user_agent.original"] = text_of(agent)
        attributes["mesh.direction"] = connection.direction
        if connection.peer_id:
            attributes["mesh.peer.id"] = connection.peer_id

    def _describe_outcome(self, span: Span, record: ExchangeRecord) -> None:
        attributes = span.attributes
        status = record.status
        error = record.error
        if status:
            attributes["http.response.status_code"] = status
        if record.route_id:
            attributes["http.route"] = record.route_id
        if record.upstream_address and span.kind == CLIENT:
            host, _, port = record.upstream_address.rpartition(":")
            attributes["network.peer.address"] = host.strip("[]")
            if port.isdigit():
                attributes["network.peer.port"] = int(port)
        if record.attempts > 1:
            attributes["http.request.resend_count"] = record.attempts - 1
        if error is not None:
            attributes["loom.error"] = error.value
        # A client's mistake is no error of the server (HTTP conventions, "Status").
        if not status or status >= 500 or (status >= 400 and span.kind == CLIENT):
            span.status = ERROR
            if error is not None:
                attributes["error.type"] = error.value
            else:
                attributes["error.type"] = str(status) if status else (record.details or "_OTHER")

    def _split(self, authority: bytes) -> tuple[str, int | None]:
        """Host and port; remembered for the first authorities seen, so that a flood cannot fill memory."""
        host, colon, port = text_of(authority).rpartition(":")
        if not colon or not port.isdigit() or len(port) > 5:
            host, port = text_of(authority), ""
        answer = (host.strip("[]"), int(port) if port else None)
        if len(self._authorities) < MAX_CACHED and len(authority) < 256:
            self._authorities[authority] = answer
        return answer


def cut_values(attributes: dict[str, Value]) -> dict[str, Value]:
    """The same attributes with no text over the limit."""
    return {name: cut_text(value) if isinstance(value, str) else value for name, value in attributes.items()}


def resource_of(node: config.Node) -> Resource:
    """The SDK's resource (OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME), the node's service and namespace over it."""
    from opentelemetry.sdk.resources import Resource

    attributes: dict[str, str] = {}
    if node.service:
        attributes["service.name"] = node.service
    if node.namespace:
        attributes["service.namespace"] = node.namespace
    return Resource.create(attributes)
