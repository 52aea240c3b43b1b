"""Which filters an exchange gets, worked out once per configuration and route."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from sidecar.errors import ProxyError
from sidecar.exchange.filter import ExchangeView, FilterFactory, Phase
from sidecar.exchange.ports import UpstreamHandler, UpstreamStream
from sidecar.http.events import RequestEvent, ResetReason, ResponseEvent


class Terminal(UpstreamHandler, Protocol):
    """The end of the request path: takes what came through the filters and brings the answer."""

    def on_request(self, event: RequestEvent) -> None: ...

    def flush(self) -> None:
        """Nothing more comes in this turn of the loop: put on the wire what waits."""

    def response_consumed(self, size: int) -> None:
        """Downstream took ``size`` response body bytes."""

    def abort(self, reason: ResetReason) -> None:
        """The exchange is over; whatever runs upstream has lost its reader."""


class _Gone:
    """The terminal of an exchange that is over."""

    def on_request(self, event: RequestEvent) -> None: ...

    def flush(self) -> None: ...

    def response_consumed(self, size: int) -> None: ...

    def abort(self, reason: ResetReason) -> None: ...

    def on_upstream_open(self, stream: UpstreamStream) -> None: ...

    def on_upstream_event(self, event: ResponseEvent) -> None: ...

    def on_upstream_flush(self) -> None: ...

    def on_upstream_writable(self) -> None: ...

    def on_upstream_error(self, error: ProxyError) -> None: ...


GONE: Final = _Gone()


class TerminalFactory(Protocol):
    def create(self, view: ExchangeView) -> Terminal: ...


def _positions(factories: Sequence[FilterFactory], phase: Phase) -> tuple[int, ...]:
    return tuple(position for position, factory in enumerate(factories) if phase in factory.phases)


class FilterChain:
    """Factories in request order, and for each phase the positions (in travel order) that want it."""

    __slots__ = (
        "factories",
        "log",
        "request_data",
        "request_heads",
        "request_trailers",
        "response_data",
        "response_heads",
        "response_trailers",
        "terminal",
    )

    def __init__(self, factories: Sequence[FilterFactory], terminal: TerminalFactory) -> None:
        self.factories = tuple(factories)
        self.terminal = terminal
        back = self.factories[::-1]
        self.request_heads = _positions(self.factories, Phase.REQUEST_HEADERS)
        self.request_data = _positions(self.factories, Phase.REQUEST_BODY)
        self.request_trailers = _positions(self.factories, Phase.REQUEST_TRAILERS)
        self.response_heads = _positions(back, Phase.RESPONSE_HEADERS)
        self.response_data = _positions(back, Phase.RESPONSE_BODY)
        self.response_trailers = _positions(back, Phase.RESPONSE_TRAILERS)
        self.log = _positions(self.factories, Phase.LOG)
