"""What the event loops promise and do not: back-pressure, ends, errors; the same on asyncio and uvloop, or named."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
import uvloop

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}
each_loop = pytest.mark.parametrize("loop", LOOPS)


def run(loop: str, main: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(asyncio.wait_for(main(), 30))  # type: ignore[arg-type]  # a coroutine it is


class Noting(asyncio.Protocol):
    """Notes what it is told; stays open after the peer's end."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.data = b""
        self.changed = asyncio.Event()

    def _note(self, what: str) -> None:
        self.notes.append(what)
        self.changed.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._note("made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        self._note("data")

    def eof_received(self) -> bool:
        self._note("eof")
        return True

    def pause_writing(self) -> None:
        self._note("pause")

    def resume_writing(self) -> None:
        self._note("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self._note("lost")

    async def until(self, what: str) -> None:
        while what not in self.notes:
            self.changed.clear()
            await self.changed.wait()


async def pair() -> tuple[Noting, socket.socket]:
    """A protocol and, as a plain socket, its peer."""
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    peer.settimeout(10)
    protocol = Noting()
    await asyncio.get_running_loop().create_connection(lambda: protocol, sock=ours)
    return protocol, peer


@each_loop
def test_write_never_blocks_and_takes_everything(loop: str) -> None:
    """Nobody reads, and 64 MB are taken: only pause_writing says that it is too much."""

    async def main() -> None:
        protocol, peer = await pair()
        transport: asyncio.Transport = protocol.transport  # type: ignore[assignment]
        transport.set_write_buffer_limits(high=65536, low=16384)
        for _ in range(64):
            transport.write(b"x" * (1 << 20))
        await protocol.until("pause")
        assert transport.get_write_buffer_size() > 60 << 20
        transport.abort()
        peer.close()

    run(loop, main)


@each_loop
def test_pause_comes_at_high_and_resume_at_low(loop: str) -> None:
    async def main() -> None:
        protocol, peer = await pair()
        transport: asyncio.Transport = protocol.transport  # type: ignore[assignment]
        transport.set_write_buffer_limits(high=65536, low=16384)
        while "pause" not in protocol.notes:
            transport.write(b"x" * 4096)
            await asyncio.sleep(0)
        assert transport.get_write_buffer_size() > 65536 - 4096
        assert "resume" not in protocol.notes
        peer.setblocking(False)
        while "resume" not in protocol.notes:
            try:
                peer.recv(4096)
            except BlockingIOError:
                pass
            await asyncio.sleep(0)
        assert transport.get_write_buffer_size() <= 16384
        transport.abort()
        peer.close()

    run(loop, main)


@each_loop
def test_end_of_the_peer_leaves_our_side_open(loop: str) -> None:
    """On plain TCP; over TLS neither loop keeps it (finding 12)."""

    async def main() -> None:
        protocol, peer = await pair()
        peer.shutdown(socket.SHUT_WR)
        await protocol.until("eof")
        protocol.transport.write(b"late")  # type: ignore[attr-defined]
        await asyncio.sleep(0.01)  # a turn of the loop, in which the write goes out: the peer's recv blocks
        assert peer.recv(10) == b"late"
        assert "lost" not in protocol.notes
        protocol.transport.abort()  # type: ignore[attr-defined]
        peer.close()

    run(loop, main)


@each_loop
def test_paused_reading_delivers_nothing_and_no_end(loop: str) -> None:
    """A connection that is not read does not learn that its peer has gone: deadlines must not rely on it."""

    async def main() -> None:
        protocol, peer = await pair()
        protocol.transport.pause_reading()  # type: ignore[attr-defined]
        peer.sendall(b"data")
        peer.close()
        await asyncio.sleep(0.1)  # nothing to wait for: that nothing happens is the point
        assert protocol.notes == ["made"]
        protocol.transport.resume_reading()  # type: ignore[attr-defined]
        await protocol.until("eof")
        assert protocol.data == b"data"
        protocol.transport.abort()  # type: ignore[attr-defined]

    run(loop, main)


@each_loop
def test_write_after_the_connection_is_lost(loop: str) -> None:
    """asyncio says nothing, uvloop raises: so a connection of ours that is lost never writes."""

    async def main() -> None:
        protocol, peer = await pair()
        transport: asyncio.Transport = protocol.transport  # type: ignore[assignment]
        transport.abort()
        await protocol.until("lost")
        if loop == "uvloop":
            with pytest.raises(RuntimeError):
                transport.write(b"into the void")
        else:
            transport.write(b"into the void")
        peer.close()

    run(loop, main)


@each_loop
def test_close_waits_for_what_is_written(loop: str) -> None:
    """A close with bytes in the buffer is no end: it needs a deadline of its own."""

    async def main() -> None:
        protocol, peer = await pair()
        transport: asyncio.Transport = protocol.transport  # type: ignore[assignment]
        transport.write(b"x" * (8 << 20))
        transport.close()
        await asyncio.sleep(0.1)  # nothing to wait for: that nothing happens is the point
        assert "lost" not in protocol.notes
        transport.abort()
        await protocol.until("lost")
        peer.close()

    run(loop, main)


@each_loop
def test_exception_in_a_callback_reaches_the_loops_handler(loop: str) -> None:
    seen: list[dict[str, object]] = []

    class Failing(Noting):
        def data_received(self, data: bytes) -> None:
            raise ValueError("a fault of ours")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: seen.append(context))
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        protocol = Failing()
        await asyncio.get_running_loop().create_connection(lambda: protocol, sock=ours)
        peer.sendall(b"x")
        await protocol.until("lost")
        peer.close()

    run(loop, main)
    assert isinstance(seen[0]["exception"], ValueError)
