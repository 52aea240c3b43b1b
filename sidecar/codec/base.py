"""What every codec offers, whichever version it speaks.

A codec is sans-io: bytes in, events out, events in, bytes out. The clock is an argument. Server and client are
one contract with a role. The connection that owns a codec asks four things after each call: the bytes to send,
whether to go on reading, whether to close, and when the codec wants to be woken.
"""

from __future__ import annotations

from typing import Protocol

from sidecar.http.events import StreamEvent


class CodecLimits:
    """What a codec enforces by itself; sizes in bytes, times in seconds."""

    __slots__ = ("chunk_ext", "header_bytes", "header_count", "interim", "pipeline", "request_line", "watermark")

    def __init__(
        self,
        *,
        header_bytes: int = 65536,
        header_count: int = 100,
        request_line: int = 16384,
        chunk_ext: int = 4096,
        interim: int = 16,
        pipeline: int = 16,
        watermark: int = 65536,
    ) -> None:
        self.header_bytes = header_bytes
        self.header_count = header_count
        self.request_line = request_line
        self.chunk_ext = chunk_ext
        self.interim = interim
        self.pipeline = pipeline
        self.watermark = watermark


class Codec(Protocol):
    """One connection's translator."""

    protocol: str
    """``h1``, ``h2`` or ``h3``: a label for telemetry and plugin properties, never a reason to branch."""

    is_reading_paused: bool
    """True while unread credit (body bytes not yet consumed, requests waiting) is above the watermark."""

    should_close: bool
    """True when, once :meth:`data_to_send` is flushed, the connection has no further use."""

    should_reset: bool
    """True when the close must be a cut: a message was left unfinished and must not look whole."""

    is_lingering: bool
    """True when the peer may still be sending what nobody will read: give it time to read our answer."""

    should_half_close: bool
    """Client role: a tunnel's bytes have ended, and the peer learns it by the end of ours."""

    response_started: bool
    """Client role: a byte of the current answer has arrived."""

    is_idle: bool
    """True when no stream is open and a new one may begin."""

    def receive(self, data: bytes, now: float) -> list[StreamEvent]:
        """Translate what arrived. ``b""`` asks for events held back earlier (pipelined requests)."""

    def receive_eof(self, now: float) -> list[StreamEvent]:
        """The peer will send nothing more."""

    def send(self, event: StreamEvent) -> None:
        """Write an event; raises LocalProtocolError when the state does not allow it."""

    def data_to_send(self) -> bytes:
        """Take what has been written since the last call."""

    def consumed(self, stream_id: int, size: int) -> None:
        """Give back credit: the other side has taken ``size`` bytes of this stream's body."""

    def open_stream(self) -> int:
        """Client role: the id for the next request; raises LocalProtocolError when none may begin."""

    def expire(self, detail: str, limit: str) -> list[StreamEvent]:
        """Server role: give up on a head that never became whole; a Violation with status 408."""

    def has_buffered(self) -> bool:
        """True when ``receive(b"")`` would make progress although nothing new arrived."""

    def drain(self) -> None:
        """Let open streams finish and begin no others (``Connection: close``, GOAWAY)."""
