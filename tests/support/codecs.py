"""Codecs without a connection: feed bytes, look at what they mean, write an answer or a request."""

from __future__ import annotations

import itertools
from typing import Any

from sidecar.codec.base import CodecLimits
from sidecar.codec.h1 import H1ClientCodec, H1ServerCodec
from sidecar.http.events import (
    InformationalHeaders,
    RequestData,
    RequestHeaders,
    RequestTrailers,
    Reset,
    ResponseData,
    ResponseHeaders,
    ResponseTrailers,
    Violation,
)
from sidecar.http.headers import HeaderMap

NOW = 5.0

Pairs = list[tuple[bytes, bytes]]


def server(**limits: int) -> H1ServerCodec:
    return H1ServerCodec(CodecLimits(**limits))


def asked(method: bytes = b"GET", *pairs: tuple[bytes, bytes], end: bool = True, **limits: int) -> H1ClientCodec:
    """A client codec whose request is written."""
    codec = H1ClientCodec(CodecLimits(**limits))
    ask(codec, method, *pairs, end=end)
    codec.data_to_send()
    return codec


def ask(codec: Any, method: bytes = b"GET", *pairs: tuple[bytes, bytes], end: bool = True) -> None:
    head = [(b":method", method), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/x")]
    codec.send(RequestHeaders(codec.open_stream(), HeaderMap.of([*head, *pairs]), end))


def answer(codec: Any, status: bytes = b"200", *pairs: tuple[bytes, bytes], body: bytes | None = b"") -> bytes:
    """Write a whole answer to the open stream (without an end when ``body`` is None) and take its bytes."""
    codec.send(ResponseHeaders(1, HeaderMap.of([(b":status", status), *pairs]), body == b""))
    if body:
        codec.send(ResponseData(1, body, True))
    return bytes(codec.data_to_send())


def interim(codec: Any, status: bytes, *pairs: tuple[bytes, bytes]) -> bytes:
    codec.send(InformationalHeaders(1, HeaderMap.of([(b":status", status), *pairs])))
    return bytes(codec.data_to_send())


def plain(event: Any) -> tuple[Any, ...]:
    """An event as a value that can be compared."""
    name = type(event).__name__
    if isinstance(event, RequestHeaders):
        return (name, event.stream_id, event.headers.fields, event.end_stream, event.version)
    if isinstance(event, ResponseHeaders):
        return (name, event.stream_id, event.headers.fields, event.end_stream)
    if isinstance(event, RequestData | ResponseData):
        return (name, event.stream_id, event.data, event.end_stream)
    if isinstance(event, InformationalHeaders | RequestTrailers | ResponseTrailers):
        return (name, event.stream_id, event.headers.fields)
    if isinstance(event, Reset):
        return (name, event.stream_id, event.reason, event.detail)
    assert isinstance(event, Violation)
    return (name, event.stream_id, event.status, event.kind, event.detail, event.limit)


def joined(events: list[Any]) -> list[tuple[Any, ...]]:
    """Events as values, neighbouring data of a stream put together: how a body was cut says nothing."""
    found: list[tuple[Any, ...]] = []
    for event in map(plain, events):
        last = found[-1] if found else ("",)
        if event[0].endswith("Data") and last[:2] == event[:2] and not last[3]:
            found[-1] = (*event[:2], last[2] + event[2], event[3])
        elif event[0].endswith("Data") and not event[2] and not event[3]:
            continue
        else:
            found.append(event)
    return found


def names(events: list[Any]) -> list[str]:
    return [type(event).__name__ for event in events]


def body(events: list[Any]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, RequestData | ResponseData))


def refusal(events: list[Any]) -> tuple[int, str, str]:
    """Status, kind and limit of the only event, which must be a Violation."""
    assert names(events) == ["Violation"], events
    return events[0].status, events[0].kind, events[0].limit


def serve_all(codec: Any, data: bytes, cuts: list[int] | None = None) -> list[Any]:
    """Every event of ``data`` cut at ``cuts``; each request that is whole is answered 200, credit is given at once."""
    events: list[Any] = []
    bounds = [0, *sorted(cuts or []), len(data)]
    for begin, end in itertools.pairwise(bounds):
        piece = data[begin:end]
        got = codec.receive(piece, NOW) if piece else []
        while True:
            events += got
            for event in got:
                if isinstance(event, RequestData):
                    codec.consumed(event.stream_id, len(event.data))
            last = got[-1] if got else None
            if isinstance(last, RequestTrailers) or getattr(last, "end_stream", False):
                answer(codec)
            if codec.should_close or not codec.has_buffered():
                break
            got = codec.receive(b"", NOW)
    return events
