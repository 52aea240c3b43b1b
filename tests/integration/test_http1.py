"""HTTP/1.1 through the real process: connections, bodies both ways at once, back-pressure, tunnels."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import websockets.sync.client
import websockets.sync.server

from tests.integration.conftest import Pair
from tests.support.needs import needs
from tests.support.raw_app import AppConnection, Seen, echo, fast_app, raw_app
from tests.support.raw_client import Client, ask, chunked, get
from tests.support.sidecar_process import sidecar, sidecar_config
from tests.support.wait import eventually

MB = 1 << 20


def test_connections_are_kept_on_both_sides(pair: Pair) -> None:
    with Client(pair.sidecar.inbound) as client:
        for number in range(50):
            assert client.send(get(f"/{number}")).read_answer().body == f"GET /{number} id=\n".encode()
    assert len({seen.connection for seen in pair.app.requests}) == 1


def test_upstream_connection_is_shared_by_all_clients(pair: Pair) -> None:
    for number in range(20):
        assert pair.sidecar.ask(f"/{number}").status == 200
    assert len({seen.connection for seen in pair.app.requests}) == 1


def test_chunks_and_trailers_pass_both_ways(pair: Pair) -> None:
    def mirror(connection: AppConnection, seen: Seen) -> None:
        body = connection.read_body(seen)
        lines = b"".join(b"%b: %b\r\n" % pair for pair in seen.trailers)
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.send(chunked(body[:3], body[3:], trailers=lines))

    pair.app.script = mirror
    with Client(pair.sidecar.inbound) as client:
        client.send(b"POST /t HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(chunked(b"abc", b"def", trailers=b"X-Sum: 6\r\nx-End: \xff\r\n"))
        answer = client.read_answer()
    assert answer.body == b"abcdef"
    assert answer.trailers == [(b"X-Sum", b"6"), (b"x-End", b"\xff")]


def test_every_piece_of_an_upload_arrives_before_the_next_is_sent(pair: Pair) -> None:
    """Nothing is collected on the way: each piece is at the app while the client waits."""
    with Client(pair.sidecar.inbound) as client:
        client.send(b"POST /u HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            piece = b"piece-%d" % number
            client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            eventually(lambda piece=piece: piece in _all_received(pair))
        client.send(b"0\r\n\r\n")
        assert client.read_answer().body.endswith(b"piece-0piece-1piece-2piece-3piece-4")


def _all_received(pair: Pair) -> bytes:
    return b"".join(bytes(each.received) for each in list(pair.app.connections))


def test_events_of_the_server_arrive_one_by_one(pair: Pair) -> None:
    """Server-sent events: the next is only sent once the client has the one before."""
    taken = threading.Semaphore(0)

    def events(connection: AppConnection, seen: Seen) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(10):
            event = b"data: %d\n\n" % number
            connection.send(b"%x\r\n%b\r\n" % (len(event), event))
            assert taken.acquire(timeout=20)
        connection.send(b"0\r\n\r\n")

    pair.app.script = events
    with Client(pair.sidecar.inbound) as client:
        client.send(get("/events"))
        client.read_head()
        for number in range(10):
            assert client.read_line() == b"9"
            assert client.read_some(11) == b"data: %d\n\n\r\n" % number
            taken.release()
        assert client.read_line() == b"0"


def test_early_answer_arrives_while_the_upload_goes_on(pair: Pair) -> None:
    def early(connection: AppConnection, seen: Seen) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n")
        body = connection.read_body(seen)
        connection.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))

    pair.app.script = early
    with Client(pair.sidecar.inbound) as client:
        client.send(b"POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst")
        client.read_head()
        assert client.read_line() + client.read_some(7) == b"5early\r\n"
        client.send(b"later")
        assert client.read_line() + client.read_some(12) == b"afirstlater\r\n"
        assert client.read_some(5) == b"0\r\n\r\n"
        assert client.send(get("/next")).read_answer().status == 200


def test_large_body_down_through_a_slow_reader_at_flat_memory(pair: Pair) -> None:
    size = 256 * MB
    digest = hashlib.sha256()
    block = bytes(range(256)) * 4096

    def large(connection: AppConnection, seen: Seen) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(block)):
            connection.send(block)

    pair.app.script = large
    pair.sidecar.ask("/warm", "x: 1", method="HEAD")
    before = peak = pair.sidecar.rss
    with Client(pair.sidecar.inbound, receive_buffer=65536) as client:
        client.send(get("/large"))
        client.read_head()
        left = size
        while left:
            data = client.read_some(min(left, MB))
            assert data, client.ended
            digest.update(data)
            left -= len(data)
            if left % (16 * MB) == 0:
                time.sleep(0.01)  # a slow reader, not a wait for anything
                peak = max(peak, pair.sidecar.rss)
    expected = hashlib.sha256()
    for _ in range(size // len(block)):
        expected.update(block)
    assert digest.digest() == expected.digest()
    assert peak - before < 8 * MB


def test_large_body_up_to_a_slow_app_at_flat_memory(pair: Pair) -> None:
    size = 128 * MB
    seen_bytes = []

    def slow(connection: AppConnection, seen: Seen) -> None:
        left = size
        while left:
            left -= len(connection.read_some())
            connection.received.clear()
        seen_bytes.append(size - left)
        seen.is_read = True
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    pair.app.script = slow
    before = pair.sidecar.rss
    with Client(pair.sidecar.inbound) as client:
        client.send(b"PUT /large HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // MB):
            client.sock.sendall(b"z" * MB)
        assert client.read_answer().status == 200
        assert pair.sidecar.rss - before < 8 * MB
    assert seen_bytes == [size]


@pytest.mark.parametrize("toward", ["app", "client"])
def test_back_pressure_stops_the_sender(pair: Pair, toward: str) -> None:
    """Whoever does not read holds up whoever sends, after no more than buffers hold."""
    pair.app.drop_connections()  # the kernel's own buffer of a connection that was busy may be 32 MB
    go_on = threading.Event()
    sent = []

    def app(connection: AppConnection, seen: Seen) -> None:
        if toward == "client":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MB))
            for _ in range(64 * 16):
                connection.send(b"z" * 65536)
                sent.append(65536)
        else:
            assert go_on.wait(30)
            echo(connection, seen)

    pair.app.script = app
    with Client(pair.sidecar.inbound, receive_buffer=65536) as client:
        if toward == "client":
            client.send(get("/b"))
            total = _settled(sent)
        else:
            client.send(b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (64 * MB))
            sender = threading.Thread(target=_send_counting, args=(client, 64 * MB, sent))
            sender.start()
            total = _settled(sent)
        assert total < 24 * MB, "more than the buffers of two sockets were taken"
        go_on.set()
        answer = client.read_answer()
        assert answer.end == "whole"
        assert len(answer.body) >= 64 * MB


def _send_counting(client: Client, size: int, sent: list[int]) -> None:
    for _ in range(size // 65536):
        client.sock.sendall(b"z" * 65536)
        sent.append(65536)


def _settled(sent: list[int]) -> int:
    """The bytes sent once no more have gone for half a second."""
    last = (0, time.monotonic())

    def is_settled() -> bool:
        nonlocal last
        if len(sent) != last[0] or not sent:
            last = (len(sent), time.monotonic())
        return time.monotonic() - last[1] > 0.5

    eventually(is_settled)
    return sum(sent)


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
def test_websocket_both_ways(direction: str, tmp_path: Path) -> None:
    def handler(connection: websockets.sync.server.ServerConnection) -> None:
        connection.send("welcome")
        for message in connection:
            connection.send(message)

    with websockets.sync.server.serve(handler, "127.0.0.1", 0, max_size=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            port = server.socket.getsockname()[1]
            with sidecar(tmp_path, sidecar_config(port)) as running:
                url = f"ws://127.0.0.1:{running.ports[direction]}/chat"
                with websockets.sync.client.connect(url, max_size=None) as client:
                    assert client.recv(10) == "welcome"
                    for message in ("text", b"\x00\xff", "x" * 500_000, b"z" * (3 * MB)):
                        client.send(message)
                        assert client.recv(20) == message
                line = running.access_line("/chat")
                assert line["status"] == 101
        finally:
            server.shutdown()
            thread.join()


def test_tunnel_that_the_client_cuts_is_cut_at_the_app(pair: Pair) -> None:
    ended = []

    def tunnel(connection: AppConnection, seen: Seen) -> None:
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        while connection.read_some():
            pass
        ended.append(connection.ended)

    pair.app.script = tunnel
    client = Client(pair.sidecar.inbound)
    client.send(get("/up", "Connection: Upgrade", "Upgrade: x"))
    assert client.read_answer().status == 101
    client.send(b"some")
    client.cut()
    eventually(lambda: ended)


@pytest.mark.parametrize("ending", ["cut", "close"])
@pytest.mark.parametrize("moment", ["before the answer", "in the answer", "in the body"])
def test_X10_client_that_leaves_takes_its_request_along(pair: Pair, moment: str, ending: str) -> None:
    """The app's connection ends, and the next client gets its own."""

    def waiting(connection: AppConnection, seen: Seen) -> None:
        if moment == "in the answer":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
        connection.read_some()

    pair.app.script = waiting
    client = Client(pair.sidecar.inbound)
    if moment == "in the body":
        client.send(b"POST /x10 HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\npart")
    else:
        client.send(get("/x10"))
    seen = eventually(lambda: pair.app.requests)[0]
    if moment == "in the answer":
        client.read_head()
    connection = next(each for each in pair.app.connections if each.number == seen.connection)
    client.cut() if ending == "cut" else client.sock.close()

    def is_gone() -> bool:
        if moment == "in the answer" and ending == "close":
            with contextlib.suppress(OSError):  # a client that has gone is noticed by what is written to it
                connection.sock.sendall(b".")
        return connection.is_closed or bool(connection.ended)

    eventually(is_gone)
    pair.app.script = echo
    assert pair.sidecar.ask("/after").body == b"GET /after id=\n"


def test_half_closed_client_still_gets_its_answer(pair: Pair) -> None:
    with Client(pair.sidecar.inbound) as client:
        client.send(get("/half")).finish()
        assert client.read_answer().body == b"GET /half id=\n"
        assert client.wait_for_end() == "eof"


def test_R2_idle_connection_that_the_app_has_closed_is_not_the_clients_problem(pair: Pair) -> None:
    """GET is asked once more on a fresh connection; the client notices nothing."""

    def once(connection: AppConnection, seen: Seen) -> None:
        echo(connection, seen)
        connection.close()  # without saying so

    pair.app.script = once
    for number in range(100):
        assert pair.sidecar.ask(f"/{number}").body == f"GET /{number} id=\n".encode()


def test_R2_reused_connection_reset_before_any_answer(pair: Pair) -> None:
    pair.sidecar.ask("/warm")
    resets = []

    def reset_first(connection: AppConnection, seen: Seen) -> None:
        if not resets:
            resets.append(connection.number)
            connection.cut()
        else:
            echo(connection, seen)

    pair.app.script = reset_first
    answer = pair.sidecar.ask("/again", "x-id: 7")
    assert (answer.status, answer.body) == (200, b"GET /again id=7\n")
    assert [seen.get(b"x-sidecar-attempt") for seen in pair.app.requests[-2:]] == [b"1", b"2"]


def test_R1_post_is_never_repeated(pair: Pair) -> None:
    pair.sidecar.ask("/warm")

    def reset(connection: AppConnection, seen: Seen) -> None:
        connection.cut()

    pair.app.script = reset
    assert pair.sidecar.ask("/post", method="POST", body=b"x").refusal == (502, "upstream_reset")
    assert [seen.target for seen in pair.app.requests].count(b"/post") == 1


def test_R7_nothing_that_may_not_be_repeated_happens_twice(tmp_path: Path) -> None:
    """Two thousand POSTs with ids of their own while the app cuts every seventh connection."""
    def moody(connection: AppConnection, seen: Seen) -> None:
        if int(seen.get(b"x-id") or 0) % 7 == 0:
            connection.cut()
        else:
            echo(connection, seen)

    with raw_app(moody) as app:
        with sidecar(tmp_path, sidecar_config(app.port)) as running, Client(running.inbound) as client:
            statuses: Counter[int] = Counter()
            for number in range(2000):
                client.send(get("/r7", f"x-id: {number}", method="POST", body=b"x"))
                statuses[client.read_answer().status] += 1
        assert set(statuses) == {200, 502}
        assert max(Counter(seen.get(b"x-id") for seen in app.requests).values()) == 1


def test_http_1_0_client_gets_a_body_without_chunks(pair: Pair) -> None:
    def stream(connection: AppConnection, seen: Seen) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"abc", b"def"))

    pair.app.script = stream
    with Client(pair.sidecar.inbound) as client:
        answer = client.send(b"GET /old HTTP/1.0\r\n\r\n").read_answer()
        assert (answer.body, answer.get("transfer-encoding"), answer.end) == (b"abcdef", None, "whole")


def test_connect_is_refused(pair: Pair) -> None:
    answer = ask(pair.sidecar.inbound, b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n")
    assert answer.status in (403, 405)
    assert not pair.app.requests


@needs("curl")
def test_curl(pair: Pair) -> None:
    url = f"http://127.0.0.1:{pair.sidecar.inbound}/curl"
    chunks = ["-H", "Transfer-Encoding: chunked", "-d", "x"]
    for words in (["-d", "hello=1"], ["-T", __file__], chunks, ["--http1.0"], ["-I"]):
        done = subprocess.run(["curl", "-sS", "--max-time", "20", *words, url], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert b"/curl" in done.stdout or b"200 OK" in done.stdout
    done = subprocess.run(
        ["curl", "-sS", "--path-as-is", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}", url + "/../x"],
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"400"


@needs("wrk")
def test_wrk_sees_no_error(tmp_path: Path) -> None:
    with fast_app() as app, sidecar(tmp_path, sidecar_config(app.port)) as running:
        url = f"http://127.0.0.1:{running.inbound}/wrk"
        done = subprocess.run(["wrk", "-t1", "-c64", "-d2s", url], capture_output=True, text=True, check=True)
    assert "Non-2xx" not in done.stdout, done.stdout
    assert "Socket errors" not in done.stdout, done.stdout
