from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from sidecar.transport.tcp import WRITE_HIGH, Connection
from tests.support.loops import BOTH_LOOPS, run, until


class Noted(Connection):
    """Keeps what it is told; ``raises`` names a callback that fails."""

    def __init__(self, raises: str = "") -> None:
        self.bugs: list[tuple[str, BaseException]] = []
        super().__init__(lambda where, bug: self.bugs.append((where, bug)))
        self.told: list[str] = []
        self.received = b""
        self.raises = raises

    def _tell(self, what: str) -> None:
        self.told.append(what)
        if what == self.raises:
            raise ValueError(what)

    def on_made(self) -> None:
        self._tell("made")

    def on_bytes(self, data: bytes) -> None:
        self.received += data
        self._tell("bytes")

    def on_eof(self) -> None:
        self._tell("eof")

    def on_writable(self) -> None:
        self._tell("writable")

    def on_lost(self) -> None:
        self._tell("lost")


async def connected(raises: str = "") -> tuple[Noted, socket.socket]:
    """Our end, and the peer's as a plain socket that no loop reads."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        made: Any = await asyncio.get_running_loop().create_connection(lambda: Noted(raises), *server.getsockname())
        peer, _ = server.accept()
    peer.settimeout(10)
    return made[1], peer


async def from_peer(peer: socket.socket, size: int = 65536) -> bytes:
    return await asyncio.get_running_loop().run_in_executor(None, peer.recv, size)


@BOTH_LOOPS
def test_bytes_go_both_ways_and_the_addresses_are_known(new_loop):
    async def main():
        ours, peer = await connected()
        with peer:
            assert (ours.peer, ours.local) == (peer.getsockname(), peer.getpeername())
            assert ours.write(b"out") is True
            assert await from_peer(peer) == b"out"
            peer.sendall(b"in")
            await until(lambda: ours.received == b"in")
            ours.close()
            assert await from_peer(peer) == b""
        await until(lambda: ours.is_lost)
        assert ours.told == ["made", "bytes", "lost"]

    run(new_loop, main())


@BOTH_LOOPS
def test_an_end_of_the_peer_leaves_our_half_open(new_loop):
    async def main():
        ours, peer = await connected()
        with peer:
            peer.shutdown(socket.SHUT_WR)
            await until(lambda: "eof" in ours.told)
            ours.write(b"still here")
            assert await from_peer(peer) == b"still here"
            assert not ours.is_lost
            ours.close()
            await until(lambda: ours.is_lost)
        assert ours.told == ["made", "eof", "lost"]

    run(new_loop, main())


@BOTH_LOOPS
def test_an_end_of_ours_leaves_the_peers_half_open(new_loop):
    async def main():
        ours, peer = await connected()
        with peer:
            ours.write(b"last words")
            ours.half_close()
            got = await from_peer(peer)
            assert got + await from_peer(peer) == b"last words"
            peer.sendall(b"answer")
            await until(lambda: ours.received == b"answer")
            ours.close()
        await until(lambda: ours.is_lost)

    run(new_loop, main())


@BOTH_LOOPS
def test_a_cut_is_a_reset_and_no_end(new_loop):
    async def main():
        ours, peer = await connected()
        with peer:
            ours.abort()
            ours.abort()
            await until(lambda: ours.is_lost)
            with pytest.raises(ConnectionResetError):
                await from_peer(peer)
        assert ours.told.count("lost") == 1
        ours.abort()
        ours.close()
        ours.write(b"into nothing")
        ours.set_reading(False)
        ours.half_close()

    run(new_loop, main())


@BOTH_LOOPS
def test_X10_a_reset_of_the_peer_is_told_once(new_loop):
    async def main():
        ours, peer = await connected()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        peer.close()
        await until(lambda: ours.is_lost)
        assert ours.told.count("lost") == 1 and ours.bugs == []

    run(new_loop, main())


@BOTH_LOOPS
def test_a_reader_that_stops_is_told_to_the_writer_and_so_is_its_return(new_loop):
    async def main():
        ours, peer = await connected()
        with peer:
            sent = 0
            while ours.write(b"x" * 16384):
                sent += 16384
                await asyncio.sleep(0)
            sent += 16384
            assert not ours.is_writable and ours.transport.get_write_buffer_size() <= WRITE_HIGH + 16384
            got = 0
            while got < sent:
                got += len(await from_peer(peer, 1 << 20))
            await until(lambda: ours.is_writable)
            assert ours.told.count("writable") == 1
            ours.abort()
            await until(lambda: ours.is_lost)

    run(new_loop, main())


@BOTH_LOOPS
def test_what_we_do_not_read_waits(new_loop):
    async def main():
        ours, peer = await connected()
        with peer:
            ours.set_reading(False)
            ours.set_reading(False)
            assert not ours.has_unread()
            peer.sendall(b"wait")
            await until(ours.has_unread)
            await asyncio.sleep(0)
            assert ours.received == b""
            ours.set_reading(True)
            await until(lambda: ours.received == b"wait")
            assert not ours.has_unread()
            ours.abort()
            await until(lambda: ours.is_lost)
        assert not ours.has_unread()

    run(new_loop, main())


@BOTH_LOOPS
@pytest.mark.parametrize(("callback", "where"), [("bytes", "data_received"), ("eof", "eof_received")])
def test_a_bug_in_a_callback_kills_this_connection_and_is_reported(new_loop, callback, where):
    async def main():
        ours, peer = await connected(raises=callback)
        with peer:
            peer.sendall(b"x") if callback == "bytes" else peer.shutdown(socket.SHUT_WR)
            await until(lambda: ours.is_lost)
            assert [found for found, _ in ours.bugs] == [where]
            with pytest.raises(ConnectionResetError):
                await from_peer(peer)

    run(new_loop, main())


@BOTH_LOOPS
def test_a_bug_at_the_end_is_reported_and_the_end_is_told(new_loop):
    async def main():
        ours, peer = await connected(raises="lost")
        peer.close()
        ours.close()
        await until(lambda: ours.is_lost)
        assert [where for where, _ in ours.bugs] == ["connection_lost"]

    run(new_loop, main())


@BOTH_LOOPS
def test_X13_small_writes_go_at_once_and_a_silent_peer_is_asked(new_loop):
    async def main():
        ours, peer = await connected()
        with peer:
            sock = ours.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
            ours.abort()
            await until(lambda: ours.is_lost)

    run(new_loop, main())
