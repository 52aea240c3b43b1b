"""The header map: ordered, many-valued, spellings kept, changes counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.http.headers import HeaderMap


def sample() -> HeaderMap:
    return HeaderMap.of([(b":method", b"GET"), (b":path", b"/"), (b"X-A", b"1"), (b"b", b"2"), (b"x-a", b"3")])


def test_names_compare_in_lower_case_and_keep_their_spelling() -> None:
    headers = sample()
    assert headers.get(b"x-a") == b"1"
    assert headers.get_all(b"x-a") == [b"1", b"3"]
    assert headers.fields[2] == (b"x-a", b"1", b"X-A")
    assert b"x-a" in headers
    assert headers.get(b"none") is None


def test_set_replaces_all_in_the_place_of_the_first() -> None:
    headers = sample()
    headers.set(b"x-a", b"9")
    assert headers.pairs()[2:] == [(b"x-a", b"9"), (b"b", b"2")]
    headers.set(b"new", b"1")
    assert headers.pairs()[-1] == (b"new", b"1")


def test_a_pseudo_header_is_added_behind_the_others() -> None:
    headers = sample()
    headers.add(b":scheme", b"http")
    assert [name for name, _ in headers.pairs()][:3] == [b":method", b":path", b":scheme"]
    only = HeaderMap()
    only.add(b":status", b"200")
    assert only.pairs() == [(b":status", b"200")]


def test_remove_says_whether_there_was_one() -> None:
    headers = sample()
    assert headers.remove(b"x-a")
    assert not headers.remove(b"x-a")
    assert len(headers) == 3


def test_replacing_everything_keeps_spellings_and_puts_pseudo_headers_first() -> None:
    headers = sample()
    headers.replace_all([(b"x-a", b"5"), (b":path", b"/x")])
    assert headers.fields == [(b":path", b"/x", b":path"), (b"x-a", b"5", b"x-a")]


def test_every_change_is_counted() -> None:
    headers = sample()
    for change in (
        lambda: headers.add(b"c", b"1"),
        lambda: headers.set(b"c", b"2"),
        lambda: headers.remove(b"c"),
        lambda: headers.replace_all([]),
    ):
        before = headers.revision
        change()
        assert headers.revision > before


def test_a_copy_is_another_map() -> None:
    headers = sample()
    other = headers.copy()
    other.add(b"c", b"1")
    assert headers != other
    assert headers == sample()
    assert headers.byte_size() == len(b":methodGET:path/x-a1b2x-a3")


NAMES = st.sampled_from([b"a", b"b", b":p"])


@given(st.lists(st.tuples(st.sampled_from(["add", "set", "remove"]), NAMES, st.binary(max_size=3)), max_size=20))
def test_it_behaves_like_a_list_of_pairs(steps: list[tuple[str, bytes, bytes]]) -> None:
    headers, model = HeaderMap(), []
    for step, name, value in steps:
        if step == "add":
            headers.add(name, value)
            model.append((name, value))
        elif step == "set":
            headers.set(name, value)
            model = [pair for pair in model if pair[0] != name] + [(name, value)]
        else:
            headers.remove(name)
            model = [pair for pair in model if pair[0] != name]
        for each in (b"a", b"b", b":p"):
            assert headers.get_all(each) == [found for key, found in model if key == each]
        pseudo = [key[:1] != b":" for key, _ in headers.pairs()]
        assert pseudo == sorted(pseudo)
