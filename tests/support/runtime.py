"""A generation's surroundings, as far as a test wants them: configuration files, a process, a target of reloads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from sidecar.config.load import load
from sidecar.config.model import Config
from sidecar.errors import ConfigError, Problem
from sidecar.runtime.bundle import Bundle
from sidecar.runtime.logsink import Logger
from sidecar.runtime.process import Process
from tests.support.sidecar_process import free_ports

TEXT = """
listeners:
  - {{name: inbound, direction: inbound, address: "127.0.0.1:{port}", protocol: http, upstream: app}}
upstreams:
  - {{name: app, endpoints: ["127.0.0.1:{app}"]}}
access_log: {{enabled: false}}
drain: {{delay: 0s, timeout: 1s}}
"""


class Lines:
    """A log's sink that is a list."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.lines.append(line)

    @property
    def text(self) -> str:
        return b"".join(self.lines).decode()


def write_config(folder: Path, more: str = "", *, port: int = 0, app: int = 0) -> Path:
    """A file with one listener; ``more`` is further YAML."""
    ports = free_ports(2)
    path = folder / "sidecar.yaml"
    path.write_text(TEXT.format(port=port or ports[0], app=app or ports[1]) + more, encoding="utf-8")
    return path


def make_config(folder: Path, more: str = "", **options: Any) -> Config:
    return load([str(write_config(folder, more, **options))], {})


def make_bundle(folder: Path, more: str = "", **options: Any) -> Bundle:
    return Bundle(make_config(folder, more, **options), {})


def moved(bundle: Bundle, port: int) -> Bundle:
    """The same configuration on another port."""
    listener = bundle.config.listeners[0]
    address = listener.addresses[0]._replace(port=port)
    listeners = (replace(listener, addresses=(address,)),)
    return replace(bundle, config=replace(bundle.config, listeners=listeners))


def make_process(lines: Lines | None = None, environ: dict[str, str] | None = None) -> Process:
    """On the running loop."""
    log = Logger(lines or Lines(), "debug")
    return Process(asyncio.get_running_loop(), log, max_series=2000, held_bodies=1 << 20, environ=environ or {})


def on_loop(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine function to its end, within a deadline."""

    async def bounded() -> Any:
        async with asyncio.timeout(30):
            return await main()

    return asyncio.run(bounded())


async def until(condition: Callable[[], Any]) -> Any:
    """Let the loop turn until ``condition`` is true."""
    async with asyncio.timeout(20):
        while not (answer := condition()):
            await asyncio.sleep(0.005)
        return answer


class FakeTarget:
    """What a reload acts on; ``refuses`` makes it say no."""

    def __init__(self) -> None:
        self.refuses = ""
        self.steps: list[str] = []
        self.gate: asyncio.Event | None = None
        """When set, a prepare waits for it."""

    async def prepare(self, bundle: Bundle, number: int) -> None:
        self.steps.append(f"prepare {number}")
        if self.gate is not None:
            await self.gate.wait()
        if self.refuses:
            raise ConfigError([Problem("x.yaml", 7, "plugins.auth", self.refuses)])

    async def commit(self) -> None:
        self.steps.append("commit")


class TinyApp:
    """An upstream on the test's own loop: answers 200 to everything, when ``gate`` is set only after it."""

    def __init__(self) -> None:
        self.port = 0
        self.requests = 0
        self.gate: asyncio.Event | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> TinyApp:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                if self.gate is not None:
                    await self.gate.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()


async def fetch(port: int, target: str = "/", *, wish: str = "close") -> bytes:
    """Everything that one request on a connection of its own brings, until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: a.test\r\nConnection: {wish}\r\n\r\n".encode())
    try:
        return await reader.read()
    finally:
        writer.close()
