"""Pools at work on loopback: an app whose every connection a test plays, handlers that remember, one clock."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from sidecar.address import Address
from sidecar.codec.base import CodecLimits
from sidecar.codec.h1 import H1ClientCodec
from sidecar.config.model import Endpoint, Limits, Upstream
from sidecar.errors import ProxyError
from sidecar.http.events import InformationalHeaders, RequestData, RequestHeaders, ResponseData
from sidecar.http.headers import HeaderMap
from sidecar.transport.pool import UpstreamPools
from sidecar.transport.timers import TimerWheel
from tests.support.loops import until

Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def read_head(reader: asyncio.StreamReader) -> bytes:
    """One request head; raises asyncio.IncompleteReadError when there is no more."""
    return await reader.readuntil(b"\r\n\r\n")


async def answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """200 to every request that comes."""
    while True:
        await read_head(reader)
        writer.write(OK)


class App:
    """A server; ``play`` is one connection's life and may be changed at any time."""

    def __init__(self, play: Play = answer_all) -> None:
        self.play = play
        self.writers: list[asyncio.StreamWriter] = []
        self.accepted = 0
        self._running = 0
        self.port = 0
        self._server: asyncio.AbstractServer | None = None

    async def __aenter__(self) -> App:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self.writers:
            writer.transport.abort()
        await until(lambda: not self._running)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._running += 1
        self.writers.append(writer)
        try:
            await self.play(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()
        self._running -= 1


class Handler:
    """Sends one request as soon as it has a stream; :meth:`done` waits for its end."""

    def __init__(self, method: bytes = b"GET", body: bytes | None = None) -> None:
        self.method = method
        self.body = body
        self.stream: Any = None
        self.events: list[Any] = []
        self.error: ProxyError | None = None
        self.writable = 0
        self.ends = 0

    def on_upstream_open(self, stream: Any) -> None:
        self.stream = stream
        pairs = [(b":method", self.method), (b":scheme", b"http"), (b":authority", b"app"), (b":path", b"/")]
        stream.send(RequestHeaders(0, HeaderMap.of(pairs), self.body is None))
        if self.body is not None:
            stream.send(RequestData(0, self.body, True))
        stream.flush()

    def on_upstream_event(self, event: Any) -> None:
        self.events.append(event)
        self.ends += type(event) is not InformationalHeaders and bool(getattr(event, "end_stream", True))

    def on_upstream_flush(self) -> None: ...

    def on_upstream_writable(self) -> None:
        self.writable += 1

    def on_upstream_error(self, error: ProxyError) -> None:
        assert self.error is None and not self.ends, "an end is told once"
        self.error = error

    @property
    def answer(self) -> bytes:
        return b"".join(event.data for event in self.events if type(event) is ResponseData)

    async def done(self) -> Handler:
        await until(lambda: self.ends or self.error)
        return self


class Pools:
    """``UpstreamPools`` of one upstream ``app`` over ``ports``; ``async with`` closes them and checks the books."""

    def __init__(self, *ports: int, host: str = "127.0.0.1", **settings: Any) -> None:
        self.bugs: list[Any] = []
        self.settings = Upstream("app", tuple(Endpoint(Address(host, port)) for port in ports), **settings)
        self.timers = TimerWheel(asyncio.get_running_loop())
        self.port = self.build(self.settings)

    def build(
        self, *upstreams: Upstream, previous: UpstreamPools | None = None, limits: Limits | None = None
    ) -> UpstreamPools:
        return UpstreamPools.build(
            upstreams,
            limits=limits or Limits(),
            previous=previous,
            make_codec=lambda: H1ClientCodec(CodecLimits()),
            timers=self.timers,
            report_bug=lambda where, bug: self.bugs.append((where, bug)),
            random=random.Random(5).random,
        )

    async def __aenter__(self) -> Pools:
        return self

    async def __aexit__(self, *failure: object) -> None:
        self.port.close()
        if failure[0] is None:
            await until(lambda: not self.figures["connections"] and not self.in_flight)
            assert self.bugs == []
        self.timers.close()

    def open(self, handler: Handler, attempt: int = 1) -> Any:
        opened = self.port.open("app", handler, attempt)
        if opened.is_open:
            handler.on_upstream_open(opened)
        return opened

    async def ask(self, attempt: int = 1, **request: Any) -> Handler:
        handler = Handler(**request)
        self.open(handler, attempt)
        return await handler.done()

    @property
    def figures(self) -> Any:
        return self.port.describe()[0]["endpoints"][0]  # type: ignore[index]

    @property
    def in_flight(self) -> int:
        return self.port.upstreams["app"].upstream.in_flight


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
