"""The container image: built offline, run as the pod would run it, asked through the engine's own network."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from tests.support.engine import BASE, IMAGE, Engine
from tests.support.needs import needs

pytestmark = [needs("engine"), pytest.mark.timeout(1200)]

ANSWER_SECONDS = 60

CONFIG = """\
node: {service: image-test}
listeners:
  - name: inbound
    direction: inbound
    address: 0.0.0.0:15006
    upstream: app
    tls: {mode: disable}
upstreams:
  - name: app
    endpoints: [127.0.0.1:8080]
drain: {delay: 0s, timeout: 10s}
"""

APP = """\
import http.server
class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{self.path} {self.headers['x-forwarded-proto']}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", 8080), App).serve_forever()
"""

FETCH = "import sys, urllib.request as u; a = u.urlopen(sys.argv[1], timeout=5); print(a.status, a.read().decode())"

HARDENED = ("--read-only", "--tmpfs", "/run/sidecar:uid=1337,gid=1337", "--cap-drop", "ALL")
HARDENED += ("--security-opt", "no-new-privileges")


@pytest.fixture(scope="module")
def pod(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An app and, in its network namespace, the sidecar; yields the pod's name on the network."""
    folder = tmp_path_factory.mktemp("etc")
    (folder / "sidecar.yaml").write_text(CONFIG, encoding="utf-8")
    os.chmod(folder, 0o755)
    engine.run("network", "create", "mesh")
    engine.run("run", "-d", "--name", "app", "--network", "mesh", BASE, "python3", "-c", APP)
    engine.run(
        *("run", "-d", "--name", "sidecar", "--network", "container:app", *HARDENED),
        *("-v", f"{folder}:/etc/sidecar:ro", IMAGE),
    )
    yield "app"
    engine.try_run("rm", "-f", "sidecar", "app")
    engine.try_run("network", "rm", "mesh")


def fetch(engine: Engine, url: str) -> str:
    """``STATUS BODY`` as a container of its own on the pod's network sees it, once it is answered at all."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        done = engine.try_run("run", "--rm", "--network", "mesh", BASE, "python3", "-c", FETCH, url)
        if done.returncode == 0:
            return done.stdout.strip()
        if time.monotonic() > deadline:
            logs = engine.try_run("logs", "sidecar")
            pytest.fail(f"{url}: {done.stderr[-500:]}\nsidecar: {logs.stdout[-2000:]}{logs.stderr[-2000:]}")


def test_the_image_proxies_as_a_user_without_rights_on_a_read_only_root(engine: Engine, pod: str) -> None:
    assert fetch(engine, f"http://{pod}:15006/hello?x=1") == "200 /hello?x=1 http"
    assert fetch(engine, f"http://{pod}:15021/healthz/ready").startswith("200")
    assert "loom_requests_total" in fetch(engine, f"http://{pod}:15020/metrics")


def test_the_image_runs_as_user_1337_and_holds_no_compiler(engine: Engine, pod: str) -> None:
    assert engine.run("image", "inspect", "--format", "{{.Config.User}}", IMAGE) == "1337:1337"
    assert engine.run("exec", "sidecar", "python3", "-c", "import os; print(os.getuid(), os.getgid())") == "1337 1337"
    found = engine.run("exec", "sidecar", "sh", "-c", "command -v cc gcc clang pip || true")
    assert found == ""


def test_the_compiled_twins_serve_inside_the_image(engine: Engine, pod: str) -> None:
    said = engine.run("exec", "sidecar", "python", "/opt/sidecar/check_compiled.py", "--require")
    assert "loaded" in said
    assert "MISSING" not in said


def test_a_stop_drains_and_ends_with_zero(engine: Engine, pod: str) -> None:
    fetch(engine, f"http://{pod}:15006/before")
    engine.run("stop", "-t", "30", "sidecar")
    state = engine.run("inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", "sidecar")
    engine.run("start", "sidecar")
    assert state == "0 false"
