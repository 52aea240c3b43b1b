"""The server of metrics, health and admin pages: an event loop of its own on a thread of its own.

It shares nothing with the data plane, so it answers while that is full, and what hurts here does not hurt there. One
request per connection; every connection has a deadline, and there are few of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from sidecar.address import Address
from sidecar.admin import unix_socket
from sidecar.admin.pages import (
    ADMIN_PAGES,
    CHANGES,
    HEALTH_PAGES,
    METRICS_PAGES,
    TEXT,
    Answer,
    Door,
    Page,
    refused,
    render,
)
from sidecar.admin.request import MAX_HEAD, Refusal, Request, parse_request
from sidecar.admin.state import AdminState

if TYPE_CHECKING:
    from sidecar.config import model as config

MAX_CONNECTIONS: Final = 64
"""Per door: a flood on one of them leaves the others alone."""
HEAD_TIMEOUT: Final = 5.0
WRITE_TIMEOUT: Final = 10.0
PAGE_TIMEOUT: Final = 60.0
LINGER: Final = 1.0
LINGER_BYTES: Final = 1 << 20
METRICS_AGE: Final = 1.0
"""Seconds a rendered metrics page is shown again: a scraper in a loop costs no more than one a second."""
INSTANT: Final = frozenset(HEALTH_PAGES.values())
"""Answered at once, whatever else is being worked on."""


class AdminServer:
    """Bind with :meth:`start`, end with :meth:`close`; ``addresses`` tells what was bound."""

    def __init__(
        self, admin: config.Admin, metrics: config.Metrics, health: config.Health, state: AdminState
    ) -> None:
        self._state = state
        self._socket_path: str | None = str(admin.socket) if admin.socket else None
        self._socket_identity: tuple[int, int] | None = None
        self._wanted: list[tuple[str, Address, Mapping[str, Page], bool]] = [
            (name, address, pages, is_guarded)
            for name, address, pages, is_guarded in (
                ("metrics", metrics.address, METRICS_PAGES, False),
                ("health", health.address, HEALTH_PAGES, False),
                ("admin", admin.address, ADMIN_PAGES, True),
            )
            if address
        ]
        self.addresses: dict[str, Address] = {}
        """``metrics``, ``health`` and ``admin``, with the ports that were really bound."""
        self._sockets: list[tuple[socket.socket, Door]] = []
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._pool = ThreadPoolExecutor(4, "admin")
        self._metrics_page: tuple[float, Answer] | None = None
        self._metrics_turn: asyncio.Lock | None = None

    def start(self) -> list[str]:
        """Bind and serve. Raises OSError when an address cannot be bound; the answer lists what else is missing."""
        problems: list[str] = []
        try:
            self._bind_addresses()
            if self._socket_path is not None:
                try:
                    sock = unix_socket.bind(self._socket_path)
                except OSError as error:
                    problems.append(error.strerror or str(error))
                else:
                    self._socket_identity = unix_socket.identity(self._socket_path)
                    self._sockets.append((sock, Door({**ADMIN_PAGES, **METRICS_PAGES}, changes=CHANGES)))
        except OSError:
            self._close_sockets()
            raise
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="admin", daemon=True)
        self._thread.start()
        started.wait(10)
        return problems

    def close(self) -> None:
        """Stop answering; the Unix socket's file goes too, unless a successor has put its own there."""
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join(5)
            self._thread = None
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._close_sockets()
        path = self._socket_path
        if path is not None and self._socket_identity and unix_socket.identity(path) == self._socket_identity:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _bind_addresses(self) -> None:
        """Blocks that name one and the same address share a door; it is guarded when any of them is."""
        shared: dict[Address, Door] = {}
        for name, address, pages, is_guarded in self._wanted:
            door = shared.get(address) if address.port else None
            if door is not None:
                door.pages = {**door.pages, **pages}
                door.is_guarded = door.is_guarded or is_guarded
                self.addresses[name] = address
                continue
            sock = _listen(address)
            door = shared[address] = Door(pages, is_guarded=is_guarded)
            self.addresses[name] = Address(address.host, sock.getsockname()[1])
            self._sockets.append((sock, door))

    def _close_sockets(self) -> None:
        for sock, _ in self._sockets:
            sock.close()
        self._sockets.clear()

    # -- the thread ---------------------------------------------------------------------------------------

    def _run(self, started: threading.Event) -> None:
        loop = asyncio.SelectorEventLoop()
        try:
            loop.run_until_complete(self._serve(loop, started))
        finally:
            loop.close()

    async def _serve(self, loop: asyncio.AbstractEventLoop, started: threading.Event) -> None:
        self._loop = loop
        self._stop = asyncio.Event()
        self._metrics_turn = asyncio.Lock()
        self._pool.submit(int)  # the first thread exists before it is needed
        servers = [await self._listen(sock, door) for sock, door in self._sockets]
        started.set()
        await self._stop.wait()
        for server in servers:
            server.close()
        for task in asyncio.all_tasks(loop) - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    async def _listen(self, sock: socket.socket, door: Door) -> asyncio.Server:
        open_count = 0

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal open_count
            if open_count >= MAX_CONNECTIONS:
                writer.transport.abort()
                return
            open_count += 1
            try:
                await self._connection(reader, writer, door)
            except (OSError, TimeoutError, asyncio.CancelledError):
                writer.transport.abort()
            finally:
                open_count -= 1
                writer.close()

        if sock.family == socket.AF_UNIX:
            return await asyncio.start_unix_server(connected, sock=sock, limit=MAX_HEAD)
        return await asyncio.start_server(connected, sock=sock, limit=MAX_HEAD)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, door: Door) -> None:
        method = "GET"
        peer = writer.get_extra_info("socket")
        try:
            if peer.family == socket.AF_UNIX and not unix_socket.is_allowed(peer):
                raise Refusal(403, "only our own user and root may ask here")
            async with asyncio.timeout(HEAD_TIMEOUT):
                request = await _read_request(reader)
            method = request.method
            answer = await self._answer(door, request)
        except Refusal as refusal:
            answer = refused(refusal)
        except asyncio.IncompleteReadError:
            return
        async with asyncio.timeout(WRITE_TIMEOUT):
            writer.write(render(answer, method))
            await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
        await _linger(reader)

    async def _answer(self, door: Door, request: Request) -> Answer:
        found = door.find(request)
        if isinstance(found, Answer):
            return found
        if found in INSTANT:
            return found(self._state)
        if request.path == "/metrics":
            return await self._metrics(found)
        return await self._in_pool(found)

    async def _metrics(self, page: Page) -> Answer:
        assert self._metrics_turn is not None and self._loop is not None
        async with self._metrics_turn:
            known = self._metrics_page
            if known is not None and self._loop.time() - known[0] < METRICS_AGE:
                return known[1]
            answer = await self._in_pool(page)
            if answer.status == 200:
                self._metrics_page = (self._loop.time(), answer)
            return answer

    async def _in_pool(self, page: Page) -> Answer:
        assert self._loop is not None
        try:
            async with asyncio.timeout(PAGE_TIMEOUT):
                return await self._loop.run_in_executor(self._pool, page, self._state)
        except TimeoutError:
            return Answer(504, TEXT, b"the proxy did not answer in time\n")
        except Exception as error:  # firewall: a page that fails is its reader's loss, not the server's
            return Answer(500, TEXT, f"{type(error).__name__}\n".encode())


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address.host, address.port))
        sock.listen(unix_socket.BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {address}: {error.strerror or error}") from None
    return sock


async def _read_request(reader: asyncio.StreamReader) -> Request:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise Refusal(431, "the head is too long") from None
    request = parse_request(head)
    if request.body_size:
        await reader.readexactly(request.body_size)
    return request


async def _linger(reader: asyncio.StreamReader) -> None:
    """Let the client read the answer before it is reset for what it still sends."""
    left = LINGER_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER):
            while left > 0 and (data := await reader.read(1 << 16)):
                left -= len(data)
