"""Reload, drain and a killed worker while clients are being served: not one request fails, and nothing stays behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.raw_app import AppConnection, Seen, echo, fast_app, raw_app
from tests.support.raw_client import Client, Gone, ask, get
from tests.support.sidecar_process import Sidecar, complete, plugin, sidecar, sidecar_config
from tests.support.wait import eventually


class Load:
    """Clients that ask one request after the other; ``connection: close`` is heeded, anything else is a failure."""

    def __init__(self, port: int, clients: int = 6) -> None:
        self.port = port
        self.failures: list[str] = []
        self.answers: list[int] = [0] * clients
        self.marks: set[str] = set()
        """Values of ``x-generation`` in the answers."""
        self.is_ending = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(clients)]

    def _run(self, number: int) -> None:
        client: Client | None = None
        while not self.is_ending.is_set():
            try:
                if client is None:
                    client = Client(self.port)
            except OSError:
                return  # nobody listens any more: a drain
            mark = f"{number}-{self.answers[number]}"
            try:
                answer = client.send(get(f"/load/{mark}", f"x-id: {mark}")).read_answer()
            except (Gone, OSError, AssertionError) as error:
                self.failures.append(f"{mark}: {type(error).__name__}: {error}")
                return
            if answer.status != 200 or f"id={mark}\n".encode() not in answer.body:
                self.failures.append(f"{mark}: {answer.status} {answer.error} {answer.body!r}")
            self.marks.add(answer.get("x-generation") or "")
            self.answers[number] += 1
            if answer.get("connection") == "close":
                client.sock.close()
                client = None
        if client is not None:
            client.sock.close()

    def go_on(self, more: int = 50) -> None:
        """Until every client has had ``more`` answers, or something has failed."""
        before = list(self.answers)
        eventually(
            lambda: self.failures or all(now - then >= more for now, then in zip(self.answers, before, strict=True))
        )
        assert not self.failures, self.failures[:5]

    def stop(self) -> None:
        self.is_ending.set()
        for thread in self._threads:
            thread.join(20)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()


@contextmanager
def load(port: int) -> Iterator[Load]:
    running = Load(port)
    running.start()
    try:
        yield running
    finally:
        running.stop()


def configured(app: int, generation: int, **blocks: Any) -> dict[str, Any]:
    """A configuration whose answers say which one they are of."""
    header = {"set": {"x-generation": str(generation)}}
    routes = [{"id": "all", "path": "/*", "upstream": "app", "response_headers": header}]
    return sidecar_config(app, routes=routes, plugins=[plugin("header-edit")], **blocks)


def rewrite(running: Sidecar, config: dict[str, Any]) -> None:
    """Replace the file in one step, as an editor or a mounted volume does."""
    fresh = running.folder / "fresh.yaml"
    fresh.write_text(json.dumps(complete(config, running.folder, running.ports)), encoding="utf-8")
    fresh.rename(running.config_file)


def by_signal(running: Sidecar) -> None:
    running.signal(signal.SIGHUP)


def by_socket(running: Sidecar) -> None:
    assert _post(running, "/reload") == 200


def by_file(running: Sidecar) -> None:
    """The change of the file is enough."""


def _post(running: Sidecar, path: str) -> int:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(running.socket))
        sock.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return int(sock.recv(4096).split(b" ")[1])


def generation_of(running: Sidecar) -> str | None:
    return running.ask("/generation", "x-id: g").get("x-generation")


@pytest.mark.parametrize("trigger", [by_signal, by_socket, by_file])
def test_Y8_reload_under_load(tmp_path: Path, trigger: Callable[[Sidecar], None]) -> None:
    with fast_app() as app, sidecar(tmp_path, configured(app.port, 1)) as running, load(running.inbound) as clients:
        clients.go_on()
        for generation in (2, 3):
            rewrite(running, configured(app.port, generation))
            trigger(running)
            eventually(lambda expected=str(generation): generation_of(running) == expected)
            clients.go_on()
        clients.stop()
        assert not clients.failures
        assert clients.marks == {"1", "2", "3"}
        assert running.metric("loom_config_generation", state="active") == 3


def test_Y7_wrong_reloads_under_load_change_nothing(tmp_path: Path) -> None:
    with fast_app() as app, sidecar(tmp_path, configured(app.port, 1)) as running, load(running.inbound) as clients:
        clients.go_on()
        good = configured(app.port, 2)
        wrongs: list[dict[str, Any]] = [
            {**good, "unknown": 1},
            {**good, "upstreams": []},
            {**good, "upstreams": [{"name": "app", "endpoints": ["10.0.0.1:80"]}]},
            {**good, "plugins": [plugin("header-edit", Path("/nowhere.wasm"))]},
            {**good, "plugins": [plugin("header-edit", config={"unknown": 1})]},
            {**good, "routes": [{"id": "all", "path": "/*", "upstream": "missing"}]},
            {**good, "limits": {"header_bytes": "many"}},
        ]
        for wrong in wrongs:
            rewrite(running, wrong)
            assert _post(running, "/reload") == 409, wrong
            assert generation_of(running) == "1"
        running.config_file.write_text("listeners: [", encoding="utf-8")
        assert _post(running, "/reload") == 409
        running.config_file.unlink()
        assert _post(running, "/reload") == 409
        clients.go_on()
        rewrite(running, good)
        eventually(lambda: _post(running, "/reload") == 200)
        assert generation_of(running) == "2"
        clients.stop()
        assert not clients.failures
        assert clients.marks <= {"1", "2"}


def test_Y8_reloads_leave_nothing_behind(tmp_path: Path) -> None:
    with fast_app() as app, sidecar(tmp_path, configured(app.port, 1)) as running:
        sizes = []
        for generation in range(2, 42):
            rewrite(running, configured(app.port, generation))
            assert _post(running, "/reload") == 200
            assert generation_of(running) == str(generation)
            sizes.append((running.rss, running.open_files))
        # The first ones still grow into their pools and arenas.
        assert sizes[-1][0] - sizes[15][0] < 12 << 20
        assert sizes[-1][1] <= sizes[15][1] + 4


def test_D1_drain_under_load_loses_no_request(tmp_path: Path) -> None:
    config_drain = {"delay": "500ms", "timeout": "5s"}
    with contextlib.ExitStack() as stack:
        app = stack.enter_context(fast_app())
        running = stack.enter_context(sidecar(tmp_path, configured(app.port, 1, drain=config_drain)))
        clients = stack.enter_context(load(running.inbound))
        clients.go_on()
        running.signal(signal.SIGTERM)
        eventually(lambda: _is_unready(running))
        assert running.wait(20) == 0
        clients.stop()
        assert not clients.failures, clients.failures[:5]
        assert sum(clients.answers) > 300


def _is_unready(running: Sidecar) -> bool:
    with contextlib.suppress(OSError, Gone):
        return ask(running.ports["health"], get("/healthz/ready", host="127.0.0.1")).status == 503
    return True


def test_D1_request_under_way_is_finished(tmp_path: Path) -> None:
    go_on = threading.Event()

    def slow(connection: AppConnection, seen: Seen) -> None:
        assert go_on.wait(20)
        echo(connection, seen)

    with contextlib.ExitStack() as stack:
        app = stack.enter_context(raw_app(slow))
        running = stack.enter_context(sidecar(tmp_path, sidecar_config(app.port)))
        client = stack.enter_context(Client(running.inbound))
        client.send(get("/under-way", "x-id: 1"))
        eventually(lambda: app.requests)
        running.signal(signal.SIGTERM)
        eventually(lambda: _is_unready(running))
        go_on.set()
        answer = client.read_answer()
        assert (answer.status, answer.get("connection")) == (200, "close")
        assert running.wait() == 0


def test_D1_what_does_not_end_is_cut_at_the_timeout(tmp_path: Path) -> None:
    def never(connection: AppConnection, seen: Seen) -> None:
        connection.read_some()

    with raw_app(never) as app:
        config = sidecar_config(app.port, drain={"delay": "0s", "timeout": "1s"})
        with sidecar(tmp_path, config) as running, Client(running.inbound) as client:
            client.send(get("/never"))
            eventually(lambda: app.requests)
            began = time.monotonic()
            running.signal(signal.SIGTERM)
            assert running.wait() == 0
            assert time.monotonic() - began < 1 + 4
            with contextlib.suppress(Gone):
                assert client.read_answer().refusal == (503, "draining")


def test_D2_second_signal_is_the_fast_way(tmp_path: Path) -> None:
    def never(connection: AppConnection, seen: Seen) -> None:
        connection.read_some()

    with raw_app(never) as app:
        config = sidecar_config(app.port, drain={"delay": "20s", "timeout": "20s"})
        with sidecar(tmp_path, config) as running, Client(running.inbound) as client:
            client.send(get("/never"))
            eventually(lambda: app.requests)
            running.signal(signal.SIGTERM)
            eventually(lambda: _is_unready(running))
            running.signal(signal.SIGTERM)
            running.wait(5)


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def test_X6_killed_worker_is_replaced_while_the_other_serves(tmp_path: Path) -> None:
    with fast_app() as app, sidecar(tmp_path, {**configured(app.port, 1), "workers": 2}) as running:
        before = _children(running.process.pid)
        assert len(before) >= 2
        for _ in range(50):
            assert running.ask("/x", "x-id: 1").status == 200
        eventually(lambda: running.metric("loom_requests_total", status="200") >= 50)
        os.kill(before[-1], signal.SIGKILL)
        eventually(lambda: len(set(_children(running.process.pid)) - set(before)) == 1, 10)
        answered = 0
        for _ in range(50):
            with contextlib.suppress(Gone, ConnectionError):
                answered += running.ask("/x", "x-id: 1").status == 200
        assert answered >= 48, "only what the dead one had accepted may be lost"
        # Sums outlive the worker that made them.
        eventually(lambda: running.metric("loom_requests_total", status="200") >= 98)
        rewrite(running, {**configured(app.port, 2), "workers": 2})
        assert _post(running, "/reload") == 200
        assert {generation_of(running) for _ in range(20)} == {"2"}
        assert running.terminate() == 0
        assert not [pid for pid in before if Path(f"/proc/{pid}").exists()]


def test_X6_workers_end_with_their_parent(tmp_path: Path) -> None:
    with fast_app() as app, sidecar(tmp_path, {**configured(app.port, 1), "workers": 2}) as running:
        workers = _children(running.process.pid)
        running.signal(signal.SIGKILL)
        running.wait()
        eventually(lambda: not [pid for pid in workers if Path(f"/proc/{pid}").exists()], 10)


def test_nothing_leaks_after_a_crowd(tmp_path: Path) -> None:
    """Files and memory are back where they were after clients that came, dripped, broke off and left."""
    with contextlib.ExitStack() as stack:
        app = stack.enter_context(fast_app())
        config = configured(app.port, 1)
        config["upstreams"][0]["idle_timeout"] = "1s"  # or the pool keeps what it may need again
        running = stack.enter_context(sidecar(tmp_path, config))

        def crowd() -> None:
            clients = [Client(running.inbound) for _ in range(200)]
            for number, client in enumerate(clients):
                client.send((get("/x"), b"GET / HT", get("/x")[:-2] + b"Content-Length: 9\r\n\r\nx", b"")[number % 4])
            for number, client in enumerate(clients):
                client.cut() if number % 2 else client.sock.close()

        crowd()
        eventually(lambda: running.ask("/x", "x-id: 1").status == 200)
        files = eventually(lambda: running.open_files if running.open_files < 60 else 0)
        memory = running.rss
        for _ in range(5):
            crowd()
        eventually(lambda: running.open_files <= files + 5)
        assert running.rss - memory < 6 << 20
        eventually(lambda: running.metric("loom_requests_in_flight") == 0)
