"""The stage of the attacks that fit one configuration, started once; every test on it leaves it as it was found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.bystander import Stage, stage

LIMITS = {
    "header_timeout": "1s",
    "idle_timeout": "60s",
    "body_grace": "1s",
    "write_stall": "2s",
    "stream_idle_timeout": "20s",
}


@pytest.fixture(scope="session")
def common_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("attack"), limits=LIMITS) as ready:
        yield ready


@pytest.fixture
def quick_stage(common_stage: Stage) -> Iterator[Stage]:
    """For rows of a table: it lives and no bystander has failed so far; :func:`unharmed` waits for them at the end."""
    common_stage.app.reset()
    yield common_stage
    assert common_stage.sidecar.is_alive, common_stage.sidecar.log_text[-4000:]
    assert not any(each.errors for each in common_stage.bystanders), [each.errors for each in common_stage.bystanders]


@pytest.fixture
def attacked(quick_stage: Stage) -> Iterator[Stage]:
    """After the test, the bystanders must have been served and no fault of ours been logged."""
    yield quick_stage
    quick_stage.check()


@pytest.fixture(scope="module")
def unharmed(common_stage: Stage) -> Iterator[None]:
    """For a whole table: the check of :func:`attacked`, once at its end."""
    yield
    common_stage.check()
