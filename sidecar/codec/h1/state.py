"""States of the two halves of an HTTP/1.1 exchange, and what may be sent in which.

The server and the client codec hold one :class:`Half` for the message they read and one for the message they write.
A table says which event a half accepts; everything it does not name is a bug of ours (LocalProtocolError).
"""

from __future__ import annotations

import enum
from typing import Final

from sidecar.http.events import (
    InformationalHeaders,
    RequestData,
    RequestHeaders,
    RequestTrailers,
    ResponseData,
    ResponseHeaders,
    ResponseTrailers,
)


class Half(enum.IntEnum):
    """Where one message is."""

    IDLE = 0  # no message: the reader waits for a head, the writer may not write
    HEAD = 1  # the writer owes a head
    BODY = 2
    DONE = 3
    TUNNEL = 4  # bytes as they come, until the end of the stream
    DEAD = 5  # broken: nothing more is read or written


class Framing(enum.IntEnum):
    """How the end of a body is told (RFC 9112 section 6)."""

    NONE = 0  # there is no body, or nobody may see it (HEAD, 204, 304)
    LENGTH = 1
    CHUNKED = 2
    CLOSE = 3
    RAW = 4


SENDABLE: Final[frozenset[tuple[Half, type]]] = frozenset(
    {
        (Half.HEAD, InformationalHeaders),
        (Half.HEAD, ResponseHeaders),
        (Half.BODY, ResponseData),
        (Half.BODY, ResponseTrailers),
        (Half.TUNNEL, ResponseData),
        (Half.HEAD, RequestHeaders),
        (Half.BODY, RequestData),
        (Half.BODY, RequestTrailers),
        (Half.TUNNEL, RequestData),
    }
)
