from __future__ import annotations

from collections import Counter

import pytest

from sidecar.http.headers import HeaderMap
from sidecar.route.entry import RouteEntry, rewrite
from sidecar.route.headers_ops import HeaderOps


def test_one_upstream_needs_no_chance():
    def never():
        raise AssertionError("nothing to draw")

    assert RouteEntry("r", [("app", 5), ("old", 0)]).pick(never) == "app"


def test_a_split_follows_its_weights():
    entry = RouteEntry("r", [("a", 90), ("none", 0), ("b", 10)])
    drawn = Counter(entry.pick(lambda step=step: step / 1000) for step in range(1000))
    assert drawn == {"a": 900, "b": 100}
    assert entry.pick(lambda: 0.9999999999999999) == "b"


def test_a_split_into_nothing_is_refused():
    with pytest.raises(ValueError, match="every weight is 0"):
        RouteEntry("r", [("a", 0)])


@pytest.mark.parametrize(
    ("target", "prefix", "replacement", "found"),
    [
        (b"/foo/x?q=/foo/", b"/foo/", b"/bar", b"/bar/x?q=/foo/"),
        (b"/foo", b"/foo/", b"/bar", b"/bar"),
        (b"/foo/", b"/foo/", b"/bar", b"/bar/"),
        (b"/foo/x", b"/foo/", b"/", b"/x"),
        (b"/foo", b"/foo/", b"/", b"/"),
        (b"/foo?a", b"/foo/", b"/", b"/?a"),
        (b"/foo/x", b"/foo/", b"/bar/", b"/bar/x"),
        (b"/%66oo/%78", b"/foo/", b"/bar", b"/bar/%78"),
        (b"/f%6Fo", b"/foo/", b"/bar", b"/bar"),
        (b"/anything?q", None, b"/fixed", b"/fixed?q"),
        (b"/x", b"/", b"/v2", b"/v2/x"),
        (b"*", b"/", b"/v2", b"*"),
    ],
)
def test_a_prefix_is_replaced_as_in_the_gateway_api(target, prefix, replacement, found):
    assert rewrite(target, prefix, replacement) == found


def test_the_request_is_edited_in_place():
    entry = RouteEntry(
        "r", [("app", 1)], prefix=b"/a/", rewrite_prefix=b"/b", request_headers=HeaderOps(set={"x-a": "1"})
    )
    headers = HeaderMap.of([(b":path", b"/a/x"), (b"X-A", b"0"), (b"x-b", b"2")])
    entry.edit_request(headers)
    assert headers.pairs() == [(b":path", b"/b/x"), (b"x-a", b"1"), (b"x-b", b"2")]
    assert headers.fields[1][2] == b"X-A"


def test_an_empty_edit_costs_nothing():
    entry = RouteEntry("r", [("app", 1)], request_headers=HeaderOps(), response_headers=HeaderOps())
    assert not entry.edits_request and entry.response_headers is None
