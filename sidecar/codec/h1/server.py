"""The server's side of HTTP/1.1: requests in, responses out, one exchange at a time.

Requests that are pipelined wait as bytes, and are parsed when the answer before them is whole: so an answer can never
meet the wrong request. What is ambiguous becomes a :class:`~sidecar.http.events.Violation`, and nothing after it is
read as a request (RFC 9112 sections 2, 3, 6, 7 and 9).
"""

# long-module: one state machine; both of its halves move the same states

from __future__ import annotations

from typing import Final

from sidecar.codec.base import CodecLimits
from sidecar.codec.h1.head import parse_request, write_fields
from sidecar.codec.h1.names import (
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    OF_CONNECTION,
    REPEATED,
    SHADOW,
    TRANSFER_ENCODING,
    UPGRADE,
    HeadError,
)
from sidecar.codec.h1.reader import ChunkedReader, check_partial, is_oversized
from sidecar.codec.h1.state import Framing, Half
from sidecar.codec.h1.target import apply_target
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
from sidecar.http.status import BODILESS, STATUS_LINE
from sidecar.http.validate import content_length

_AMBIGUOUS: Final = SHADOW | (HOST | CONTENT_LENGTH | TRANSFER_ENCODING | EXPECT) << REPEATED
_UNUSUAL: Final = _AMBIGUOUS | OF_CONNECTION | CONTENT_LENGTH | EXPECT
"""A head with none of these has no body, no options and nothing to refuse."""
_KINDS: Final = {431: "headers_too_large", 408: "request_timeout"}
_ANY_SCHEME: Final[Field] = (b":scheme", b"", b":scheme")


def _check_line(data: bytes, start: int, end: int) -> None:
    parse_request(data, start, end, _ANY_SCHEME, 0)


class H1ServerCodec:
    """See the module and :class:`sidecar.codec.base.Codec`."""

    __slots__ = (
        "_chunks",
        "_has_ended",
        "_held",
        "_id",
        "_in",
        "_is_draining",
        "_is_http10",
        "_keeps_alive",
        "_left",
        "_limits",
        "_method",
        "_out",
        "_scanned",
        "_scheme",
        "_skipped_line",
        "_unread",
        "_wants_tunnel",
        "_writer",
        "is_idle",
        "is_lingering",
        "is_reading_paused",
        "response_started",
        "should_close",
        "should_reset",
    )

    protocol = "h1"
    should_half_close = False

    def __init__(self, limits: CodecLimits, scheme: bytes = b"http") -> None:
        self._limits = limits
        self._scheme: Field = (b":scheme", scheme, b":scheme")
        self._in = Half.IDLE
        self._out = Half.IDLE
        self._id = 0
        self._held = b""
        self._scanned = 0
        self._skipped_line = False
        self._method = b""
        self._is_http10 = False
        self._keeps_alive = True
        self._is_draining = False
        self._has_ended = False
        """The peer sends no more; what it sent before is still answered."""
        self._wants_tunnel = False
        self._left = 0
        """Body bytes still to come; -1 when the body is chunked."""
        self._chunks: ChunkedReader | None = None
        self._writer = MessageWriter()
        self._unread = 0
        self.is_idle = True
        self.is_reading_paused = False
        self.should_close = False
        self.should_reset = False
        self.is_lingering = False
        self.response_started = False

    # --- in --------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> list[StreamEvent]:
        """See :meth:`sidecar.codec.base.Codec.receive`; ``b""`` asks for what was held back."""
        events: list[StreamEvent] = []
        if self._held:
            data = self._held + data
            self._held = b""
        try:
            if self._in == Half.IDLE and data:
                data = data[self._read_head(data, events) :]
            if data:
                self._read_on(data, events)
        except HeadError as error:
            self._violate(error, events)
        if self._has_ended and self._in == Half.IDLE:
            # Nobody will complete what is left.
            self._held = b""
            self.should_close = True
        self._update_pause()
        return events

    def _read_on(self, data: bytes, events: list[StreamEvent]) -> None:
        """Whatever is not the start of a request."""
        half = self._in
        if half == Half.BODY:
            at = self._read_body(data, events)
            # What follows the message waits for its turn.
            self._held = data[at:]
        elif half == Half.TUNNEL:
            self._unread += len(data)
            events.append(RequestData(self._id, data))
        elif half != Half.DEAD:
            self._held = data

    def _read_head(self, data: bytes, events: list[StreamEvent]) -> int:
        """Where the body begins; the length of ``data`` when the head is not whole (it is held then)."""
        start = 0
        if data[:1] == b"\r" and not self._skipped_line:
            # RFC 9112 section 2.2: one empty line before a request is ignored, no more. It begins no head.
            if data == b"\r":
                self._held = data
                self._scanned = 1
                return 1
            if data[:2] == b"\r\n":
                self._skipped_line = True
                self._scanned = 0
                start = 2
                if len(data) == 2:
                    return 2
        limits = self._limits
        scanned = start + self._scanned
        end = data.find(b"\r\n\r\n", max(start, scanned - 3))
        if end < 0:
            check_partial(data, start, scanned, limits, _check_line)
            self._held = data[start:]
            self._scanned = len(data) - start
            return len(data)
        self._scanned = 0
        if end - start > min(limits.request_line, limits.header_bytes) and is_oversized(data, start, end, limits):
            check_partial(data[: end + 4], start, scanned, limits, _check_line)
        try:
            fields, minor, flags = parse_request(data, start, end + 2, self._scheme, limits.header_count)
        except HeadError:
            check_partial(data[: end + 4], start, scanned, limits, _check_line)
            raise
        self._begin(fields, minor, flags, events)
        return end + 4

    def _begin(self, fields: list[Field], minor: int, flags: int, events: list[StreamEvent]) -> None:
        """A head is whole: judge it, and announce it."""
        self._left = 0
        self._chunks = None
        self._wants_tunnel = False
        self._is_http10 = minor == 0
        self._keeps_alive = not self._is_http10
        if not flags & HOST:
            if minor:
                raise HeadError(400, "no Host")
        target = fields[3][1]
        if target[:1] != b"/":
            apply_target(fields, flags)
        if flags & _UNUSUAL:
            fields = self._judge(fields, flags)
        self._method = fields[0][1]
        if self._method == b"CONNECT":
            if self._left:
                # RFC 9110 section 9.3.6: it has no content, and the tunnel's bytes begin where it would be.
                raise HeadError(400, "CONNECT with a body")
            self._wants_tunnel = True
        self._id += 1
        self._out = Half.HEAD
        self.is_idle = False
        ends = not (self._left or self._wants_tunnel)
        self._in = Half.DONE if ends else Half.BODY
        if self._wants_tunnel:
            # Bytes behind it wait: they are a tunnel's after 101 or 2xx, and nobody's otherwise.
            self._in = Half.DONE
        if self._is_draining:
            self._keeps_alive = False
        version = "HTTP/1.0" if self._is_http10 else "HTTP/1.1"
        events.append(RequestHeaders(self._id, HeaderMap(fields), ends, version))

    def _judge(self, fields: list[Field], flags: int) -> list[Field]:
        """Framing, expectation and connection options; raises HeadError for what could be read in two ways."""
        if flags & _AMBIGUOUS:
            raise HeadError(400, "a field that frames or addresses the message is repeated or imitated")
        headers = HeaderMap(fields)
        if flags & TRANSFER_ENCODING:
            if self._is_http10 or flags & CONTENT_LENGTH:
                raise HeadError(400, "Transfer-Encoding where it cannot be believed")
            if (headers.get(b"transfer-encoding") or b"").lower() != b"chunked":
                raise HeadError(400, "Transfer-Encoding other than chunked")
            self._left = -1
            self._chunks = ChunkedReader(self._limits)
        elif flags & CONTENT_LENGTH:
            length = content_length(headers.get(b"content-length") or b"")
            if length is None:
                raise HeadError(400, "malformed Content-Length")
            self._left = length
        if flags & EXPECT:
            if (headers.get(b"expect") or b"").lower() != b"100-continue":
                raise HeadError(417, "unknown expectation")
            if self._is_http10:
                headers.remove(b"expect")
                fields = headers.fields
        if flags & OF_CONNECTION:
            options = tokens(headers.get_all(b"connection")) if flags & CONNECTION else []
            if b"close" in options:
                self._keeps_alive = False
            elif self._is_http10 and b"keep-alive" in options:
                self._keeps_alive = True
            if flags & UPGRADE:
                self._wants_tunnel = self._may_upgrade(headers, options)
            fields = strip_hop_by_hop(fields, options, self._wants_tunnel)
        return fields

    def _may_upgrade(self, headers: HeaderMap, options: list[bytes]) -> bool:
        """An upgrade is passed on when it is meant for the next hop too; h2c never is (RFC 9113 section 3.1)."""
        wanted = tokens(headers.get_all(b"upgrade"))
        return bool(wanted) and b"upgrade" in options and b"h2c" not in wanted and not (self._is_http10 or self._left)

    def _read_body(self, data: bytes, events: list[StreamEvent]) -> int:
        """Where the message ends in ``data``, or its length."""
        chunks = self._chunks
        if chunks is not None:
            piece, at = chunks.feed(data, 0)
            if chunks.done:
                self._in = Half.DONE
                trailers = trailer_fields(chunks.trailers) if chunks.trailers else None
                if piece or not trailers:
                    events.append(RequestData(self._id, piece, not trailers))
                if trailers:
                    events.append(RequestTrailers(self._id, HeaderMap(trailers)))
            elif piece:
                events.append(RequestData(self._id, piece))
            self._unread += len(piece)
            return at
        left = self._left
        if len(data) < left:
            self._left = left - len(data)
            self._unread += len(data)
            events.append(RequestData(self._id, data))
            return len(data)
        self._left = 0
        self._in = Half.DONE
        self._unread += left
        events.append(RequestData(self._id, data if len(data) == left else data[:left], True))
        return left

    def receive_eof(self, now: float) -> list[StreamEvent]:
        half = self._in
        self._has_ended = True
        if half == Half.BODY or (half == Half.DONE and self._wants_tunnel):
            self._in = Half.DEAD
            self._held = b""
            self._keeps_alive = False
            return [Reset(self._id, ResetReason.CANCEL, "the client closed inside its request")]
        if half == Half.TUNNEL:
            self._in = Half.DONE
            held, self._held = self._held, b""
            return [RequestData(self._id, held, True)]
        if half == Half.IDLE and not self.has_buffered():
            self._held = b""
            self.should_close = True
        return []

    def expire(self, detail: str, limit: str) -> list[StreamEvent]:
        """Give up on a head that never became whole."""
        events: list[StreamEvent] = []
        if self._in == Half.IDLE and self._held:
            self._violate(HeadError(408, detail, limit), events)
        return events

    def _violate(self, error: HeadError, events: list[StreamEvent]) -> None:
        if self._in != Half.BODY:
            self._id += 1
            self._out = Half.HEAD
            self._method = b""
        self._in = Half.DEAD
        self._held = b""
        self._keeps_alive = False
        self.is_idle = False
        self.is_lingering = True
        kind = _KINDS.get(error.status, "bad_request")
        events.append(Violation(self._id, error.status, kind, error.detail, error.limit))

    # --- out -------------------------------------------------------------------------------------------------

    def send(self, event: StreamEvent) -> None:
        """Write an event of the answer; raises LocalProtocolError when the state does not allow it."""
        kind = type(event)
        if kind is ResponseHeaders:
            self._send_head(event)  # type: ignore[arg-type]
        elif kind is ResponseData:
            self._send_data(event.data, event.end_stream)  # type: ignore[union-attr]
        elif kind is ResponseTrailers:
            self._send_trailers(event.headers)  # type: ignore[union-attr]
        elif kind is InformationalHeaders:
            self._send_interim(event.headers)  # type: ignore[union-attr]
        elif kind is Reset:
            self._in = self._out = Half.DEAD
            self.should_close = self.should_reset = True
        else:
            raise LocalProtocolError(f"a server does not send {kind.__name__}")

    def _send_interim(self, headers: HeaderMap) -> None:
        if self._out != Half.HEAD:
            raise LocalProtocolError("an interim answer after the final one")
        status = headers.get(b":status") or b""
        if status == b"101" and self._wants_tunnel:
            self._open_tunnel(headers, status)
            return
        if status[:1] != b"1" or status == b"101":
            raise LocalProtocolError("no interim answer")
        if not self._is_http10:
            self._writer.write(self._written(headers, UPGRADE | CONTENT_LENGTH)[0] + b"\r\n")

    def _send_head(self, event: ResponseHeaders) -> None:
        if self._out != Half.HEAD:
            raise LocalProtocolError("a second answer")
        headers = event.headers
        status = headers.get(b":status") or b""
        if self._wants_tunnel:
            if status == b"101" or (self._method == b"CONNECT" and status[:1] == b"2"):
                self._open_tunnel(headers, status)
                return
            # A hop in front of us may believe that the tunnel is there: nothing behind the request is a request.
            self._wants_tunnel = False
            self._keeps_alive = False
        if status[:1] == b"1":
            raise LocalProtocolError("an interim answer as the final one")
        if self._in == Half.BODY and (status >= b"300" or event.end_stream):
            # Answered before the body was read: the rest of it is never going to be a request.
            self._keeps_alive = False
        if self._has_ended and not self._held:
            self._keeps_alive = False
        is_bodiless = self._method == b"HEAD" or status in BODILESS
        leaves_out = UPGRADE | CONTENT_LENGTH if status == b"204" else UPGRADE
        head, length, flags = self._written(headers, leaves_out)
        self._out = Half.BODY
        self._writer.framing = Framing.NONE
        if flags & CONTENT_LENGTH << REPEATED:
            raise LocalProtocolError("content-length twice")
        if not is_bodiless:
            head += self._frame(length, event.end_stream)
        if not self._keeps_alive:
            head += b"connection: close\r\n\r\n"
        elif self._is_http10:
            head += b"connection: keep-alive\r\n\r\n"
        else:
            head += b"\r\n"
        self._writer.write(head)
        if event.end_stream:
            self._end()

    def _frame(self, length: bytes | None, end_stream: bool) -> bytes:
        """Choose how the end of the body is told; the field that tells it, when it is not there yet."""
        if length is not None:
            self._writer.declare(length, end_stream)
            return b""
        if end_stream:
            return b"content-length: 0\r\n"
        if self._is_http10:
            self._writer.framing = Framing.CLOSE
            self._keeps_alive = False
            return b""
        self._writer.framing = Framing.CHUNKED
        return b"transfer-encoding: chunked\r\n"

    def _open_tunnel(self, headers: HeaderMap, status: bytes) -> None:
        head, _, _ = self._written(headers, CONTENT_LENGTH)
        self._writer.write(head + (b"connection: upgrade\r\n\r\n" if status == b"101" else b"\r\n"))
        self._in = self._out = Half.TUNNEL
        self._writer.framing = Framing.RAW
        self._keeps_alive = False

    def _written(self, headers: HeaderMap, leaves_out: int) -> tuple[bytes, bytes | None, int]:
        start = STATUS_LINE.get(headers.get(b":status") or b"")
        if start is None:
            raise LocalProtocolError("no status")
        try:
            return write_fields(start, headers.fields, leaves_out)
        except ValueError as error:
            raise LocalProtocolError(str(error)) from None

    def _send_data(self, data: bytes, end_stream: bool) -> None:
        if self._out != Half.BODY and self._out != Half.TUNNEL:
            raise LocalProtocolError("body bytes outside an answer")
        self._writer.write_body(data, end_stream)
        if end_stream:
            self._end()

    def _send_trailers(self, headers: HeaderMap) -> None:
        if self._out != Half.BODY:
            raise LocalProtocolError("trailers outside an answer")
        self._writer.write_trailers(headers)
        self._end()

    def _end(self) -> None:
        """The answer is whole: the next exchange may begin, or the connection is done."""
        self._out = Half.DONE
        self.is_idle = True
        is_out_of_step = self._in == Half.DONE and bool(self._held) and not self._keeps_alive
        if self._in in (Half.BODY, Half.TUNNEL) or is_out_of_step:
            self.is_lingering = True
            self._keeps_alive = False
        if not self._keeps_alive or self._in != Half.DONE:
            self._in = Half.DEAD
            self._held = b""
            self.should_close = True
            return
        self._in = self._out = Half.IDLE
        self._unread = 0
        self._scanned = 0
        self._skipped_line = False
        self.is_reading_paused = False
        if self._has_ended and not self._held:
            self.should_close = True

    def data_to_send(self) -> bytes:
        return self._writer.take()

    # --- credit and life ---------------------------------------------------------------------------------------

    def consumed(self, stream_id: int, size: int) -> None:
        if stream_id == self._id:
            self._unread = max(self._unread - size, 0)
            self._update_pause()

    def _update_pause(self) -> None:
        limits = self._limits
        held = self._held
        self.is_reading_paused = self._unread > limits.watermark or (
            bool(held)
            and self._in == Half.DONE
            and (len(held) > limits.watermark or held.count(b"\r\n\r\n") >= limits.pipeline)
        )

    def open_stream(self) -> int:
        raise LocalProtocolError("a server opens no streams")

    def has_buffered(self) -> bool:
        return bool(self._held) and (self._in == Half.TUNNEL or (self._in == Half.IDLE and not self._scanned))

    def drain(self) -> None:
        self._is_draining = True
        self._keeps_alive = False
