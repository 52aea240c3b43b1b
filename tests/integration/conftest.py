"""One sidecar in front of one recording app for what needs no configuration of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.raw_app import RawApp, raw_app
from tests.support.sidecar_process import Sidecar, sidecar, sidecar_config


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
