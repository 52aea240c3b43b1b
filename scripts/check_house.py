"""House rules that no other tool knows. Prints every breach as ``file:line: what``; exit 1 when there is one.

* each module under ``sidecar/`` has a unit test at the mirrored place under ``tests/unit/``;
* a module over 400 lines says why (``# long-module: reason``), a function over 50 too (``# long-function: reason``);
* a compiled twin has its Python twin and its front door beside it;
* ``except Exception`` stands only at a firewall, and says which (``# firewall: ...``);
* no ``utils.py``, no unfinished-work marks.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

LONGEST_MODULE = 400
LONGEST_FUNCTION = 50
PACKAGES = ("sidecar", "bootstrap")
NAMELESS = {"utils.py", "util.py", "helpers.py", "misc.py"}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
REASON = r"# long-{}: \S+ \S+"
GENERATED = "# generated"


def breaches(root: Path) -> list[str]:
    """All breaches of the tree at ``root``, in path order."""
    found: list[str] = []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py*")):
            if path.suffix not in {".py", ".pyx"}:
                continue
            text = path.read_text(encoding="utf-8")
            name = path.relative_to(root).as_posix()
            found += [f"{name}:{line}: {what}" for line, what in text_breaches(path.name, text)]
            if path.suffix == ".pyx":
                found += [f"{name}:1: {what}" for what in twin_breaches(path)]
                continue
            tree = ast.parse(text, name)
            found += [f"{name}:{line}: {what}" for line, what in function_breaches(tree, text)]
            if owes_test(path, tree, text) and not any((root / place).exists() for place in test_places(name)):
                found.append(f"{name}:1: has no unit test ({test_places(name)[0]})")
    return found


def text_breaches(file_name: str, text: str) -> Iterator[tuple[int, str]]:
    """What can be told line by line."""
    lines = text.splitlines()
    if file_name in NAMELESS:
        yield 1, "is named after nothing: say what is in it"
    if len(lines) > LONGEST_MODULE and not re.search(REASON.format("module"), text):
        yield 1, f"has {len(lines)} lines and no `# long-module: reason`"
    for number, line in enumerate(lines, 1):
        if mark := UNFINISHED.search(line):
            yield number, f"{mark.group()}: refuse it clearly, or finish it"
        if re.match(r"\s*except (Base)?Exception\b", line) and "# firewall:" not in line:
            yield number, "catches everything, and is not marked as a `# firewall: ...`"
        if re.match(r"\s*except\s*:", line):
            yield number, "catches everything, interrupts included"


def function_breaches(tree: ast.Module, text: str) -> Iterator[tuple[int, str]]:
    """Functions that are too long to be read at one look and do not say why."""
    lines = text.splitlines()
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        last = node.end_lineno or node.lineno
        length = last - node.lineno + 1
        if length > LONGEST_FUNCTION and not re.search(
            REASON.format("function"), "\n".join(lines[node.lineno - 1 : last])
        ):
            yield node.lineno, f"{node.name} has {length} lines and no `# long-function: reason`"


def twin_breaches(path: Path) -> Iterator[str]:
    """``_name_c.pyx`` stands beside ``_name_py.py`` and ``name.py``, which chooses between them."""
    stem = path.stem.removesuffix("_c")
    for needed in (f"{stem}_py.py", f"{stem.removeprefix('_')}.py"):
        if not path.with_name(needed).exists():
            yield f"a compiled twin without {needed} beside it"


def owes_test(path: Path, tree: ast.Module, text: str) -> bool:
    """Whether the module does anything: declarations, protocols and re-exports owe no test, nor does generated code."""
    if text.lstrip().startswith(GENERATED) or "bootstrap" in path.parts[-2:-1]:
        return False
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return any(not is_declaration(statement) for function in functions for statement in function.body)


def is_declaration(statement: ast.stmt) -> bool:
    """A docstring, ``...`` or ``pass``."""
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def test_places(name: str) -> list[str]:
    """Where the test of ``sidecar/a/b.py`` may stand, the usual place first.

    A twin is tested through its front door, and a package with code of its own by the package's name.
    """
    path = Path(name)
    folder = Path("tests/unit").joinpath(*path.parts[1:-1])
    stem = path.stem
    if stem == "__init__":
        return [(folder.parent / f"test_{path.parts[-2]}.py").as_posix(), (folder / "test_init.py").as_posix()]
    bare = stem.strip("_")
    names = [bare, stem, bare.removesuffix("_py")]
    return [(folder / f"test_{each}.py").as_posix() for each in dict.fromkeys(names)]


def main() -> int:
    found = breaches(Path(__file__).resolve().parent.parent)
    for line in found:
        print(line)
    print(f"house rules: {len(found)} breaches" if found else "house rules: kept")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
