"""Whether a failed attempt may be repeated.

Two questions, kept apart. *Safe*: can the upstream have acted on the request already (:func:`is_safe`, the same for
everybody)? *Wanted*: does the default rule (:func:`may_retry`) or a route's ``retries`` (:class:`RetryPolicy`) ask
for another try, and is there budget left (:class:`RetryBudget`)? An attempt is repeated only when all agree.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from sidecar.errors import ErrorKind, ProxyError, Retry, Source

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE"})
"""Methods whose request may reach the app twice (RFC 9110 section 9.2.2)."""

DEFAULT_ATTEMPTS: Final = 2
"""Tries in all without a ``retries`` block: one, and one more on proof that nothing was lost."""

CONDITIONS: Final = frozenset({"connect-failure", "refused-stream", "reset", "5xx", "gateway-error"})
"""Words of ``retries.on`` beside plain status codes."""

_GATEWAY_ERRORS: Final = frozenset({502, 503, 504})


def is_safe(method: bytes, error: ProxyError, *, is_body_replayable: bool = True, is_written: bool = True) -> bool:
    """True when repeating the request cannot make the app do something twice that it should do once.

    ``is_body_replayable``: every body byte sent so far can be sent again. ``is_written``: at least one byte of the
    request was handed to a connection. Errors that are not the upstream's are never repeated: an answer of ours
    would only be given again.
    """
    if not is_body_replayable or error.source is not Source.UPSTREAM:
        return False
    if error.retry is Retry.UNPROCESSED or not is_written:
        return True
    return error.retry is Retry.REUSED and method in IDEMPOTENT


def may_retry(
    method: bytes,
    error: ProxyError,
    attempts: int,
    *,
    is_body_replayable: bool = True,
    is_written: bool = True,
) -> bool:
    """The rule without a ``retries`` block: one more try, when it is safe. ``attempts`` counts tries so far."""
    if attempts >= DEFAULT_ATTEMPTS:
        return False
    return is_safe(method, error, is_body_replayable=is_body_replayable, is_written=is_written)


class RetryPolicy:
    """A route's ``retries`` block.

    ``attempts`` is the number of *re*-tries, as in Istio and Envoy: 2 means at most three tries. ``on`` holds words
    of :data:`CONDITIONS` and status codes. ``per_try_timeout`` is in seconds, None for none. A status from the app
    or a reset after it may have acted is repeated only for methods in :data:`IDEMPOTENT`.
    Raises ValueError for a condition it does not know.
    """

    __slots__ = ("_on_connect", "_on_refused", "_on_reset", "_statuses", "attempts", "per_try_timeout")

    def __init__(self, attempts: int, on: Iterable[str], per_try_timeout: float | None = None) -> None:
        conditions = {str(condition).strip() for condition in on}
        self.attempts = attempts
        self.per_try_timeout = per_try_timeout
        self._on_connect = bool(conditions & {"connect-failure", "gateway-error", "5xx"})
        self._on_refused = "refused-stream" in conditions
        self._on_reset = bool(conditions & {"reset", "5xx"})
        self._statuses = _statuses(conditions)

    def allows_error(
        self,
        method: bytes,
        error: ProxyError,
        attempts: int,
        *,
        is_body_replayable: bool = True,
        is_written: bool = True,
    ) -> bool:
        """May the attempt that ended in ``error`` be repeated? The default rule's case always counts in."""
        if may_retry(method, error, attempts, is_body_replayable=is_body_replayable, is_written=is_written):
            return True
        if attempts > self.attempts or not self._wants(error):
            return False
        if is_safe(method, error, is_body_replayable=is_body_replayable, is_written=is_written):
            return True
        return is_body_replayable and error.source is Source.UPSTREAM and method in IDEMPOTENT

    def allows_status(
        self, method: bytes, status: int, attempts: int, *, is_body_replayable: bool = True
    ) -> bool:
        """May an answer of the app with ``status`` be dropped for another try? Asked before it goes downstream."""
        return (
            attempts <= self.attempts
            and is_body_replayable
            and method in IDEMPOTENT
            and status in self._statuses
        )

    def _wants(self, error: ProxyError) -> bool:
        if error.kind is ErrorKind.UPSTREAM_CONNECT:
            return self._on_connect
        if error.retry is Retry.UNPROCESSED:
            return self._on_refused
        if error.kind is ErrorKind.UPSTREAM_RESET:
            return self._on_reset
        return error.kind is ErrorKind.UPSTREAM_TIMEOUT and (self._on_reset or 504 in self._statuses)


def _statuses(conditions: Collection[str]) -> frozenset[int]:
    found: set[int] = set()
    for condition in conditions:
        if condition == "5xx":
            found.update(range(500, 600))
        elif condition == "gateway-error":
            found.update(_GATEWAY_ERRORS)
        elif condition.isascii() and condition.isdigit() and 400 <= int(condition) <= 599:
            found.add(int(condition))
        elif condition not in CONDITIONS:
            raise ValueError(f"'{condition}' is not a retry condition")
    return frozenset(found)


class RetryBudget:
    """Bounds retries to a share of the traffic, so that a dead upstream is not hit twice as hard (row R4).

    A bucket: each first try puts ``ratio`` of a token in, each second ``floor`` tokens drip in, each retry takes
    one. It never holds more than ``window`` seconds of the floor, so a quiet hour does not save up a storm.
    """

    __slots__ = ("_capacity", "_floor", "_ratio", "_stamp", "_tokens")

    def __init__(self, ratio: float = 0.2, floor: float = 10.0, window: float = 1.0) -> None:
        self._ratio = ratio
        self._floor = floor
        self._capacity = max(floor * window, 1.0)
        self._tokens = self._capacity
        self._stamp: float | None = None

    def on_request(self, now: float) -> None:
        """A first try begins."""
        self._drip(now)
        self._tokens = min(self._tokens + self._ratio, self._capacity)

    def take(self, now: float) -> bool:
        """Spend one retry; False when there is none to spend."""
        self._drip(now)
        # Sums of ratios like 0.2 fall short of a whole token by rounding alone.
        if self._tokens < 1.0 - 1e-9:
            return False
        self._tokens -= 1.0
        return True

    def _drip(self, now: float) -> None:
        if self._stamp is not None and now > self._stamp:
            self._tokens = min(self._tokens + (now - self._stamp) * self._floor, self._capacity)
        self._stamp = now
