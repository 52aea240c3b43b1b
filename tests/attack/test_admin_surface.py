"""Group A: the admin, metrics and health ports as a browser, a neighbour or a flood meets them."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bystander import Stage, stage
from tests.support.raw_app import raw_app
from tests.support.raw_client import Answer, Client, Gone, ask, get
from tests.support.sidecar_process import sidecar, sidecar_config
from tests.support.wait import eventually

PAGES = ("/", "/config", "/routes", "/upstreams", "/plugins", "/stats")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("admin")) as plain:
        yield plain
        plain.check()


def admin(ready: Stage, request: bytes) -> Answer:
    return ask(ready.sidecar.ports["admin"], request)


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(("Host: evil.test",), id="rebinding"),
        pytest.param(("Host: localhost.evil.test",), id="rebinding-prefix"),
        pytest.param(("Host: 10.0.0.1",), id="other-address"),
        pytest.param(("Host: 127.0.0.1", "Origin: http://evil.test"), id="origin"),
        pytest.param(("Host: 127.0.0.1", "Origin: null"), id="origin-null"),
        pytest.param(("Host: 127.0.0.1", "Sec-Fetch-Site: cross-site"), id="cross-site"),
    ],
)
def test_A1_other_sites_are_refused(ready: Stage, path: str, fields: tuple[str, ...]) -> None:
    answer = admin(ready, "\r\n".join((f"GET {path} HTTP/1.1", *fields, "", "")).encode())
    assert answer.status == 403
    assert answer.get("access-control-allow-origin") is None


@pytest.mark.parametrize("path", PAGES)
def test_A1_pages_forbid_frames_sniffing_and_scripts(ready: Stage, path: str) -> None:
    answer = admin(ready, get(path, host="127.0.0.1"))
    assert answer.status == 200
    assert answer.get("x-content-type-options") == "nosniff"
    assert answer.get("x-frame-options") == "DENY"
    assert "default-src 'none'" in (answer.get("content-security-policy") or "")
    assert answer.get("access-control-allow-origin") is None


@pytest.mark.parametrize("path", ["/drain", "/reload"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_A2_nothing_changes_over_tcp(ready: Stage, path: str, method: str) -> None:
    answer = admin(ready, get(path, host="127.0.0.1", method=method))
    assert answer.status == 405
    assert ask(ready.sidecar.ports["health"], get("/healthz/ready", host="127.0.0.1")).status == 200


def test_A2_socket_is_ours_alone(ready: Stage) -> None:
    found = os.lstat(ready.sidecar.socket)
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_uid == os.geteuid()


@pytest.mark.parametrize(
    ("request_bytes", "statuses"),
    [
        pytest.param(get("/../config", host="127.0.0.1"), (400, 404), id="dots"),
        pytest.param(get("/%63onfig", host="127.0.0.1"), (400, 404), id="escape"),
        pytest.param(get("//config", host="127.0.0.1"), (400, 404), id="slashes"),
        pytest.param(get("/config/", host="127.0.0.1"), (404,), id="slash"),
        pytest.param(get("/config?" + "q" * 100_000, host="127.0.0.1"), (414, 431), id="query"),
        pytest.param(get("/config", "A: " + "x" * 100_000, host="127.0.0.1"), (431,), id="head"),
        pytest.param(get("/config", "Content-Length: 10000000", host="127.0.0.1"), (400, 413), id="body-10MB"),
        pytest.param(get("/config", "Transfer-Encoding: chunked", host="127.0.0.1"), (400, 501), id="chunked"),
        pytest.param(b"GET /config\r\n\r\n", (400,), id="0.9"),
        pytest.param(b"GET http://127.0.0.1/config HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", (400, 404), id="absolute"),
        pytest.param(b"GET /config HTTP/1.1\r\n\r\n", (400, 403), id="no-host"),
        pytest.param(b"\x16\x03\x01" + bytes(100) + b"\r\n\r\n", (400,), id="tls"),
    ],
)
def test_A3_odd_requests_are_refused(ready: Stage, request_bytes: bytes, statuses: tuple[int, ...]) -> None:
    assert admin(ready, request_bytes).status in statuses


def test_A3_head_has_no_body(ready: Stage) -> None:
    with Client(ready.sidecar.ports["admin"]) as client:
        answer = client.send(get("/config", host="127.0.0.1", method="HEAD")).read_answer("HEAD")
        assert answer.status == 200
        client.wait_for_end()


@pytest.mark.parametrize("port", ["admin", "metrics", "health"])
def test_A3_flood_of_one_port_leaves_traffic_and_the_others_alone(ready: Stage, port: str) -> None:
    held = []
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                held.append(socket.create_connection(("127.0.0.1", ready.sidecar.ports[port]), 5))
        for sock in held:
            with contextlib.suppress(OSError):
                sock.send(b"GET / HT")
        for other, path in (("admin", "/stats"), ("metrics", "/metrics"), ("health", "/healthz/live")):
            if other != port:
                assert ask(ready.sidecar.ports[other], get(path, host="127.0.0.1")).status == 200
        ready.check()
    finally:
        for sock in held:
            sock.close()

    def answers() -> bool:
        try:
            return ask(ready.sidecar.ports[port], get("/", host="127.0.0.1")).status in (200, 404)
        except (Gone, OSError):
            return False

    eventually(answers)


def test_A3_admin_answers_while_the_data_plane_is_full(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        app = stack.enter_context(raw_app())
        running = stack.enter_context(sidecar(tmp_path, sidecar_config(app.port, limits={"connections": 4})))
        for _ in range(6):
            stack.enter_context(Client(running.inbound))
        for other, path in (("admin", "/stats"), ("metrics", "/metrics"), ("health", "/healthz/live")):
            assert ask(running.ports[other], get(path, host="127.0.0.1")).status == 200


@pytest.mark.parametrize("kind", ["link", "file", "stale"])
def test_A5_what_is_in_the_sockets_place(tmp_path: Path, kind: str) -> None:
    """A link or a file is never replaced or followed; a stale socket is."""
    place = tmp_path / "admin.sock"
    victim = tmp_path / "victim"
    victim.write_text("precious", encoding="utf-8")
    if kind == "link":
        place.symlink_to(victim)
    elif kind == "file":
        place.write_text("precious", encoding="utf-8")
    else:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(place))
    with raw_app() as app, sidecar(tmp_path, sidecar_config(app.port), wait=False) as running:
        if kind == "stale":
            eventually(lambda: running.is_alive and _reads(running.ports["health"]))
            assert stat.S_ISSOCK(os.lstat(place).st_mode)
        else:
            # It refuses to start, or serves without the socket and says so; what is there is left alone.
            eventually(lambda: not running.is_alive or "admin socket" in running.log_text)
            assert "admin socket" in running.log_text
    assert victim.read_text(encoding="utf-8") == "precious"
    if kind == "link":
        assert place.is_symlink()
    elif kind == "file":
        assert place.read_text(encoding="utf-8") == "precious"


def _reads(port: int) -> bool:
    with contextlib.suppress(OSError, Gone):
        return ask(port, get("/healthz/ready", host="127.0.0.1")).status == 200
    return False


def test_A6_names_are_escaped_on_the_dashboard(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    with raw_app() as app:
        config = sidecar_config(app.port, node={"service": f'"{evil}', "namespace": "a&b"})
        with sidecar(tmp_path, config) as running:
            page = ask(running.ports["admin"], get("/", host="127.0.0.1"))
    assert page.status == 200
    assert evil.encode() not in page.body
