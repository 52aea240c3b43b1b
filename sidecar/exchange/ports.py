"""What an exchange may ask of the world. Real ones live in transport and proxy, recording ones in tests.

A port never calls back in the same stack: what it has to say arrives later, as a new call from the event loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sidecar.errors import ProxyError
from sidecar.http.events import RequestEvent, ResetReason, ResponseEvent
from sidecar.http.headers import HeaderMap


class TimerHandle(Protocol):
    def cancel(self) -> None: ...


class TimerPort(Protocol):
    """The clock and its alarms."""

    def now(self) -> float:
        """Monotonic seconds."""

    def unix_nanos(self) -> int:
        """Wall clock, nanoseconds since 1970."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> TimerHandle:
        """Run ``callback`` once after ``delay`` seconds."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` in a fresh stack, as soon as the loop turns."""


class DownstreamPort(Protocol):
    """The peer that sent the request."""

    def send(self, event: ResponseEvent) -> bool:
        """Write; False when its buffer is above the high watermark (``on_downstream_writable`` follows)."""

    def consumed(self, size: int) -> None:
        """Give back credit for ``size`` request body bytes."""

    def reset(self, reason: ResetReason) -> None:
        """Cut the stream without finishing it."""

    def flush(self) -> None:
        """Put a head that waits for its body on the wire now."""

    def finished(self) -> None:
        """The exchange is over; the port may be used for the next one."""


class UpstreamHandler(Protocol):
    """Who hears what an attempt brings."""

    def on_upstream_open(self, stream: UpstreamStream) -> None:
        """A connection was found; only after an ``open`` that returned None."""

    def on_upstream_event(self, event: ResponseEvent) -> None: ...

    def on_upstream_flush(self) -> None:
        """No more events in this turn of the loop."""

    def on_upstream_writable(self) -> None: ...

    def on_upstream_error(self, error: ProxyError) -> None:
        """The attempt is dead: connect failure, reset, refusal. Nothing follows."""


class UpstreamStream(Protocol):
    """One attempt on one upstream connection."""

    is_open: bool
    """True: this is no :class:`PendingOpen`."""
    address: str
    """``ip:port`` of the endpoint."""
    local_address: str
    is_reused: bool

    def send(self, event: RequestEvent) -> bool:
        """Write; False when its buffer is above the high watermark."""

    def flush(self) -> None:
        """Put a head that waits for its body on the wire now."""

    def consumed(self, size: int) -> None:
        """Give back credit for ``size`` response body bytes."""

    def reset(self, reason: ResetReason) -> None:
        """Give the attempt up; the handler hears nothing more."""


class PendingOpen(Protocol):
    """An attempt that waits for a connection."""

    is_open: bool
    """False: the handler hears of the stream later."""

    def cancel(self) -> None: ...


class UpstreamPort(Protocol):
    """The way to the upstreams."""

    def open(self, upstream: str, handler: UpstreamHandler, attempt: int = 1) -> UpstreamStream | PendingOpen:
        """Lease a connection of ``upstream``, now or later; raises ProxyError when it is refused at once.

        ``attempt`` counts tries from 1; a later one rather gets a fresh connection, since the last was stale.
        """

    def take_retry(self, upstream: str) -> bool:
        """Spend one of the retries that ``upstream`` may still see; False when there is none."""


class CallResult:
    """How an http_call ended; ``failure`` is empty when there was an answer, else timeout, connect or reset."""

    __slots__ = ("body", "failure", "headers", "trailers")

    def __init__(self, headers: HeaderMap, body: bytes, trailers: HeaderMap | None, failure: str = "") -> None:
        self.headers = headers
        self.body = body
        self.trailers = trailers
        self.failure = failure


class CallHandle(Protocol):
    def cancel(self) -> None:
        """Give it up; ``done`` is not called."""


class CallPort(Protocol):
    """HTTP calls of our own (Proxy-Wasm ``proxy_http_call``)."""

    def has_upstream(self, name: str) -> bool: ...

    def http_call(
        self,
        upstream: str,
        headers: HeaderMap,
        body: bytes,
        trailers: HeaderMap | None,
        timeout: float,
        done: Callable[[CallResult], None],
    ) -> CallHandle:
        """Start a call; ``done`` comes later, exactly once unless cancelled. ``headers`` has the pseudo-headers."""
