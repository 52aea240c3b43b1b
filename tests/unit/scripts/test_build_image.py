"""scripts/build_image decides what is built where; here with an engine that only notes what it is asked.

That the image works is for tests/integration/test_image.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "build_image"
KIND = f"{sys.implementation.cache_tag} {os.uname().machine}"
ENGINE = """\
#!/bin/sh
echo "$@" >>"$0.asked"
case $1 in run) cat "$0.kind" ;; esac
"""
PYTHON = """\
#!/bin/sh
echo "$@" >>"$0.asked"
case $1 in -c) echo '{kind}' ;; esac
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout of nothing but the script, an engine and a Python that note their arguments."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPT, tmp_path / "scripts" / "build_image")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for path, text in ((tmp_path / "engine", ENGINE), (tmp_path / ".venv/bin/python", PYTHON.format(kind=KIND))):
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
    (tmp_path / "engine.kind").write_text(f"{KIND}\n", encoding="utf-8")
    return tmp_path


def build(tree: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "ENGINE": str(tree / "engine"), **environ}
    command = [str(tree / "scripts" / "build_image")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def asked(path: Path) -> str:
    record = path.with_name(path.name + ".asked")
    return record.read_text(encoding="utf-8") if record.exists() else ""


def test_wheels_are_made_here_when_they_serve_inside(tree: Path) -> None:
    done = build(tree, BASE="base:1", IMAGE="ours:2")
    assert done.returncode == 0, done.stderr
    assert "check_compiled.py --require" in asked(tree / ".venv/bin/python")
    assert "pip wheel" in asked(tree / ".venv/bin/python")
    assert asked(tree / "engine").splitlines()[-1] == "build --build-arg BASE=base:1 --tag ours:2 ."


def test_another_python_inside_compiles_its_own(tree: Path) -> None:
    (tree / "engine.kind").write_text("cpython-39 riscv64\n", encoding="utf-8")
    done = build(tree)
    assert done.returncode == 0, done.stderr
    assert "pip wheel" not in asked(tree / ".venv/bin/python")
    assert list((tree / "build" / "wheels").iterdir()) == []


def test_a_missing_engine_is_told(tree: Path) -> None:
    done = build(tree, ENGINE="no-such-engine")
    assert done.returncode == 1
    assert "'no-such-engine' is not found" in done.stderr


def test_a_missing_base_is_told_and_nothing_is_built(tree: Path) -> None:
    (tree / "engine.kind").unlink()
    done = build(tree, BASE="absent:1")
    assert done.returncode == 1
    assert "the base image 'absent:1' cannot be had" in done.stderr
    assert "build" not in asked(tree / "engine")
