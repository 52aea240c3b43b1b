"""Spans to OTLP protobuf (opentelemetry/proto/trace/v1/trace.proto, collector/trace/v1/trace_service.proto).

The bytes are joined by hand: the messages are few and fixed, and encodings of attributes that repeat (a method, a
status, a route) are remembered. A test reads every byte back with the published classes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sidecar.telemetry.span import MAX_ATTRIBUTES, Span, Value

MAX_CACHED: Final = 4096
MAX_CACHED_TEXT: Final = 128
"""Longer texts are seldom seen twice."""

_fixed64 = struct.Struct("<Q").pack
_fixed32 = struct.Struct("<I").pack
_double = struct.Struct("<d").pack

_SAMPLED: Final = 0x01
_HAS_IS_REMOTE: Final = 0x100
_IS_REMOTE: Final = 0x200

_SMALL: Final = tuple(bytes((number,)) for number in range(128))


def varint(number: int) -> bytes:
    """Base 128, as every length and every integer; negative ones as 64-bit two's complement."""
    if 0 <= number < 128:
        return _SMALL[number]
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def block(tag: bytes, payload: bytes) -> bytes:
    """A length-delimited field; ``tag`` is its encoded key."""
    return tag + varint(len(payload)) + payload


def any_value(value: Value) -> bytes:
    """AnyValue; an integer beyond 64 bits becomes text."""
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return b"\x18" + varint(value)
    if isinstance(value, float):
        return b"\x21" + _double(value)
    return block(b"\x0a", str(value).encode("utf-8", "replace"))


def key_value(key: str, value: Value) -> bytes:
    """KeyValue, without the tag of the field it stands in."""
    return block(b"\x0a", key.encode("utf-8", "replace")) + block(b"\x12", any_value(value))


class Encoder:
    """Keeps the resource's bytes and a bounded memory of attributes. Belongs to one thread."""

    def __init__(self, resource: Mapping[str, object], scope: str = "loom-sidecar", version: str = "") -> None:
        attributes = b"".join(block(b"\x0a", key_value(key, _plain(value))) for key, value in resource.items())
        self._resource = block(b"\x0a", attributes)
        named = block(b"\x0a", scope.encode())
        self._scope = block(b"\x0a", named + block(b"\x12", version.encode()) if version else named)
        self._cache: dict[tuple[str, Value, type], bytes] = {}

    def request(self, spans: Iterable[Span]) -> bytes:
        """ExportTraceServiceRequest with all ``spans`` under our resource and scope."""
        scope_spans = self._scope + b"".join([block(b"\x12", self.span(span)) for span in spans])
        return block(b"\x0a", self._resource + block(b"\x12", scope_spans))

    def span(self, span: Span) -> bytes:
        """One Span message."""
        parts = [b"\x0a\x10", span.trace_id, b"\x12\x08", span.span_id]
        if span.trace_state:
            parts.append(block(b"\x1a", span.trace_state.encode("utf-8", "replace")))
        flags = _SAMPLED | _HAS_IS_REMOTE
        if span.parent_span_id is not None:
            parts += (b"\x22\x08", span.parent_span_id)
            if span.parent_is_remote:
                flags |= _IS_REMOTE
        parts += (
            block(b"\x2a", span.name.encode("utf-8", "replace")),
            b"\x30",
            varint(span.kind),
            b"\x39",
            _fixed64(span.start),
            b"\x41",
            _fixed64(span.end),
        )
        attributes = list(span.attributes.items())
        for key, value in attributes[:MAX_ATTRIBUTES]:
            parts.append(self._attribute(key, value))
        if len(attributes) > MAX_ATTRIBUTES:
            parts += (b"\x50", varint(len(attributes) - MAX_ATTRIBUTES))
        for event in span.events:
            parts.append(block(b"\x5a", self._event(event)))
        if span.dropped_events:
            parts += (b"\x60", varint(span.dropped_events))
        if span.status:
            message = block(b"\x12", span.status_message.encode("utf-8", "replace")) if span.status_message else b""
            parts.append(block(b"\x7a", message + b"\x18" + varint(span.status)))
        parts += (b"\x85\x01", _fixed32(flags))
        return b"".join(parts)

    def _event(self, event: tuple[int, str, dict[str, Value]]) -> bytes:
        time, name, attributes = event
        encoded = b"".join([block(b"\x1a", key_value(key, value)) for key, value in attributes.items()])
        return b"\x09" + _fixed64(time) + block(b"\x12", name.encode("utf-8", "replace")) + encoded

    def _attribute(self, key: str, value: Value) -> bytes:
        # The type is part of the key: True, 1 and 1.0 are equal and yet three different values.
        cached = self._cache.get((key, value, type(value)))
        if cached is not None:
            return cached
        encoded = block(b"\x4a", key_value(key, value))
        if len(self._cache) >= MAX_CACHED:
            self._cache.clear()
        if not isinstance(value, str) or len(value) <= MAX_CACHED_TEXT:
            self._cache[key, value, type(value)] = encoded
        return encoded


def _plain(value: object) -> Value:
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return ",".join(map(str, value))
    return str(value)


def rejected_spans(response: bytes) -> int:
    """ExportTraceServiceResponse.partial_success.rejected_spans; 0 when absent or unreadable."""
    partial = _field(response, 1)
    rejected = _field(partial, 1) if isinstance(partial, bytes) else 0
    return rejected if isinstance(rejected, int) else 0


def _field(message: bytes, wanted: int) -> bytes | int:
    """The first field with number ``wanted`` of a message of varints and blocks; 0 when there is none."""
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        kind = key & 7
        if kind == 0:
            number, at = _read_varint(message, at)
            if key >> 3 == wanted:
                return number
        elif kind == 2:
            size, at = _read_varint(message, at)
            if key >> 3 == wanted:
                return message[at : at + size]
            at += size
        elif kind in {1, 5}:
            at += 8 if kind == 1 else 4
        else:
            return 0
    return 0


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
    return 0, len(message)
