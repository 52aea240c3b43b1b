"""A downstream connection without a socket: a transport that remembers, and a site whose apps are scripted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.codec.base import CodecLimits
from sidecar.codec.h1 import H1ServerCodec
from sidecar.exchange.chain import FilterChain
from sidecar.exchange.flow import HoldBudget
from sidecar.http.events import ResponseData, ResponseHeaders
from sidecar.http.headers import HeaderMap
from sidecar.proxy.manager import HttpManager
from sidecar.proxy.site import Deadlines, Site, Snapshot
from sidecar.telemetry.metrics import MetricsRegistry
from tests.support.exchanges import FakeTimers

GET = b"GET /%s HTTP/1.1\r\nHost: a.test\r\n\r\n"


class FakeTransport:
    """Takes every byte at once unless ``is_stuck``; then they wait."""

    def __init__(self, peer: str = "10.0.0.9") -> None:
        self.peer = peer
        self.sent = b""
        self.waiting = 0
        self.is_stuck = False
        self.is_reading = True
        self.ends: list[str] = []
        """``eof``, ``close``, ``abort`` in order."""

    def get_extra_info(self, name: str) -> Any:
        return {"peername": (self.peer, 4711), "sockname": ("10.0.0.1", 15006)}.get(name)

    def set_write_buffer_limits(self, **_limits: int) -> None: ...

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def write(self, data: bytes) -> None:
        self.sent += data
        if self.is_stuck:
            self.waiting += len(data)

    def is_closing(self) -> bool:
        return "close" in self.ends or "abort" in self.ends

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ends.append("eof")

    def close(self) -> None:
        self.ends.append("close")

    def abort(self) -> None:
        self.ends.append("abort")


class SoonTimers(FakeTimers):
    """Also keeps what should run in a fresh stack."""

    def __init__(self) -> None:
        super().__init__()
        self.soon: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def turn(self) -> None:
        while self.soon:
            self.soon.pop(0)()


class App:
    """The terminal of one exchange; remembers what came, answers when told."""

    def __init__(self, exchange: Any) -> None:
        self.exchange = exchange
        self.events: list[Any] = []
        self.is_aborted = False
        self.flushes = 0

    def on_request(self, event: Any) -> None:
        self.events.append(event)

    def flush(self) -> None:
        self.flushes += 1

    def response_consumed(self, size: int) -> None: ...

    def abort(self, reason: Any) -> None:
        self.is_aborted = True

    def answer(self, body: bytes = b"ok", status: bytes = b"200") -> None:
        length = b"%d" % len(body)
        head = HeaderMap.of([(b":status", status), (b"content-length", length)])
        self.exchange.on_response(ResponseHeaders(1, head, not body))
        if body:
            self.exchange.on_response(ResponseData(1, body, True))


class Scene:
    """One site; :meth:`connect` makes connections on it, ``apps`` are the requests that reached the terminal."""

    def __init__(self, *, most: int = 100, in_flight: int = 100, direction: str = "inbound") -> None:
        self.timers = SoonTimers()
        self.registry = MetricsRegistry(2000)
        self.apps: list[App] = []
        self.bugs: list[tuple[str, BaseException]] = []
        scene = self

        class Terminals:
            def create(self, view: Any) -> App:
                app = App(view)
                scene.apps.append(app)
                return app

        class Table:
            def match(self, _headers: HeaderMap) -> None:
                return None

        chain = FilterChain([], Terminals())
        self.refused = FilterChain([], Terminals())
        self.site = Site(
            "inbound",
            direction,
            Snapshot(1, Table(), {}, chain, self.refused),  # type: ignore[arg-type]  # a table that knows no route
            make_codec=lambda: H1ServerCodec(CodecLimits(pipeline=4)),
            timers=self.timers,  # type: ignore[arg-type]
            budget=HoldBudget(1 << 20),
            deadlines=Deadlines(header=10, idle=300, write_stall=60, body_rate=512, body_grace=10),
            metrics=self.registry,
            new_connection_id=iter(range(1, 1000)).__next__,
            report_bug=lambda where, bug: self.bugs.append((where, bug)),
            max_connections=most,
            max_in_flight=in_flight,
        )

    def connect(self, peer: str = "10.0.0.9") -> tuple[HttpManager, FakeTransport]:
        manager = HttpManager(self.site)
        transport = FakeTransport(peer)
        manager.connection_made(transport)  # type: ignore[arg-type]
        return manager, transport

    def limit_hits(self, limit: str) -> float:
        return self.registry.counter("loom_limit_hits_total", limit).value

    def gauge(self, state: str) -> float:
        return self.registry.connections("inbound", state).value
