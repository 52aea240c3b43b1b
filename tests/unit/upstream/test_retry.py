from __future__ import annotations

import pytest

from sidecar.errors import ErrorKind, ProxyError, Retry, Source
from sidecar.upstream.retry import CONDITIONS, IDEMPOTENT, RetryBudget, RetryPolicy, is_safe, may_retry


def error(kind=ErrorKind.UPSTREAM_RESET, retry=Retry.NEVER, source=Source.UPSTREAM):
    return ProxyError(kind, source=source, retry=retry)


REFUSED = error(ErrorKind.UPSTREAM_CONNECT, Retry.UNPROCESSED)
REFUSED_STREAM = error(ErrorKind.UPSTREAM_RESET, Retry.UNPROCESSED)
STALE = error(retry=Retry.REUSED)
DIED = error()
TIMEOUT = error(ErrorKind.UPSTREAM_TIMEOUT)


@pytest.mark.parametrize(
    ("method", "failure", "is_written", "expected"),
    [
        (b"POST", REFUSED, True, True),
        (b"POST", REFUSED_STREAM, True, True),
        (b"POST", STALE, True, False),
        (b"POST", STALE, False, True),
        (b"POST", DIED, False, True),
        (b"GET", STALE, True, True),
        (b"GET", DIED, True, False),
        (b"PATCH", STALE, True, False),
    ],
)
def test_R1_R2_safe_is_what_cannot_act_twice(method, failure, is_written, expected):
    assert is_safe(method, failure, is_written=is_written) is expected
    assert may_retry(method, failure, 1, is_written=is_written) is expected
    assert not may_retry(method, failure, 2, is_written=is_written)


def test_R3_a_body_that_is_gone_cannot_go_again():
    assert not is_safe(b"GET", REFUSED, is_body_replayable=False)
    assert not RetryPolicy(3, ["5xx"]).allows_status(b"GET", 503, 1, is_body_replayable=False)
    assert not RetryPolicy(3, ["connect-failure"]).allows_error(b"GET", REFUSED, 1, is_body_replayable=False)


@pytest.mark.parametrize("source", [Source.INTERNAL, Source.DOWNSTREAM])
def test_R6_what_is_not_the_upstreams_fault_is_never_repeated(source):
    ours = error(ErrorKind.OVERLOADED, Retry.UNPROCESSED, source)
    assert not is_safe(b"GET", ours) and not RetryPolicy(3, CONDITIONS).allows_error(b"GET", ours, 1)


@pytest.mark.parametrize(
    ("on", "failure", "expected"),
    [
        ("connect-failure", REFUSED, True),
        ("gateway-error", REFUSED, True),
        ("5xx", REFUSED, True),
        ("refused-stream", REFUSED, False),
        ("refused-stream", REFUSED_STREAM, True),
        ("reset", DIED, True),
        ("5xx", DIED, True),
        ("gateway-error", DIED, False),
        ("connect-failure", DIED, False),
        ("reset", TIMEOUT, True),
        ("gateway-error", TIMEOUT, True),
        ("504", TIMEOUT, True),
        ("503", TIMEOUT, False),
    ],
)
def test_a_policy_wants_what_it_names(on, failure, expected):
    # The second try: the default rule has had its say.
    assert RetryPolicy(2, [on]).allows_error(b"GET", failure, 2) is expected


def test_attempts_are_tries_after_the_first():
    policy = RetryPolicy(2, ["503", "connect-failure"])
    assert [policy.allows_status(b"GET", 503, attempts) for attempts in (1, 2, 3)] == [True, True, False]
    assert [policy.allows_error(b"GET", REFUSED, attempts) for attempts in (1, 2, 3)] == [True, True, False]
    assert RetryPolicy(0, ["503"]).allows_error(b"GET", STALE, 1), "proof of nothing lost counts in any case"


def test_R1_a_policy_does_not_make_a_method_safe():
    policy = RetryPolicy(5, [*CONDITIONS, "503"])
    assert not policy.allows_error(b"POST", DIED, 1) and not policy.allows_status(b"POST", 503, 1)
    assert policy.allows_error(b"POST", REFUSED, 2)
    assert b"POST" not in IDEMPOTENT and b"PATCH" not in IDEMPOTENT


@pytest.mark.parametrize(
    ("on", "yes", "no"),
    [("5xx", {500, 599}, {499}), ("gateway-error", {502, 503, 504}, {500, 501}), (" 429 ", {429}, {428})],
)
def test_statuses_by_word_and_number(on, yes, no):
    policy = RetryPolicy(1, [on])
    assert all(policy.allows_status(b"GET", status, 1) for status in yes)
    assert not any(policy.allows_status(b"GET", status, 1) for status in no)


@pytest.mark.parametrize("condition", ["retriable-4xx", "200", "999", "5XX", "", "٥٠٣"])
def test_an_unknown_condition_is_refused(condition):
    with pytest.raises(ValueError, match="not a retry condition"):
        RetryPolicy(1, [condition])


def test_R4_the_budget_is_a_share_of_the_traffic_on_top_of_a_floor():
    budget = RetryBudget(0.2, 10.0)
    taken = 0
    for step in range(10_000):
        now = step / 1000
        budget.on_request(now)
        taken += budget.take(now)
    assert 2000 < taken <= 10_000 * 0.2 + 10 * 10 + 10


def test_R4_a_quiet_hour_saves_up_no_storm():
    budget = RetryBudget(0.2, 10.0)
    for step in range(36_000):
        budget.on_request(step / 10)
    assert sum(budget.take(3600.0) for _ in range(1000)) == 10


def test_the_floor_alone_lets_ten_a_second_through():
    budget = RetryBudget(0.0, 10.0)
    assert sum(budget.take(0.0) for _ in range(100)) == 10
    assert sum(budget.take(1.0) for _ in range(100)) == 10
    assert not budget.take(0.5), "a clock that steps back gives nothing"


def test_rounding_loses_no_retry():
    budget = RetryBudget(0.2, 0.0)
    assert budget.take(0.0) and not budget.take(0.0)
    for _ in range(5):
        budget.on_request(0.0)
    assert budget.take(0.0)
