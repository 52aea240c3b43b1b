"""What must hold between blocks; row Y9 of the catalogue of attacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.config.load import load
from sidecar.config.model import Config
from sidecar.errors import ConfigError

INBOUND = 'listeners:\n  - {name: in, direction: inbound, address: "127.0.0.1:1506", upstream: app}\n'
OUTBOUND = '  - {name: out, direction: outbound, address: "127.0.0.1:1501"}\n'
UPSTREAMS = 'upstreams:\n  - {name: app, endpoints: ["127.0.0.1:8080"]}\n'


def read(folder: Path, text: str, missing: str = "\0") -> Config:
    path = folder / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return load([str(path)], {}, exists=lambda path: missing not in path)


def told(folder: Path, text: str, missing: str = "\0") -> str:
    with pytest.raises(ConfigError) as refused:
        read(folder, text, missing)
    (problem,) = refused.value.problems
    return str(problem).removeprefix(str(folder / "c.yaml"))


@pytest.mark.parametrize(
    "endpoint", ["10.0.0.1:80", "localhost:80", "0.0.0.0:80", "[::]:80", "[fe80::1]:80", "169.254.1.1:1"]
)
def test_Y9_what_inbound_traffic_reaches_is_a_loopback_literal(tmp_path: Path, endpoint: str) -> None:
    message = told(tmp_path, INBOUND + f'upstreams:\n  - {{name: app, endpoints: ["127.0.0.1:1", "{endpoint}"]}}\n')
    assert message.startswith(f":4: upstreams[0].endpoints: {endpoint} is not a loopback IP address")
    assert "listener 'in'" in message and message.endswith("use a loopback address")


@pytest.mark.parametrize("endpoint", ["127.0.0.1:80", "127.9.9.9:80", "[::1]:80"])
def test_Y9_loopback_literals_pass(tmp_path: Path, endpoint: str) -> None:
    assert read(tmp_path, INBOUND + f'upstreams:\n  - {{name: app, endpoints: ["{endpoint}"]}}\n').upstreams


REMOTE = UPSTREAMS + '  - {name: far, endpoints: ["far.shop:80"]}\n'


@pytest.mark.parametrize("route", ["{id: r, upstream: far}", "{id: r, direction: inbound, upstream: far}",
                                   "{id: r, split: [{upstream: app}, {upstream: far, weight: 0}]}"])  # fmt: skip
def test_Y9_a_route_that_serves_inbound_reaches_loopback_only(tmp_path: Path, route: str) -> None:
    message = told(tmp_path, INBOUND + OUTBOUND + REMOTE + f"routes:\n  - {route}\n")
    assert message.startswith(":6: upstreams[1].endpoints: far.shop:80 is not a loopback IP address")
    assert message.endswith("or direction: outbound")


def test_Y9_outbound_goes_anywhere(tmp_path: Path) -> None:
    route = "routes:\n  - {id: r, direction: outbound, upstream: far}\n"
    assert read(tmp_path, INBOUND + OUTBOUND + REMOTE + route).warnings == ()
    both = "routes:\n  - {id: r, upstream: far}\n"
    assert read(tmp_path, "listeners:\n" + OUTBOUND + REMOTE + both).warnings == ()


@pytest.mark.parametrize(
    ("mine", "other"),
    [
        ("0.0.0.0:15021", "health (0.0.0.0:15021)"),
        ("127.0.0.1:15021", "health (0.0.0.0:15021)"),
        ("0.0.0.0:15000", "admin (127.0.0.1:15000)"),
    ],
)
def test_a_port_has_one_owner(tmp_path: Path, mine: str, other: str) -> None:
    listener = f'listeners:\n  - {{name: o, direction: outbound, address: "{mine}", upstream: app}}\n'
    message = told(tmp_path, listener + UPSTREAMS)
    assert message == f":2: listeners[0].address: {mine} is taken by {other}"


def test_families_and_hosts_are_owners_of_their_own(tmp_path: Path) -> None:
    addresses = '["[::]:15021", "[::1]:15000", "127.0.0.2:15000"]'
    text = f"listeners:\n  - {{name: o, direction: outbound, address: {addresses}, upstream: app}}\n" + UPSTREAMS
    assert len(read(tmp_path, text).listeners[0].addresses) == 3


MISSING = INBOUND + UPSTREAMS + "plugins:\n  - name: a\n    path: a.wasm\n"


def test_a_module_that_is_not_there_refuses_the_start_unless_policy_says_otherwise(tmp_path: Path) -> None:
    assert told(tmp_path, MISSING, "a.wasm") == f":7: plugins[0].path: there is no file {tmp_path}/a.wasm"
    (warning,) = read(tmp_path, MISSING + "    on_failure: {load: open}\n", "a.wasm").warnings
    assert warning.endswith(f":7: plugins[0].path: there is no file {tmp_path}/a.wasm")


def test_a_fragment_may_name_what_another_file_brings(tmp_path: Path) -> None:
    text = "plugins:\n  - {name: a, path: a.wasm}\nroutes:\n  - {id: r, upstream: app, plugins: [a]}\n"
    warnings = read(tmp_path, text, "a.wasm").warnings
    assert [warning.removeprefix(str(tmp_path / "c.yaml")) for warning in warnings] == [
        ": no listeners: a fragment that serves nothing; upstreams it names may come with another file",
        f":2: plugins[0].path: there is no file {tmp_path}/a.wasm",
        ":4: routes[0].upstream: no upstream 'app'",
    ]


def test_what_gets_no_traffic_is_said(tmp_path: Path) -> None:
    rules = """\
routes:
  - {id: a, path: /x, headers: {X: "1"}, upstream: app}
  - {id: b, path: /x, headers: {x: "1"}, upstream: app, methods: [GET]}
  - {id: c, path: /x, headers: {x: "1"}, upstream: app, direction: inbound}
  - {id: d, path: /y, upstream: app, direction: outbound}
"""
    warnings = [each.partition(" ")[2] for each in read(tmp_path, INBOUND + UPSTREAMS + rules).warnings]
    assert warnings == [
        "routes[2].id: 'c' matches exactly what 'a' does before it, and so gets no request",
        "routes[3].direction: there is no outbound listener",
    ]
    (alone,) = read(tmp_path, "listeners:\n" + OUTBOUND).warnings
    assert alone.endswith("listeners[0].upstream: nothing says where its requests go: all get 404")


@pytest.mark.parametrize(
    ("address", "tls", "is_told"),
    [("0.0.0.0:1506", "", True), ("127.0.0.1:1506", "", False), ("0.0.0.0:1506", ", tls: {mode: disable}", False)],
)
def test_plain_text_to_the_network_is_told_unless_it_is_meant(
    tmp_path: Path, address: str, tls: str, is_told: bool
) -> None:
    text = f'listeners:\n  - {{name: in, direction: inbound, address: "{address}", upstream: app{tls}}}\n'
    assert any("plain text" in warning for warning in read(tmp_path, text + UPSTREAMS).warnings) is is_told
