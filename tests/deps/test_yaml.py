"""What PyYAML 6 does with a configuration that has a mistake or a trap: why we read events ourselves (group Y).

A test here fails when the library changes, in either direction; then look whether our guard is still needed.
"""

from __future__ import annotations

import datetime
import subprocess
import sys

import pytest
import yaml


def test_duplicate_keys_are_taken_silently() -> None:
    assert yaml.safe_load("a: 1\na: 2\n") == {"a": 2}


def test_merge_keys_are_on() -> None:
    assert yaml.safe_load("x: &x {a: 1}\ny: {<<: *x, b: 2}\n")["y"] == {"a": 1, "b": 2}


def test_recursive_alias_is_taken_silently() -> None:
    found = yaml.safe_load("a: &a [*a]\n")
    assert found["a"][0] is found["a"]


def test_alias_bomb_is_small_until_somebody_walks_it() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    text = "\n".join(lines)
    assert len(text) < 600

    def leaves(value: object, seen: dict[int, int]) -> int:
        if not isinstance(value, list):
            return 1
        if id(value) not in seen:
            seen[id(value)] = sum(leaves(each, seen) for each in value)
        return seen[id(value)]

    assert leaves(yaml.safe_load(text)["a8"], {}) == 9**9


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", True), ("off", False), ("yes", True), ("no", False), ("y", "y"),
        ("014", 12), ("1:30", 90), ("12e3", "12e3"), ("1_000", 1000), ("0x1F", 31), ("~", None), ("", None),
        ("2026-11-24", datetime.date(2026, 11, 24)), ("1.5e3", "1.5e3"), (".inf", float("inf")),
    ],
)  # fmt: skip
def test_plain_scalars_follow_yaml_1_1(text: str, value: object) -> None:
    assert yaml.safe_load(f"k: {text}")["k"] == value


def test_two_documents_need_their_own_call() -> None:
    with pytest.raises(yaml.composer.ComposerError):
        yaml.safe_load("a: 1\n---\nb: 2\n")


def test_unsafe_tags_are_refused_by_the_safe_loader() -> None:
    with pytest.raises(yaml.constructor.ConstructorError):
        yaml.safe_load("!!python/object/apply:os.getcwd []")


def test_byte_order_mark_is_swallowed() -> None:
    assert yaml.safe_load(b"\xef\xbb\xbfa: 1\n") == {"a": 1}
    assert yaml.safe_load("a: 1\n".encode("utf-16")) == {"a": 1}


def test_deep_nesting_is_an_exception_in_the_c_loader() -> None:
    """Since libyaml counts to 1000; before, it killed the process. In a child, should that come back."""
    code = "import yaml; yaml.load('[' * 100_000 + ']' * 100_000, yaml.CSafeLoader)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "exceeded maximum nesting depth" in done.stderr


def test_deep_nesting_is_an_exception_in_the_python_loader() -> None:
    with pytest.raises(RecursionError):
        yaml.load("[" * 100_000 + "]" * 100_000, yaml.SafeLoader)
