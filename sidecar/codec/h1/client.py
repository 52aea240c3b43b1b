"""The client's side of HTTP/1.1: requests out, answers in, one at a time on a connection.

An answer is believed only when it can be read in one way, and belongs to the request that is open: bytes before the
request or behind its answer make the connection worthless, so that no client ever gets another one's answer (RFC 9112
section 6.3).
"""

# long-module: one state machine; both of its halves move the same states

from __future__ import annotations

from typing import Final

from sidecar.codec.base import CodecLimits
from sidecar.codec.h1.head import parse_response, write_request
from sidecar.codec.h1.names import (
    CONNECTION,
    CONTENT_LENGTH,
    OF_CONNECTION,
    REPEATED,
    SHADOW,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeadError,
)
from sidecar.codec.h1.reader import ChunkedReader, check_partial, is_oversized
from sidecar.codec.h1.state import Framing, Half
from sidecar.codec.h1.writer import MessageWriter
from sidecar.errors import LocalProtocolError
from sidecar.http.events import (
    InformationalHeaders,
    RequestData,
    RequestHeaders,
    RequestTrailers,
    Reset,
    ResetReason,
    ResponseData,
    ResponseHeaders,
    ResponseTrailers,
    StreamEvent,
    Violation,
)
from sidecar.http.headers import Field, HeaderMap
from sidecar.http.semantics import strip_hop_by_hop, tokens, trailer_fields
from sidecar.http.status import BODILESS
from sidecar.http.validate import content_length

_AMBIGUOUS: Final = SHADOW | (CONTENT_LENGTH | TRANSFER_ENCODING) << REPEATED
_UNUSUAL: Final = _AMBIGUOUS | OF_CONNECTION
_WITH_CONTENT: Final = frozenset({b"POST", b"PUT", b"PATCH"})
"""Methods whose requests say so when they have no body (RFC 9110 section 8.6)."""


def _check_line(data: bytes, start: int, end: int) -> None:
    parse_response(data, start, end, 0)


class H1ClientCodec:
    """See the module and :class:`sidecar.codec.base.Codec`."""

    __slots__ = (
        "_chunks",
        "_framing",
        "_held",
        "_id",
        "_in",
        "_interim",
        "_is_draining",
        "_keeps_alive",
        "_left",
        "_limits",
        "_method",
        "_out",
        "_scanned",
        "_unread",
        "_wants_tunnel",
        "_writer",
        "is_idle",
        "is_lingering",
        "is_reading_paused",
        "response_started",
        "should_close",
        "should_half_close",
        "should_reset",
    )

    protocol = "h1"

    def __init__(self, limits: CodecLimits) -> None:
        self._limits = limits
        self._in = Half.IDLE
        self._out = Half.IDLE
        self._id = 0
        self._held = b""
        self._scanned = 0
        self._method = b""
        self._interim = 0
        self._keeps_alive = True
        self._is_draining = False
        self._wants_tunnel = False
        self._framing = Framing.NONE
        self._left = 0
        self._chunks: ChunkedReader | None = None
        self._writer = MessageWriter()
        self._unread = 0
        self.is_idle = True
        self.is_reading_paused = False
        self.should_close = False
        self.should_reset = False
        self.should_half_close = False
        self.is_lingering = False
        self.response_started = False

    # --- out -------------------------------------------------------------------------------------------------

    def open_stream(self) -> int:
        if not self.is_idle or self.should_close:
            raise LocalProtocolError("the connection takes no request now")
        self._id += 1
        self._in = self._out = Half.HEAD
        self._interim = 0
        self._unread = 0
        self.is_idle = False
        self.response_started = False
        return self._id

    def send(self, event: StreamEvent) -> None:
        """Write an event of the request; raises LocalProtocolError when the state does not allow it."""
        kind = type(event)
        if kind is RequestHeaders:
            self._send_head(event)  # type: ignore[arg-type]
        elif kind is RequestData:
            self._send_data(event.data, event.end_stream)  # type: ignore[union-attr]
        elif kind is RequestTrailers:
            self._send_trailers(event.headers)  # type: ignore[union-attr]
        elif kind is Reset:
            self._give_up()
        else:
            raise LocalProtocolError(f"a client does not send {kind.__name__}")

    def _send_head(self, event: RequestHeaders) -> None:
        if self._out != Half.HEAD:
            raise LocalProtocolError("a second request head")
        fields = event.headers.fields
        method = self._method = event.headers.get(b":method") or b""
        # The codec that read the request kept `upgrade` only where it was meant for the next hop.
        is_upgrade = not event.end_stream and b"upgrade" in event.headers
        self._wants_tunnel = is_upgrade or method == b"CONNECT"
        try:
            head, length, flags = write_request(fields, 0 if is_upgrade else UPGRADE)
        except ValueError as error:
            raise LocalProtocolError(str(error)) from None
        if flags & CONTENT_LENGTH << REPEATED:
            raise LocalProtocolError("content-length twice")
        options = []
        if is_upgrade:
            options.append(b"upgrade")
        if flags & TE:
            options.append(b"TE")
        if options:
            head += b"connection: " + b", ".join(options) + b"\r\n"
        self._out = Half.BODY
        self._writer.write(head + self._frame(method, length, event.end_stream))
        if event.end_stream:
            self._out = Half.DONE

    def _frame(self, method: bytes, length: bytes | None, end_stream: bool) -> bytes:
        """Choose how the end of the body is told; the rest of the head."""
        if self._wants_tunnel:
            self._writer.framing = Framing.RAW
            return b"\r\n"
        if length is not None:
            self._writer.declare(length, end_stream)
            return b"\r\n"
        if end_stream:
            self._writer.framing = Framing.NONE
            return b"content-length: 0\r\n\r\n" if method in _WITH_CONTENT else b"\r\n"
        self._writer.framing = Framing.CHUNKED
        return b"transfer-encoding: chunked\r\n\r\n"

    def _send_data(self, data: bytes, end_stream: bool) -> None:
        if self._out != Half.BODY and self._out != Half.TUNNEL:
            raise LocalProtocolError("body bytes outside a request")
        if data and self._writer.framing == Framing.RAW and self._out != Half.TUNNEL:
            raise LocalProtocolError("bytes for a tunnel that is not open")
        self._writer.write_body(data, end_stream)
        if end_stream:
            self.should_half_close = self._out == Half.TUNNEL
            self._out = Half.DONE

    def _send_trailers(self, headers: HeaderMap) -> None:
        if self._out != Half.BODY:
            raise LocalProtocolError("trailers outside a request")
        self._writer.write_trailers(headers)
        self._out = Half.DONE

    def _give_up(self) -> None:
        self._in = self._out = Half.DEAD
        self._writer.drop()
        self.should_close = self.should_reset = True

    def data_to_send(self) -> bytes:
        return self._writer.take()

    # --- in --------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> list[StreamEvent]:
        """See :meth:`sidecar.codec.base.Codec.receive`."""
        if self._in == Half.DEAD or not data:
            return []
        if self._in in (Half.IDLE, Half.DONE) or self._out == Half.HEAD:
            return self._distrust(HeadError(400, "bytes that no request asked for"), [])
        self.response_started = True
        if self._held:
            data = self._held + data
            self._held = b""
        events: list[StreamEvent] = []
        try:
            while data and self._in == Half.HEAD:
                at = self._read_head(data, events)
                if at < 0:
                    self._held = data
                    return events
                data = data[at:]
            if data:
                self._read_body(data, events)
        except HeadError as error:
            return self._distrust(error, events)
        self.is_reading_paused = self._unread > self._limits.watermark
        return events

    def _read_head(self, data: bytes, events: list[StreamEvent]) -> int:
        """Where the body begins; -1 when the head is not whole."""
        limits = self._limits
        end = data.find(b"\r\n\r\n", max(self._scanned - 3, 0))
        if end < 0:
            check_partial(data, 0, self._scanned, limits, _check_line)
            self._scanned = len(data)
            return -1
        scanned, self._scanned = self._scanned, 0
        if end > min(limits.request_line, limits.header_bytes) and is_oversized(data, 0, end, limits):
            check_partial(data[: end + 4], 0, scanned, limits, _check_line)
        try:
            fields, minor, flags = parse_response(data, 0, end + 2, limits.header_count)
        except HeadError:
            check_partial(data[: end + 4], 0, scanned, limits, _check_line)
            raise
        status = fields[0][1]
        if status[:1] == b"1":
            self._on_interim(status, fields, flags, events)
        else:
            self._on_final(status, fields, minor, flags, events)
        return end + 4

    def _on_interim(self, status: bytes, fields: list[Field], flags: int, events: list[StreamEvent]) -> None:
        if flags & (CONTENT_LENGTH | TRANSFER_ENCODING | SHADOW):
            raise HeadError(400, "an interim answer with a body")
        if status == b"101":
            if not self._wants_tunnel or self._method == b"CONNECT":
                raise HeadError(400, "101 that nobody asked for")
            fields = strip_hop_by_hop(fields, tokens(_values(fields, b"connection")), keeps_upgrade=True)
            self._open_tunnel()
        else:
            self._interim += 1
            if self._interim > self._limits.interim:
                raise HeadError(400, "too many interim answers", "interim")
            if flags & OF_CONNECTION:
                fields = strip_hop_by_hop(fields, tokens(_values(fields, b"connection")))
        events.append(InformationalHeaders(self._id, HeaderMap(fields)))

    def _open_tunnel(self) -> None:
        self._in = self._out = Half.TUNNEL
        self._keeps_alive = False

    def _on_final(
        self, status: bytes, fields: list[Field], minor: int, flags: int, events: list[StreamEvent]
    ) -> None:
        self._keeps_alive = minor == 1
        length = self._framed_length(fields, minor, flags)
        if flags & _UNUSUAL:
            options = tokens(_values(fields, b"connection")) if flags & CONNECTION else []
            if b"close" in options:
                self._keeps_alive = False
            elif not minor and b"keep-alive" in options:
                self._keeps_alive = True
            fields = strip_hop_by_hop(fields, options)
        if self._is_draining:
            self._keeps_alive = False
        if self._method == b"CONNECT" and status[:1] == b"2":
            self._open_tunnel()
            events.append(ResponseHeaders(self._id, HeaderMap(fields), False))
            return
        if self._wants_tunnel:
            # The app said no to the tunnel: the request is what has been written.
            self._wants_tunnel = False
            self._out = Half.DONE
        is_empty = self._method == b"HEAD" or status in BODILESS
        if status == b"204" and (length or flags & TRANSFER_ENCODING):
            self._keeps_alive = False
        if not is_empty:
            is_empty = self._begin_body(length, flags)
        events.append(ResponseHeaders(self._id, HeaderMap(fields), is_empty))
        self._in = Half.BODY
        if is_empty:
            self._end()

    def _framed_length(self, fields: list[Field], minor: int, flags: int) -> int | None:
        """The declared length; raises HeadError for framing that two readers could read in two ways."""
        if flags & _AMBIGUOUS:
            raise HeadError(400, "a field that frames the answer is repeated or imitated")
        if flags & TRANSFER_ENCODING:
            if not minor or flags & CONTENT_LENGTH:
                raise HeadError(400, "Transfer-Encoding where it cannot be believed")
            if _values(fields, b"transfer-encoding")[0].lower() != b"chunked":
                raise HeadError(400, "Transfer-Encoding other than chunked")
        if not flags & CONTENT_LENGTH:
            return None
        length = content_length(_values(fields, b"content-length")[0])
        if length is None:
            raise HeadError(400, "malformed Content-Length")
        return length

    def _begin_body(self, length: int | None, flags: int) -> bool:
        """Set how the end of the body is told; True when there is none."""
        self._chunks = None
        if flags & TRANSFER_ENCODING:
            self._framing = Framing.CHUNKED
            self._chunks = ChunkedReader(self._limits)
        elif length is None:
            self._framing = Framing.CLOSE
            self._keeps_alive = False
        else:
            self._framing = Framing.LENGTH
            self._left = length
            return length == 0
        return False

    def _read_body(self, data: bytes, events: list[StreamEvent]) -> None:
        if self._in == Half.DONE or self._in == Half.IDLE:
            # Bytes behind the answer: whoever they are for, it is not the next request.
            self.should_close = True
            self.is_idle = False
            return
        framing = self._framing
        if self._in == Half.TUNNEL or framing == Framing.CLOSE:
            self._unread += len(data)
            events.append(ResponseData(self._id, data))
        elif framing == Framing.LENGTH:
            left = self._left
            if len(data) < left:
                self._left = left - len(data)
                self._unread += len(data)
                events.append(ResponseData(self._id, data))
                return
            events.append(ResponseData(self._id, data if len(data) == left else data[:left], True))
            self._end()
            if len(data) > left:
                self.should_close = True
                self.is_idle = False
        else:
            self._read_chunks(data, events)

    def _read_chunks(self, data: bytes, events: list[StreamEvent]) -> None:
        chunks = self._chunks
        assert chunks is not None
        piece, at = chunks.feed(data, 0)
        if not chunks.done:
            if piece:
                self._unread += len(piece)
                events.append(ResponseData(self._id, piece))
            return
        trailers = trailer_fields(chunks.trailers) if chunks.trailers else None
        if piece or not trailers:
            events.append(ResponseData(self._id, piece, not trailers))
        if trailers:
            events.append(ResponseTrailers(self._id, HeaderMap(trailers)))
        self._end()
        if at < len(data):
            self.should_close = True
            self.is_idle = False

    def _end(self) -> None:
        """The answer is whole. A request that is not yet, never will be: the connection ends with it."""
        self._in = Half.DONE
        self._unread = 0
        if self._out == Half.DONE and self._keeps_alive:
            self._in = self._out = Half.IDLE
            self.is_idle = True
        else:
            self.is_idle = self._out == Half.DONE
            self.should_close = True

    def receive_eof(self, now: float) -> list[StreamEvent]:
        half, self._in = self._in, Half.DEAD
        self.should_close = True
        if half == Half.TUNNEL or (half == Half.BODY and self._framing == Framing.CLOSE):
            self.is_idle = self._out == Half.DONE
            return [ResponseData(self._id, b"", True)]
        if half in (Half.HEAD, Half.BODY):
            where = "before" if half == Half.HEAD else "inside"
            return [Reset(self._id, ResetReason.UPSTREAM_GONE, f"the upstream closed {where} its answer")]
        return []

    def _distrust(self, error: HeadError, events: list[StreamEvent]) -> list[StreamEvent]:
        self._in = Half.DEAD
        self.is_idle = False
        self.should_close = self.should_reset = True
        events.append(Violation(self._id, 502, "upstream_reset", error.detail, error.limit))
        return events

    # --- credit and life ---------------------------------------------------------------------------------------

    def consumed(self, stream_id: int, size: int) -> None:
        if stream_id == self._id:
            self._unread = max(self._unread - size, 0)
            self.is_reading_paused = self._unread > self._limits.watermark

    def expire(self, detail: str, limit: str) -> list[StreamEvent]:
        return []

    def has_buffered(self) -> bool:
        return False

    def drain(self) -> None:
        self._is_draining = True
        self._keeps_alive = False
        if self.is_idle:
            self.should_close = True


def _values(fields: list[Field], name: bytes) -> list[bytes]:
    return [field[1] for field in fields if field[0] == name]
