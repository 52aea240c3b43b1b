"""`make demo` as a newcomer runs it: it checks itself, it stays up, and it leaves nothing behind however it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from demo.collector import Collector, Relay, trace_service
from demo.plan import PORTS, free_ports, places
from demo.sidecars import DemoError, running
from tests.support.wait import eventually

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "demo"]
READY = "Ctrl-C ends the demo."


@contextmanager
def started(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The demo that stays up, with what it has said so far; ended in every case."""
    process = subprocess.Popen(
        COMMAND, cwd=ROOT, env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if READY in line:
                break
        assert READY in said, said
        yield process, said
    finally:
        process.kill()
        process.wait()


def ports_of(said: str) -> list[int]:
    found = sorted({int(port) for port in re.findall(r"http://127\.0\.0\.1:(\d+)", said)})
    assert len(found) >= 7  # three pages of two sidecars, and the shop's door
    return found


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_once_checks_itself_and_leaves_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [*COMMAND, "--once"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout
    assert re.search(r"(\d+) of \1 checks hold", done.stdout)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stays_up_until_it_is_told_and_then_frees_everything(tmp_path: Path, number: signal.Signals) -> None:
    with started(tmp_path) as (process, said):
        ports = ports_of(said)
        assert all(is_open(port) for port in ports)
        process.send_signal(number)
        rest, _ = process.communicate(timeout=30)
        assert process.returncode == 0, rest
        assert "every process is ended" in rest
        assert not any(is_open(port) for port in ports)
    assert list(tmp_path.iterdir()) == []


def test_killed_the_hard_way_it_takes_its_sidecars_along(tmp_path: Path) -> None:
    with started(tmp_path) as (process, said):
        ports = ports_of(said)
        process.kill()
        process.wait()
        eventually(lambda: not any(is_open(port) for port in ports))


def test_a_sidecar_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    place = places(tmp_path, free_ports(2 * len(PORTS)))["orders"]
    place.config.write_text("listenerz: []\n", encoding="utf-8")
    reason = r"(?s)sidecar of orders ended with 1, never ready.*listenerz"
    with pytest.raises(DemoError, match=reason), running([place], {}):
        pytest.fail("it started")


def test_a_collector_that_listens_gets_what_ours_gets() -> None:
    theirs = Collector()
    with trace_service(theirs.export) as port:
        relay = Relay(port)
        ours = Collector(relay)
        request = ExportTraceServiceRequest()
        request.resource_spans.add().scope_spans.add().spans.add().name = "GET stock"
        ours.export(request, None)
        assert relay.failure() == ""
        relay.close()
    assert theirs.requests == ours.requests == [request]


def test_a_collector_that_takes_nothing_is_told() -> None:
    (port,) = free_ports(1)
    relay = Relay(port)
    Collector(relay).export(ExportTraceServiceRequest(), None)
    assert "unavailable" in relay.failure()
    relay.close()
