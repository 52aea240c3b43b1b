"""The real program, started on free loopback ports with a configuration that is a dict, and always ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.raw_client import Answer, ask, get
from tests.support.wait import eventually

START_SECONDS = 30.0
DIST = Path(__file__).parents[2] / "plugins" / "dist"
BYSTANDER_HOST = "bystander.test"
PROGRAM = [sys.executable, "-m", "sidecar"]


def free_ports(count: int) -> list[int]:
    """Ports that nobody holds at this moment, all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def plugin(name: str, module: str | Path = "", **settings: Any) -> dict[str, Any]:
    """One entry of ``plugins:``; ``module`` is a file, or the name of one of plugins/dist (``name`` by default)."""
    path = module if isinstance(module, Path) else DIST / f"{module or name}.wasm"
    return {"name": name, "path": str(path), **settings}


def sidecar_config(
    app: int,
    *,
    quiet: int = 0,
    limits: Mapping[str, Any] | None = None,
    routes: Sequence[Mapping[str, Any]] = (),
    upstreams: Mapping[str, int] | None = None,
    **blocks: Any,
) -> dict[str, Any]:
    """An inbound and an outbound listener in front of the app on port ``app``.

    ``upstreams`` are more of them by name and port; ``quiet`` is the port of the bystander's own app. Ports, paths and
    the admin socket are filled in by :func:`sidecar`.
    """
    named = {"app": app, **({"quiet": quiet} if quiet else {}), **(upstreams or {})}
    rules = [{"id": "bystander", "host": BYSTANDER_HOST, "upstream": "quiet", "plugins": []}] if quiet else []
    config: dict[str, Any] = {
        "node": {"service": "orders", "namespace": "shop"},
        "workers": 1,
        "listeners": [
            {"name": name, "direction": name, "address": "", "protocol": "http", "upstream": "app"}
            for name in ("inbound", "outbound")
        ],
        "upstreams": [{"name": name, "endpoints": [f"127.0.0.1:{port}"]} for name, port in named.items()],
        "routes": [*rules, *routes],
        "drain": {"delay": "0s", "timeout": "2s"},
        **blocks,
    }
    if limits:
        config["limits"] = dict(limits)
    return config


class Sidecar:
    """A running sidecar; ports by name: ``inbound``, ``outbound``, ``metrics``, ``health``, ``admin``."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, ports: Mapping[str, int]) -> None:
        self.process = process
        self.folder = folder
        self.ports = dict(ports)
        self.config_file = folder / "sidecar.yaml"
        self.access_file = folder / "access.log"
        self.socket = folder / "admin.sock"
        self.ready_after = 0.0

    @property
    def inbound(self) -> int:
        return self.ports["inbound"]

    @property
    def outbound(self) -> int:
        return self.ports["outbound"]

    def ask(self, path: str = "/", *fields: str, **options: Any) -> Answer:
        """One plain request to the inbound listener, on a connection of its own."""
        return ask(self.inbound, get(path, *fields, **options), options.get("method", "GET"))

    # --- what it says ----------------------------------------------------------------------------------------

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    @property
    def log_text(self) -> str:
        return (self.folder / "stderr.log").read_text(encoding="utf-8", errors="replace")

    @property
    def stdout_text(self) -> str:
        return (self.folder / "stdout.log").read_text(encoding="utf-8", errors="replace")

    def log_lines(self) -> list[dict[str, Any]]:
        """Whole lines of stderr; asserts that each is one JSON object."""
        lines = self.log_text.splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def access_lines(self) -> list[dict[str, Any]]:
        if not self.access_file.exists():
            return []
        lines = self.access_file.read_text(encoding="utf-8").split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def access_line(self, path: str) -> dict[str, Any]:
        """The one line about ``path``; waits for it."""
        found: list[dict[str, Any]] = eventually(
            lambda: [line for line in self.access_lines() if line.get("path") == path], 10
        )
        assert len(found) == 1, found
        return found[0]

    def wait_for_log(self, text: str) -> str:
        """The first line of stderr that holds ``text``."""
        found: list[str] = eventually(lambda: [line for line in self.log_text.splitlines() if text in line], 15)
        return found[0]

    def metrics_page(self) -> bytes:
        answer = ask(self.ports["metrics"], get("/metrics", host="127.0.0.1"))
        assert answer.status == 200
        return answer.body

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Every sample of the page by name and labels, as Prometheus' own parser reads it."""
        samples = {}
        for family in text_string_to_metric_families(self.metrics_page().decode()):
            for sample in family.samples:
                samples[sample.name, frozenset(sample.labels.items())] = sample.value
        return samples

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples with at least these labels."""
        wanted = set(labels.items())
        return sum(value for (found, has), value in self.metrics().items() if found == name and wanted <= has)

    def wait_for_metric(self, above: float, name: str, **labels: str) -> float:
        """The sum once it is more than ``above``; the page may be a second old."""
        value: float = eventually(lambda: found if (found := self.metric(name, **labels)) > above else 0, 10)
        return value

    def limit_hits(self, limit: str) -> float:
        return self.metric("loom_limit_hits_total", limit=limit)

    # --- what it uses ----------------------------------------------------------------------------------------

    @property
    def rss(self) -> int:
        """Resident bytes of the process that was started."""
        status = Path("/proc", str(self.process.pid), "status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    @property
    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @property
    def cpu_seconds(self) -> float:
        fields = Path("/proc", str(self.process.pid), "stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # --- its end ---------------------------------------------------------------------------------------------

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = 20.0) -> int:
        """The exit status."""
        return self.process.wait(timeout)

    def terminate(self, timeout: float = 20.0) -> int:
        self.signal(signal.SIGTERM)
        return self.wait(timeout)


@contextmanager
def sidecar(
    folder: Path,
    config: dict[str, Any],
    *,
    environ: Mapping[str, str] | None = None,
    stdout: Any = None,
    wait: bool = True,
) -> Iterator[Sidecar]:
    """``sidecar run`` on ``config`` in ``folder``; ``stdout`` is a file descriptor to use in place of a file."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = dict(zip(("inbound", "outbound", "metrics", "health", "admin"), free_ports(5), strict=True))
    whole = complete(config, folder, ports)
    (folder / "sidecar.yaml").write_text(json.dumps(whole, indent=1), encoding="utf-8")  # JSON is YAML
    command = [*PROGRAM, "run", "-c", str(folder / "sidecar.yaml")]
    env = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")} | dict(environ or {})
    began = time.monotonic()
    with (folder / "stdout.log").open("wb") as out, (folder / "stderr.log").open("wb") as err:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out if stdout is None else stdout,
            stderr=err,
            start_new_session=True,
            env=env,
            cwd=folder,
        )
    running = Sidecar(process, folder, ports)
    try:
        if wait:
            _wait_ready(running)
            running.ready_after = time.monotonic() - began
        yield running
    finally:
        _end(process)


def complete(config: Mapping[str, Any], folder: Path, ports: Mapping[str, int]) -> dict[str, Any]:
    """``config`` with every address, the admin socket and the access log filled in where it says nothing."""
    whole = json.loads(json.dumps(config))
    for listener in whole["listeners"]:
        listener["address"] = listener["address"] or f"127.0.0.1:{ports[listener['name']]}"
    whole.setdefault("metrics", {}).setdefault("address", f"127.0.0.1:{ports['metrics']}")
    whole.setdefault("health", {}).setdefault("address", f"127.0.0.1:{ports['health']}")
    whole.setdefault("admin", {}).setdefault("address", f"127.0.0.1:{ports['admin']}")
    whole["admin"].setdefault("socket", str(folder / "admin.sock"))
    whole.setdefault("access_log", {"path": str(folder / "access.log")})
    return dict(whole)


def _wait_ready(running: Sidecar) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if not running.is_alive:
            status = running.process.returncode
            raise AssertionError(f"ended with {status} before it was ready:\n{running.log_text[-4000:]}")
        with contextlib.suppress(OSError):
            if ask(running.ports["health"], get("/healthz/ready", host="127.0.0.1")).status == 200:
                return
        time.sleep(0.01)
    raise AssertionError(f"not ready after {START_SECONDS:.0f} s:\n{running.log_text[-4000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Politely for a few seconds, then with everything it started."""
    for ending, patience in ((signal.SIGTERM, 8), (signal.SIGKILL, 8)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, ending)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
