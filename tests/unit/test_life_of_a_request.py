"""docs/life-of-a-request.md follows a request by function name; each name it uses must exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOC = ROOT / "docs" / "life-of-a-request.md"
REFERENCE = re.compile(r"\b((?:[a-z_0-9]+/)*[a-z_0-9]+\.py):([A-Za-z_][\w]*(?:\.[A-Za-z_]\w*)*)")
"""``proxy/manager.py:HttpManager.on_event``, relative to ``sidecar/`` (or from the root: ``bootstrap/...``)."""
FEWEST = 15
"""A walk shorter than this has lost its way; the guard is against a changed notation that matches nothing."""


def references() -> list[tuple[str, str]]:
    text = DOC.read_text(encoding="utf-8") if DOC.exists() else ""
    return sorted(set(REFERENCE.findall(text)))


def test_the_document_names_the_functions_it_walks_through() -> None:
    assert DOC.exists()
    assert len(references()) >= FEWEST


@pytest.mark.parametrize(("module", "name"), references())
def test_a_name_in_the_document_exists(module: str, name: str) -> None:
    path = module if module.startswith(("sidecar/", "bootstrap/")) else f"sidecar/{module}"
    assert (ROOT / path).exists(), f"{path} is no file"
    found: object = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    for part in name.split("."):
        assert hasattr(found, part) or part in getattr(found, "__annotations__", {}), f"{path} has no {name}"
        found = getattr(found, part, None)
