"""What the connections of one listener share, and the snapshot of configuration they serve by.

A reload puts another :class:`Snapshot` into :attr:`Site.snapshot`; exchanges that began keep theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from sidecar.codec.base import Codec
from sidecar.exchange.chain import FilterChain
from sidecar.exchange.exchange import Exchange
from sidecar.exchange.flow import HoldBudget
from sidecar.route.entry import RouteEntry
from sidecar.route.table import RouteTable
from sidecar.telemetry.metrics import MetricsRegistry
from sidecar.transport.timers import TimerWheel

REFUSAL_ROOM: Final = 1.5
"""Beyond ``max_connections`` a connection gets an answer (503); beyond that times this it is cut."""


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


class Tenant(Protocol):
    """A connection as the site sees it."""

    def exchanges(self) -> Iterable[Exchange]:
        """Those that are open."""

    def begin_drain(self) -> None:
        """The next answer is the last."""

    def close_idle(self) -> None:
        """Close unless an exchange is open or a request is just arriving."""

    def abort(self) -> None: ...


class Site:
    """One listener at work, shared by its connections; a mutable hub on the event loop's thread only."""

    __slots__ = (
        "_active",
        "_draining",
        "_greedy",
        "_peers",
        "budget",
        "connections",
        "deadlines",
        "direction",
        "in_flight",
        "is_closing_idle",
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
        self.connections: set[Tenant] = set()
        self.open_count = 0
        self.in_flight = 0
        self.is_draining = False
        self.is_closing_idle = False
        """The drain's delay is over: a connection that becomes idle is closed."""
        self._peers: dict[str, int] = {}
        self._greedy: str | None = None
        self._active = metrics.connections(name, "active")
        self._draining = metrics.connections(name, "draining")

    # --- connections come and go -----------------------------------------------------------------------------

    def admit(self, tenant: Tenant, peer: str) -> str:
        """A connection is there; the answer names the limit that forbids serving it, or is empty.

        When the listener is full, new connections are refused; but while one peer holds more than half of them, it
        is that peer's that are refused, and others still get in (reliability row S8).
        """
        self.connections.add(tenant)
        self.open_count += 1
        (self._draining if self.is_draining else self._active).value += 1
        held = self._peers[peer] = self._peers.get(peer, 0) + 1
        if 2 * held > self.max_connections:
            self._greedy = peer
        if self.open_count <= self.max_connections:
            return ""
        if self._greedy is None or len(self._peers) == 1:
            return "connections"
        return "per_peer" if peer == self._greedy else ""

    @property
    def is_overrun(self) -> bool:
        """True when there is no room even for saying no."""
        return self.open_count > REFUSAL_ROOM * self.max_connections

    def dismiss(self, tenant: Tenant, peer: str) -> None:
        """A connection is gone."""
        self.connections.discard(tenant)
        self.open_count -= 1
        (self._draining if self.is_draining else self._active).value -= 1
        left = self._peers.get(peer, 1) - 1
        if left:
            self._peers[peer] = left
        else:
            self._peers.pop(peer, None)
        if peer == self._greedy and 2 * left <= self.max_connections:
            self._greedy = None

    # --- drain -----------------------------------------------------------------------------------------------

    def begin_drain(self) -> None:
        """From now on every answer is its connection's last."""
        if self.is_draining:
            return
        self.is_draining = True
        self._draining.value += self.open_count
        self._active.value -= self.open_count
        for tenant in tuple(self.connections):
            tenant.begin_drain()

    def close_idle(self) -> None:
        """Close what has nothing to do, now and whenever that becomes true."""
        self.is_closing_idle = True
        for tenant in tuple(self.connections):
            tenant.close_idle()

    def cut(self) -> None:
        """End everything at once."""
        for tenant in tuple(self.connections):
            tenant.abort()
