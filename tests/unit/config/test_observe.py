from __future__ import annotations

from dataclasses import fields

import pytest

from sidecar.config import model
from sidecar.config.block import Block
from sidecar.config.document import parse
from sidecar.config.observe import (
    PROPAGATION,
    read_access_log,
    read_admin,
    read_health,
    read_limits,
    read_metrics,
    read_tracing,
)
from sidecar.errors import Problem
from sidecar.telemetry.propagation import FORMATS


def top(text: str) -> tuple[Block, list[Problem]]:
    problems: list[Problem] = []
    return Block(parse(text, "f")[0], "", problems), problems


@pytest.mark.parametrize("text", ["", "metrics: {}\nhealth: {}\nadmin: {}\naccess_log: {}\nlimits: {}\n"])
def test_an_absent_and_an_empty_block_are_the_defaults(text: str) -> None:
    block, problems = top(text)
    assert read_metrics(block) == model.Metrics()
    assert read_health(block) == model.Health()
    assert read_admin(block) == model.Admin()
    assert read_access_log(block) == model.AccessLog()
    assert read_limits(block) == model.Limits()
    assert read_tracing(block) is None
    assert problems == []


@pytest.mark.parametrize("field", fields(model.Limits), ids=lambda field: field.name)
def test_every_limit_can_be_written(field: object) -> None:
    name, default = field.name, field.default  # type: ignore[attr-defined]
    written, meant = ("2s", 2.0) if isinstance(default, float) else ("2", 2)
    block, problems = top(f"limits: {{{name}: {written}}}\n")
    assert getattr(read_limits(block), name) == meant
    assert problems == []


def test_what_tracing_leaves_out_is_left_to_the_environment() -> None:
    tracing = read_tracing(top("tracing: {}\n")[0])
    assert tracing == model.Tracing(None, None, None, PROPAGATION)
    assert PROPAGATION == FORMATS


@pytest.mark.parametrize("url", ["http://a:4317", "https://a.b/v1/traces", "http://[::1]:4318", "http://127.0.0.1"])
def test_addresses_of_collectors(url: str) -> None:
    block, problems = top(f"tracing: {{endpoint: '{url}'}}\n")
    tracing = read_tracing(block)
    assert tracing is not None and tracing.endpoint == url and problems == []
