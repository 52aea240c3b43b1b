"""The same guests in Envoy and here: same answers, same upstream requests, same plugin logs.

One Envoy with a listener for each probe and one sidecar with a route for each; every probe's requests go to both.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bench.peers import Job, envoy_config, envoy_program, sidecar_config
from bench.processes import Process, free_port
from tests.conformance.oracle_probes import Ask, Probe, probes
from tests.support.needs import needs

pytestmark = needs("envoy")

PROBES = {probe.name: probe for probe in probes()}
NOISE = frozenset(
    {"date", "server", "connection", "content-length", "transfer-encoding", "x-request-id", "x-forwarded-proto"}
    | {"x-forwarded-for", "x-sidecar-attempt", "x-sidecar-error"}
)
"""Headers that two proxies add each in their own way; what is compared is what the guest did. Framing is compared by
what it frames: a body that came whole was framed right."""
ENVOY_LINE = re.compile(r"\[wasm\] .*?wasm log (?P<plugin>\S+)(?: \S+)?: (?P<message>.*)$")
PATIENCE = 3.0
SETTLE = 5.0
"""Seconds that a line of a log may take to arrive."""


@dataclass
class Seen:
    """What one probe brought about in one host."""

    answers: list[tuple[int, list[tuple[str, str]], bytes]] = field(default_factory=list)
    app: list[tuple[str, str, list[tuple[str, str]], bytes]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    lines_before: int = 0
    """Lines from the start; Envoy starts each plugin once for each thread, so they count as a set."""

    def take(self, lines: list[str]) -> None:
        self.log = [*dict.fromkeys(lines[: self.lines_before]), *lines[self.lines_before :]]


class App(ThreadingHTTPServer):
    """Answers as the probe whose turn it is says, and remembers what it got."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ask = Ask()
        self.seen: list[tuple[str, str, list[tuple[str, str]], bytes]] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A proxy that cuts a connection is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: App

    def answer(self) -> None:
        body = self.read_body()
        self.server.seen.append((self.command, self.path, plain(self.headers.items()), body))
        status, headers, answer = self.server.ask.answer
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_PATCH = answer

    def read_body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, format: str, *args: object) -> None: ...


def plain(items: Any) -> list[tuple[str, str]]:
    return sorted(
        (name.lower(), value)
        for name, value in items
        if name.lower() not in NOISE and not name.lower().startswith("x-envoy")
    )


def ask(port: int, path: str, what: Ask) -> tuple[int, list[tuple[str, str]], bytes]:
    """One request on a connection of its own; status 0 when it was cut, -1 when nothing came."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        client.putrequest(what.method, path, skip_host=True, skip_accept_encoding=True)
        if not any(name == "host" for name, _ in what.headers):
            client.putheader("host", "probe.example")
        for name, value in what.headers:
            client.putheader(name, value)
        if what.chunks:
            client.putheader("transfer-encoding", "chunked")
        elif what.body is not None:
            client.putheader("content-length", str(len(what.body)))
        client.endheaders()
        for chunk in what.chunks:
            client.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        if what.chunks:
            client.send(b"0\r\n\r\n")
        elif what.body:
            client.send(what.body)
        answer = client.getresponse()
        return answer.status, plain(answer.getheaders()), answer.read()
    except (ConnectionError, http.client.HTTPException):
        return 0, [], b""
    except TimeoutError:
        return -1, [], b""
    finally:
        client.close()


@dataclass
class Host:
    """One of the two, with all probes loaded."""

    name: str
    process: Process
    ports: dict[str, int]

    def lines(self) -> dict[str, list[str]]:
        """The log so far, by plugin."""
        found: dict[str, list[str]] = {}
        for line in self.process.log.read_text(encoding="utf-8", errors="replace").splitlines():
            if self.name == "envoy":
                match = ENVOY_LINE.search(line)
                if match is not None:
                    found.setdefault(match["plugin"], []).append(match["message"])
            elif line.startswith("{"):
                fields = json.loads(line)
                if "plugin" in fields and "callback" not in fields and "error" not in fields:
                    found.setdefault(fields["plugin"], []).append(fields["message"])
        return found


def free_ports(count: int) -> list[int]:
    """That many different ones: all are held until the last is known."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in held]


def envoy_for(modules: dict[str, Path], app: int, dead: int, silent: int, folder: Path) -> Host:
    admin = free_port()
    whole: dict[str, Any] = {}
    ports = dict(zip(modules, free_ports(len(modules)), strict=True))
    for name, module in modules.items():
        one = envoy_config(Job(app, 1, module), ports[name], admin)
        listener = one["static_resources"]["listeners"][0]
        listener["name"] = name
        wasm = listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"][0]
        settings = wasm["typed_config"]["config"]
        settings["name"] = name
        settings["vm_config"]["vm_id"] = name
        settings["configuration"] = {
            "@type": "type.googleapis.com/google.protobuf.StringValue",
            "value": PROBES[name].config,
        }
        if not whole:
            whole = one
        else:
            whole["static_resources"]["listeners"].append(listener)
    for name, port in (("callee", app), ("dead", dead), ("silent", silent)):
        cluster = json.loads(json.dumps(whole["static_resources"]["clusters"][0]))
        cluster["name"] = cluster["load_assignment"]["cluster_name"] = name
        endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        endpoint["address"]["socket_address"]["port_value"] = port
        whole["static_resources"]["clusters"].append(cluster)
    (folder / "envoy.json").write_text(json.dumps(whole), encoding="utf-8")
    command = [envoy_program(), "-c", str(folder / "envoy.json"), "--concurrency", "1", "--use-dynamic-base-id"]
    command += ["-l", "info"]
    process = Process(command, core=0, log=folder / "envoy.log")
    process.wait_ready(f"http://127.0.0.1:{admin}/ready", 120)
    return Host("envoy", process, ports)


def sidecar_for(modules: dict[str, Path], app: int, dead: int, silent: int, folder: Path) -> Host:
    port, health = free_port(), free_port()
    content = sidecar_config(Job(app), port, free_port(), health, free_port(), folder / "admin.sock")
    content["plugins"] = [
        {"name": name, "path": str(module), "config": PROBES[name].config} for name, module in modules.items()
    ]
    content["routes"] = [{"id": name, "path": f"/{name}", "upstream": "app", "plugins": [name]} for name in modules]
    content["routes"].append({"id": "rest", "path": "/*", "upstream": "app", "plugins": []})
    for name, to in (("callee", app), ("dead", dead), ("silent", silent)):
        content["upstreams"].append({"name": name, "endpoints": [f"127.0.0.1:{to}"]})
    (folder / "sidecar.yaml").write_text(json.dumps(content), encoding="utf-8")
    command = [sys.executable, "-m", "sidecar", "run", "-c", str(folder / "sidecar.yaml")]
    process = Process(command, core=1, log=folder / "sidecar.log")
    process.wait_ready(f"http://127.0.0.1:{health}/healthz/ready", 120)
    return Host("sidecar", process, dict.fromkeys(modules, port))


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    server = App()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def hosts(app: App, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Host]]:
    folder = tmp_path_factory.mktemp("oracle")
    modules = {name: folder / f"{name}.wasm" for name in PROBES}
    for name, path in modules.items():
        path.write_bytes(PROBES[name].guest.binary())
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))  # accepts, says nothing
        started = []
        for start in (envoy_for, sidecar_for):
            host = start(modules, app.server_port, free_port(), silent.getsockname()[1], folder)
            stack.callback(host.process.stop)
            started.append(host)
        yield started


def run(host: Host, probe: Probe, app: App) -> Seen:
    seen = Seen(lines_before=len(host.lines().get(probe.name, [])))
    before = len(app.seen)
    for what in probe.asks:
        app.ask = what
        seen.answers.append(ask(host.ports[probe.name], f"/{probe.name}", what))
    seen.app = app.seen[before:]
    return seen


def outcome(probe: Probe, hosts: list[Host], app: App) -> tuple[Seen, Seen]:
    """The probe in both; logs are read once ours is as long as Envoy's, or time is up."""
    results = [run(host, probe, app) for host in hosts]
    deadline = time.monotonic() + SETTLE
    while True:
        for host, seen in zip(hosts, results, strict=True):
            seen.take(host.lines().get(probe.name, []))
        if len(results[0].log) == len(results[1].log) or "log" in probe.ours or time.monotonic() > deadline:
            return results[0], results[1]
        time.sleep(0.05)  # lines reach a file when they do; there is no event for it


@pytest.mark.parametrize("name", PROBES)
def test_both_hosts_do_the_same(name: str, hosts: list[Host], app: App) -> None:
    probe = PROBES[name]
    theirs, ours = outcome(probe, hosts, app)
    for part in ("answer", "app", "log"):
        if part not in probe.ours:
            here, there = (getattr(seen, "answers" if part == "answer" else part) for seen in (ours, theirs))
            assert here == there, f"{part}: ours {here}, Envoy's {there}"


def test_every_difference_is_documented() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "proxy-wasm.md").read_text(encoding="utf-8")
    reasons = {probe.differs for probe in PROBES.values() if probe.differs}
    assert len(reasons) <= 12
    assert sorted(reason for reason in reasons if reason not in documented) == []
