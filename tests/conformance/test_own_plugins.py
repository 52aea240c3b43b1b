"""plugins/dist/*.wasm do what their READMEs say, held against Envoy as the yardstick host."""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bench.peers import Job, envoy_config, envoy_program, sidecar_config
from bench.processes import Process, free_port
from tests.support.needs import needs

DIST = Path(__file__).parents[2] / "plugins" / "dist"
HOSTS = [pytest.param("envoy", marks=needs("envoy")), "sidecar"]


@dataclass
class Seen:
    """One request as a server got it."""

    method: str
    path: str
    headers: http.client.HTTPMessage
    body: bytes


@dataclass
class App:
    """A server that remembers its requests and answers as told: (status, body)."""

    answer: Callable[[Seen], tuple[int, bytes]] = lambda seen: (200, b"see http://app/")
    requests: list[Seen] = field(default_factory=list)
    port: int = 0


@contextlib.contextmanager
def serving(app: App) -> Iterator[App]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.headers.get("transfer-encoding", "").lower() == "chunked":
                body = b""
                while size := int(self.rfile.readline() or b"-1", 16):
                    if size < 0:
                        self.close_connection = True
                        return
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                length = int(self.headers.get("content-length", 0))
                body = self.rfile.read(length)
                if len(body) < length:  # refused half-way by the proxy: no request
                    self.close_connection = True
                    return
            seen = Seen(self.command, self.path, self.headers, body)
            app.requests.append(seen)
            status, answer = app.answer(seen)
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    app.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield app
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Proxy:
    port: int
    process: Process

    def ask(
        self, method: str = "GET", body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """One request on a connection of its own."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            client.request(method, "/shop", body, headers or {})
            answer = client.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            client.close()

    def wait_for_log(self, text: str) -> str:
        """The first line of the log that holds ``text``."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for line in self.process.log.read_text(encoding="utf-8", errors="replace").splitlines():
                if text in line:
                    return line
            time.sleep(0.05)
        raise AssertionError(f"{text!r} is not in the log:\n{self.process.tail()}")


@contextlib.contextmanager
def proxy(
    host: str, folder: Path, app: App, plugin: str, config: dict[str, Any] | None = None, auth: int = 0
) -> Iterator[Proxy]:
    """``host`` in front of ``app`` with one plugin of ours; ``auth`` is the port of the upstream auth-service."""
    job = Job(app.port, 1, DIST / f"{plugin}.wasm")
    port, ready = free_port(), free_port()
    if host == "envoy":
        content = envoy_config(job, port, ready)
        listener = content["static_resources"]["listeners"][0]
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        if config is not None:
            manager["http_filters"][0]["typed_config"]["config"]["configuration"] = {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": json.dumps(config),
            }
        if auth:
            cluster = json.loads(json.dumps(content["static_resources"]["clusters"][0]))
            cluster["name"] = cluster["load_assignment"]["cluster_name"] = "auth-service"
            endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
            endpoint["address"]["socket_address"]["port_value"] = auth
            content["static_resources"]["clusters"].append(cluster)
        file, path = folder / "envoy.json", "/ready"
        command = [envoy_program(), "-c", str(file), "--concurrency", "1", "--use-dynamic-base-id", "-l", "info"]
    else:
        content = sidecar_config(job, port, free_port(), ready, free_port(), folder / "admin.sock")
        if config is not None:
            content["plugins"][0]["config"] = config
        if auth:
            content["upstreams"].append({"name": "auth-service", "endpoints": [f"127.0.0.1:{auth}"]})
        file, path = folder / "sidecar.yaml", "/healthz/ready"
        command = [sys.executable, "-m", "sidecar", "run", "-c", str(file)]
    file.write_text(json.dumps(content), encoding="utf-8")
    process = Process(command, core=0, log=folder / "proxy.log")
    try:
        process.wait_ready(f"http://127.0.0.1:{ready}{path}", 60)
        yield Proxy(port, process)
    finally:
        process.stop()


@pytest.mark.parametrize("host", HOSTS)
def test_header_edit_does_the_documented_examples(host: str, tmp_path: Path) -> None:
    with serving(App()) as app, proxy(host, tmp_path, app, "header-edit") as front:
        status, headers, _ = front.ask(headers={"X-Custom": "client's", "X-Unwanted": "1"})
    assert status == 200
    assert headers.get_all("X-Content-Type-Options") == ["nosniff"]
    assert headers.get_all("X-Frame-Options") == ["DENY"]
    assert app.requests[0].headers.get_all("x-custom") == ["value"]
    assert "x-unwanted" not in app.requests[0].headers


@pytest.mark.parametrize("host", HOSTS)
def test_header_edit_follows_its_configuration(host: str, tmp_path: Path) -> None:
    config = {
        "request": {"remove": ["x-a"], "set": {"x-b": "2"}, "add": {"x-c": "3"}},
        "response": {"set": {"x-d": "4"}},
    }
    with serving(App()) as app, proxy(host, tmp_path, app, "header-edit", config) as front:
        _, headers, _ = front.ask(headers={"x-a": "1", "x-b": "1", "x-c": "1"})
    assert headers["x-d"] == "4"
    assert "x-frame-options" not in headers
    assert "x-a" not in app.requests[0].headers
    assert app.requests[0].headers.get_all("x-b") == ["2"]
    assert ", ".join(app.requests[0].headers.get_all("x-c", [])) == "1, 3"


@pytest.mark.parametrize("host", HOSTS)
def test_auth_asks_the_service_and_does_as_it_says(host: str, tmp_path: Path) -> None:
    def judge(seen: Seen) -> tuple[int, bytes]:
        verdicts = {"good": (200, b"fine"), "unknown": (401, b"who are you"), "broken": (500, b"")}
        return verdicts.get(seen.headers.get("authorization", ""), (403, b"not you"))

    with contextlib.ExitStack() as stack:
        app, service = stack.enter_context(serving(App())), stack.enter_context(serving(App(judge)))
        front = stack.enter_context(proxy(host, tmp_path, app, "auth", auth=service.port))
        answers = {who: front.ask(headers={"authorization": who}) for who in ("good", "unknown", "other", "broken")}
    seen = {who: (status, body) for who, (status, _, body) in answers.items()}
    assert seen == {
        "good": (200, b"see http://app/"),
        "unknown": (401, b"who are you"),
        "other": (403, b"not you"),
        "broken": (403, b"Forbidden"),
    }
    assert len(app.requests) == 1
    asked = service.requests[0]
    assert (asked.method, asked.path, asked.headers["host"], asked.body) == (
        "POST",
        "/validate",
        "auth.internal",
        b"token",
    )


@pytest.mark.parametrize("host", HOSTS)
def test_auth_refuses_when_the_service_cannot_be_asked(host: str, tmp_path: Path) -> None:
    with serving(App()) as app:
        with proxy(host, tmp_path, app, "auth", auth=free_port()) as front:
            assert front.ask()[0] == 403
        (tmp_path / "none").mkdir()
        with proxy(host, tmp_path / "none", app, "auth") as front:
            assert front.ask()[0] == 403
    assert app.requests == []


@pytest.mark.parametrize("host", HOSTS)
def test_auth_knows_tokens(host: str, tmp_path: Path) -> None:
    config = {"tokens": ["Bearer right"]}
    with serving(App()) as app, proxy(host, tmp_path, app, "auth", config) as front:
        statuses = [front.ask(headers=sent)[0] for sent in ({}, *({"Authorization": f"Bearer {t}"} for t in TOKENS))]
    assert statuses == [401, 200, 401, 401]
    assert len(app.requests) == 1


TOKENS = ("right", "wrong", "righter")


@pytest.mark.parametrize("host", HOSTS)
def test_rate_limit_admits_the_burst_and_then_no_more(host: str, tmp_path: Path) -> None:
    config = {"requests_per_second": 0.01, "burst": 5}
    with serving(App()) as app, proxy(host, tmp_path, app, "rate-limit", config) as front:
        answers = [front.ask() for _ in range(8)]
    assert [status for status, _, _ in answers] == [200] * 5 + [429] * 3
    assert answers[-1][2] == b"Too Many Requests"
    assert 1 <= int(answers[-1][1]["retry-after"]) <= 101
    assert len(app.requests) == 5


@pytest.mark.parametrize("host", HOSTS)
def test_json_guard_lets_json_through_and_nothing_else(host: str, tmp_path: Path) -> None:
    with serving(App()) as app, proxy(host, tmp_path, app, "json-guard") as front:
        assert front.ask("POST", b'{"a": [1, 2]}')[0] == 200
        assert front.ask("GET")[0] == 200
        status, _, body = front.ask("POST", b'{"a": ')
    assert (status, body) == (400, b"Invalid JSON")
    assert [seen.body for seen in app.requests] == [b'{"a": [1, 2]}', b""]


@pytest.mark.parametrize("host", HOSTS)
def test_access_log_tells_outcome_and_origin(host: str, tmp_path: Path) -> None:
    with serving(App()) as app, proxy(host, tmp_path, app, "access-log") as front:
        front.ask(headers={"x-request-id": "0123"})
        assert "ms" in front.wait_for_log("Request completed: status=200, duration=")
        assert "client=127.0.0.1:" in front.wait_for_log("Request origin: ")
