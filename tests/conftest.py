"""What every test gets: the marker ``needs``, and a suite that cannot hide a skip where skips are forbidden."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

from sidecar.compiled import prefer_sources
from tests.support.needs import FORBID, absence, skips_are_forbidden

if os.environ.get("LOOM_COMPILED") != "1":
    # In this process the sources run, which take fakes for what they stand for; the processes that tests start run
    # what is compiled, and so does this one with LOOM_COMPILED=1 (docs/adr/0003-typed-modules.md).
    prefer_sources()

UNIT = Path(__file__).parent / "unit"
EDGES = {"transport", "proxy", "admin", "runtime", "cli", "bootstrap", "scripts"}
"""Folders of tests/unit whose subjects own sockets; all other unit tests must get by without."""

settings.register_profile("everyday", max_examples=50, deadline=None)
settings.register_profile(
    "ci", max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci" if os.environ.get("CI") else "everyday")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what this machine cannot run, saying why; where skips are forbidden, the same is an error."""
    reasons = [reason for mark in item.iter_markers("needs") for what in mark.args if (reason := absence(what))]
    if not reasons:
        return
    if skips_are_forbidden():
        pytest.fail(f"{FORBID}=1, and this machine cannot run the test: {'; '.join(reasons)}", pytrace=False)
    pytest.skip("; ".join(reasons))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With skips forbidden, one that came from anywhere fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not skips_are_forbidden() or exitstatus != pytest.ExitCode.OK:
        return
    if reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"{FORBID}=1, and tests were skipped: the run fails", red=True)


@pytest.fixture(autouse=True)
def sans_io(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A unit test of a floor below transport fails when its subject opens a socket."""
    path = request.path
    if path.is_relative_to(UNIT) and EDGES.isdisjoint(path.relative_to(UNIT).parts):
        monkeypatch.setattr(socket, "socket", _no_socket)
    yield


def _no_socket(*_args: object, **_options: object) -> NoReturn:
    pytest.fail("a floor below transport opened a socket", pytrace=True)
