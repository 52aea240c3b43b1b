from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.http.pattern import MAX_PARTS, MAX_STATES, PathPattern


@pytest.mark.parametrize(
    ("source", "path", "is_match"),
    [
        ("/v[0-9]+/.*", b"/v12/x/y", True),
        ("/v[0-9]+/.*", b"/v/x", False),
        ("^/a$", b"/a", True),
        ("/a", b"/ab", False),
        ("/a", b"x/a", False),
        (r"/a\$", b"/a$", True),
        ("/(?:a|bc)?", b"/bc", True),
        ("/a{2,3}", b"/a", False),
        ("/a{2,3}", b"/aaa", True),
        ("/a{2,3}", b"/aaaa", False),
        ("(?i)/Admin", b"/aDMIN", True),
        (r"/\w+\.js", b"/app.js", True),
        ("/[^/]+/x", b"/a/b/x", False),
        ("/.*", b"/\xff\n", True),
        ("", b"", True),
        ("/a*?b", b"/aab", True),
    ],
)
def test_a_pattern_matches_the_whole_path(source, path, is_match):
    assert PathPattern(source).fullmatch(path) is is_match


@pytest.mark.parametrize("source", ["(a+)+b", "(a|a)*b", "(.*)*x", "([a-z]+)*1", "(a|b|ab)*c", "((a*)*)*b"])
def test_P15_a_pattern_that_makes_re_explode_takes_one_step_a_byte(source):
    pattern = PathPattern(source)
    steps = 0

    class Counting(bytes):
        def translate(self, table):
            nonlocal steps
            classes = super().translate(table)
            steps = len(classes)
            return classes

    assert not pattern.fullmatch(Counting(b"a" * 8192))
    assert steps == 8192


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("(", "not a regular expression"),
        ("(?=a)b", "look-ahead"),
        ("(?<!a)b", "look-ahead"),
        (r"(a)\1", "back-references"),
        (r"a\b", "anchors inside"),
        ("a^b", "anchors inside"),
        ("ä", "ASCII"),
        (r"\u20ac", "ASCII"),
        ("(?:a{100}){100}", "too big"),
        (".*a.{20}", "too ambiguous"),
    ],
)
def test_P15_what_no_automaton_can_do_is_refused_with_its_reason(source, reason):
    with pytest.raises(ValueError, match=reason):
        PathPattern(source)


def test_the_limits_leave_room_for_honest_patterns():
    assert MAX_PARTS >= 200 and MAX_STATES >= 200
    hosts = "|".join(f"service-{number}" for number in range(30))
    assert PathPattern(f"/api/v[0-9]+/(?:{hosts})(?:/.*)?").fullmatch(b"/api/v1/service-29/x")


ATOMS = st.sampled_from(["a", "b", "/", ".", "[ab]", "[^a]", r"\d", "1"])
SOURCES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{0,2}", "{2}", "*?"])).map(lambda p: f"(?:{p[0]}){p[1]}"),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: "(?:" + "|".join(parts) + ")"),
    ),
    max_leaves=6,
)


@given(SOURCES, st.lists(st.sampled_from("ab/1\n"), max_size=8).map("".join))
def test_it_agrees_with_re_wherever_re_is_quick(source, text):
    expected = re.fullmatch(source, text, re.ASCII | re.DOTALL) is not None
    assert PathPattern(source).fullmatch(text.encode()) is expected
