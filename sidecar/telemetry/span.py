"""A span as the sidecar keeps it: plain slots, filled at the end of an exchange, encoded later in a batch."""

from __future__ import annotations

from typing import Final

Value = str | int | float | bool
SpanEvent = tuple[int, str, dict[str, Value]]
"""Unix nanoseconds, name, attributes."""

INTERNAL: Final = 1
SERVER: Final = 2
CLIENT: Final = 3
"""Kinds, as OTLP numbers them."""

UNSET: Final = 0
OK: Final = 1
ERROR: Final = 2

MAX_EVENTS: Final = 128
MAX_ATTRIBUTES: Final = 128


class TraceContext:
    """What came in from the caller. ``source`` is the format it came in: tracecontext, b3, b3multi or jaeger."""

    __slots__ = ("is_sampled", "source", "span_id", "trace_id", "trace_state")

    def __init__(
        self, trace_id: bytes, span_id: bytes, is_sampled: bool | None, source: str, trace_state: str = ""
    ) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.is_sampled = is_sampled
        """None: the caller leaves the decision to us (B3 without a sampling state)."""
        self.trace_state = trace_state
        self.source = source

    def __repr__(self) -> str:
        return f"TraceContext({self.trace_id.hex()}, {self.span_id.hex()}, {self.is_sampled}, {self.source!r})"


class Span:
    """Ids are raw bytes (16 and 8), times are Unix nanoseconds. Attributes and events only when ``is_sampled``."""

    __slots__ = (
        "attributes",
        "dropped_events",
        "end",
        "events",
        "is_sampled",
        "kind",
        "name",
        "parent_is_remote",
        "parent_span_id",
        "span_id",
        "start",
        "status",
        "status_message",
        "trace_id",
        "trace_state",
    )

    def __init__(
        self,
        trace_id: bytes,
        span_id: bytes,
        parent_span_id: bytes | None,
        kind: int,
        start: int,
        *,
        is_sampled: bool,
        trace_state: str = "",
    ) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent_span_id = parent_span_id
        self.parent_is_remote = parent_span_id is not None
        self.trace_state = trace_state
        self.is_sampled = is_sampled
        self.kind = kind
        self.name = ""
        self.start = start
        self.end = 0
        self.attributes: dict[str, Value] = {}
        self.events: list[SpanEvent] = []
        self.dropped_events = 0
        self.status = UNSET
        self.status_message = ""
