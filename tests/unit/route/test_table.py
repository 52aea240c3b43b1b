from __future__ import annotations

from urllib.parse import quote_from_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.address import Address
from sidecar.config.model import Endpoint, Match, Route, Upstream
from sidecar.errors import ErrorKind, ProxyError
from sidecar.http.headers import HeaderMap
from sidecar.http.validate import check_request
from sidecar.route.match import decoded_path
from sidecar.route.table import RouteTable


def head(path=b"/", host=b"orders.shop", method=b"GET", *fields):
    pairs = [(b":method", method), (b":scheme", b"http"), (b":authority", host), (b":path", path)]
    return HeaderMap.of([*pairs, *fields])


def route(id, **conditions):
    return Route(id, split=(("app", 1),), **conditions)


def table(*routes, direction="inbound", default=None, upstreams=()):
    return RouteTable(routes, direction, default, upstreams)


def chosen(found, *request):
    entry = found.match(head(*request))
    return entry.id if entry is not None else None


def test_path_exact_then_longest_prefix_then_pattern_then_catch_all():
    found = table(
        route("all"),
        route("pattern", path_regex="/v[0-9]+/.*"),
        route("short", path="/v1/*"),
        route("long", path="/v1/items/*"),
        route("exact", path="/v1/items/7"),
    )
    assert chosen(found, b"/v1/items/7") == "exact"
    assert chosen(found, b"/v1/items/8") == "long"
    assert chosen(found, b"/v1/x") == "short"
    assert chosen(found, b"/v2/x") == "pattern"
    assert chosen(found, b"/x") == "all"


def test_host_exact_then_longest_suffix_then_any():
    found = table(
        route("any"), route("wide", host="*.shop"), route("narrow", host="*.eu.shop"), route("exact", host="a.eu.shop")
    )
    assert chosen(found, b"/", b"a.eu.shop") == "exact"
    assert chosen(found, b"/", b"b.eu.shop") == "narrow"
    assert chosen(found, b"/", b"a.b.shop") == "wide"
    assert chosen(found, b"/", b"shop") == "any"
    assert chosen(found, b"/", b"eshop") == "any"
    assert chosen(found, b"/", b".shop") == "any"


def test_host_goes_before_path_and_a_miss_falls_through():
    found = table(route("exact path", path="/a"), route("host", host="orders.shop", path="/x/*"))
    assert chosen(found, b"/x/a") == "host"
    assert chosen(found, b"/a") == "exact path"


@pytest.mark.parametrize("host", [b"ORDERS.shop", b"orders.shop.", b"orders.shop:80", b"orders.shop:8080"])
def test_P12_a_host_without_a_port_matches_every_spelling_of_it(host):
    assert chosen(table(route("r", host="orders.shop")), b"/", host) == "r"


def test_a_host_with_a_port_matches_that_port():
    found = table(route("r", host="orders.shop:8080"))
    assert chosen(found, b"/", b"orders.shop:8080") == "r"
    assert chosen(found, b"/", b"orders.shop:8081") is None


def test_methods_then_more_headers_then_order():
    found = table(
        route("plain", path="/a"),
        route("later", path="/a"),
        route("one", path="/a", headers={"x-a": "1"}),
        route("two", path="/a", headers={"x-a": "1", "x-b": "2"}),
        route("method", path="/a", methods=("POST",)),
    )
    assert chosen(found, b"/a") == "plain"
    assert chosen(found, b"/a", b"h", b"GET", (b"x-a", b"1")) == "one"
    assert chosen(found, b"/a", b"h", b"GET", (b"x-a", b"1"), (b"X-B", b"2")) == "two"
    assert chosen(found, b"/a", b"h", b"POST", (b"x-a", b"1"), (b"x-b", b"2")) == "method"


@pytest.mark.parametrize("path", [b"/admin/", b"/admin/x", b"/admin", b"/admin?x", b"/%61dmin/x", b"/admin/%2e%61"])
def test_P14_a_prefix_holds_its_own_name(path):
    assert chosen(table(route("admin", path="/admin/*"), route("rest")), path) == "admin"


@pytest.mark.parametrize("path", [b"/administrator", b"/admin.html", b"/Admin/x", b"/x/admin/", b"/adm"])
def test_P14_a_prefix_ends_at_a_segment(path):
    assert chosen(table(route("admin", path="/admin/*"), route("rest")), path) == "rest"


@pytest.mark.parametrize("path", [b"/admin;x", b"/admin;x/y", b"/admin%3bx", b"/admin;/y", b"/exact;v=1", b"/exact;"])
def test_P5_path_that_is_another_without_its_parameters_is_refused(path):
    found = table(route("admin", path="/admin/*"), route("exact", path="/exact"), route("rest"))
    with pytest.raises(ProxyError) as caught:
        found.match(head(path))
    assert caught.value.kind is ErrorKind.BAD_REQUEST


@pytest.mark.parametrize(
    ("path", "expected"), [(b"/admin/x;v=1", "admin"), (b"/a;v=1/b;x", "rest"), (b"/a?x;y", "rest")]
)
def test_P5_parameters_that_change_no_route_pass(path, expected):
    assert chosen(table(route("admin", path="/admin/*"), route("rest")), path) == expected


def test_P6_paths_have_case_and_a_query_is_none_of_theirs():
    found = table(route("a", path="/a"), route("rest"))
    assert chosen(found, b"/a?b=/c") == "a"
    assert chosen(found, b"/A") == "rest"


def test_P10_a_star_is_no_path_of_a_prefix():
    found = table(route("prefix", path="/*"), route("none"))
    assert chosen(found, b"*", b"h", b"OPTIONS") == "none"


def test_connect_goes_nowhere_unless_named():
    assert chosen(table(route("all"), default="app"), b"", b"a:443", b"CONNECT") is None
    assert chosen(table(route("c", methods=("CONNECT",))), b"", b"a:443", b"CONNECT") == "c"


def test_only_routes_of_the_direction_count():
    routes = (route("in", direction="inbound"), route("out", direction="outbound"), route("both", path="/b"))
    assert [entry.id for entry in table(*routes).entries] == ["in", "both"]
    assert [entry.id for entry in table(*routes, direction="outbound").entries] == ["out", "both"]


def named(name, *hosts):
    return Upstream(name, (Endpoint(Address("10.0.0.1", 1)),), match=Match(hosts))


def test_outbound_hosts_name_their_upstream_where_no_route_does():
    upstreams = (named("pay", "payments.shop", "*.payments.shop"), named("wide", "*.shop"))
    found = table(route("r", path="/r"), direction="outbound", default="rest", upstreams=upstreams)

    def upstream(*request):
        return found.match(head(*request)).pick(lambda: 0.0)

    assert chosen(found, b"/r", b"payments.shop") == "r"
    assert upstream(b"/", b"Payments.Shop:80") == "pay"
    assert upstream(b"/", b"eu.payments.shop") == "pay"
    assert upstream(b"/", b"other.shop") == "wide"
    assert upstream(b"/", b"elsewhere") == "rest"


def test_inbound_hosts_of_upstreams_say_nothing():
    assert table(upstreams=(named("pay", "payments.shop"),)).match(head(b"/", b"payments.shop")) is None


def test_the_limit_is_the_timeout_of_what_names_none():
    found = RouteTable([route("r", path="/r")], "outbound", "rest", [named("pay", "pay.shop")], 7.0)
    requests = [(b"/r",), (b"/", b"pay.shop"), (b"/", b"x")]
    assert [found.match(head(*request)).timeout for request in requests] == [7.0, 7.0, 7.0]


# --- P17: what was judged is what the app gets ---------------------------------------------------------------------

SEGMENTS = st.sampled_from([b"admin", b"Admin", b"a", b"a b", b"~", b"%", b"caf\xc3\xa9", b"x;v=1", b"b.c"])
POLICIES = st.lists(
    st.sampled_from(
        [
            {"path": "/admin"},
            {"path": "/admin/*"},
            {"path": "/a/*"},
            {"path": "/admin/a"},
            {"path": "/*"},
            {"path_regex": "/[a-z]+/.*"},
            {"path_regex": "/admin.*"},
            {"path": "/caf%C3%A9/*"},
            {},
        ]
    ),
    min_size=1,
    max_size=5,
)


def outcome(found, target):
    """The entry, or the kind of the refusal."""
    try:
        return found.match(head(target))
    except ProxyError as error:
        return error.kind


@st.composite
def spellings(draw):
    """One path in two lawful spellings: some bytes escaped that need not be."""
    path = b"/" + b"/".join(draw(st.lists(SEGMENTS, max_size=4)))
    pieces = [quote_from_bytes(bytes([byte]), safe="/~;=.").encode() for byte in path]
    plain = b"".join(pieces)
    escaped = b"".join(
        b"%%%02x" % byte if byte not in b"/." and draw(st.booleans()) else piece
        for byte, piece in zip(path, pieces, strict=True)
    )
    return path, plain, escaped + draw(st.sampled_from([b"", b"?q", b"?/admin/%61"]))


@given(POLICIES, spellings())
def test_P17_every_lawful_spelling_of_a_path_is_judged_as_the_app_reads_it(policy, spelling):
    path, plain, escaped = spelling
    found = table(*(route(str(number), **conditions) for number, conditions in enumerate(policy)))
    for target in (plain, escaped):
        if check_request(head(target)) is None:
            assert decoded_path(target) == path
            assert outcome(found, target) is outcome(found, plain)


@given(POLICIES, st.lists(st.sampled_from(list(b"/a.%2e5c;?Admin")), max_size=14).map(lambda tail: b"/" + bytes(tail)))
@example([{}], b"//")
def test_P17_what_passes_the_validator_has_one_reading(policy, target):
    """No accepted target changes its shape when the app decodes it, cuts parameters off and resolves dots."""
    if check_request(head(target)) is not None:
        return
    path = decoded_path(target)
    bare = b"/".join(segment.partition(b";")[0] for segment in path.split(b"/"))
    assert not {b".", b".."} & set(bare.split(b"/"))
    assert path.count(b"/") == target.partition(b"?")[0].count(b"/") and b"//" not in path
    found = table(*(route(str(number), **conditions) for number, conditions in enumerate(policy)))
    again = quote_from_bytes(path, safe="/~;=.").encode()
    bare_target = quote_from_bytes(bare, safe="/~=.").encode()
    if (where := outcome(found, target)) is not ErrorKind.BAD_REQUEST:
        assert where is outcome(found, again)
        assert where is outcome(found, bare_target), "an app that cuts parameters off reads another path"
