"""The runtime of one named upstream: its endpoints, their balancer and the circuit that bounds them together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sidecar.address import Address
from sidecar.errors import ErrorKind, ProxyError
from sidecar.upstream.balancer import Balancer, make_balancer


class CircuitLimits(NamedTuple):
    """Per worker. Connections and waiting requests count per endpoint, open requests for the upstream as a whole."""

    max_connections: int = 1024
    max_pending: int = 1024
    max_in_flight: int = 4096


class Upstream:
    """Picks endpoints and counts what is open; who holds sockets does so by the indices given here."""

    __slots__ = ("balancer", "endpoints", "in_flight", "limits", "name")

    def __init__(
        self, name: str, endpoints: Sequence[Address], balancer: Balancer, limits: CircuitLimits
    ) -> None:
        self.name = name
        self.endpoints = tuple(endpoints)
        self.balancer = balancer
        self.limits = limits
        self.in_flight = 0

    @classmethod
    def build(
        cls,
        name: str,
        endpoints: Sequence[tuple[Address, int]],
        strategy: str,
        limits: CircuitLimits,
        random: Callable[[], float],
    ) -> Upstream:
        """From addresses with weights; raises ValueError for a strategy that is not available."""
        balancer = make_balancer(strategy, [weight for _, weight in endpoints], random)
        return cls(name, [address for address, _ in endpoints], balancer, limits)

    def begin(self, now: float) -> int:
        """Open a request and choose its endpoint; raises ProxyError (overloaded) when the circuit is full.

        Every ``begin`` that returns is followed by one :meth:`end`.
        """
        if self.in_flight >= self.limits.max_in_flight:
            raise ProxyError(ErrorKind.OVERLOADED, f"upstream '{self.name}' is full", limit="upstream_requests")
        index = self.balancer.pick(now)
        self.in_flight += 1
        self.balancer.on_start(index, now)
        return index

    def end(self, index: int, now: float, duration: float, is_ok: bool) -> None:
        """A request that began is over; ``duration`` in seconds."""
        self.in_flight -= 1
        self.balancer.on_end(index, now, duration, is_ok)

    def connect_failed(self, index: int, now: float) -> None:
        self.balancer.on_connect_failure(index, now)
