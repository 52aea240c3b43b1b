"""Find the end of a head, and take a chunked body apart (RFC 9112 sections 2.2, 6 and 7)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from sidecar.codec.base import CodecLimits
from sidecar.codec.h1.head import parse_trailers
from sidecar.codec.h1.names import HeadError
from sidecar.http.headers import Field

_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})((?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?)")
_SIZE_ROOM: Final = 16
_MOST: Final = 0x7FFFFFFFFFFFFFFF


def check_partial(
    held: bytes, start: int, scanned: int, limits: CodecLimits, check_line: Callable[[bytes, int, int], object]
) -> None:
    """Refuse a head that will never be acceptable, at the first byte that says so.

    ``held[start:]`` is as much of the head as there is, ``scanned`` bytes of ``held`` were looked at before.
    ``check_line(held, start, end)`` raises for a start line that is refused. However a head arrives, the same fault is
    found first, as long as a whole head that fails is shown to this function too.
    """
    if not 0x20 < held[start] < 0x7F:
        # A TLS greeting, say: told at once, instead of after the time a head may take.
        raise HeadError(400, "no message begins like this")
    size = len(held)
    room = start + limits.request_line + 2
    line_end = held.find(b"\r\n", start, room)
    if line_end < 0:
        check_line_ends(held, max(scanned, start), min(size, room))
        if size >= room:
            raise HeadError(414, "start line too long", "request_line")
        return
    if scanned < line_end + 2:
        check_line_ends(held, max(scanned, start), line_end + 2)
        check_line(held, start, line_end + 2)
    room = line_end + limits.header_bytes + 5
    check_line_ends(held, max(scanned, line_end), min(size, room))
    if size >= room:
        raise HeadError(431, "head too large", "header_bytes")


def is_oversized(data: bytes, start: int, end: int, limits: CodecLimits) -> bool:
    """True for a whole head that is over a limit; ``end`` is the start of its final CRLF CRLF."""
    line_end = data.find(b"\r\n", start, end + 2)
    return line_end - start > limits.request_line or end - line_end > limits.header_bytes


def check_line_ends(data: bytes, start: int, end: int) -> None:
    """Refuse a line that ends in LF alone: such a head would never end for us, and does for others."""
    at = data.find(b"\n", start, end)
    while at >= 0:
        if at == 0 or data[at - 1] != 13:
            raise HeadError(400, "line ends in LF alone")
        at = data.find(b"\n", at + 1, end)


class ChunkedReader:
    """A chunked body; raises HeadError for what must not be believed.

    ``extensions`` of all chunks together are bounded, as is the trailer section.
    """

    __slots__ = ("_extension_room", "_held", "_left", "_limits", "_scanned", "_stage", "done", "trailers")

    _SIZE: Final = 0
    _DATA: Final = 1
    _CRLF: Final = 2
    _TRAILERS: Final = 3

    def __init__(self, limits: CodecLimits) -> None:
        self._limits = limits
        self._extension_room = limits.chunk_ext
        self._held = b""
        self._scanned = 0
        """Bytes of what is held that are known to end no line wrongly."""
        self._left = 0
        self._stage = self._SIZE
        self.done = False
        self.trailers: list[Field] = []

    def feed(self, data: bytes, at: int) -> tuple[bytes, int]:
        """Body bytes of ``data[at:]`` joined, and where the first byte after the message stands."""
        shift = 0
        if self._held:
            shift = at - len(self._held)
            data = self._held + data[at:]
            at = 0
            self._held = b""
        pieces: list[bytes] = []
        size = len(data)
        while not self.done and at < size:
            stage = self._stage
            if stage == self._DATA:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._stage = self._CRLF
            elif stage == self._SIZE:
                next_at = self._read_size(data, at)
                if next_at < 0:
                    at = size
                    break
                at = next_at
            elif stage == self._CRLF:
                if size - at < 2:
                    if data[at] != 13:
                        raise HeadError(400, "chunk longer than it says")
                    self._held = data[at:]
                    at = size
                    break
                if data[at : at + 2] != b"\r\n":
                    raise HeadError(400, "chunk longer than it says")
                at += 2
                self._stage = self._SIZE
            else:
                at = self._read_trailers(data, at)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces), at + shift

    def _read_size(self, data: bytes, at: int) -> int:
        """Where the chunk's data begins; -1 when the line is not whole."""
        room = _SIZE_ROOM + self._extension_room
        end = data.find(b"\r\n", at, at + room + 2)
        if end < 0:
            # What can be seen to be wrong already is refused now: "5\n" would otherwise wait for ever.
            check_line_ends(data, at, min(len(data), at + room + 2))
            if len(data) - at > room + 1:
                raise HeadError(400, "chunk line too long", "chunk_ext")
            self._held = data[at:]
            return -1
        match = _CHUNK_LINE.fullmatch(data, at, end)
        if match is None:
            check_line_ends(data, at, end)
            raise HeadError(400, "malformed chunk size")
        self._extension_room -= len(match[2])
        if self._extension_room < 0:
            raise HeadError(400, "chunk extensions too long", "chunk_ext")
        self._left = int(match[1], 16)
        if self._left > _MOST:
            raise HeadError(400, "chunk size out of range")
        self._stage = self._DATA if self._left else self._TRAILERS
        return end + 2

    def _read_trailers(self, data: bytes, at: int) -> int:
        if data[at : at + 2] == b"\r\n":
            self.done = True
            return at + 2
        limits = self._limits
        scanned = at + self._scanned
        end = data.find(b"\r\n\r\n", max(at, scanned - 3))
        size = len(data) if end < 0 else end + 4
        room = at + limits.header_bytes + 4
        check_line_ends(data, scanned, min(size, room))
        if size > room or (end < 0 and size == room):
            raise HeadError(431, "trailers too large", "header_bytes")
        if end < 0:
            self._held = data[at:]
            self._scanned = len(data) - at
            return len(data)
        self.trailers, _ = parse_trailers(data, at, end + 2, limits.header_count)
        self.done = True
        return end + 4
