from __future__ import annotations

import pytest

from sidecar.address import Address
from sidecar.config.block import Block
from sidecar.config.document import parse
from sidecar.config.model import Endpoint, Upstream
from sidecar.config.traffic import is_host_condition, read_listener, read_upstream
from sidecar.errors import Problem


def block(text: str) -> tuple[Block, list[Problem]]:
    problems: list[Problem] = []
    return Block(parse(text, "f")[0], "x", problems), problems


def test_the_defaults_of_an_upstream_are_those_of_the_model() -> None:
    read, problems = block("name: a\nendpoints: ['127.0.0.1:1']\n")
    assert read_upstream(read) == Upstream("a", (Endpoint(Address("127.0.0.1", 1)),))
    assert problems == []


def test_limits_stand_beside_the_endpoints_or_in_the_circuit_breaker_but_not_in_both() -> None:
    text = "name: a\nendpoints: ['h:1']\ncircuit_breaker: {max_requests: 5, max_pendin: 1}\nmax_requests: 6\n"
    read, problems = block(text)
    assert read_upstream(read).max_requests == 5
    assert sorted(str(problem) for problem in problems) == [
        "f:3: x.circuit_breaker.max_pendin: unknown key (did you mean 'max_pending'?)",
        "f:4: x.max_requests: stands in 'circuit_breaker' too: one of the two",
    ]


def test_a_listener_knows_all_keys_of_the_contract() -> None:
    read, _ = block("name: a\ndirection: inbound\naddress: ['127.0.0.1:1', '[::1]:1']\n")
    assert read_listener(read).addresses == (Address("127.0.0.1", 1), Address("::1", 1))
    assert read.asked == {"name", "direction", "address", "protocol", "original_dst", "upstream", "tls"}


@pytest.mark.parametrize(
    ("host", "is_one"),
    [("a.b", True), ("*.b", True), ("a.b:80", True), ("[::1]:80", True), ("*", False), ("*.", False), ("a.*", False),
     ("", False), ("a b", False), ("ä", False), ("**.a", False), ("a:99999", False)],
)  # fmt: skip
def test_host_conditions(host: str, is_one: bool) -> None:
    assert is_host_condition(host) is is_one
