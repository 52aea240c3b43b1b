from __future__ import annotations

import pytest

from sidecar.address import Address
from sidecar.errors import ErrorKind, ProxyError
from sidecar.upstream.cluster import CircuitLimits, Upstream


def upstream(count=2, **limits):
    endpoints = [(Address("10.0.0.1", port), 1) for port in range(1, count + 1)]
    return Upstream.build("app", endpoints, "round_robin", CircuitLimits(**limits), lambda: 0.0)


def test_begin_and_end_count_once_each():
    found = upstream()
    first, second = found.begin(0.0), found.begin(0.0)
    assert {first, second} == {0, 1} and found.in_flight == 2
    found.end(first, 0.1, 0.1, True)
    assert found.in_flight == 1 and found.balancer.loads[first].in_flight == 0


def test_a_full_circuit_refuses_and_counts_nothing():
    found = upstream(max_in_flight=1)
    index = found.begin(0.0)
    with pytest.raises(ProxyError) as refusal:
        found.begin(0.0)
    assert (refusal.value.kind, refusal.value.limit) == (ErrorKind.OVERLOADED, "upstream_requests")
    assert found.in_flight == 1
    found.end(index, 0.0, 0.0, False)
    assert found.begin(0.0) in (0, 1)


def test_a_refused_connection_is_the_balancers_news():
    found = upstream()
    found.connect_failed(0, 1.0)
    assert [found.begin(1.5) for _ in range(3)] == [1, 1, 1]


def test_a_strategy_that_is_not_there_is_refused():
    with pytest.raises(ValueError):
        Upstream.build("app", [(Address("10.0.0.1", 1), 1)], "ring_hash", CircuitLimits(), lambda: 0.0)
