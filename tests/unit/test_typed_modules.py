"""Two things that a compiled module does otherwise than its source, found the hard way; both are seen in the text."""

from __future__ import annotations

import ast
from pathlib import Path

from sidecar.compiled import TYPED

ROOT = Path(__file__).resolve().parents[2]


def trees() -> list[tuple[str, ast.Module]]:
    paths = [ROOT / (name.replace(".", "/") + ".py") for name in TYPED]
    return [(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))) for path in paths]


def own(node: ast.expr) -> str:
    """The name of ``self.name``, else empty."""
    is_own = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    return node.attr if is_own else ""  # type: ignore[attr-defined]


def test_no_subclass_declares_an_attribute_of_its_base_again():
    """Its place is then visited twice by the collector, which takes the object for one in use and never frees it."""
    bases: dict[str, list[str]] = {}
    assigned: dict[str, set[str]] = {}
    declared: dict[str, set[str]] = {}
    for _, tree in trees():
        for found in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
            bases[found.name] = [ast.unparse(base).partition("[")[0] for base in found.bases]
            inside = list(ast.walk(found))
            declared[found.name] = {own(node.target) for node in inside if isinstance(node, ast.AnnAssign)} - {""}
            assigned[found.name] = declared[found.name] | {
                own(target) for node in inside if isinstance(node, ast.Assign) for target in node.targets
            }

    def ancestors(name: str) -> list[str]:
        return [each for base in bases.get(name, []) for each in [base, *ancestors(base)]]

    again = [
        f"{name}.{attribute}"
        for name, attributes in declared.items()
        for base in ancestors(name)
        for attribute in attributes & assigned.get(base, set())
    ]
    assert again == []


def test_none_that_was_assigned_is_not_asked_for_in_the_same_function():
    """mypy narrows the attribute to None and does not see a call that sets it; the compiled read then raises."""
    suspects: list[str] = []
    for path, tree in trees():
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            inside = list(ast.walk(function))
            emptied = {
                ast.unparse(target): node.lineno
                for node in inside
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and node.value.value is None
                for target in node.targets
                if own(target)
            }
            suspects += [
                f"{path}:{node.lineno}: {ast.unparse(node)}"
                for node in inside
                if isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Load)
                and node.lineno > emptied.get(ast.unparse(node), 1 << 30)
            ]
    assert suspects == []
