"""Which endpoint of an upstream is next. Pure: chance and time come as arguments.

An endpoint that refused a connection is tried last for a second (:data:`sidecar.upstream.endpoint.BACKOFF_SECONDS`):
every strategy chooses among the others first, and when all have refused, the one whose time is up soonest is tried,
because a request that may succeed beats one that cannot.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final

from sidecar.upstream.endpoint import EndpointLoad


class Balancer:
    """Base of the strategies; endpoints are known by their index. ``weights`` are positive integers."""

    __slots__ = ("_all", "_random", "_trouble_until", "loads")

    def __init__(self, weights: Sequence[int], random: Callable[[], float]) -> None:
        if not weights:
            raise ValueError("an upstream needs an endpoint")
        self.loads = [EndpointLoad(weight) for weight in weights]
        self._random = random
        self._all = range(len(self.loads))
        self._trouble_until = 0.0

    def pick(self, now: float) -> int:
        """Index of the endpoint for the next attempt."""
        if len(self.loads) == 1:
            return 0
        if now >= self._trouble_until:
            return self._choose(self._all, now)
        able = [index for index in self._all if self.loads[index].retry_at <= now]
        if not able:
            return min(self._all, key=lambda index: self.loads[index].retry_at)
        return able[0] if len(able) == 1 else self._choose(able, now)

    def on_start(self, index: int, now: float) -> None:
        """An attempt on ``index`` begins."""
        self.loads[index].begin()

    def on_end(self, index: int, now: float, duration: float, is_ok: bool) -> None:
        """An attempt that began is over; ``is_ok`` when its answer was whole."""
        self.loads[index].end(now, duration, is_ok)

    def on_connect_failure(self, index: int, now: float) -> None:
        """No connection to ``index`` could be made."""
        load = self.loads[index]
        load.refused(now)
        self._trouble_until = max(self._trouble_until, load.retry_at)

    def _choose(self, among: Sequence[int], now: float) -> int:
        """One of two or more indices."""
        raise NotImplementedError


class RoundRobin(Balancer):
    """In turn; with weights the smooth way, so that 3:1 is a a b a and not a a a b."""

    __slots__ = ("_credits",)

    def __init__(self, weights: Sequence[int], random: Callable[[], float]) -> None:
        super().__init__(weights, random)
        self._credits = [0] * len(self.loads)

    def _choose(self, among: Sequence[int], now: float) -> int:
        credits, loads = self._credits, self.loads
        best = among[0]
        total = 0
        for index in among:
            weight = loads[index].weight
            total += weight
            credits[index] += weight
            if credits[index] > credits[best]:
                best = index
        credits[best] -= total
        return best


class Weighted(Balancer):
    """Random by weight; also the draw of the strategies below."""

    __slots__ = ("_is_even", "_sums")

    def __init__(self, weights: Sequence[int], random: Callable[[], float]) -> None:
        super().__init__(weights, random)
        self._is_even = len(set(weights)) == 1
        self._sums = list(accumulate(weights))

    def _draw(self, among: Sequence[int]) -> int:
        if self._is_even:
            return among[int(self._random() * len(among))]
        if len(among) == len(self.loads):
            sums = self._sums
        else:
            sums = list(accumulate(self.loads[index].weight for index in among))
        return among[min(bisect_right(sums, self._random() * sums[-1]), len(among) - 1)]

    def _choose(self, among: Sequence[int], now: float) -> int:
        return self._draw(among)


class LeastRequest(Weighted):
    """The endpoint with the fewest requests open, by weight; ties go to a random one."""

    __slots__ = ()

    def _choose(self, among: Sequence[int], now: float) -> int:
        loads = self.loads
        best: list[int] = []
        least = float("inf")
        for index in among:
            load = loads[index]
            cost = load.in_flight / load.weight
            if cost < least:
                least = cost
                best = [index]
            elif cost == least:
                best.append(index)
        return best[0] if len(best) == 1 else self._draw(best)


class P2cEwma(Weighted):
    """The better of two drawn at random, by expected latency times queue (power of two choices, peak EWMA).

    Even weights draw two different endpoints. Uneven ones draw twice by weight and let the first win a tie, so that
    idle endpoints share by weight; a queue counts relative to its endpoint's weight.
    """

    __slots__ = ("_mean_weight",)

    def __init__(self, weights: Sequence[int], random: Callable[[], float]) -> None:
        super().__init__(weights, random)
        self._mean_weight = sum(weights) / len(weights)

    def _choose(self, among: Sequence[int], now: float) -> int:
        if self._is_even:
            count = len(among)
            position = int(self._random() * count)
            other = int(self._random() * (count - 1))
            first, second = among[position], among[other if other < position else other + 1]
        else:
            first, second = self._draw(among), self._draw(among)
        if first == second:
            return first
        return second if self._cost(second, now) < self._cost(first, now) else first

    def _cost(self, index: int, now: float) -> float:
        load = self.loads[index]
        return load.latency(now) * (1.0 + load.in_flight * self._mean_weight / load.weight)


STRATEGIES: Final[dict[str, type[Balancer]]] = {
    "round_robin": RoundRobin,
    "random": Weighted,
    "least_request": LeastRequest,
    "p2c_ewma": P2cEwma,
}


def make_balancer(strategy: str, weights: Sequence[int], random: Callable[[], float]) -> Balancer:
    """The balancer that ``load_balancer`` names; ``random`` gives floats in [0, 1). Raises ValueError for another."""
    found = STRATEGIES.get(strategy)
    if found is None:
        raise ValueError(f"load_balancer '{strategy}' is not available yet")
    return found(weights, random)
