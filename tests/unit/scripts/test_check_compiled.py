"""The script that says which compiled twins are in use: quiet success, plain words, and an error where asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scripts import load

check = load("check_compiled")
TWIN = "loom_probe._leaf_c"


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A package with one front door, and its compiled twin not there yet; the script finds it as the only one."""
    package = tmp_path / "loom_probe"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "leaf.py").write_text("COMPILED = True\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(check, "twin_modules", lambda: [TWIN])
    monkeypatch.setattr(check, "typed_modules", list)
    monkeypatch.setattr(sys, "argv", ["check_compiled.py"])
    monkeypatch.delenv("SIDECAR_PURE", raising=False)
    yield package
    for name in [name for name in sys.modules if name.startswith("loom_probe")]:
        del sys.modules[name]


def test_a_twin_that_was_not_built_is_explained_and_is_no_error(twin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main() == 0
    said = capsys.readouterr().out
    assert f"{TWIN}: MISSING (not built)" in said
    assert "install a C compiler" in said


def test_required_it_is_an_error(twin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["check_compiled.py", "--require"])
    assert check.main() == 1


def test_where_nothing_is_compiled_one_line_says_so(
    twin: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (twin / "typed.py").write_text("", encoding="utf-8")
    monkeypatch.setattr(check, "typed_modules", lambda: ["loom_probe.typed"])
    assert check.main() == 0
    said = capsys.readouterr().out
    assert "typed modules: 0 of 1 compiled" in said
    assert "typed module loom_probe" not in said


def test_a_twin_in_use_is_one_line(twin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (twin / "_leaf_c.py").write_text("", encoding="utf-8")
    assert check.main() == 0
    assert capsys.readouterr().out == f"compiled twin {TWIN}: loaded\ntyped modules: 0 of 0 compiled\n"


def test_a_typed_module_that_runs_as_source_is_told_and_refused_where_required(
    twin: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (twin / "_leaf_c.py").write_text("", encoding="utf-8")
    (twin / "typed.py").write_text("", encoding="utf-8")
    monkeypatch.setattr(check, "typed_modules", lambda: ["loom_probe.typed", "loom_probe.absent"])
    monkeypatch.setattr(sys, "argv", ["check_compiled.py", "--require"])
    assert check.main() == 1
    said = capsys.readouterr().out
    assert "typed modules: 0 of 2 compiled" in said
    assert "typed module loom_probe.typed: not built" in said
    assert "typed module loom_probe.absent: does not load" in said


@pytest.mark.parametrize(
    ("twin_text", "door_text", "reason"),
    [
        ("import loom_probe.absent\n", "COMPILED = True\n", "does not load: No module named 'loom_probe.absent'"),
        ("raise ImportError('wrong ABI')\n", "COMPILED = True\n", "does not load: wrong ABI"),
        ("", "COMPILED = False\n", "loom_probe.leaf chose its Python twin"),
    ],
)
def test_a_twin_that_is_there_and_not_in_use_is_not_blamed_on_the_compiler(
    twin: Path, capsys: pytest.CaptureFixture[str], twin_text: str, door_text: str, reason: str
) -> None:
    (twin / "_leaf_c.py").write_text(twin_text, encoding="utf-8")
    (twin / "leaf.py").write_text(door_text, encoding="utf-8")
    assert check.main() == 0
    said = capsys.readouterr().out
    assert f"{reason})" in said
    assert "compiler (or" not in said


def test_switched_off_is_said_and_never_hides_a_requirement(
    twin: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIDECAR_PURE", "1")
    assert check.main() == 0
    assert "switched off" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["check_compiled.py", "--require"])
    assert check.main() == 1


def test_the_twins_of_this_tree_are_found_by_their_names() -> None:
    found = load("check_compiled").twin_modules()
    assert "sidecar.wasm._vm_c" in found
    assert all(name.startswith("sidecar.") and name.endswith("_c") for name in found)


def test_inside_the_image_the_list_beside_the_script_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("check_compiled")
    (tmp_path / "twins.txt").write_text("./wasm/_vm_c.pyx\n./codec/h1/_head_c.pyx\n", encoding="utf-8")
    monkeypatch.setattr(script, "HERE", tmp_path)
    assert script.twin_modules() == ["sidecar.codec.h1._head_c", "sidecar.wasm._vm_c"]
