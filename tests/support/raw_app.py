"""Apps behind the proxy: one of raw sockets that records every byte and does what a script says, one that is fast."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.support.raw_client import Fields, Gone

OURS = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"x-request-id", b"x-sidecar-attempt"})
"""What the proxy adds to every request."""


@dataclass
class Seen:
    """One request as the app got it. ``cut`` says that its body did not end as it should."""

    method: bytes
    target: bytes
    version: bytes
    fields: Fields
    head: bytes
    connection: int
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    cut: bool = False
    is_read: bool = False

    def get(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.fields if key.lower() == name), None)

    @property
    def own_fields(self) -> Fields:
        """Fields that came from the client, as they were spelled."""
        return [pair for pair in self.fields if pair[0].lower() not in OURS]


class AppConnection:
    """One connection, as a script uses it; ``ended`` is how the peer ended it."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number
        self.received = bytearray()
        self._buffer = b""
        self.ended = ""

    def fill(self) -> None:
        """Raises :class:`Gone` when the peer has ended the connection."""
        try:
            data = self.sock.recv(262144)
        except ConnectionError:
            self.ended = "reset"
            raise Gone("reset", self._buffer) from None
        if not data:
            self.ended = "eof"
            raise Gone("eof", self._buffer)
        self.received += data
        self._buffer += data

    def read_until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self.fill()
        at = self._buffer.index(mark) + len(mark)
        found, self._buffer = self._buffer[:at], self._buffer[at:]
        return found

    def read_exactly(self, size: int) -> bytes:
        pieces = []
        while True:
            pieces.append(self._buffer[:size])
            size -= len(pieces[-1])
            self._buffer = self._buffer[len(pieces[-1]) :]
            if not size:
                return b"".join(pieces)
            try:
                self.fill()
            except Gone as gone:
                raise Gone(gone.how, b"".join(pieces)) from None

    def read_some(self) -> bytes:
        """What there is, at least one byte; ``b""`` at the end of the stream."""
        if not self._buffer:
            try:
                self.fill()
            except Gone:
                return b""
        found, self._buffer = self._buffer, b""
        return found

    def read_head(self) -> Seen:
        head = self.read_until(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        method, _, rest = first.partition(b" ")
        target, _, version = rest.rpartition(b" ")
        fields = []
        for line in lines:
            name, _, value = line.partition(b":")
            fields.append((name, value.strip(b" \t")))
        return Seen(method, target, version, fields, head, self.number)

    def read_body(self, seen: Seen) -> bytes:
        """Read to the end of the request; raises :class:`Gone`, having marked the request as cut."""
        if seen.is_read:
            return seen.body
        seen.is_read = True
        try:
            if seen.get(b"transfer-encoding") is not None:
                while size := int(self.read_until(b"\r\n").partition(b";")[0], 16):
                    seen.body += self.read_exactly(size)
                    assert self.read_exactly(2) == b"\r\n"
                while (line := self.read_until(b"\r\n")) != b"\r\n":
                    name, _, value = line[:-2].partition(b":")
                    seen.trailers.append((name, value.strip(b" \t")))
            elif (length := seen.get(b"content-length")) is not None:
                seen.body = self.read_exactly(int(length))
        except Gone as gone:
            seen.cut = True
            seen.body += gone.got
            raise
        return seen.body

    def send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError, BrokenPipeError):
            self.sock.sendall(data)

    def close(self) -> None:
        """End in order."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def cut(self) -> None:
        """End by a reset."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            self.sock.close()

    @property
    def is_closed(self) -> bool:
        return self.sock.fileno() < 0


Script = Callable[[AppConnection, Seen], None]


def echo(connection: AppConnection, seen: Seen) -> None:
    """What every client can tell from another's: the target and the id of the request, then its body."""
    body = connection.read_body(seen)
    marks = b"%b %b id=%b\n" % (seen.method, seen.target, seen.get(b"x-id") or b"")
    body = b"" if seen.method == b"HEAD" else marks + body
    length = len(marks) if seen.method == b"HEAD" else len(body)
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%b" % (length, body))


def saying(answer: bytes, then: str = "") -> Script:
    """A script that reads the request and says ``answer``, whatever that is; ``then`` may be ``close`` or ``cut``."""

    def script(connection: AppConnection, seen: Seen) -> None:
        connection.read_body(seen)
        connection.send(answer)
        if then:
            getattr(connection, then)()

    return script


class RawApp:
    """Accepts on a free port of loopback; one thread for each connection. ``script`` may be changed at any time."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        self._listener = socket.create_server((address, port), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self.script: Script = echo
        self.on_connect: Callable[[AppConnection], None] | None = None
        self.requests: list[Seen] = []
        self.connections: list[AppConnection] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self) -> None:
        """Forget what was seen, and behave; connections stay open."""
        self.script = echo
        self.on_connect = None
        self.requests = []
        self.connections = [each for each in self.connections if not each.is_closed]

    @property
    def bytes_received(self) -> int:
        return sum(len(each.received) for each in list(self.connections))

    def drop_connections(self) -> None:
        """Close everything that is open."""
        for each in list(self.connections):
            each.close()
        self.connections = []

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_connections()

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            number += 1
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = AppConnection(sock, number)
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: AppConnection) -> None:
        try:
            if self.on_connect is not None:
                self.on_connect(connection)
            while not connection.is_closed:
                seen = connection.read_head()
                self.requests.append(seen)
                self.script(connection, seen)
                if not connection.is_closed:
                    connection.read_body(seen)
        except (Gone, OSError):
            pass
        finally:
            connection.close()


@contextmanager
def raw_app(script: Script = echo) -> Iterator[RawApp]:
    app = RawApp()
    app.script = script
    try:
        yield app
    finally:
        app.close()


class _FastProtocol(asyncio.Protocol):
    """Answers each request that has no body, or a length, with its ``x-id`` and target; keeps the connection."""

    def __init__(self, app: FastApp) -> None:
        self._app = app
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._app.connections += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (at := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:at]
            lines = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
            fields = {name.lower(): value.strip() for name, _, value in lines}
            end = at + 4 + int(fields.get(b"content-length", b"0"))
            if len(self._buffer) < end:
                return
            body, self._buffer = self._buffer[at + 4 : end], self._buffer[end:]
            target = head.split(b" ", 2)[1]
            self._app.seen.append((target, fields.get(b"x-id", b"")))
            answer = b"%b id=%b\n%b" % (target, fields.get(b"x-id", b""), body)
            self._transport.write(  # type: ignore[attr-defined]  # a Transport by contract
                b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-id: %b\r\ncontent-length: %d\r\n\r\n%b"
                % (fields.get(b"x-id", b""), len(answer), answer)
            )


class FastApp:
    """An echo on an event loop in a thread of its own; ``seen`` holds (target, x-id) of every request."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, bytes]] = []
        self.connections = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait(10)

    def _run(self) -> None:
        async def serve() -> None:
            server = await self._loop.create_server(lambda: _FastProtocol(self), "127.0.0.1", 0, backlog=4096)
            self.port = server.sockets[0].getsockname()[1]
            self._ready.set()

        self._loop.run_until_complete(serve())
        self._loop.run_forever()
        self._loop.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)


@contextmanager
def fast_app() -> Iterator[FastApp]:
    app = FastApp()
    try:
        yield app
    finally:
        app.close()
