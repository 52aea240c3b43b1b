from __future__ import annotations

import pytest

from sidecar.http.edits import PROTECTED
from sidecar.http.headers import HeaderMap
from sidecar.route.headers_ops import HeaderOps


def test_first_removed_then_set_then_added():
    ops = HeaderOps(set={"X-B": "2"}, add={"X-A": "again"}, remove=["x-a", "X-Gone"])
    headers = HeaderMap.of([(b"x-a", b"1"), (b"X-B", b"1"), (b"x-b", b"3"), (b"x-gone", b"1")])
    ops.apply(headers)
    assert headers.fields == [(b"x-b", b"2", b"X-B"), (b"x-a", b"again", b"X-A")]
    assert headers.revision


def test_nothing_to_remove_is_no_change():
    headers = HeaderMap.of([(b"a", b"1")])
    HeaderOps(remove=["b"]).apply(headers)
    assert headers.revision == 0 and HeaderOps().is_empty


@pytest.mark.parametrize("name", [*sorted(PROTECTED), ":path", "Host", "Content-Length", "a b", "", "ä"])
def test_framing_and_routing_are_not_a_routes_to_edit(name):
    for edit in ({"set": {name: "x"}}, {"add": {name: "x"}}, {"remove": [name]}):
        with pytest.raises(ValueError):
            HeaderOps(**edit)


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\n", "a\0"])
def test_a_value_cannot_hold_another_line(value):
    with pytest.raises(ValueError, match="line break"):
        HeaderOps(set={"x-a": value})
