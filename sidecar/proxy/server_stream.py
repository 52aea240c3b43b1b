"""One request's way back through its connection, and the watch over how fast its body comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.errors import ErrorKind, LocalProtocolError, ProxyError, Source
from sidecar.exchange.exchange import Exchange
from sidecar.http.events import InformationalHeaders, Reset, ResetReason, ResponseEvent, ResponseHeaders

if TYPE_CHECKING:
    from sidecar.proxy.manager import HttpManager


class ServerStream:
    """One request's way back; implements :class:`sidecar.exchange.ports.DownstreamPort`."""

    __slots__ = ("exchange", "is_watched", "manager", "progress", "stream_id", "was_paused")

    def __init__(self, manager: HttpManager, stream_id: int) -> None:
        self.manager = manager
        self.stream_id = stream_id
        self.exchange: Exchange | None = None
        self.progress = 0
        """Body bytes that have arrived."""
        self.is_watched = False
        self.was_paused = False
        """We stopped reading since the last look at the progress: the client is not to blame."""

    def send(self, event: ResponseEvent) -> bool:
        manager = self.manager
        event.stream_id = self.stream_id
        try:
            manager.codec.send(event)
        except LocalProtocolError as fault:
            # Bytes that no longer fit the declared length, say: a cut is honest, a padded answer is not.
            manager.cut(self, str(fault))
            return True
        kind = type(event)
        if kind is InformationalHeaders or kind is not ResponseHeaders or event.end_stream:  # type: ignore[union-attr]
            manager.flush()
        elif manager.codec.has_buffered():
            manager.read_on()
        return manager.is_writable

    def flush(self) -> None:
        self.manager.flush()

    def consumed(self, size: int) -> None:
        manager = self.manager
        manager.codec.consumed(self.stream_id, size)
        manager.set_reading(not manager.codec.is_reading_paused)

    def reset(self, reason: ResetReason) -> None:
        manager = self.manager
        manager.codec.send(Reset(self.stream_id, reason))
        manager.flush()
        if manager.codec.should_close:
            manager.abort()

    def finished(self) -> None:
        self.manager.on_stream_finished(self)
        self.exchange = None

    def watch_body(self) -> None:
        """Every ``body_grace`` seconds the body must have made its share, as long as we were reading."""
        self.is_watched = True
        site = self.manager.site
        deadlines = site.deadlines
        seen = self.progress

        def check() -> None:
            exchange = self.exchange
            if exchange is None or exchange.is_over or exchange.request_done or exchange.is_tunnel:
                return
            is_excused = self.was_paused or self.manager.codec.is_reading_paused or self._waits_for_100(exchange)
            self.was_paused = False
            if is_excused or self.progress - seen >= deadlines.body_rate * deadlines.body_grace:
                self.watch_body()
                return
            site.metrics.limit_hit("body_rate")
            exchange.fail(
                None, ProxyError(ErrorKind.REQUEST_TIMEOUT, "request body too slow", source=Source.DOWNSTREAM)
            )

        site.timers.call_later(deadlines.body_grace, check)

    def _waits_for_100(self, exchange: Exchange) -> bool:
        """True while the client may be waiting for the app to ask for the body (RFC 9110 section 10.1.1)."""
        return not self.progress and b"expect" in exchange.request_headers
