from __future__ import annotations

import pytest

from sidecar.config.model import HeaderEdit, PluginUse, Retries, Route
from sidecar.http.headers import HeaderMap
from sidecar.route.compile import compile_route, host_condition


def compiled(**conditions):
    conditions.setdefault("split", (("app", 1),))
    return compile_route(Route("r", **conditions), 3)


def test_a_path_is_exact_or_a_prefix_that_ends_in_a_slash():
    assert (compiled(path="/a").exact, compiled(path="/a").prefix) == (b"/a", None)
    assert (compiled(path="/a/*").exact, compiled(path="/a/*").prefix) == (None, b"/a/")
    assert compiled(path="/%61").exact == b"/a"
    assert compiled(path="/*").is_catch_all and compiled().is_catch_all
    assert not compiled(path="/a/*").is_catch_all and not compiled(path_regex="/.*").is_catch_all


def test_the_entry_carries_what_the_route_says():
    use = PluginUse("auth", b"{}")
    retries = Retries(2, ("503",), 1.0)
    entry = compiled(plugins=(use,), retries=retries, timeout=3.0, rewrite_prefix="/x").entry
    assert (entry.id, entry.plugins, entry.retries, entry.timeout) == ("r", (use,), retries, 3.0)
    assert entry.rewrite_prefix == b"/x" and entry.edits_request


@pytest.mark.parametrize(
    ("own", "default", "found"), [(None, 0.0, None), (None, 9.0, 9.0), (2.0, 9.0, 2.0), (0.0, 9.0, None)]
)
def test_a_timeout_of_its_own_goes_before_the_limit(own, default, found):
    assert compile_route(Route("r", split=(("app", 1),), timeout=own), 0, default).entry.timeout == found


def test_a_header_condition_compares_the_whole_joined_value():
    rule = compiled(headers={"X-Canary": "a, b"})
    assert rule.accepts(b"GET", HeaderMap.of([(b"x-canary", b"a, b")]))
    assert rule.accepts(b"GET", HeaderMap.of([(b"X-Canary", b"a"), (b"x-canary", b"b")]))
    assert not rule.accepts(b"GET", HeaderMap.of([(b"x-canary", b"a")]))
    assert not rule.accepts(b"GET", HeaderMap())


def test_connect_needs_a_route_that_names_it():
    assert not compiled().accepts(b"CONNECT", HeaderMap())
    assert compiled(methods=("CONNECT",)).accepts(b"CONNECT", HeaderMap())
    assert not compiled(methods=("GET",)).accepts(b"POST", HeaderMap())


@pytest.mark.parametrize("name", ["x-sidecar-attempt", "X-Sidecar-Anything", "x-forwarded-client-cert", "x_request_id"])
def test_H4_nobody_chooses_a_route_by_a_name_that_never_passes(name):
    with pytest.raises(ValueError, match="never passes from outside"):
        compiled(headers={name: "1"})


@pytest.mark.parametrize(
    "broken", [{"path_regex": "("}, {"request_headers": HeaderEdit(set={"host": "x"})}, {"split": (("app", 0),)}]
)
def test_what_cannot_work_is_refused(broken):
    with pytest.raises(ValueError):
        compiled(**broken)


@pytest.mark.parametrize(
    ("host", "condition"),
    [("Orders.Shop.", b"orders.shop"), ("a:80", b"a"), ("a:81", b"a:81"), ("*.Shop.", b".shop"), ("[::1]", b"[::1]")],
)
def test_hosts_are_kept_as_they_are_compared(host, condition):
    assert host_condition(host) == condition
