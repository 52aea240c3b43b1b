"""The vocabulary in which the HTTP versions meet: what a codec reads and what it is asked to write.

Every event belongs to a stream (HTTP/1.1 numbers its requests 1, 2, 3 ...). ``end_stream`` rides on the last
event of a message; an empty data event may carry it. Nothing here says which version it came from.
"""

from __future__ import annotations

import enum

from sidecar.http.headers import HeaderMap


class ResetReason(enum.Enum):
    """Why a stream ended early, in our own words; each codec maps them to and from its wire codes."""

    CANCEL = "cancel"  # the peer lost interest
    REFUSED = "refused"  # proof that nothing was processed
    PROTOCOL = "protocol"  # the peer broke the rules
    OVERLOAD = "overload"
    TIMEOUT = "timeout"
    UPSTREAM_GONE = "upstream_gone"  # connection lost before the message was whole
    INTERNAL = "internal"


class RequestHeaders:
    """A request head; ``headers`` holds ``:method``, ``:scheme``, ``:authority``, ``:path`` first.

    ``version`` is a label for telemetry and plugin properties; nobody branches on it.
    """

    __slots__ = ("end_stream", "headers", "stream_id", "version")

    def __init__(
        self, stream_id: int, headers: HeaderMap, end_stream: bool = False, version: str = "HTTP/1.1"
    ) -> None:
        self.stream_id = stream_id
        self.headers = headers
        self.end_stream = end_stream
        self.version = version

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.stream_id}, {self.headers!r}, end_stream={self.end_stream})"


class ResponseHeaders:
    """A final response head; ``headers`` holds ``:status`` first."""

    __slots__ = ("end_stream", "headers", "stream_id")

    def __init__(self, stream_id: int, headers: HeaderMap, end_stream: bool = False) -> None:
        self.stream_id = stream_id
        self.headers = headers
        self.end_stream = end_stream

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.stream_id}, {self.headers!r}, end_stream={self.end_stream})"


class InformationalHeaders:
    """A 1xx head (RFC 9110 section 15.2); 101 is told by ``headers[":status"]`` and opens a tunnel."""

    __slots__ = ("headers", "stream_id")

    def __init__(self, stream_id: int, headers: HeaderMap) -> None:
        self.stream_id = stream_id
        self.headers = headers

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.stream_id}, {self.headers!r})"


class RequestData:
    """Bytes of a request body, or of a tunnel once one is open."""

    __slots__ = ("data", "end_stream", "stream_id")

    def __init__(self, stream_id: int, data: bytes, end_stream: bool = False) -> None:
        self.stream_id = stream_id
        self.data = data
        self.end_stream = end_stream

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.stream_id}, {len(self.data)} bytes, end_stream={self.end_stream})"


class ResponseData:
    """Bytes of a response body, or of a tunnel once one is open."""

    __slots__ = ("data", "end_stream", "stream_id")

    def __init__(self, stream_id: int, data: bytes, end_stream: bool = False) -> None:
        self.stream_id = stream_id
        self.data = data
        self.end_stream = end_stream

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.stream_id}, {len(self.data)} bytes, end_stream={self.end_stream})"


class RequestTrailers:
    """The trailer section of a request; always the end of the stream."""

    __slots__ = ("headers", "stream_id")

    def __init__(self, stream_id: int, headers: HeaderMap) -> None:
        self.stream_id = stream_id
        self.headers = headers

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.stream_id}, {self.headers!r})"


class ResponseTrailers:
    """The trailer section of a response; always the end of the stream."""

    __slots__ = ("headers", "stream_id")

    def __init__(self, stream_id: int, headers: HeaderMap) -> None:
        self.stream_id = stream_id
        self.headers = headers

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.stream_id}, {self.headers!r})"


class Reset:
    """The stream ended before its messages were whole."""

    __slots__ = ("detail", "reason", "stream_id")

    def __init__(self, stream_id: int, reason: ResetReason, detail: str = "") -> None:
        self.stream_id = stream_id
        self.reason = reason
        self.detail = detail

    def __repr__(self) -> str:
        return f"Reset({self.stream_id}, {self.reason}, {self.detail!r})"


class Violation:
    """A peer's message that must not be acted upon.

    Server side: answer ``status`` (with code ``kind`` of :class:`sidecar.errors.ErrorKind` by name) and close.
    Client side: the answer is worthless, the connection too. ``limit`` names a limit that was hit, or is empty.
    """

    __slots__ = ("detail", "kind", "limit", "status", "stream_id")

    def __init__(self, stream_id: int, status: int, kind: str, detail: str, limit: str = "") -> None:
        self.stream_id = stream_id
        self.status = status
        self.kind = kind
        self.detail = detail
        self.limit = limit

    def __repr__(self) -> str:
        return f"Violation({self.stream_id}, {self.status}, {self.kind!r}, {self.detail!r}, {self.limit!r})"


RequestEvent = RequestHeaders | RequestData | RequestTrailers
ResponseEvent = InformationalHeaders | ResponseHeaders | ResponseData | ResponseTrailers
StreamEvent = RequestEvent | ResponseEvent | Reset | Violation
