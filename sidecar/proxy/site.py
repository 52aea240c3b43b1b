"""What the connections of one listener share, and the snapshot of configuration they serve by.

A reload puts another :class:`Snapshot` into :attr:`Site.snapshot`; exchanges that began keep theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sidecar.codec.base import Codec
from sidecar.exchange.chain import FilterChain
from sidecar.exchange.flow import HoldBudget
from sidecar.route.table import RouteEntry, RouteTable
from sidecar.telemetry.metrics import MetricsRegistry
from sidecar.transport.timers import TimerWheel


class Snapshot:
    """One listener's share of one configuration generation."""

    __slots__ = ("_chains", "_unrouted", "generation", "refusals", "table")

    def __init__(
        self,
        generation: int,
        table: RouteTable,
        chains: Mapping[str, FilterChain],
        unrouted: FilterChain,
        refusals: FilterChain,
    ) -> None:
        self.generation = generation
        self.table = table
        self._chains = chains
        self._unrouted = unrouted
        self.refusals = refusals
        """For requests that are refused before routing: telemetry only, no plugin sees them."""

    def chain(self, route: RouteEntry | None) -> FilterChain:
        """The chain of a route by its id; without a route, every plugin still runs (one may rewrite the path)."""
        if route is None:
            return self._unrouted
        return self._chains.get(route.id, self._unrouted)


class Deadlines:
    """Times after which a client loses its patience credit; seconds."""

    __slots__ = ("body_grace", "body_rate", "header", "idle", "linger", "write_stall")

    def __init__(
        self, *, header: float, idle: float, write_stall: float, body_rate: int, body_grace: float, linger: float = 1.0
    ) -> None:
        self.header = header
        self.idle = idle
        self.write_stall = write_stall
        self.body_rate = body_rate
        """Bytes per second a request body must make after ``body_grace``; 0 turns the check off."""
        self.body_grace = body_grace
        self.linger = linger


class Site:
    """One listener at work, shared by its connections; a mutable hub on the event loop's thread only."""

    __slots__ = (
        "budget",
        "connections",
        "deadlines",
        "direction",
        "in_flight",
        "is_draining",
        "make_codec",
        "max_connections",
        "max_in_flight",
        "metrics",
        "name",
        "new_connection_id",
        "open_count",
        "report_bug",
        "snapshot",
        "timers",
    )

    def __init__(
        self,
        name: str,
        direction: str,
        snapshot: Snapshot,
        *,
        make_codec: Callable[[], Codec],
        timers: TimerWheel,
        budget: HoldBudget,
        deadlines: Deadlines,
        metrics: MetricsRegistry,
        new_connection_id: Callable[[], int],
        report_bug: Callable[[str, BaseException], None],
        max_connections: int,
        max_in_flight: int,
    ) -> None:
        self.name = name
        self.direction = direction
        self.snapshot = snapshot
        self.make_codec = make_codec
        self.timers = timers
        self.budget = budget
        self.deadlines = deadlines
        self.metrics = metrics
        self.new_connection_id = new_connection_id
        self.report_bug = report_bug
        self.max_connections = max_connections
        self.max_in_flight = max_in_flight
        self.connections: set[object] = set()
        self.open_count = 0
        self.in_flight = 0
        self.is_draining = False
