"""What both head parsers share: the error, the limits of grammar, and the names that mean something to a codec."""

from __future__ import annotations

from typing import Final

NAME_LIMIT: Final = 256
METHOD_LIMIT: Final = 64

HOST: Final = 1
CONTENT_LENGTH: Final = 2
TRANSFER_ENCODING: Final = 4
CONNECTION: Final = 8
HOP: Final = 16
UPGRADE: Final = 32
EXPECT: Final = 64
SHADOW: Final = 128
REPEATED: Final = 16
"""Shift: ``flag << REPEATED`` says that the name stood there more than once."""

FLAGS: Final[dict[bytes, int]] = {
    b"host": HOST,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"connection": CONNECTION,
    b"keep-alive": HOP,
    b"proxy-connection": HOP,
    b"te": HOP,
    b"http2-settings": HOP,
    b"upgrade": UPGRADE,
    b"expect": EXPECT,
    b"content_length": SHADOW,
    b"transfer_encoding": SHADOW,
}
"""Names by what they tell the codec; ``SHADOW`` are look-alikes that some servers take for the real thing."""

DROPPED: Final = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"http2-settings"})
"""Never written from an event: the codec decides about its own connection."""


class HeadError(Exception):
    """A head that is refused; ``limit`` names the limit it broke, or is empty."""

    def __init__(self, status: int, detail: str, limit: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.limit = limit
