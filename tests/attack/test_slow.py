"""Group S: clients that drip, stall, say nothing or take too much; each meets its deadline, a bystander none."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bystander import Stage, stage
from tests.support.raw_app import AppConnection, Seen, echo, raw_app
from tests.support.raw_client import Client, ask, get
from tests.support.sidecar_process import sidecar, sidecar_config
from tests.support.wait import eventually


def drip(client: Client, data: bytes, pause: float, seconds: float) -> None:
    """One byte at a time until the peer has had enough; fails when it never has."""
    client.sock.settimeout(pause)
    end = time.monotonic() + seconds
    for at in range(len(data)):
        client.sock.send(data[at : at + 1])
        with contextlib.suppress(TimeoutError):
            client.fill()
        if client.buffer or client.ended:
            client.sock.settimeout(20)
            return
        assert time.monotonic() < end, "dripped on for ever"


def test_S1_dripping_head_is_closed_at_its_deadline(attacked: Stage) -> None:
    before = attacked.sidecar.limit_hits("header_timeout")
    with Client(attacked.sidecar.inbound) as client:
        drip(client, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 1000, 0.1, 15)
        assert client.read_answer().refusal == (408, "request_timeout")
        client.wait_for_end()
    assert not attacked.app.requests
    attacked.sidecar.wait_for_metric(before, "loom_limit_hits_total", limit="header_timeout")


def test_S1_five_hundred_dripping_connections(attacked: Stage) -> None:
    clients = [Client(attacked.sidecar.inbound) for _ in range(500)]
    try:
        for client in clients:
            client.send(b"GET / HTTP/1.1\r\nX")
        assert attacked.sidecar.ask("/meanwhile").status == 200
        for client in clients:
            with contextlib.suppress(ConnectionError):
                client.sock.send(b"-")
        for client in clients:
            assert client.read_answer().status == 408
    finally:
        for client in clients:
            client.sock.close()
    assert [seen.target for seen in attacked.app.requests] == [b"/meanwhile"]


def test_S1_second_head_on_a_kept_connection_has_the_deadline_too(attacked: Stage) -> None:
    with Client(attacked.sidecar.inbound) as client:
        assert client.send(get("/first")).read_answer().status == 200
        client.send(b"GET /second HTTP/1.1\r\nHo")
        assert client.read_answer().status == 408
        client.wait_for_end()


def test_S2_dripping_body_is_cut_at_the_least_rate(attacked: Stage) -> None:
    before = attacked.sidecar.limit_hits("body_rate")
    with Client(attacked.sidecar.inbound) as client:
        client.send(b"POST /s2 HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000000000\r\n\r\n")
        drip(client, b"x" * 1000, 0.1, 15)
        assert client.read_answer().refusal == (408, "request_timeout")
        client.wait_for_end()
    eventually(lambda: attacked.app.requests[0].cut)
    attacked.sidecar.wait_for_metric(before, "loom_limit_hits_total", limit="body_rate")


def test_S2_slow_app_is_not_a_slow_client(attacked: Stage) -> None:
    """A body that waits for the app is nobody's fault: the rate is asked of clients that could send."""

    def slowly(connection: AppConnection, seen: Seen) -> None:
        time.sleep(2.5)  # longer than the grace: what is tested is that this much time passes unpunished
        echo(connection, seen)

    attacked.app.script = slowly
    body = b"b" * (8 << 20)
    answer = attacked.sidecar.ask("/s2", method="POST", body=body)
    assert answer.status == 200
    assert answer.body == b"POST /s2 id=\n" + body


def test_S3_reader_that_takes_nothing_is_reset_and_the_app_held_up(attacked: Stage) -> None:
    sent = []

    def endless(connection: AppConnection, seen: Seen) -> None:
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                connection.sock.sendall(b"z" * 65536)
                sent.append(65536)

    attacked.app.script = endless
    before = attacked.sidecar.limit_hits("write_stall")
    memory = attacked.sidecar.rss
    with Client(attacked.sidecar.inbound, receive_buffer=4096) as client:
        client.send(get("/s3"))
        attacked.sidecar.wait_for_metric(before, "loom_limit_hits_total", limit="write_stall")
        client.read_rest()
        assert client.ended == "reset"
    assert sum(sent) < 32 << 20, "more was taken from the app than buffers hold"
    assert attacked.sidecar.rss - memory < 16 << 20


@pytest.fixture(scope="module")
def idle_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    limits = {"idle_timeout": "1s", "header_timeout": "2s", "stream_idle_timeout": "2s", "route_timeout": "30s"}
    with stage(tmp_path_factory.mktemp("idle"), limits=limits) as ready:
        yield ready
        ready.check()


def test_S5_connection_that_says_nothing_is_closed(idle_stage: Stage) -> None:
    clients = [Client(idle_stage.sidecar.inbound) for _ in range(200)]
    files = eventually(lambda: found if (found := idle_stage.sidecar.open_files) > 200 else 0)
    for client in clients:
        assert client.wait_for_end() in ("eof", "reset")
        client.sock.close()
    eventually(lambda: idle_stage.sidecar.open_files <= files - 150)
    idle_stage.check()


def test_S7_idle_connection_is_closed(idle_stage: Stage) -> None:
    with Client(idle_stage.sidecar.inbound) as client:
        assert client.send(get("/s7")).read_answer().status == 200
        assert client.wait_for_end() == "eof"
    idle_stage.check()


def test_S7_client_that_never_reads_our_end_is_reset(idle_stage: Stage) -> None:
    """After a refusal we wait a second for the peer's own end, and no longer."""
    with Client(idle_stage.sidecar.inbound) as client:
        client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n")
        assert client.read_answer().status == 400
        files = idle_stage.sidecar.open_files
        eventually(lambda: idle_stage.sidecar.open_files < files, 10)


def test_X9_app_that_hangs_in_its_answer_is_given_up(idle_stage: Stage) -> None:
    def hanging(connection: AppConnection, seen: Seen) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        connection.read_some()

    idle_stage.app.reset()
    idle_stage.app.script = hanging
    answer = idle_stage.sidecar.ask("/hang")
    assert (answer.status, answer.body) == (200, b"12345")
    assert answer.end != "whole"
    idle_stage.app.reset()
    idle_stage.check()


# --- S8, S9: more than there is room for -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("crowd"), limits={"connections": 20, "idle_timeout": "60s"}) as ready:
        yield ready
        ready.check()


def test_S8_connection_above_the_limit_is_told_so_and_room_comes_back(crowded: Stage) -> None:
    held = []
    try:
        answers = []
        for _ in range(30):
            client = Client(crowded.sidecar.inbound)
            held.append(client)
            answers.append(client.send(get("/s8")).read_answer())
        kinds = {answer.refusal for answer in answers}
        assert kinds == {(200, ""), (503, "overloaded")}
        refused = [answer for answer in answers if answer.status == 503]
        assert all(answer.get("retry-after") for answer in refused)
        assert all(answer.get("connection") == "close" for answer in refused)
        assert 9 <= len(refused) <= 12
        crowded.check()
    finally:
        for client in held:
            client.sock.close()
    eventually(lambda: crowded.sidecar.ask("/s8").status == 200)
    assert crowded.sidecar.metric("loom_limit_hits_total", limit="connections") >= 0


def test_S8_far_above_the_limit_connections_are_cut(crowded: Stage) -> None:
    held = [socket.create_connection(("127.0.0.1", crowded.sidecar.inbound)) for _ in range(60)]
    try:
        crowded.check()
        files = crowded.sidecar.open_files
        assert files < 120
    finally:
        for sock in held:
            sock.close()
    eventually(lambda: crowded.sidecar.ask("/s8").status == 200)


def test_S9_requests_above_the_limit_are_refused_at_once(tmp_path: Path) -> None:
    """The bystanders ask on another listener than the flood: they are the ones whose room must not be taken."""
    with raw_app() as app, sidecar(tmp_path, sidecar_config(app.port, limits={"requests_in_flight": 8})) as running:
        app.script = lambda connection, _seen: None if connection.read_some() else connection.close()
        with contextlib.ExitStack() as stack:
            for _ in range(8):
                stack.enter_context(Client(running.outbound)).send(get("/held"))
            eventually(lambda: len(app.requests) == 8)
            answer = ask(running.outbound, get("/more"))
            assert answer.refusal == (503, "overloaded")
            assert answer.get("retry-after")
        app.reset()
        eventually(lambda: ask(running.outbound, get("/again")).status == 200)
        running.wait_for_metric(0, "loom_limit_hits_total", limit="requests_in_flight")
