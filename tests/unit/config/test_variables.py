"""Variables inside values: row Y5 of the catalogue of attacks."""

from __future__ import annotations

import pytest

from sidecar.config import variables
from sidecar.config.block import plain
from sidecar.config.document import Scalar, parse
from sidecar.config.variables import MAX_VALUE, replace

ENVIRON = {"NAME": "shop", "PORT": "8080", "EMPTY": "", "TRICK": 'x\ny: "1", ${NAME}: [', "NULL": "null", "YES": "true"}


def after(text: str, environ: dict[str, str] | None = None) -> tuple[object, list[tuple[int, str, str]]]:
    root, wrong = parse(text, "f")
    assert wrong == []
    problems = replace(root, ENVIRON if environ is None else environ)
    return plain(root), [(problem.line, problem.path, problem.message) for problem in problems]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("${NAME}", "shop"),
        ("a-${NAME}-${PORT}", "a-shop-8080"),
        ("${PORT}", 8080),
        ('"${PORT}"', "8080"),
        ("${YES}", True),
        ("${NULL}", "null"),
        ("${EMPTY}", ""),
        ("${UNSET:-fallback}", "fallback"),
        ("${UNSET:-}", ""),
        ("${EMPTY:-fallback}", "fallback"),
        ("${UNSET:-8080}", 8080),
        ("${UNSET:-http://a:1/b}", "http://a:1/b"),
        ("$${NAME}", "${NAME}"),
        ("$NAME $", "$NAME $"),
        ("'${TRICK}'", 'x\ny: "1", ${NAME}: ['),
        ("${TRICK}", 'x\ny: "1", ${NAME}: ['),
    ],
)
def test_Y5_a_value_is_replaced_after_parsing_and_stays_one_value(written: str, meant: object) -> None:
    assert after(f"a: {written}\n") == ({"a": meant}, [])


def test_Y5_keys_are_left_alone() -> None:
    assert after("${NAME}: ${NAME}\n") == ({"${NAME}": "shop"}, [])


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("${UNSET}", "the variable UNSET is not set and has no default"),
        ("'${'", "is not followed by NAME} or NAME:-default}"),
        ("'${1}'", "is not followed by NAME}"),
        ("${NAME-x}", "is not followed by NAME}"),
        ("${UNSET:-${NAME}}", "holds another variable"),
    ],
)
def test_Y5_what_cannot_be_replaced_is_told_once_with_its_place(written: str, why: str) -> None:
    value, problems = after(f"x:\n  - a: {written}\n")
    assert value == {"x": [{"a": None}]}
    ((line, path, message),) = problems
    assert (line, path) == (2, "x[0].a") and why in message


@pytest.mark.parametrize(
    ("value", "why"),
    [("x" * (MAX_VALUE + 1), "is longer than 65536"), ("a\0b", "holds NUL"), ("a\udcff", "bytes that are not UTF-8")],
)
def test_Y5_a_value_that_no_configuration_means_is_refused(value: str, why: str) -> None:
    _, ((line, path, message),) = after("a: ${BIG}\n", {"BIG": value})
    assert (line, path) == (1, "a") and why in message


def test_Y5_all_values_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variables, "MAX_ALL", 100)
    _, problems = after("".join(f"a{number}: ${{V}}\n" for number in range(11)), {"V": "x" * 10})
    assert [line for line, _, _ in problems] == [11]


def test_only_what_was_replaced_is_marked() -> None:
    root, _ = parse("a: ${NAME}\nb: $${NAME}\nc: plain\n", "f")
    replace(root, ENVIRON)
    marks = [node.is_replaced for node in root.entries.values() if isinstance(node, Scalar)]
    assert marks == [True, False, False]
