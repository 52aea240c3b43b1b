from __future__ import annotations

import random
from collections import Counter

import pytest

from sidecar.upstream.balancer import STRATEGIES, make_balancer
from sidecar.upstream.endpoint import BACKOFF_SECONDS

EVERY = sorted(STRATEGIES)


def balancer(strategy, *weights, seed=7):
    return make_balancer(strategy, weights, random.Random(seed).random)


def draws(found, count=4000, now=0.0):
    return Counter(found.pick(now) for _ in range(count))


@pytest.mark.parametrize("strategy", EVERY)
def test_one_endpoint_is_the_answer_without_a_draw(strategy):
    def never():
        raise AssertionError("nothing to draw")

    found = make_balancer(strategy, [5], never)
    found.on_connect_failure(0, 1.0)
    assert found.pick(1.0) == 0


@pytest.mark.parametrize("strategy", EVERY)
def test_idle_endpoints_share_by_weight(strategy):
    even = draws(balancer(strategy, 1, 1, 1))
    assert all(1100 < count < 1600 for count in even.values()) and len(even) == 3
    uneven = draws(balancer(strategy, 3, 1))
    assert 2700 < uneven[0] < 3300


def test_round_robin_is_smooth():
    found = balancer("round_robin", 3, 1)
    assert [found.pick(0.0) for _ in range(8)] == [0, 0, 1, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("strategy", ["least_request", "p2c_ewma"])
def test_the_shorter_queue_wins(strategy):
    found = balancer(strategy, 1, 1)
    for _ in range(5):
        found.on_start(0, 0.0)
    assert draws(found, 100) == {1: 100}
    for _ in range(5):
        found.on_end(0, 0.0, 0.0005, True)
    assert set(draws(found, 100)) == {0, 1}


def test_the_faster_endpoint_wins_and_the_slow_one_gets_another_chance():
    found = balancer("p2c_ewma", 1, 1)
    for index, duration in ((0, 0.5), (1, 0.005)):
        found.on_start(index, 0.0)
        found.on_end(index, 0.0, duration, True)
    assert draws(found, 100) == {1: 100}
    assert set(draws(found, 100, now=1000.0)) == {0, 1}


@pytest.mark.parametrize("strategy", EVERY)
def test_an_endpoint_that_refused_is_tried_last_for_a_while(strategy):
    found = balancer(strategy, 1, 1, 1)
    found.on_connect_failure(1, 10.0)
    assert set(draws(found, 200, now=10.5)) == {0, 2}
    found.on_connect_failure(0, 10.6)
    assert set(draws(found, 50, now=10.7)) == {2}
    found.on_connect_failure(2, 10.8)
    assert set(draws(found, 50, now=10.9)) == {1}, "when all refused, the one whose time is up first"
    assert set(draws(found, 200, now=10.9 + BACKOFF_SECONDS)) == {0, 1, 2}


@pytest.mark.parametrize("strategy", EVERY)
def test_weights_still_count_among_those_that_are_left(strategy):
    found = balancer(strategy, 6, 2, 1)
    found.on_connect_failure(0, 10.0)
    left = draws(found, 3000, now=10.5)
    assert 0 not in left and 1700 < left[1] < 2300


def test_what_is_not_there_is_said():
    with pytest.raises(ValueError, match="not available"):
        make_balancer("ring_hash", [1], random.random)
    with pytest.raises(ValueError, match="needs an endpoint"):
        make_balancer("random", [], random.random)
