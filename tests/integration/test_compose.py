"""examples/compose, run as it stands: the pod answers, the plugins act, the spans arrive."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engine import Engine
from tests.support.needs import needs
from tests.support.wait import eventually

pytestmark = [needs("engine", "compose"), pytest.mark.timeout(1200)]

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "compose"


class Project:
    """The compose file at work."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def compose(self, *arguments: str) -> str:
        done = subprocess.run(
            ["docker-compose", *arguments],
            cwd=FOLDER, env=self.engine.environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"docker-compose {' '.join(arguments)}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def container(self, service: str) -> str:
        return self.compose("ps", "-q", service).strip()

    def logs(self, service: str) -> str:
        """Both streams of one service, without compose's decoration."""
        done = self.engine.try_run("logs", self.container(service))
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(engine: Engine) -> Iterator[Project]:
    project = Project(engine)
    try:
        project.compose("up", "-d")
        yield project
    finally:
        project.compose("down", "-v", "-t", "5")


def test_the_client_is_served_and_then_held_to_the_rate(project: Project) -> None:
    status = project.engine.run("wait", project.container("client"))
    lines = project.logs("client").splitlines()
    assert status == "0", project.logs("client") + project.logs("sidecar")[-3000:]
    assert lines[0] == "200 /orders/1 for team shop [x-content-type-options: nosniff]"
    assert lines[-1] == "429 Too Many Requests [a plugin, retry-after: 1]"


def test_the_collector_prints_the_spans(project: Project) -> None:
    project.engine.run("wait", project.container("client"))
    eventually(lambda: "orders SERVER GET orders  " in project.logs("collector"))
    assert "parent none" in project.logs("collector")


def test_the_sidecar_of_the_example_has_no_rights(project: Project) -> None:
    container = project.container("sidecar")
    form = "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.Config.User}}"
    assert project.engine.run("inspect", "--format", form, container) == "true [ALL] 1337:1337"
