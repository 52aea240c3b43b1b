"""A router on its stage: a real exchange and table, an upstream port that a test plays, a clock that it moves."""

from __future__ import annotations

from typing import Any

from sidecar.address import Address
from sidecar.config.model import Route
from sidecar.errors import ErrorKind, ProxyError, Retry, Source
from sidecar.exchange.chain import FilterChain
from sidecar.exchange.exchange import Exchange
from sidecar.exchange.flow import HoldBudget
from sidecar.filters.router import RouterFactory
from sidecar.http.events import InformationalHeaders, RequestData, RequestHeaders, ResponseData, ResponseHeaders
from sidecar.http.headers import HeaderMap
from sidecar.route.table import RouteTable
from sidecar.telemetry.record import ConnectionInfo, ExchangeRecord
from sidecar.upstream.retry import RetryBudget
from tests.support.exchanges import FakeDownstream, FakeTimers, ScriptedFactory


def refused() -> ProxyError:
    return ProxyError(
        ErrorKind.UPSTREAM_CONNECT, "Connection refused", source=Source.UPSTREAM, retry=Retry.UNPROCESSED
    )


def stale() -> ProxyError:
    """A kept-alive connection died before any answer byte."""
    return ProxyError(ErrorKind.UPSTREAM_RESET, "connection lost", source=Source.UPSTREAM, retry=Retry.REUSED)


def died() -> ProxyError:
    """A fresh connection died after the request went out."""
    return ProxyError(ErrorKind.UPSTREAM_RESET, "connection lost", source=Source.UPSTREAM)


class FakeStream:
    """One attempt: what was sent on it, and a way to answer."""

    is_open = True

    def __init__(self, handler: Any, is_reused: bool = False) -> None:
        self.handler = handler
        self.is_reused = is_reused
        self.address = "127.0.0.1:8080"
        self.local_address = "127.0.0.1:40000"
        self.sent: list[Any] = []
        self.credited = 0
        self.flushes = 0
        self.resets: list[Any] = []
        self.is_writable = True

    def send(self, event: Any) -> bool:
        copy = event
        if type(event) is RequestHeaders:
            copy = RequestHeaders(event.stream_id, event.headers.copy(), event.end_stream)
        self.sent.append(copy)
        return self.is_writable

    def flush(self) -> None:
        self.flushes += 1

    def consumed(self, size: int) -> None:
        self.credited += size

    def reset(self, reason: Any) -> None:
        self.resets.append(reason)

    @property
    def head(self) -> HeaderMap:
        return self.sent[0].headers

    @property
    def body(self) -> bytes:
        return b"".join(event.data for event in self.sent if type(event) is RequestData)

    def answer(self, *pairs: tuple[bytes, bytes], status: bytes = b"200", end: bool = True) -> None:
        self.handler.on_upstream_event(ResponseHeaders(7, HeaderMap.of([(b":status", status), *pairs]), end))

    def interim(self, status: bytes) -> None:
        self.handler.on_upstream_event(InformationalHeaders(7, HeaderMap.of([(b":status", status)])))

    def data(self, data: bytes, end: bool = False) -> None:
        self.handler.on_upstream_event(ResponseData(7, data, end))

    def fail(self, error: ProxyError) -> None:
        self.handler.on_upstream_error(error)


class FakeWaiter:
    is_open = False

    def __init__(self, handler: Any) -> None:
        self.handler = handler
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class FakePort:
    """Opens at once unless ``waits``; ``refusal`` is raised instead when set."""

    def __init__(self, timers: FakeTimers, budget: RetryBudget | None = None) -> None:
        self.timers = timers
        self.budget = budget
        self.opened: list[tuple[str, int]] = []
        self.streams: list[FakeStream] = []
        self.waiters: list[FakeWaiter] = []
        self.waits = False
        self.refusal: ProxyError | None = None

    def open(self, upstream: str, handler: Any, attempt: int = 1) -> Any:
        self.opened.append((upstream, attempt))
        if attempt == 1 and self.budget is not None:
            self.budget.on_request(self.timers.now())
        if self.refusal is not None:
            raise self.refusal
        if self.waits:
            self.waiters.append(FakeWaiter(handler))
            return self.waiters[-1]
        self.streams.append(FakeStream(handler))
        return self.streams[-1]

    def take_retry(self, upstream: str) -> bool:
        return self.budget is None or self.budget.take(self.timers.now())

    def serve(self) -> FakeStream:
        """The last request that waits gets its connection."""
        stream = FakeStream(self.waiters[-1].handler)
        self.streams.append(stream)
        stream.handler.on_upstream_open(stream)
        return stream


class RouterStage:
    """``RouterStage(Route(...), scripts={"a": {...}})``; what the client gets is in ``client``."""

    def __init__(
        self,
        *routes: Route,
        scripts: dict[str, dict[str, Any]] | None = None,
        direction: str = "inbound",
        default: str | None = "app",
        budget: RetryBudget | None = None,
        idle_timeout: float = 300.0,
        timers: FakeTimers | None = None,
        port: FakePort | None = None,
    ) -> None:
        self.timers = timers or FakeTimers()
        self.port = port or FakePort(self.timers, budget)
        self.client = FakeDownstream()
        self.seen: list[str] = []
        self.bugs: list[Any] = []
        self.table = RouteTable(routes, direction, default)
        self.factory = RouterFactory(self.table, self.port, lambda: 0.0, idle_timeout)
        self.filters = [ScriptedFactory(name, script, self.seen) for name, script in (scripts or {}).items()]
        info = ConnectionInfo(1, "l", direction, Address("10.0.0.1", 4), Address("10.0.0.2", 15006), "h1")
        self.record = ExchangeRecord(info, self.timers.now(), 0)
        self.exchange: Any = None

    def request(
        self, *pairs: tuple[bytes, bytes], method: bytes = b"GET", path: bytes = b"/", end: bool = True
    ) -> RouterStage:
        pseudo = [(b":method", method), (b":scheme", b"http"), (b":authority", b"a"), (b":path", path)]
        head = HeaderMap.of([*pseudo, *pairs])
        self.record.method = method
        self.exchange = Exchange(
            FilterChain(self.filters, self.factory),
            self.table.match(head),
            1,
            self.client,
            self.timers,
            self.record,
            HoldBudget(1 << 30),
            lambda where, bug: self.bugs.append((where, bug)),
        )
        self.exchange.on_request(RequestHeaders(1, head, end))
        return self

    def data(self, data: bytes, end: bool = False) -> None:
        self.exchange.on_request(RequestData(1, data, end))

    @property
    def stream(self) -> FakeStream:
        return self.port.streams[-1]

    @property
    def code(self) -> tuple[int, bytes | None]:
        """Status and ``x-sidecar-error`` that the client got."""
        return self.client.status, self.client.head.headers.get(b"x-sidecar-error")
