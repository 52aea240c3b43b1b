from __future__ import annotations

import pytest

from sidecar.upstream.endpoint import BACKOFF_SECONDS, EWMA_SECONDS, LATENCY_FLOOR, EndpointLoad


def test_requests_are_counted():
    load = EndpointLoad(3)
    load.begin()
    load.begin()
    load.end(1.0, 0.1, True)
    assert (load.weight, load.in_flight) == (3, 1)


def test_a_slow_answer_counts_at_once_and_is_forgotten_slowly():
    load = EndpointLoad()
    load.end(0.0, 0.010, True)
    load.end(1.0, 1.0, True)
    assert load.latency(1.0) == 1.0
    load.end(2.0, 0.010, True)
    assert 0.8 < load.latency(2.0) < 1.0
    assert load.latency(2.0 + 100 * EWMA_SECONDS) == LATENCY_FLOOR


def test_a_failure_says_nothing_about_latency():
    load = EndpointLoad()
    load.end(0.0, 5.0, False)
    assert load.latency(0.0) == LATENCY_FLOOR


def test_a_refusal_stands_until_an_answer_comes():
    load = EndpointLoad()
    load.refused(10.0)
    load.refused(10.5)
    assert (load.connect_failures, load.retry_at) == (2, 10.5 + BACKOFF_SECONDS)
    load.end(11.0, 0.1, False)
    assert load.connect_failures == 2
    load.end(11.0, 0.1, True)
    assert (load.connect_failures, load.retry_at) == (0, 0.0)


@pytest.mark.parametrize("now", [0.0, 5.0])
def test_two_answers_in_one_instant_do_no_harm(now):
    load = EndpointLoad()
    load.end(now, 0.2, True)
    load.end(now, 0.1, True)
    assert load.latency(now) == pytest.approx(0.2)
