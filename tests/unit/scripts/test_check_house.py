"""The script that holds the house rules, held itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.scripts import load

house = load("check_house")

DOES = "def answer() -> int:\n    return 42\n"


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("source", "test"),
    [
        ("sidecar/route/table.py", "tests/unit/route/test_table.py"),
        ("sidecar/errors.py", "tests/unit/test_errors.py"),
        ("sidecar/__main__.py", "tests/unit/test_main.py"),
        ("sidecar/wasm/_vm_py.py", "tests/unit/wasm/test_vm.py"),
        ("sidecar/wasm/__init__.py", "tests/unit/test_wasm.py"),
    ],
)
def test_a_module_owes_a_test_at_the_mirrored_place(tmp_path: Path, source: str, test: str) -> None:
    tree(tmp_path, {source: DOES})
    assert len(house.breaches(tmp_path)) == 1
    assert "has no unit test" in house.breaches(tmp_path)[0]
    tree(tmp_path, {test: ""})
    assert house.breaches(tmp_path) == []


@pytest.mark.parametrize(
    "text",
    [
        '"""Only words."""\n',
        "LIMIT = 3\n",
        "from typing import Protocol\nclass Port(Protocol):\n    def send(self) -> None: ...\n",
        "# generated from the table\n" + DOES,
    ],
)
def test_a_module_that_does_nothing_owes_no_test(tmp_path: Path, text: str) -> None:
    assert house.breaches(tree(tmp_path, {"sidecar/a.py": text})) == []


def test_a_long_module_and_a_long_function_owe_a_reason(tmp_path: Path) -> None:
    function = "def answer() -> int:\n" + "    x = 1\n" * 50 + "    return x\n"
    files = {"sidecar/a.py": function + "y = 1\n" * 400, "tests/unit/test_a.py": ""}
    assert len(house.breaches(tree(tmp_path, files))) == 2
    reasoned = function.replace("x = 1", "x = 1  # long-function: one table row each", 1)
    files["sidecar/a.py"] = "# long-module: one table, read as a whole\n" + reasoned + "y = 1\n" * 400
    assert house.breaches(tree(tmp_path, files)) == []


@pytest.mark.parametrize(
    ("text", "breach"),
    [
        ("x = 1  # TODO later\n", "TODO"),
        ("try:\n    x = 1\nexcept Exception:\n    x = 2\n", "catches everything"),
        ("try:\n    x = 1\nexcept:\n    x = 2\n", "catches everything"),
    ],
)
def test_what_a_line_can_do_wrong(tmp_path: Path, text: str, breach: str) -> None:
    (found,) = house.breaches(tree(tmp_path, {"sidecar/a.py": text}))
    assert breach in found


def test_a_marked_firewall_may_catch_everything(tmp_path: Path) -> None:
    text = "try:\n    x = 1\nexcept Exception:  # firewall: a filter call\n    x = 2\n"
    assert house.breaches(tree(tmp_path, {"sidecar/a.py": text})) == []


def test_a_module_is_named_after_something(tmp_path: Path) -> None:
    (found,) = house.breaches(tree(tmp_path, {"sidecar/utils.py": "X = 1\n"}))
    assert "named after nothing" in found


def test_a_compiled_twin_has_its_python_twin_and_its_door(tmp_path: Path) -> None:
    tree(tmp_path, {"sidecar/wasm/_vm_c.pyx": "x = 1\n"})
    assert len(house.breaches(tmp_path)) == 2
    tree(tmp_path, {"sidecar/wasm/_vm_py.py": "X = 1\n", "sidecar/wasm/vm.py": "X = 1\n"})
    assert house.breaches(tmp_path) == []
