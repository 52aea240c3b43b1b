"""Row F22: mutated requests through the real process; what arrives is read by another parser, and never twofold.

The app here is h11 on raw sockets. Whatever the mutation did, h11 must be able to read what arrives, each request must
carry an id that some client sent, and no answer may reach a client that did not send its id.
"""

from __future__ import annotations

import random
import re
import socket
import threading
from collections.abc import Iterator

import h11
import pytest

from tests.support.raw_app import AppConnection, RawApp, Seen, raw_app
from tests.support.raw_client import Client, Gone, chunked, get
from tests.support.sidecar_process import Sidecar, sidecar, sidecar_config

SEEDS = range(8)
CASES = 150
"""For each seed; the seed is the test's id, so that a failure can be had again."""

PIECES = (
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\0", b"\x0b", b",", b";", b"chunked", b"\xff", b"%00", b"//", b"#",
    b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Host: other\r\n", b"0\r\n\r\n", b"1\r\nx\r\n", b"HTTP/1.1",
    b"Transfer-Encoding: chunked\r\n", b"GET /x HTTP/1.1\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\n",
    b"+1", b"HTTP/1.0", b"/../",
)  # fmt: skip
POST = b"POST /c HTTP/1.1\r\nHost: app.test\r\nx-id: ID\r\n"
CORPUS = (
    get("/a?b=c", "x-id: ID", "Accept: */*"),
    get("/post", "x-id: ID", method="POST", body=b"hello"),
    POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"abc", b"defg", trailers=b"X-T: 1\r\n"),
    get("/1", "x-id: ID") + get("/2", "x-id: ID", method="PUT", body=b"x") + get("/3", "x-id: ID"),
    POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    b"GET /old HTTP/1.0\r\nx-id: ID\r\nConnection: keep-alive\r\n\r\n",
)


ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx-id: ID\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nx-id: ID\r\n\r\n" + chunked(b"abc", b"de", trailers=b"T: 1\r\n"),
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nx-id: ID\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nx-id: ID\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nx-id: ID\r\n\r\nuntil the end",
)  # fmt: skip


class SecondOpinion:
    """An app that reads by h11; ``faults`` holds what it could not read."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.ids: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        connection = h11.Connection(h11.SERVER)
        received = b""
        with sock:
            try:
                while True:
                    event = connection.next_event()
                    if event is h11.NEED_DATA:
                        if connection.they_are_waiting_for_100_continue:
                            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                            connection.send(h11.InformationalResponse(status_code=100, headers=[]))
                        data = sock.recv(65536)
                        received += data
                        if not data:
                            return
                        connection.receive_data(data)
                    elif isinstance(event, h11.Request):
                        headers = dict(event.headers)
                        identity = headers.get(b"x-id", b"")
                        self.ids.append(identity)
                    elif isinstance(event, h11.EndOfMessage):
                        answer = h11.Response(status_code=200, headers=[("x-id", identity), ("content-length", "0")])
                        sock.sendall(connection.send(answer) or b"")
                        sock.sendall(connection.send(h11.EndOfMessage()) or b"")
                        if connection.our_state is h11.MUST_CLOSE:
                            return
                        connection.start_next_cycle()
            except h11.RemoteProtocolError as fault:
                self.faults.append(f"{fault}: {received[-600:]!r}")
            except OSError:
                pass


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SecondOpinion, Sidecar]]:
    app = SecondOpinion()
    limits = {"header_timeout": "1s", "body_grace": "1s", "stream_idle_timeout": "3s"}
    with sidecar(tmp_path_factory.mktemp("fuzz"), sidecar_config(app.port, limits=limits)) as running:
        yield app, running
        assert running.is_alive
        assert "internal error" not in running.log_text
    app.close()


def mutated(random_: random.Random, data: bytes) -> bytes:
    for _ in range(random_.randrange(1, 4)):
        at = random_.randrange(len(data) + 1)
        what = random_.randrange(5)
        if what == 0:
            data = data[:at] + random_.choice(PIECES) + data[at:]
        elif what == 1:
            data = data[:at] + data[at + random_.randrange(1, 4) :]
        elif what == 2:
            data = data[:at] + bytes([random_.randrange(256)]) + data[at + 1 :]
        elif what == 3:
            end = at + random_.randrange(1, 30)
            data = data[:end] + data[at:end] + data[end:]
        else:
            ends = [match.start() for match in re.finditer(rb"\r\n", data)]
            if ends:
                line = random_.choice(ends)
                data = data[:line] + b"\r\n" + random_.choice(PIECES).strip(b"\r\n") + data[line:]
    return data


@pytest.mark.parametrize("seed", SEEDS)
def test_F22_what_arrives_is_read_in_one_way(second: tuple[SecondOpinion, Sidecar], seed: int) -> None:
    app, running = second
    random_ = random.Random(seed)
    app.ids.clear()
    sent = []
    for number in range(CASES):
        data = mutated(random_, random_.choice(CORPUS)).replace(b"ID", b"s%dn%d" % (seed, number))
        sent.append(data)
        with Client(running.inbound) as client:
            client.send(data).finish()
            for answer in _answers(client):
                assert answer.get(b"x-id", b"") in data
    assert not app.faults, app.faults[:3]
    everything = b"".join(sent)
    assert app.ids
    assert all(each in everything for each in app.ids)


def _answers(client: Client) -> Iterator[dict[bytes, bytes]]:
    """Heads of the answers until the connection ends; the harness asserts that each is well-formed."""
    while True:
        try:
            answer = client.read_answer()
        except Gone:
            return
        yield {name.lower(): value for name, value in answer.fields}


@pytest.fixture(scope="module")
def moody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RawApp, Sidecar]]:
    limits = {"stream_idle_timeout": "1s"}
    folder = tmp_path_factory.mktemp("answers")
    with raw_app() as app, sidecar(folder, sidecar_config(app.port, limits=limits)) as running:
        yield app, running
        assert running.is_alive
        assert "internal error" not in running.log_text


@pytest.mark.parametrize("seed", SEEDS)
def test_F22_mutated_answers_reach_nobody_but_who_asked(moody: tuple[RawApp, Sidecar], seed: int) -> None:
    app, running = moody
    random_ = random.Random(1000 + seed)
    answer = b""

    def script(connection: AppConnection, seen: Seen) -> None:
        if seen.target == b"/mutated":
            connection.send(answer)
            connection.close()
        else:
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(seen.target), seen.target))

    app.script = script
    for number in range(CASES // 2):
        identity = b"s%dn%d" % (seed, number)
        answer = mutated(random_, random_.choice(ANSWERS)).replace(b"ID", identity)
        with Client(running.inbound) as client:
            client.send(get("/mutated"))
            try:
                got = client.read_answer()
            except Gone:
                pass
            else:
                assert got.error or (got.get("x-id") or "").encode("latin-1") in answer
        asked = b"/own/%b" % identity
        assert running.ask(asked.decode()).body == asked
