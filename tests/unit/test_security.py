"""SECURITY.md promises nothing without a test: every one that it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)
PROMISES = TEXT.split("## What we promise")[1].split("## What we do not promise")[0]


def test_tests_are_named_in_one_form() -> None:
    assert len(NAMED) > 30
    assert len(NAMED) == len(re.findall(r"tests/(?:attack|integration|conformance)/[\w/]+\.py", TEXT))


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_named_test_exists(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name.startswith("test_")
    assert name in functions


def test_every_promise_has_a_test() -> None:
    lines = [item for item in re.split(r"\n(?=- )", PROMISES) if item.startswith("- ")]
    assert lines
    assert not [line for line in lines if not re.search(r"::test_\w+`", line)]
