from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from sidecar.errors import ErrorKind, Source
from sidecar.http.events import InformationalHeaders, RequestData, RequestHeaders, ResponseHeaders
from sidecar.http.headers import HeaderMap
from tests.support.loops import BOTH_LOOPS, run, until
from tests.support.pools import OK, App, Handler, Pools, read_head

WINDOW = 65536


def head(method=b"GET", *pairs, end=True):
    pseudo = [(b":method", method), (b":scheme", b"http"), (b":authority", b"app"), (b":path", b"/")]
    return RequestHeaders(0, HeaderMap.of([*pseudo, *pairs]), end)


class Quiet(Handler):
    """Sends nothing by itself."""

    def on_upstream_open(self, stream):
        self.stream = stream


async def leased(pools):
    handler = Quiet()
    pools.open(handler)
    await until(lambda: handler.stream)
    return handler


@BOTH_LOOPS
def test_a_head_waits_for_the_body_of_its_turn_and_no_longer_than_the_flush(new_loop):
    async def main():
        seen = []

        async def collect(reader, writer):
            while data := await reader.read(65536):
                seen.append(data)

        async with App(collect) as app, Pools(app.port) as pools:
            handler = await leased(pools)
            handler.stream.send(head(b"POST", (b"content-length", b"2"), end=False))
            await asyncio.sleep(0)
            assert seen == []
            handler.stream.flush()
            await until(lambda: seen)
            handler.stream.send(RequestData(0, b"ab", True))
            await until(lambda: b"".join(seen).endswith(b"\r\n\r\nab"))

    run(new_loop, main())


@BOTH_LOOPS
def test_what_the_client_does_not_take_the_app_may_not_send(new_loop):
    async def main():
        sent = 0

        async def flood(reader, writer):
            nonlocal sent
            await read_head(reader)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            writer.transport.set_write_buffer_limits(0)
            while sent < 64 << 20:
                writer.write(b"x" * WINDOW)
                sent += WINDOW
                await writer.drain()

        async with App(flood) as app, Pools(app.port) as pools:
            handler = await leased(pools)
            handler.stream.send(head())
            connection = handler.stream.connection
            await until(lambda: not connection._reading)
            held = len(handler.answer)
            assert held <= 5 * WINDOW
            for _ in range(50):
                await asyncio.sleep(0)
            assert len(handler.answer) == held, "nothing is read while nothing is taken"
            handler.stream.consumed(held)
            await until(lambda: len(handler.answer) > held)
            handler.stream.consumed(len(handler.answer) - held)

    run(new_loop, main())


@BOTH_LOOPS
def test_a_full_buffer_is_said_and_so_is_its_drain(new_loop):
    async def main():
        may_read = asyncio.Event()
        size = 0

        async def late(reader, writer):
            nonlocal size
            await may_read.wait()
            while data := await reader.read(1 << 20):
                size += len(data)

        async with App(late) as app, Pools(app.port) as pools:
            handler = await leased(pools)
            handler.stream.send(head(b"PUT", end=False))
            while handler.stream.send(RequestData(0, b"x" * WINDOW, False)):
                await asyncio.sleep(0)
            assert handler.writable == 0
            may_read.set()
            await until(lambda: handler.writable == 1)

    run(new_loop, main())


@BOTH_LOOPS
def test_what_cannot_be_sent_on_is_our_refusal_and_reaches_no_app(new_loop):
    async def main():
        async with App() as app, Pools(app.port) as pools:
            handler = await leased(pools)
            handler.stream.send(head(b"POST", (b"content-length", b"1"), (b"content-length", b"2"), end=False))
            error = (await handler.done()).error
            assert (error.kind, error.source) == (ErrorKind.BAD_REQUEST, Source.INTERNAL)
            await until(lambda: pools.figures["connections"] == 0)

    run(new_loop, main())


@BOTH_LOOPS
def test_interim_answers_come_before_the_final_one(new_loop):
    async def main():
        async def hints(reader, writer):
            await read_head(reader)
            writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK)
            await reader.read()

        async with App(hints) as app, Pools(app.port) as pools:
            handler = await pools.ask()
            assert [type(event) for event in handler.events[:2]] == [InformationalHeaders, ResponseHeaders]
            assert handler.answer == b"ok" and pools.figures["idle"] == 1

    run(new_loop, main())


@BOTH_LOOPS
def test_F13_an_answer_that_two_could_read_in_two_ways_is_nobodys(new_loop):
    async def main():
        async def both(reader, writer):
            await read_head(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
            await reader.read()

        async with App(both) as app, Pools(app.port) as pools:
            error = (await pools.ask()).error
            assert (error.kind, error.source) == (ErrorKind.UPSTREAM_RESET, Source.UPSTREAM)
            await until(lambda: pools.figures["connections"] == 0)

    run(new_loop, main())


@BOTH_LOOPS
def test_a_tunnel_ends_side_by_side(new_loop):
    async def main():
        async def switch(reader, writer):
            await read_head(reader)
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
            while data := await reader.read(100):
                writer.write(data)
            writer.write(b"bye")

        async with App(switch) as app, Pools(app.port) as pools:
            handler = await leased(pools)
            handler.stream.send(head(b"GET", (b"upgrade", b"echo"), end=False))
            handler.stream.flush()
            await until(lambda: handler.events)
            handler.stream.send(RequestData(0, b"ping", False))
            await until(lambda: handler.answer == b"ping")
            handler.stream.send(RequestData(0, b"", True))
            await handler.done()
            assert handler.answer == b"pingbye"

    run(new_loop, main())


@BOTH_LOOPS
@pytest.mark.parametrize("is_cut", [False, True])
def test_X9_an_answer_that_ends_by_closing_is_whole_by_an_end_and_not_by_a_cut(new_loop, is_cut):
    async def main():
        async def play(reader, writer):
            await read_head(reader)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\nsome of it")
            await writer.drain()
            await go.wait()
            if is_cut:
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()

        go = asyncio.Event()
        async with App(play) as app, Pools(app.port) as pools:
            handler = Handler()
            pools.open(handler)
            await until(lambda: handler.answer)
            go.set()
            await handler.done()
            assert handler.answer == b"some of it"
            assert handler.ends == (not is_cut)
            if is_cut:
                assert (handler.error.kind, handler.error.source) == (ErrorKind.UPSTREAM_RESET, Source.UPSTREAM)

    run(new_loop, main())
