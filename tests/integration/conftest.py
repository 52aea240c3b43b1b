"""What several integration tests share because it takes a minute to make: a container engine with our image in it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engine import BASE, Engine, container_engine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Without a registry: the base comes from debootstrap, the image from it and scripts/build_image."""
    with container_engine() as engine:
        engine.import_base(tmp_path_factory.mktemp("base"), BASE)
        command = [str(ROOT / "scripts" / "build_image")]
        built = subprocess.run(
            command, env=engine.environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
        yield engine
