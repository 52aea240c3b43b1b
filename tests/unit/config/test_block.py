from __future__ import annotations

import pytest

from sidecar.address import Address
from sidecar.config.block import Block, host_problem, nearest, one_of
from sidecar.config.document import parse
from sidecar.errors import Problem


def block(text: str) -> tuple[Block, list[Problem]]:
    problems: list[Problem] = []
    return Block(parse(text, "f")[0], "", problems), problems


def test_what_no_accessor_asked_for_is_unknown() -> None:
    read, problems = block("name: a\nnmae: b\nmatch: c\n")
    assert read.name() == "a"
    read.finish({"match": "it belongs elsewhere"})
    assert [str(problem) for problem in problems] == [
        "f:2: nmae: unknown key (did you mean 'name'?)",
        "f:3: match: unknown key (it belongs elsewhere)",
    ]
    assert read.asked == {"name"}


def test_a_mistake_gives_the_default_and_one_problem() -> None:
    read, problems = block("a: x\nb: 99\nc: x\nd: 9h\ne: x\nf: x\n")
    assert (read.integer("a", 7), read.integer("b", 7, most=9)) == (7, 7)
    assert (read.duration("c", 1.5), read.duration("d", 2.0, most=60)) == (1.5, 2.0)
    assert (read.size("e", 3), read.choice("f", "y", ("y", "z"))) == (3, "y")
    assert [problem.line for problem in problems] == [1, 2, 3, 4, 5, 6]


def test_absent_and_null_are_the_default() -> None:
    read, problems = block("a:\nb: ~\n")
    assert (read.integer("a", 7), read.text("b", "t"), read.duration("c", 1.0), read.texts("d")) == (7, "t", 1.0, ())
    assert not read.has("a") and problems == []


def test_the_line_of_a_mapping_is_that_of_its_key() -> None:
    read, problems = block("a:\n  b: 1\nc:\n  - 1\n")
    read.text("a")
    read.text("c")
    assert [problem.line for problem in problems] == [1, 3]


def test_an_item_that_is_no_mapping_keeps_its_place() -> None:
    read, problems = block("a:\n  - x: 1\n  - y\n  - x: 2\n")
    assert [each.integer("x", 0) for each in read.blocks("a")] == [1, 0, 2]
    assert [str(problem) for problem in problems] == ["f:3: a[1]: must be a mapping, not a single value"]


def test_text_may_stand_alone_or_in_a_list() -> None:
    read, problems = block("a: x\nb: [x, 1]\nc: [x, ~]\nd: []\n")
    assert (read.texts("a"), read.texts("b"), read.texts("c")) == (("x",), ("x", "1"), ("x",))
    assert read.texts("d", empty="is empty") == ()
    assert [problem.message for problem in problems] == ["must be text, not nothing", "is empty"]


@pytest.mark.parametrize("name", ["a b", "a\\nb", "x" * 129, ""])
def test_a_name_fits_into_a_label(name: str) -> None:
    read, problems = block(f'name: "{name}"\n')
    read.name()
    assert len(problems) == 1


def test_a_listen_address_is_an_ip_address() -> None:
    read, problems = block("a: 127.0.0.1:1\nb: localhost:1\nc: x\n")
    default = Address("::1", 9)
    found = [read.listen_address(key, default) for key in "abcd"]
    assert found == [Address("127.0.0.1", 1), default, default, default]
    assert [problem.line for problem in problems] == [2, 3]


@pytest.mark.parametrize("host", ["a", "a.b-c.d", "127.0.0.1", "::1", "fe80::1%eth0", "_srv.x", "xn--bcher-kva.de"])
def test_hosts(host: str) -> None:
    assert host_problem(host) == ""


@pytest.mark.parametrize("host", ["", "1.2.3", "256.1.1.1", "a b", "a/b", "ä.de", ":::", "a:1", "u@host", "1.2.3.4."])
def test_what_is_no_host(host: str) -> None:
    assert host_problem(host)


def test_the_nearest_word_is_looked_for_within_bounds() -> None:
    assert nearest("upstreem", ["upstream", "listener"]) == " (did you mean 'upstream'?)"
    assert nearest("zzz", ["upstream"]) == ""
    assert nearest("x" * 4_000_000, ["upstream"]) == ""
    assert (one_of(("a",)), one_of(("a", "b")), one_of(("a", "b", "c"))) == ("'a'", "'a' or 'b'", "'a', 'b' or 'c'")
