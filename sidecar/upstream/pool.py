"""The connection pool of one endpoint, as decisions: what to do is returned, whoever holds the sockets does it.

Connections and waiting requests are opaque tokens (hashable, told apart by identity or equality). A connection
carries up to its own number of streams: one for HTTP/1.1, which makes it an exclusive lease; more where a version
multiplexes. Idle connections are reused last in, first out, so that a surplus grows old at the other end and
expires. Every step costs the same whatever the number of connections and waiters.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from typing import Final, Generic, NamedTuple, TypeVar

from sidecar.errors import ErrorKind, ProxyError

ConnectionT = TypeVar("ConnectionT")
WaiterT = TypeVar("WaiterT")


class Wait(enum.Enum):
    """The request waits in the queue, which hands it over later."""

    DIAL = "dial"  # and the caller starts one new connection
    QUEUE = "queue"  # all connections that there may be are busy or under way


class Reuse(NamedTuple, Generic[ConnectionT]):
    """The request has a stream on ``connection``, from now until ``release`` or ``on_closed``."""

    connection: ConnectionT


class Refuse(NamedTuple):
    """The request cannot be served; nothing was noted."""

    error: ProxyError


class Serve(NamedTuple, Generic[ConnectionT, WaiterT]):
    """A request that waited has a stream on ``connection`` now."""

    waiter: WaiterT
    connection: ConnectionT


class Failed(NamedTuple, Generic[WaiterT]):
    """A dial failed: ``waiters`` left the queue and hear of it; when ``redial``, another dial is started."""

    waiters: tuple[WaiterT, ...]
    redial: bool


DIAL: Final = Wait.DIAL
QUEUE: Final = Wait.QUEUE


class _Leases:
    """Streams open on one connection, and how many there may be (0: it takes no more)."""

    __slots__ = ("limit", "open")

    def __init__(self, limit: int) -> None:
        self.open = 0
        self.limit = limit


class PoolState(Generic[ConnectionT, WaiterT]):
    """See the module. ``idle_timeout`` in seconds; ``max_pending`` bounds requests that wait without a dial."""

    __slots__ = (
        "_connections",
        "_dialing",
        "_idle",
        "_shared",
        "_waiting",
        "idle_timeout",
        "max_connections",
        "max_pending",
    )

    def __init__(self, max_connections: int, max_pending: int, idle_timeout: float) -> None:
        self.max_connections = max_connections
        self.max_pending = max_pending
        self.idle_timeout = idle_timeout
        self._connections: dict[ConnectionT, _Leases] = {}
        self._idle: OrderedDict[ConnectionT, float] = OrderedDict()
        self._shared: OrderedDict[ConnectionT, None] = OrderedDict()
        self._waiting: OrderedDict[WaiterT, None] = OrderedDict()
        self._dialing = 0

    # --- requests --------------------------------------------------------------------------------------------

    def acquire(self, waiter: WaiterT, *, fresh: bool = False) -> Reuse[ConnectionT] | Wait | Refuse:
        """A stream for ``waiter``.

        ``fresh``: rather on a new connection, as a retry after a stale one wants; an idle one only when there may be
        no new one.
        """
        if not fresh or not self.can_dial:
            if self._shared:
                connection = next(reversed(self._shared))
                self._lease(connection)
                return Reuse(connection)
            if self._idle:
                connection, _ = self._idle.popitem()
                leases = self._connections[connection]
                leases.open = 1
                if leases.limit > 1:
                    self._shared[connection] = None
                return Reuse(connection)
        waiting = len(self._waiting)
        if waiting < self._dialing:
            # Somebody gave up while a dial for him was under way: that connection is for this request.
            self._waiting[waiter] = None
            return QUEUE
        if self.can_dial:
            self._waiting[waiter] = None
            self._dialing += 1
            return DIAL
        if waiting - self._dialing >= self.max_pending:
            return Refuse(ProxyError(ErrorKind.OVERLOADED, "upstream queue full", limit="upstream_pending"))
        self._waiting[waiter] = None
        return QUEUE

    def cancel(self, waiter: WaiterT) -> bool:
        """``waiter`` gave up; False when it does not wait (any more). A dial under way goes on: another may want it."""
        if waiter not in self._waiting:
            return False
        del self._waiting[waiter]
        return True

    def release(
        self, connection: ConnectionT, now: float, *, is_reusable: bool = True
    ) -> Serve[ConnectionT, WaiterT] | Wait | None:
        """One stream on ``connection`` is over. Not reusable: the caller closes it, it is forgotten here.

        Returns who gets the room, DIAL when the caller should start a connection in its place, or None: nothing to do,
        also for a connection that is gone already.
        """
        leases = self._connections.get(connection)
        if leases is None:
            return None
        if not is_reusable:
            return self.on_closed(connection)
        leases.open -= 1
        if leases.open >= leases.limit:
            return None
        if self._waiting:
            waiter, _ = self._waiting.popitem(last=False)
            leases.open += 1
            return Serve(waiter, connection)
        if leases.open == 0:
            self._shared.pop(connection, None)
            self._idle[connection] = now
        else:
            self._shared[connection] = None
        return None

    # --- connections -----------------------------------------------------------------------------------------

    def on_dialed(
        self, connection: ConnectionT, now: float, *, max_streams: int = 1
    ) -> list[Serve[ConnectionT, WaiterT]]:
        """A dial succeeded; returns the waiters that are served by it, first come first served."""
        self._dialing -= 1
        leases = self._connections[connection] = _Leases(max_streams)
        served: list[Serve[ConnectionT, WaiterT]] = []
        while self._waiting and leases.open < leases.limit:
            waiter, _ = self._waiting.popitem(last=False)
            leases.open += 1
            served.append(Serve(waiter, connection))
        if leases.open == 0:
            self._idle[connection] = now
        elif leases.open < leases.limit:
            self._shared[connection] = None
        return served

    def on_dial_failed(self) -> Failed[WaiterT]:
        """A dial failed. While other connections live they go on serving the queue and one request pays for the
        failure; with none left, every request for whom no other dial is under way does."""
        self._dialing -= 1
        surplus = len(self._waiting) - self._dialing
        if surplus <= 0:
            return Failed((), False)
        count = 1 if self._connections else surplus
        return Failed(tuple(self._waiting.popitem(last=False)[0] for _ in range(count)), self._dial_for_queue())

    def on_closed(self, connection: ConnectionT) -> Wait | None:
        """``connection`` is gone, with whatever was on it; DIAL when one should take its place."""
        if self._connections.pop(connection, None) is None:
            return None
        self._idle.pop(connection, None)
        self._shared.pop(connection, None)
        return DIAL if self._dial_for_queue() else None

    def retire(self, connection: ConnectionT) -> bool:
        """No new stream goes on ``connection`` (GOAWAY, ``connection: close``); True when it is idle: close it now."""
        leases = self._connections.get(connection)
        if leases is None:
            return False
        leases.limit = 0
        self._shared.pop(connection, None)
        return self._idle.pop(connection, None) is not None

    def is_finished(self, connection: ConnectionT) -> bool:
        """True for a retired connection whose last stream is over: the caller closes it."""
        leases = self._connections.get(connection)
        return leases is not None and leases.limit == 0 and leases.open == 0

    def expire(self, now: float) -> list[ConnectionT]:
        """Take out what has been idle too long; the caller closes it. Oldest first."""
        expired: list[ConnectionT] = []
        while self._idle:
            connection, since = next(iter(self._idle.items()))
            if now - since < self.idle_timeout:
                break
            del self._idle[connection]
            del self._connections[connection]
            expired.append(connection)
        return expired

    def drain(self) -> list[ConnectionT]:
        """Take out everything idle and let nothing be idle again; the caller closes it. Busy ones finish."""
        drained = list(self._idle)
        for connection in drained:
            del self._connections[connection]
        self._idle.clear()
        self._shared.clear()
        for leases in self._connections.values():
            leases.limit = 0
        return drained

    def abandon(self) -> list[WaiterT]:
        """Take out everybody who waits; the caller tells them."""
        abandoned = list(self._waiting)
        self._waiting.clear()
        return abandoned

    # --- figures ---------------------------------------------------------------------------------------------

    @property
    def can_dial(self) -> bool:
        return len(self._connections) + self._dialing < self.max_connections

    @property
    def connection_count(self) -> int:
        return len(self._connections)

    @property
    def idle_count(self) -> int:
        return len(self._idle)

    @property
    def dialing_count(self) -> int:
        return self._dialing

    @property
    def waiting_count(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return (
            f"PoolState({len(self._connections)} connections, {len(self._idle)} idle, "
            f"{self._dialing} dialing, {len(self._waiting)} waiting)"
        )

    def _lease(self, connection: ConnectionT) -> None:
        leases = self._connections[connection]
        leases.open += 1
        if leases.open >= leases.limit:
            self._shared.pop(connection, None)

    def _dial_for_queue(self) -> bool:
        """Note a new dial when somebody waits without one and there is room."""
        if len(self._waiting) > self._dialing and self.can_dial:
            self._dialing += 1
            return True
        return False
