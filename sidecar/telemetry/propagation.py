"""Trace context in headers: W3C traceparent, tracestate and baggage, Zipkin's B3 (one header or several), Jaeger's.

Extraction tries the formats in the configured order; the first valid one wins, and a malformed one is as good as
absent (W3C Trace Context section 3.2: restart the trace). Injection writes ``traceparent`` whenever tracecontext is
configured; of the other formats it writes those the request came with, and the first one configured when there is no
tracecontext at all, so that a header the sidecar has read is never left behind with stale ids.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from sidecar.http.headers import Field, HeaderMap
from sidecar.telemetry.span import Span, TraceContext

FORMATS: Final = ("tracecontext", "baggage", "b3", "jaeger")
MAX_TRACE_STATE: Final = 512
"""Bytes of tracestate a participant must at least pass on (W3C section 3.3.1.5)."""
MAX_TRACE_STATE_MEMBERS: Final = 32
MAX_BAGGAGE: Final = 8192
MAX_BAGGAGE_MEMBERS: Final = 64

_NO_TRACE: Final = bytes(16)
_NO_SPAN: Final = bytes(8)

_traceparent = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL).fullmatch
_b3_single = re.compile(
    rb"([0-9a-f]{16}|[0-9a-f]{32})-([0-9a-f]{16})(?:-([01d])(?:-[0-9a-f]{16})?)?", re.IGNORECASE
).fullmatch
_jaeger = re.compile(
    rb"([0-9a-f]{1,32})(?::|%3a)([0-9a-f]{1,16})(?::|%3a)[0-9a-f]{0,16}(?::|%3a)([0-9a-f]{1,2})", re.IGNORECASE
).fullmatch
_state_member = re.compile(
    rb"[ \t]*(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    rb"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,256}[ \t]*"
).fullmatch
_baggage_member = re.compile(rb"[ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+[ \t]*=[\x20-\x2b\x2d-\x7e]*").fullmatch

_B3_NAMES: Final = (b"x-b3-traceid", b"x-b3-spanid", b"x-b3-sampled", b"x-b3-flags", b"x-b3-parentspanid")
_WANTED: Final = {
    "tracecontext": (b"traceparent", b"tracestate"),
    "baggage": (b"baggage",),
    "b3": (b"b3", *_B3_NAMES),
    "jaeger": (b"uber-trace-id",),
}

_W3C: Final = frozenset({b"traceparent", b"tracestate", b"baggage"})
_SHAPES: Final = {b"b3": "b3", b"uber-trace-id": "jaeger", **dict.fromkeys(_B3_NAMES, "b3multi")}

Found = dict[bytes, bytes]
Shapes = tuple[str, ...]
"""``b3`` (one header), ``b3multi``, ``jaeger``: shapes beside the W3C one."""


def parse_traceparent(value: bytes) -> tuple[bytes, bytes, bool] | None:
    """Trace id, parent span id, sampled flag; None when malformed (W3C Trace Context section 3.2.2)."""
    match = _traceparent(value)
    if match is None:
        return None
    version, trace, parent, flags, more = match.groups()
    if version == b"ff" or (more is not None and version == b"00"):
        return None
    trace_id = bytes.fromhex(trace.decode())
    span_id = bytes.fromhex(parent.decode())
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return trace_id, span_id, bool(int(flags, 16) & 1)


def clean_trace_state(value: bytes) -> str:
    """The list as it may be passed on; empty when any member is malformed, doubled or too many."""
    members = [member.strip() for member in value.split(b",") if member.strip()]
    if len(members) > MAX_TRACE_STATE_MEMBERS or not all(map(_state_member, members)):
        return ""
    if len({member.split(b"=", 1)[0] for member in members}) != len(members):
        return ""
    while members and sum(map(len, members)) + len(members) - 1 > MAX_TRACE_STATE:
        members.pop()
    return b",".join(members).decode("ascii")


def clean_baggage(value: bytes) -> bytes:
    """The members that are well-formed, at most 64 of them and 8 KiB (W3C Baggage section 3.3)."""
    kept: list[bytes] = []
    size = -1
    for member in value[: 2 * MAX_BAGGAGE].split(b","):
        if not _baggage_member(member) or size + 1 + len(member) > MAX_BAGGAGE:
            continue
        kept.append(member)
        size += 1 + len(member)
        if len(kept) == MAX_BAGGAGE_MEMBERS:
            break
    return b",".join(kept)


def _from_tracecontext(found: Found) -> TraceContext | None:
    value = found.get(b"traceparent")
    parsed = parse_traceparent(value) if value is not None else None
    if parsed is None:
        return None
    state = found.get(b"tracestate")
    return TraceContext(*parsed, "tracecontext", clean_trace_state(state) if state else "")


def _from_b3(found: Found) -> TraceContext | None:
    single = found.get(b"b3")
    match = _b3_single(single) if single is not None else None
    if match is not None:
        trace, span, state = match.groups()
        return _context(trace, span, None if state is None else state != b"0", "b3")
    trace_hex, span_hex = found.get(b"x-b3-traceid", b""), found.get(b"x-b3-spanid", b"")
    if not _b3_single(trace_hex + b"-" + span_hex):
        return None
    sampled = found.get(b"x-b3-sampled", b"").lower()
    is_sampled = None
    if found.get(b"x-b3-flags") == b"1" or sampled in {b"1", b"true"}:
        is_sampled = True
    elif sampled in {b"0", b"false"}:
        is_sampled = False
    return _context(trace_hex, span_hex, is_sampled, "b3multi")


def _from_jaeger(found: Found) -> TraceContext | None:
    value = found.get(b"uber-trace-id")
    match = _jaeger(value) if value is not None else None
    if match is None:
        return None
    trace, span, flags = match.groups()
    return _context(trace, span, bool(int(flags, 16) & 1), "jaeger")


def _context(trace: bytes, span: bytes, is_sampled: bool | None, source: str) -> TraceContext | None:
    trace_id = bytes.fromhex(trace.decode().zfill(32))
    span_id = bytes.fromhex(span.decode().zfill(16))
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return TraceContext(trace_id, span_id, is_sampled, source)


_EXTRACTORS: Final = {"tracecontext": _from_tracecontext, "b3": _from_b3, "jaeger": _from_jaeger}


class Propagation:
    """The configured formats, in order; raises ValueError for a name that is not in :data:`FORMATS`."""

    __slots__ = ("_default", "_extractors", "_has_baggage", "_has_tracecontext", "_wanted", "formats")

    def __init__(self, formats: Sequence[str]) -> None:
        for name in formats:
            if name not in FORMATS:
                raise ValueError(f"'{name}' is no propagation format; known are {', '.join(FORMATS)}")
        self.formats = tuple(formats)
        self._has_tracecontext = "tracecontext" in self.formats
        self._has_baggage = "baggage" in self.formats
        tracing = [name for name in self.formats if name != "baggage"]
        self._extractors = tuple(_EXTRACTORS[name] for name in tracing)
        self._default = tracing[0] if tracing else ""
        self._wanted = frozenset(name for chosen in self.formats for name in _WANTED[chosen])

    def extract(self, headers: HeaderMap) -> tuple[TraceContext | None, Shapes]:
        """The caller's context, and the other shapes the request carries (for :meth:`inject`).

        Trims an oversized or malformed baggage header on the way.
        """
        wanted = self._wanted
        hits = [field for field in headers.fields if field[0] in wanted]
        if not hits:
            return None, ()
        found = self._collect(hits)
        if self._has_baggage and b"baggage" in found:
            self._trim_baggage(headers, found[b"baggage"])
        shapes = () if found.keys() <= _W3C else tuple(dict.fromkeys(_SHAPES[n] for n in found if n in _SHAPES))
        for extract in self._extractors:
            context = extract(found)
            if context is not None:
                return context, shapes
        return None, shapes

    @staticmethod
    def _collect(hits: list[Field]) -> Found:
        """Lists join with a comma; a second value of anything else makes it malformed, and so absent."""
        found: Found = {}
        for name, value, _ in hits:
            if name in found:
                value = found[name] + b"," + value
            found[name] = value
        return found

    @staticmethod
    def _trim_baggage(headers: HeaderMap, value: bytes) -> None:
        kept = clean_baggage(value)
        if kept == value:
            return
        if kept:
            headers.set(b"baggage", kept)
        else:
            headers.remove(b"baggage")

    def inject(self, headers: HeaderMap, span: Span, shapes: Shapes = ()) -> None:
        """Write ``span`` as the parent of what the receiver does; ``shapes`` as :meth:`extract` gave them."""
        if self._has_tracecontext:
            value = f"00-{span.trace_id.hex()}-{span.span_id.hex()}-{'01' if span.is_sampled else '00'}"
            headers.set(b"traceparent", value.encode())
            # A state belongs to the traceparent it came with; when that was malformed, it goes too.
            state = headers.get(b"tracestate")
            if state is not None and state != span.trace_state.encode():
                headers.remove(b"tracestate")
                if span.trace_state:
                    headers.add(b"tracestate", span.trace_state.encode())
        elif self._default:
            shapes = shapes or (self._default,)
        for shape in shapes:
            _WRITERS[shape](headers, span)


def _write_b3(headers: HeaderMap, span: Span) -> None:
    headers.set(b"b3", f"{span.trace_id.hex()}-{span.span_id.hex()}-{int(span.is_sampled)}".encode())


def _write_b3_multi(headers: HeaderMap, span: Span) -> None:
    headers.set(b"x-b3-traceid", span.trace_id.hex().encode())
    headers.set(b"x-b3-spanid", span.span_id.hex().encode())
    headers.set(b"x-b3-sampled", b"1" if span.is_sampled else b"0")
    headers.remove(b"x-b3-flags")
    if span.parent_span_id is not None:
        headers.set(b"x-b3-parentspanid", span.parent_span_id.hex().encode())
    else:
        headers.remove(b"x-b3-parentspanid")


def _write_jaeger(headers: HeaderMap, span: Span) -> None:
    headers.set(b"uber-trace-id", f"{span.trace_id.hex()}:{span.span_id.hex()}:0:{int(span.is_sampled)}".encode())


_WRITERS: Final = {"b3": _write_b3, "b3multi": _write_b3_multi, "jaeger": _write_jaeger}
