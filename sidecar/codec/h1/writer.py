"""Write the body of a message as its head says, and keep what waits to be sent (RFC 9112 sections 6 and 7)."""

from __future__ import annotations

from typing import Final

from sidecar.codec.h1.head import write_fields
from sidecar.codec.h1.names import HOST, UPGRADE
from sidecar.codec.h1.state import Framing
from sidecar.errors import LocalProtocolError
from sidecar.http.headers import HeaderMap
from sidecar.http.semantics import trailer_fields
from sidecar.http.validate import content_length

LAST_CHUNK: Final = b"0\r\n\r\n"


class MessageWriter:
    """The message that is being written on one connection. A head and the body that follows it leave as one piece."""

    __slots__ = ("_left", "_pending", "framing")

    def __init__(self) -> None:
        self.framing = Framing.NONE
        self._left = 0
        self._pending: list[bytes] = []

    def declare(self, length: bytes, end_stream: bool) -> None:
        """The head says ``length``; raises LocalProtocolError when that is no length or not that of a whole message."""
        declared = content_length(length)
        if declared is None or (end_stream and declared):
            raise LocalProtocolError("content-length does not fit the body")
        self.framing = Framing.LENGTH
        self._left = declared

    def write(self, data: bytes) -> None:
        """Bytes as they are: a head."""
        self._pending.append(data)

    def write_body(self, data: bytes, end_stream: bool) -> None:
        """Body bytes; raises LocalProtocolError, and writes nothing, when they are not those that were declared."""
        framing = self.framing
        if framing == Framing.LENGTH:
            left = self._left - len(data)
            if left < 0 or (end_stream and left):
                raise LocalProtocolError("body and content-length differ")
            self._left = left
            if data:
                self._pending.append(data)
        elif framing == Framing.CHUNKED:
            if data:
                self._pending += (b"%x\r\n" % len(data), data, b"\r\n")
            if end_stream:
                self._pending.append(LAST_CHUNK)
        elif framing != Framing.NONE and data:
            self._pending.append(data)

    def write_trailers(self, headers: HeaderMap) -> None:
        """The end of the body, with its trailers where chunks carry them; raises LocalProtocolError."""
        if self.framing != Framing.CHUNKED:
            self.write_body(b"", True)
            return
        try:
            section, _, _ = write_fields(b"0\r\n", trailer_fields(headers.fields), UPGRADE | HOST)
        except ValueError as error:
            raise LocalProtocolError(str(error)) from None
        self._pending += (section, b"\r\n")

    def take(self) -> bytes:
        """What has been written since the last call."""
        pending = self._pending
        if not pending:
            return b""
        data = pending[0] if len(pending) == 1 else b"".join(pending)
        pending.clear()
        return data

    def drop(self) -> None:
        """Forget what has not been taken."""
        self._pending.clear()
