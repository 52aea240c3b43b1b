"""One sidecar in front of one recording app for tests without a configuration of their own, one engine for all."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.engine import BASE, Engine, container_engine
from tests.support.raw_app import RawApp, raw_app
from tests.support.sidecar_process import Sidecar, sidecar, sidecar_config

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Pair:
    """``app`` is fresh for each test; its requests and script are this test's alone."""

    app: RawApp
    sidecar: Sidecar


@pytest.fixture(scope="session")
def started_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with raw_app() as app, sidecar(tmp_path_factory.mktemp("pair"), sidecar_config(app.port)) as running:
        yield Pair(app, running)


@pytest.fixture
def pair(started_pair: Pair) -> Iterator[Pair]:
    started_pair.app.reset()
    yield started_pair
    assert started_pair.sidecar.is_alive
    assert "internal error" not in started_pair.sidecar.log_text


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Without a registry: the base comes from debootstrap, our image from scripts/build_image."""
    with container_engine() as engine:
        engine.import_base(tmp_path_factory.mktemp("base"), BASE)
        command = [str(ROOT / "scripts" / "build_image")]
        built = subprocess.run(
            command, env=engine.environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
        yield engine
