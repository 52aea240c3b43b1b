"""Rows F8, F11, F12, F17, F18 and F20: bodies that stop, answers that come early, upgrades, floods of requests."""

from __future__ import annotations

import threading

import pytest

from tests.support.bystander import Stage
from tests.support.raw_app import AppConnection, Seen, echo
from tests.support.raw_client import Client, Gone, chunked, get
from tests.support.wait import eventually

POST = b"POST /b HTTP/1.1\r\nHost: app.test\r\n"
DIRECTIONS = pytest.mark.parametrize("direction", ["inbound", "outbound"])


@DIRECTIONS
@pytest.mark.parametrize("ending", ["half-close", "close", "reset"])
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(POST + b"Content-Length: 100\r\n\r\nhalf", id="length"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", id="no-last-chunk"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\n10\r\nhalf", id="in-chunk"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\nA: b\r\n", id="in-trailers"),
    ],
)
def test_F8_body_that_stops_is_cut_at_the_app_not_ended(
    attacked: Stage, direction: str, ending: str, data: bytes
) -> None:
    app = attacked.app
    with Client(attacked.sidecar.ports[direction]) as client:
        client.send(data)
        eventually(lambda: b"half" in _received(app))
        if ending == "half-close":
            client.finish()
        elif ending == "close":
            client.sock.close()
        else:
            client.cut()
        eventually(lambda: app.requests[0].cut)
    assert len(app.requests) == 1
    broken = app.requests[0].connection
    attacked.sidecar.ask("/next")
    assert app.requests[-1].target == b"/next"
    assert app.requests[-1].connection != broken


def _received(app: object) -> bytes:
    return b"".join(bytes(each.received) for each in app.connections)  # type: ignore[attr-defined]


def test_F8_more_body_than_declared_is_the_next_request(attacked: Stage) -> None:
    with Client(attacked.sidecar.inbound) as client:
        client.send(POST + b"Content-Length: 4\r\n\r\nbodyMORE")
        assert client.read_answer().body == b"POST /b id=\nbody"
        client.send(b"\r\n\r\n")
        assert client.read_answer().refusal == (400, "bad_request")
        client.wait_for_end()
    assert [seen.body for seen in attacked.app.requests] == [b"body"]


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_F11_what_follows_an_early_refusal_is_never_a_request(attacked: Stage, framing: str) -> None:
    """A refused request whose body hides another, and then goes on sending."""
    hidden = get("/hidden")
    lines = b"Content-Length: 300000\r\n" if framing == "length" else b"Transfer-Encoding: chunked\r\n"
    body = hidden * 100 if framing == "length" else chunked(hidden * 100)
    with Client(attacked.sidecar.inbound) as client:
        client.send(b"POST /a/../b HTTP/1.1\r\nHost: app.test\r\n" + lines + b"\r\n" + body)
        answer = client.read_answer()
        assert answer.refusal == (400, "bad_request")
        client.send(hidden * 50)
        rest = client.read_rest() if answer.get("connection") == "close" else b""
        assert b"HTTP/1.1" not in rest
    assert b"hidden" not in _received(attacked.app)


def test_F11_lingering_ends_by_a_reset(attacked: Stage) -> None:
    """A client that never stops sending gets the refusal, and then no patience without end."""
    with Client(attacked.sidecar.inbound) as client:
        client.send(b"POST /a/../b HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000000000\r\n\r\n")
        assert client.read_answer().status == 400
        try:
            for _ in range(2000):
                client.sock.sendall(b"x" * 65536)
        except OSError:
            return
    raise AssertionError("128 MB were taken after the refusal")


def test_F11_early_answer_of_the_app_ends_a_connection_that_is_out_of_step(attacked: Stage) -> None:
    def refuse(connection: AppConnection, seen: Seen) -> None:
        if seen.target != b"/early":
            return echo(connection, seen)
        connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        connection.close()
        return None

    attacked.app.script = refuse
    with Client(attacked.sidecar.inbound) as client:
        client.send(b"POST /early HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000000\r\n\r\n" + get("/hidden"))
        answer = client.read_answer()
        assert (answer.status, answer.body) == (413, b"no")
        client.send(get("/hidden") * 10)
        assert b"HTTP/1.1" not in client.read_rest()
    assert b"/hidden" not in [seen.target for seen in attacked.app.requests]


@DIRECTIONS
def test_F12_expectation_goes_to_the_app_and_its_100_comes_back(attacked: Stage, direction: str) -> None:
    def expecting(connection: AppConnection, seen: Seen) -> None:
        if seen.get(b"expect") is not None:
            connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        echo(connection, seen)

    attacked.app.script = expecting
    with Client(attacked.sidecar.ports[direction]) as client:
        client.send(POST + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert client.read_answer_head().status == 100
        client.send(b"body")
        assert client.read_answer().body == b"POST /b id=\nbody"
        assert client.send(get("/next")).read_answer().body == b"GET /next id=\n"


def test_F12_expectation_with_the_body_at_once(attacked: Stage) -> None:
    with Client(attacked.sidecar.inbound) as client:
        client.send(POST + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\nbody" + get("/next"))
        assert client.read_answer().body == b"POST /b id=\nbody"
        assert client.read_answer().body == b"GET /next id=\n"


def test_F12_expectation_refused_by_the_app(attacked: Stage) -> None:
    """The client may now send the body or not: the connection cannot be used again."""

    def refuse(connection: AppConnection, seen: Seen) -> None:
        connection.send(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")

    attacked.app.script = refuse
    with Client(attacked.sidecar.inbound) as client:
        client.send(POST + b"Expect: 100-continue\r\nContent-Length: 100\r\n\r\n")
        assert client.read_answer().status == 417
        attacked.app.script = echo
        client.send(get("/hidden") + b"x" * 100)
        assert b"HTTP/1.1" not in client.read_rest()
    assert len(attacked.app.requests) == 1


@pytest.mark.parametrize("value", ["200-ok", "100-continue, 200-ok", "x", ""])
def test_F12_unknown_expectation_is_417(attacked: Stage, value: str) -> None:
    with Client(attacked.sidecar.inbound) as client:
        client.send(POST + f"Expect: {value}\r\nContent-Length: 4\r\n\r\nbody".encode())
        assert client.read_answer().refusal == (417, "bad_request")
    assert not attacked.app.requests


def test_F12_expectation_twice_is_refused_or_passed_in_step(attacked: Stage) -> None:
    with Client(attacked.sidecar.inbound) as client:
        twice = b"Expect: 100-continue\r\n" * 2
        client.send(POST + twice + b"Content-Length: 4\r\n\r\nbody" + get("/next"))
        answer = client.read_answer()
        if answer.status == 200:
            assert client.read_answer().body == b"GET /next id=\n"
        else:
            assert answer.status in (400, 417)
            client.wait_for_end()


@pytest.mark.parametrize(
    "name",
    ["Host", "Content-Length", "X-Forwarded-For", "X-Forwarded-Client-Cert", "X-Request-Id", "Traceparent",
     "X-Sidecar-X", "Transfer-Encoding", "Authorization", "Cookie", "Forwarded", "X-Forwarded-Proto", "Via", "B3",
     "Content-Type"],
)  # fmt: skip
def test_F17_connection_cannot_take_away_what_others_rely_on(attacked: Stage, name: str) -> None:
    request = get("/f", f"Connection: close, {name.lower()}", "Authorization: a", "Cookie: b", "Traceparent: c",
                  "X-Forwarded-For: 1.2.3.4", "X-Request-Id: r", "Forwarded: for=1", "Via: 1.1 x", "B3: 0",
                  "Content-Type: text/plain", "X-Forwarded-Proto: http", method="POST", body=b"body")  # fmt: skip
    with Client(attacked.sidecar.inbound) as client:
        answer = client.send(request).read_answer()
        client.wait_for_end()
    if answer.status == 400:
        assert not attacked.app.requests
        return
    seen = attacked.app.requests[0]
    assert seen.body == b"body"
    for field in (b"host", b"authorization", b"cookie", b"x-forwarded-for", b"x-request-id", b"forwarded", b"via"):
        assert seen.get(field) is not None, field
    assert seen.get(b"content-length") == b"4"
    assert seen.get(b"x-forwarded-client-cert") is None
    assert seen.get(b"x-sidecar-x") is None


def test_F18_upgrade_answered_200_is_no_tunnel(attacked: Stage) -> None:
    with Client(attacked.sidecar.inbound) as client:
        client.send(get("/ws", "Connection: Upgrade", "Upgrade: websocket") + get("/glued"))
        assert client.read_answer().body == b"GET /ws id=\n"
        try:
            assert client.read_answer().body == b"GET /glued id=\n"
        except Gone:
            assert b"/glued" not in [seen.target for seen in attacked.app.requests]


def test_F18_upgrade_on_post_is_no_tunnel(attacked: Stage) -> None:
    with Client(attacked.sidecar.inbound) as client:
        client.send(get("/ws", "Connection: Upgrade", "Upgrade: websocket", method="POST", body=b"body"))
        answer = client.read_answer()
        assert answer.status in (200, 400)
        if answer.status == 200:
            assert answer.body == b"POST /ws id=\nbody"


def test_F18_bytes_glued_behind_an_upgrade_wait_for_the_101(attacked: Stage) -> None:
    """Before the app has agreed they are neither a request nor the app's."""
    go = threading.Event()

    def upgrading(connection: AppConnection, seen: Seen) -> None:
        assert go.wait(20)
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        while data := connection.read_some():
            connection.send(data.upper())
        connection.close()

    attacked.app.script = upgrading
    with Client(attacked.sidecar.inbound) as client:
        client.send(get("/up", "Connection: Upgrade", "Upgrade: echo") + b"stuck")
        eventually(lambda: attacked.app.requests)
        assert b"stuck" not in _received(attacked.app)
        go.set()
        assert client.read_answer().status == 101
        assert client.read_some(5) == b"STUCK"
        client.send(b"and more").finish()
        assert client.read_some(8) == b"AND MORE"
        assert client.wait_for_end() == "eof"


def test_F18_h2c_is_ignored(attacked: Stage) -> None:
    with Client(attacked.sidecar.inbound) as client:
        client.send(get("/h2c", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ"))
        assert client.read_answer().status == 200
        assert client.send(get("/next")).read_answer().body == b"GET /next id=\n"
    names = {name.lower() for name, _ in attacked.app.requests[0].fields}
    assert not names & {b"upgrade", b"http2-settings"}


def test_F20_ten_thousand_pipelined_requests(attacked: Stage) -> None:
    """All are answered in order, while few of them are ever taken in."""
    count = 10_000
    before = attacked.sidecar.rss
    with Client(attacked.sidecar.inbound, timeout=60) as client:
        sender = threading.Thread(
            target=client.send, args=(b"".join(get("/p", f"x-id: {number}") for number in range(count)),)
        )
        sender.start()
        for number in range(count):
            assert client.read_answer().body == b"GET /p id=%d\n" % number
        sender.join()
    assert attacked.sidecar.rss - before < 32 << 20


def test_F20_client_that_reads_nothing_stops_being_read(attacked: Stage) -> None:
    """Answers that nobody takes hold up the requests behind them, not memory."""
    served: list[bytes] = []

    def large(connection: AppConnection, seen: Seen) -> None:
        served.append(seen.target)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"z" * 1_000_000)

    attacked.app.script = large
    before = attacked.sidecar.rss
    with Client(attacked.sidecar.inbound, receive_buffer=4096) as client:
        client.send(get("/p") * 2000)
        hits = attacked.sidecar.limit_hits("write_stall")
        attacked.sidecar.wait_for_metric(hits, "loom_limit_hits_total", limit="write_stall")
    assert len(served) < 50
    assert attacked.sidecar.rss - before < 32 << 20
