"""The rows of the table, and how one is measured: both proxies up, the same load on each in turn."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench.load import Load, run_wrk
from bench.peers import BODY, LOAD_CORE, MODULE, Job, Peer, start_backend, start_envoy, start_sidecar, start_sink
from bench.processes import BenchError, Process

STARTERS: dict[str, Callable[[Job, Path], Peer]] = {"envoy": start_envoy, "sidecar": start_sidecar}
"""Reference first: ratios are the last over the first."""

CONNECTIONS = (1, 32, 256)
WARM_UP = 2
MARK = "x-bench-plugin"
"""The response header that each instance of the bench's own module adds."""
STARTS = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its name, what the proxies do, under which connection counts."""

    name: str
    plugins: int
    trace_rate: float | None = None
    connections: tuple[int, ...] = CONNECTIONS


ROWS = (
    Row("h1-plain", 0),
    Row("h1-wasm1", 1),
    Row("h1-wasm3", 3),
    Row("h1-wasm1-otlp0", 1, 0.0, (32,)),
    Row("h1-wasm1-otlp1", 1, 0.01, (32,)),
    Row("h1-wasm1-otlp100", 1, 1.0, (32,)),
)


def chosen(only: str) -> list[Row]:
    """Rows whose name is ``only`` or starts with it, so that ``h1-wasm1-otlp`` is three and ``h1`` is all."""
    exact = [row for row in ROWS if row.name == only]
    return exact or [row for row in ROWS if row.name.startswith(only)]


@dataclass(slots=True)
class Cell:
    """The runs of one proxy at one number of connections, and what was read off the process around them."""

    row: str
    peer: str
    connections: int
    runs: list[Load] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    """CPU microseconds of the proxy per request, one figure per run."""
    rss: int = 0
    """Bytes resident after the last run."""
    ready: float = 0.0
    """Seconds from start to ready."""

    def median(self, read: Callable[[Load], float]) -> float:
        return statistics.median(read(run) for run in self.runs)

    def summary(self) -> dict[str, object]:
        """What the table shows, in the units of its names; medians over the runs."""
        return {
            "row": self.row,
            "peer": self.peer,
            "connections": self.connections,
            "requests_per_second": round(self.median(lambda run: run.rate)),
            "p50_us": round(self.median(lambda run: run.p50_us)),
            "p99_us": round(self.median(lambda run: run.p99_us)),
            "cpu_us_per_request": round(statistics.median(self.cpu_us), 1),
            "rss_mb": round(self.rss / 1e6, 1),
            "ready_ms": round(self.ready * 1e3),
            "errors": sum(run.errors for run in self.runs),
            "runs": [round(run.rate) for run in self.runs],
        }


def paired_ratio(cell: Cell, reference: Cell) -> float:
    """Median of the ratios of neighbouring runs: the machine's slow minutes hit both of a pair."""
    pairs = zip(cell.runs, reference.runs, strict=True)
    return statistics.median(ours.rate / theirs.rate for ours, theirs in pairs)


def measure_row(row: Row, peers: Iterable[str], *, seconds: int, rounds: int, module: Path) -> list[Cell]:
    """Starts backend and proxies, alternates the runs, stops everything. Raises BenchError."""
    cells: list[Cell] = []
    started: list[Process] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        try:
            backend, port = start_backend(folder)
            started.append(backend)
            job = Job(port, row.plugins, module, row.trace_rate)
            if row.trace_rate is not None:
                sink, sink_port = start_sink(folder)
                started.append(sink)
                job = Job(port, row.plugins, module, row.trace_rate, sink_port)
            running = []
            for peer in peers:
                running.append(STARTERS[peer](job, folder))
                started.append(running[-1].process)
            for one in running:
                _check_work(one, job)
                run_wrk(one.url, connections=32, seconds=WARM_UP, core=LOAD_CORE)
            for connections in row.connections:
                batch = [Cell(row.name, one.name, connections, ready=one.ready) for one in running]
                for _ in range(rounds):
                    for one, cell in zip(running, batch, strict=True):
                        _run_once(one, cell, seconds)
                for one, cell in zip(running, batch, strict=True):
                    cell.rss = one.process.rss_bytes()
                cells += batch
            if row.trace_rate:
                _check_exports(job)
        finally:
            for process in reversed(started):
                process.stop()
    return cells


def _check_work(peer: Peer, job: Job) -> None:
    """One request by hand: a proxy that does not run the plugins would be fast for nothing."""
    with urllib.request.urlopen(peer.url, timeout=10) as answer:
        body, seen = answer.read(), len(answer.headers.get_all(MARK, []))
    if body != BODY.encode() or (job.module == MODULE and seen != job.plugins):
        wanted = f"{len(BODY)} bytes and {MARK} {job.plugins} times"
        raise BenchError(f"{peer.name} answered {len(body)} bytes and {MARK} {seen} times instead of {wanted}")


def _check_exports(job: Job) -> None:
    """The sink must have seen something; exporters send in batches, so it may take seconds."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://127.0.0.1:{job.sink}/", timeout=10) as answer:
            if json.load(answer)["exports"]:
                return
        time.sleep(0.5)
    raise BenchError("no span reached the OTLP receiver")


def _run_once(peer: Peer, cell: Cell, seconds: int) -> None:
    before = peer.process.cpu_seconds()
    load = run_wrk(peer.url, connections=cell.connections, seconds=seconds, core=LOAD_CORE)
    if load.requests == 0 or load.errors > load.requests / 100:
        said = f"{peer.name} answered {load.errors} errors to {load.requests} requests"
        raise BenchError(f"{said}\n{peer.process.tail()}")
    cell.runs.append(load)
    cell.cpu_us.append((peer.process.cpu_seconds() - before) * 1e6 / load.requests)


def measure_starts(peers: Iterable[str], module: Path) -> dict[str, dict[str, float]]:
    """Start to ready (ms, median and worst) and RSS at rest (MB), with one plugin and no traffic."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        backend, port = start_backend(folder)
        try:
            for peer in peers:
                ready, rss = [], 0
                for _ in range(STARTS):
                    one = STARTERS[peer](Job(port, 1, module), folder)
                    time.sleep(0.3)
                    ready.append(one.ready * 1e3)
                    rss = one.process.rss_bytes()
                    one.process.stop()
                found[peer] = {
                    "ready_ms": round(statistics.median(ready)),
                    "ready_worst_ms": round(max(ready)),
                    "rss_mb": round(rss / 1e6, 1),
                }
        finally:
            backend.stop()
    return found
