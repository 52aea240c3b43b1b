"""Finished exchanges as telemetry sees them, without any exchange."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sidecar.address import Address
from sidecar.http.headers import HeaderMap
from sidecar.telemetry.record import ConnectionInfo, ExchangeRecord

START = 1_795_541_204_678_000_000
"""Unix nanoseconds at which every exchange here begins; 2026-11-24T17:26:44.678Z."""


def make_record(*, direction: str = "inbound", peer_id: str = "", source: Address | None = None) -> ExchangeRecord:
    info = ConnectionInfo(
        1, direction, direction, source or Address("10.0.0.1", 4711), Address("10.0.0.2", 15006), "h1", peer_id
    )
    record = ExchangeRecord(info, 100.0, START)
    record.method = b"GET"
    record.path = b"/a/b?token=hunter2"
    record.route_id = "private"
    record.status = 200
    record.end = 100.005
    record.attempts = 1
    record.upstream = "app"
    record.upstream_start = 100.001
    record.upstream_address = "127.0.0.1:8080"
    return record


def make_view(*extra: tuple[bytes, bytes], **options: Any) -> Any:
    """A view with a record (``options`` as for :func:`make_record`) and request headers."""
    pairs = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"orders.shop:8080"), (b":path", b"/a/b")]
    return SimpleNamespace(record=make_record(**options), request_headers=HeaderMap.of([*pairs, *extra]))


class Collected:
    """A sink of spans, or of log lines."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.lines: list[bytes] = []

    def submit(self, span: Any) -> None:
        self.spans.append(span)

    def write(self, line: bytes) -> None:
        self.lines.append(line)


def tracing_settings(**changes: Any) -> Any:
    """A ``tracing:`` block."""
    known = {
        "endpoint": "http://127.0.0.1:1",
        "protocol": "grpc",
        "sample_rate": 1.0,
        "propagation": ("tracecontext", "baggage", "b3", "jaeger"),
    }
    return SimpleNamespace(**{**known, **changes})


NODE = SimpleNamespace(service="orders", namespace="shop")
