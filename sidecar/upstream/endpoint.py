"""What is known of one endpoint while it is in use."""

from __future__ import annotations

import math
from typing import Final

EWMA_SECONDS: Final = 10.0
"""Time in which an old latency loses two thirds of its weight."""
LATENCY_FLOOR: Final = 0.001
"""Seconds below which latencies count as equal: under it a difference is noise, and the shorter queue decides."""
BACKOFF_SECONDS: Final = 1.0
"""How long an endpoint that refused a connection is tried last."""


class EndpointLoad:
    """The live state that balancers choose by; times in seconds."""

    __slots__ = ("_ewma", "_stamp", "connect_failures", "in_flight", "retry_at", "weight")

    def __init__(self, weight: int = 1) -> None:
        self.weight = weight
        self.in_flight = 0
        self.connect_failures = 0
        """In a row."""
        self.retry_at = 0.0
        """Until then the endpoint is tried last."""
        self._ewma = 0.0
        self._stamp = 0.0

    def begin(self) -> None:
        self.in_flight += 1

    def end(self, now: float, duration: float, is_ok: bool) -> None:
        """A stream is over; only a whole answer tells anything about latency."""
        self.in_flight -= 1
        if not is_ok:
            return
        self.connect_failures = 0
        self.retry_at = 0.0
        # Peak-sensitive: a slow answer counts at once, trust comes back with time.
        if duration < self._ewma:
            weight = math.exp((self._stamp - now) / EWMA_SECONDS) if now > self._stamp else 1.0
            duration = self._ewma * weight + duration * (1.0 - weight)
        self._ewma = duration
        self._stamp = now

    def refused(self, now: float) -> None:
        """A connection could not be made."""
        self.connect_failures += 1
        self.retry_at = now + BACKOFF_SECONDS

    def latency(self, now: float) -> float:
        """Expected seconds of the next answer; decays in silence, so that a slow one is tried again."""
        ewma = self._ewma
        if ewma <= LATENCY_FLOOR:
            return LATENCY_FLOOR
        return max(LATENCY_FLOOR, ewma * math.exp((self._stamp - now) / EWMA_SECONDS))
