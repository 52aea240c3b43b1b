"""Reading files and YAML: rows Y1 to Y4 and Y10 of the catalogue of attacks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config import document
from sidecar.config.block import plain
from sidecar.config.document import MAX_DEPTH, MAX_FILE, MAX_NODES, Mapping, Unreadable, merge, parse, read_file

Data = dict[str, object]


def refusal(text: str) -> str:
    """Why ``text`` is refused, whichever way: one problem, with its line."""
    try:
        _, problems = parse(text, "f")
    except Unreadable as refused:
        return str(refused.problem)
    (problem,) = problems
    return str(problem)


@pytest.fixture(params=["libyaml", "python"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every rule holds with the C parser and without it."""
    if request.param == "python":
        monkeypatch.setattr(document, "_Loader", yaml.SafeLoader)
    return str(request.param)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a: 1\nb: 2\na: 3\n", "f:3: 'a' stands here twice (first on line 1)"),
        ("x:\n  y: [{b: 1, b: 2}]\n", "f:2: 'b' stands here twice (first on line 2)"),
        ('{"a": 1, "a": 2}', "f:1: 'a' stands here twice"),
        ("a: &x 1\n", "f:1: '&x': anchors are not used here"),
        ("a: 1\nb: *x\n", "f:2: "),
        ("<<: {a: 1}\n", "f:1: '<<': merge keys are not used here"),
        ("a: !!str 1\n", "f:1: 'tag:yaml.org,2002:str': tags are not used here"),
        ("a: !!python/object/apply:os.system [x]\n", "f:1: 'tag:yaml.org,2002:python/object/apply:os.system': tags"),
        ("a: ! x\n", "f:1: '!': tags are not used here"),
        ("a: 1\n---\nb: 1\n", "f:2: holds a second document"),
        ("a:\n\tb: 1\n", "(a tab cannot indent: use spaces)"),
        ("a: [1\nb: 2\n", "is not YAML"),
        ("a: {b: ${X}}\n", 'a variable needs quotes: "${NAME}"'),
        ("a: [::1]:80\n", "an IPv6 address needs quotes"),
        ("? [a]\n: b\n", "f:1: a key must be plain text"),
        ("- a\n", "f:1: must be a mapping of blocks"),
        ("text\n", "f:1: must be a mapping of blocks"),
    ],
)
def test_Y1_what_yaml_would_guess_or_overwrite_is_refused_with_its_line(text: str, wanted: str) -> None:
    assert wanted in refusal(text)


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"\xef\xbb\xbfa: 1\n", ":1: begins with a byte order mark"),
        ("a: 1\n".encode("utf-16"), ":1: begins with a byte order mark"),
        ("a: 1\n".encode("utf-16-le"), ":1: holds the control character U+0000"),
        (b"a: 1\nb: \xff\n", ":2: is not UTF-8"),
        (b"a: 1\n\nb: \x07\n", ":3: holds the control character U+0007"),
    ],
)
def test_Y1_only_plain_utf8_is_read(tmp_path: Path, data: bytes, wanted: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(data)
    with pytest.raises(Unreadable) as refused:
        read_file(str(path))
    assert wanted in str(refused.value)


def test_Y2_an_alias_bomb_costs_its_own_size_and_no_more() -> None:
    lines = ["a0: &a0 [x, x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    _, problems = parse("\n".join(lines), "f")
    assert len(problems) == 10 + 9 * 9
    assert all("anchors" in problem.message or "aliases" in problem.message for problem in problems)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_Y2_a_hundred_thousand_brackets_stop_at_the_limit_of_depth(opening: str) -> None:
    with pytest.raises(Unreadable):
        parse(opening * 100_000, "f")


def test_Y2_depth_is_allowed_up_to_the_limit() -> None:
    def nested(depth: int) -> str:
        return "a: " + "[" * (depth - 1) + "]" * (depth - 1)

    assert parse(nested(MAX_DEPTH), "f")[1] == []
    with pytest.raises(Unreadable, match="nested deeper than 32 levels"):
        parse(nested(MAX_DEPTH + 1), "f")


def test_Y2_values_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_NODES == 100_000
    monkeypatch.setattr(document, "MAX_NODES", 10)
    assert parse("a: [1, 2, 3, 4, 5, 6, 7]", "f")[1] == []
    with pytest.raises(Unreadable, match="f:1: holds more than 10 values"):
        parse("a: [1, 2, 3, 4, 5, 6, 7, 8]", "f")


def test_Y3_a_file_over_the_limit_is_refused_and_one_at_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"#" * MAX_FILE)
    assert len(read_file(str(path))) == MAX_FILE
    path.write_bytes(b"#" * (MAX_FILE + 1))
    with pytest.raises(Unreadable, match="is larger than 4 MiB"):
        read_file(str(path))


def test_Y3_only_regular_files_are_read_and_nothing_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero"), tmp_path):
        with pytest.raises(Unreadable) as refused:
            read_file(str(path))
        assert "is not a regular file" in str(refused.value) or "cannot be read: Is a directory" in str(refused.value)


@pytest.mark.parametrize(("name", "why"), [("absent", "No such file or directory"), ("\0", "no file has such a name")])
def test_Y3_a_file_that_cannot_be_opened_is_named_with_the_reason(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(Unreadable, match=f"cannot be read: {why}"):
        read_file(str(tmp_path / name))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("on", "on"), ("off", "off"), ("yes", "yes"), ("no", "no"), ("y", "y"), ("True", "True"), ("Null", "Null"),
        ("014", "014"), ("0o14", "0o14"), ("0x1F", "0x1F"), ("1:30", "1:30"), ("1_000", "1_000"), ("+1", "+1"),
        ("2024-01-01", "2024-01-01"), (".5", ".5"), ("1.", "1."), (".inf", ".inf"), ("=", "="),
        ("12e3", 12000.0), ("1.5", 1.5), ("12", 12), ("-7", -7), ("0", 0), ("true", True), ("false", False),
        ("null", None), ("~", None), ("", None), ('"12"', "12"), ("'true'", "true"), ('""', ""), ("1e999", "1e999"),
    ],
)  # fmt: skip
def test_Y4_only_json_numbers_booleans_and_null_are_more_than_text(written: str, meant: object) -> None:
    root, problems = parse(f"a: {written}\n", "f")
    value = plain(root)
    assert problems == [] and value == {"a": meant}
    assert type(value["a"]) is type(meant)  # type: ignore[index]  # 1 == True


def test_lines_are_those_of_keys_and_values() -> None:
    root, _ = parse("# one\na:\n  b: 1\n\n  c:\n    - x\n    - y: 2\n", "f")
    inner = root.entries["a"]
    assert isinstance(inner, Mapping)
    assert (root.lines["a"], inner.lines["b"], inner.lines["c"]) == (2, 3, 5)


def test_json_loads_with_all_its_escapes() -> None:
    root, problems = parse('{"a":{"b":[1,-2.5e3,true,null,"x\\/\\u00e4\\ud83d\\ude00\\\\ud83d\\n"]}}', "f")
    assert problems == []
    assert plain(root) == {"a": {"b": [1, -2500.0, True, None, "x/ä😀\\ud83d\n"]}}


@pytest.mark.parametrize("text", ["", "# only words\n", "---\n", "~\n"])
def test_an_empty_file_is_an_empty_mapping(text: str) -> None:
    root, problems = parse(text, "f")
    assert root.entries == {} and problems == []


leaves = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text("abc", max_size=3))
data = st.dictionaries(
    st.sampled_from("abcd"),
    st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner)),
    max_size=4,
)


def joined(one: Data, other: Data) -> Data:
    """The documented rule, said once more and shortest."""
    merged = dict(one)
    for key, value in other.items():
        present = merged.get(key)
        merged[key] = joined(present, value) if isinstance(present, dict) and isinstance(value, dict) else value
    return merged


def parsed(value: Data, name: str = "f") -> Mapping:
    root, problems = parse(yaml.safe_dump(value), name)
    assert problems == []
    return root


@given(data, data)
def test_Y10_mappings_join_and_everything_else_is_replaced_whole(one: Data, other: Data) -> None:
    assert plain(merge(parsed(one), parsed(other))) == joined(one, other)


@given(data, data, data)
def test_Y10_it_makes_no_difference_which_two_are_joined_first(one: Data, two: Data, three: Data) -> None:
    a, b, c = parsed(one), parsed(two), parsed(three)
    left = plain(merge(merge(a, b), c))
    assert left == joined(joined(one, two), three)
    if not any(type_changes(one, two, three)):
        assert left == plain(merge(a, merge(b, c)))


def type_changes(one: Data, two: Data, three: Data) -> list[bool]:
    """Where a value in the middle is no mapping: what it hid comes back when the outer two are seen as one."""
    return [True for value in walk(two) if not isinstance(value, dict)] + [False]


def walk(value: object) -> list[object]:
    return [value] + [each for item in value.values() for each in walk(item)] if isinstance(value, dict) else [value]


def test_Y10_each_value_keeps_the_file_and_the_line_it_came_from() -> None:
    root = merge(parse("a:\n  x: 1\n  y: 2\n", "one")[0], parse("\na:\n  y: 3\n", "two")[0])
    inner = root.entries["a"]
    assert isinstance(inner, Mapping)
    assert [(node.file, node.line) for node in inner.entries.values()] == [("one", 2), ("two", 3)]
