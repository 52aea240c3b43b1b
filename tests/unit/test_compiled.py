"""Typed modules: named once, found as sources when wanted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sidecar.compiled import TYPED, SourceFinder, is_compiled, prefer_sources

ROOT = Path(__file__).resolve().parents[2]


def test_every_typed_module_has_its_source() -> None:
    assert [name for name in TYPED if not (ROOT / (name.replace(".", "/") + ".py")).exists()] == []
    assert len(set(TYPED)) == len(TYPED)


def test_a_source_is_found_beside_a_compiled_module(tmp_path: Path) -> None:
    (tmp_path / "headers.cpython-311-x86_64-linux-gnu.so").write_bytes(b"")
    (tmp_path / "headers.py").write_text("", encoding="utf-8")
    spec = SourceFinder.find_spec("sidecar.http.headers", [str(tmp_path)])
    assert spec is not None
    assert spec.origin == str(tmp_path / "headers.py")


def test_only_our_typed_modules_are_looked_for(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("", encoding="utf-8")
    assert SourceFinder.find_spec("json", [str(tmp_path)]) is None
    assert SourceFinder.find_spec("sidecar.http.headers", [str(tmp_path)]) is None


def test_sources_are_preferred_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    prefer_sources()
    prefer_sources()
    assert sys.meta_path.count(SourceFinder) == 1
    assert not is_compiled("sidecar.http.headers")
