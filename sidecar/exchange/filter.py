"""The filter contract: every feature of the sidecar is one of these, written once for all HTTP versions.

A filter belongs to one exchange. Request phases run first to last, response phases last to first. A phase
returns :data:`CONTINUE` or one of the pauses; a paused filter calls ``view.resume(self, direction)`` later, from
the event loop and never from inside a phase of its own. Defaults do nothing, and a chain only visits the
filters whose factory lists the phase.
"""

from __future__ import annotations

import enum
from typing import Final, Protocol

from mypy_extensions import mypyc_attr

from sidecar.errors import ProxyError
from sidecar.exchange.ports import TimerPort
from sidecar.http.events import (
    RequestData,
    RequestHeaders,
    RequestTrailers,
    ResponseData,
    ResponseHeaders,
    ResponseTrailers,
)
from sidecar.http.headers import HeaderMap
from sidecar.telemetry.record import ExchangeRecord

Status = int

CONTINUE: Final[Status] = 0
"""Go on with the next filter; from a data phase everything held before goes along."""
PAUSE: Final[Status] = 1
"""Stop here. Headers: what follows is held back, undelivered, until resume. Data: the bytes are kept, and the
next data phase sees all of them at once (``event.data``), up to the filter's ``max_body``."""
PAUSE_ITERATION: Final[Status] = 2
"""Headers phase only: hold the head back but keep delivering the body to this filter."""
PAUSE_WATERMARK: Final[Status] = 3
"""Data phase only: the bytes are kept, but the next data phase sees only the newest ones."""
DISCARD: Final[Status] = 4
"""Data phase only: the bytes are dropped and the stream stays paused."""


class Direction(enum.IntEnum):
    """Which half of the exchange."""

    REQUEST = 0
    RESPONSE = 1


class Phase(enum.Enum):
    """Where a filter may act; plugin phases carry the same names in metrics and configuration."""

    REQUEST_HEADERS = "on_request_headers"
    REQUEST_BODY = "on_request_body"
    REQUEST_TRAILERS = "on_request_trailers"
    RESPONSE_HEADERS = "on_response_headers"
    RESPONSE_BODY = "on_response_body"
    RESPONSE_TRAILERS = "on_response_trailers"
    LOG = "on_log"


class LocalReply:
    """An answer made here instead of by the upstream.

    ``headers`` are plain pairs in order, without ``:status``. ``error`` is set for refusals of ours and becomes
    ``x-sidecar-error``; a plugin's reply has none. ``grpc_status`` 0 to 16 or None. ``details`` is for the log.
    """

    __slots__ = ("body", "details", "error", "grpc_status", "headers", "status")

    def __init__(
        self,
        status: int,
        headers: list[tuple[bytes, bytes]] | None = None,
        body: bytes = b"",
        *,
        grpc_status: int | None = None,
        details: str = "",
        error: ProxyError | None = None,
    ) -> None:
        self.status = status
        self.headers = headers if headers is not None else []
        self.body = body
        self.grpc_status = grpc_status
        self.details = details
        self.error = error


class ExchangeView(Protocol):
    """What a filter may see and ask of its exchange."""

    record: ExchangeRecord
    timers: TimerPort
    request_headers: HeaderMap
    """As they stand now; readable for the exchange's whole life."""
    request_trailers: HeaderMap | None
    response_headers: HeaderMap | None
    response_trailers: HeaderMap | None
    is_over: bool
    """True once the exchange has ended or been reset; nothing asked after that has an effect."""

    def resume(self, by: Filter, direction: Direction) -> None:
        """Let what ``by`` holds in ``direction`` flow on; no effect when it holds nothing."""

    def local_reply(self, by: Filter | None, reply: LocalReply) -> bool:
        """Answer here. First wins; False when an answer has begun already (then the stream is reset)."""

    def fail(self, by: Filter | None, error: ProxyError) -> None:
        """End the exchange with the answer that belongs to ``error``, or a reset when one has begun."""

    def reset(self, detail: str) -> None:
        """Cut the downstream stream without an answer."""

    def held_body(self, by: Filter, direction: Direction) -> bytes | None:
        """The body bytes ``by`` holds by a data PAUSE, None when it holds none."""

    def set_held_body(self, by: Filter, direction: Direction, data: bytes) -> bool:
        """Replace the held bytes; False when nothing is held."""

    def is_headers_writable(self, by: Filter, direction: Direction) -> bool:
        """True while the head of ``direction`` has not gone past ``by``."""

    def create_trailers(self, by: Filter, direction: Direction) -> HeaderMap | None:
        """Inside the data phase that ends a stream: trailers to be sent after it. None at any other time."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Filter:
    """Base of all filters: every phase does nothing and lets the event pass."""

    __slots__ = ()

    max_body: int = 1 << 20
    """Most bytes a data PAUSE may hold, per direction."""
    overflow_streams: bool = False
    """What happens beyond ``max_body``: refuse (False), or let the bytes pass unseen (True)."""

    def on_request_headers(self, event: RequestHeaders) -> Status:
        return CONTINUE

    def on_request_data(self, event: RequestData) -> Status:
        return CONTINUE

    def on_request_trailers(self, event: RequestTrailers) -> Status:
        return CONTINUE

    def on_response_headers(self, event: ResponseHeaders) -> Status:
        return CONTINUE

    def on_response_data(self, event: ResponseData) -> Status:
        return CONTINUE

    def on_response_trailers(self, event: ResponseTrailers) -> Status:
        return CONTINUE

    def on_log(self) -> None:
        """The exchange is over; everything is still readable. Runs once, for every filter, in chain order."""

    def on_destroy(self) -> None:
        """Last call, after every filter's on_log."""


class FilterFactory(Protocol):
    """Makes the filter of one feature for each exchange; built once per configuration."""

    phases: frozenset[Phase]
    """Phases the chain must visit; the others are never called."""

    def create(self, view: ExchangeView) -> Filter:
        """A filter for this exchange; may be a shared one when it keeps no state."""
