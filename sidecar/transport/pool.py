"""Connections to endpoints, shared by every downstream.

One :class:`EndpointPool` per endpoint keeps idle connections (last in, first out, so that the surplus grows old and
is closed) and a bounded queue of requests that wait for one. :class:`UpstreamPools` is the port that the router and
the callouts see: it asks the balancer for an endpoint and that endpoint's pool for a stream. A reload keeps the
pools of upstreams that did not change, and with them their warm connections.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from sidecar.address import Address
from sidecar.codec.base import Codec
from sidecar.errors import ErrorKind, ProxyError, Retry, Source
from sidecar.exchange.ports import UpstreamHandler
from sidecar.transport.timers import TimerWheel
from sidecar.transport.upstream import ClientStream, UpstreamConnection


class PoolLimits:
    """Of one upstream, per worker; times in seconds."""

    __slots__ = ("connect_timeout", "idle_timeout", "max_connections", "max_pending")

    def __init__(self, *, connect_timeout: float, idle_timeout: float, max_connections: int, max_pending: int) -> None:
        self.connect_timeout = connect_timeout
        self.idle_timeout = idle_timeout
        self.max_connections = max_connections
        self.max_pending = max_pending


class Balancer(Protocol):
    """Which endpoint is next; told how each attempt went."""

    def pick(self, now: float) -> int:
        """Index of an endpoint."""

    def on_start(self, index: int, now: float) -> None: ...

    def on_end(self, index: int, now: float, duration: float, is_ok: bool) -> None: ...

    def on_connect_failure(self, index: int, now: float) -> None: ...


class Waiter:
    """A request in the queue; implements :class:`sidecar.exchange.ports.PendingOpen`."""

    __slots__ = ("handler",)

    is_open = False

    def __init__(self, handler: UpstreamHandler) -> None:
        self.handler: UpstreamHandler | None = handler

    def cancel(self) -> None:
        self.handler = None


class EndpointPool:
    """The connections of one endpoint."""

    __slots__ = (
        "_balancer",
        "_dials",
        "_idle",
        "_index",
        "_limits",
        "_make_codec",
        "_report_bug",
        "_sweep",
        "_timers",
        "_waiting",
        "connections",
        "endpoint",
        "is_retired",
    )

    def __init__(
        self,
        endpoint: Address,
        index: int,
        balancer: Balancer,
        limits: PoolLimits,
        make_codec: Callable[[], Codec],
        timers: TimerWheel,
        report_bug: Callable[[str, BaseException], None],
    ) -> None:
        self.endpoint = endpoint
        self._index = index
        self._balancer = balancer
        self._limits = limits
        self._make_codec = make_codec
        self._timers = timers
        self._report_bug = report_bug
        self._idle: list[tuple[UpstreamConnection, float]] = []
        self._waiting: deque[Waiter] = deque()
        self._dials: set[asyncio.Task[None]] = set()
        self._sweep = False
        self.connections: set[UpstreamConnection] = set()
        self.is_retired = False

    def open(self, handler: UpstreamHandler) -> ClientStream | Waiter:
        """A stream now, or a place in the queue; raises ProxyError when the queue is full."""
        while self._idle:
            connection, _ = self._idle.pop()
            if not connection.is_lost and not connection.codec.should_close:
                self._balancer.on_start(self._index, self._timers.now())
                return connection.open_stream(handler)
        if len(self._waiting) >= self._limits.max_pending:
            raise ProxyError(ErrorKind.OVERLOADED, f"{self.endpoint}: queue full", limit="upstream_pending")
        waiter = Waiter(handler)
        self._waiting.append(waiter)
        self._dial_if_needed()
        return waiter

    def on_stream_end(self, connection: UpstreamConnection, stream: ClientStream, is_ok: bool) -> None:
        """A stream has ended; an intact connection serves the next waiter or goes idle."""
        now = self._timers.now()
        self._balancer.on_end(self._index, now, now - stream.started, is_ok)
        if not is_ok or connection.codec.should_close or connection.is_lost:
            return
        if self.is_retired:
            connection.close()
        elif self._waiting:
            # In a fresh stack: the exchange that just ended is still on this one.
            self._timers.call_soon(lambda: self._offer(connection))
        else:
            self._idle.append((connection, now))
            self._watch_idle()

    def on_connection_lost(self, connection: UpstreamConnection) -> None:
        self.connections.discard(connection)
        self._idle = [entry for entry in self._idle if entry[0] is not connection]
        self._dial_if_needed()

    def retire(self) -> None:
        """Serve what is open, close the rest."""
        self.is_retired = True
        for connection, _ in self._idle:
            connection.close()
        self._idle.clear()

    def close(self) -> None:
        """Cut everything."""
        self.is_retired = True
        for task in tuple(self._dials):
            task.cancel()
        for connection in tuple(self.connections):
            connection.abort()

    def describe(self) -> dict[str, object]:
        return {
            "address": str(self.endpoint),
            "connections": len(self.connections),
            "idle": len(self._idle),
            "waiting": len(self._waiting),
        }

    def _dial_if_needed(self) -> None:
        waiting = sum(1 for waiter in self._waiting if waiter.handler is not None)
        room = self._limits.max_connections - len(self.connections) - len(self._dials)
        for _ in range(min(waiting - len(self._dials), room)):
            task = asyncio.get_running_loop().create_task(self._dial())
            self._dials.add(task)
            task.add_done_callback(self._dials.discard)

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        failure = ""
        connection: UpstreamConnection | None = None
        try:
            async with asyncio.timeout(self._limits.connect_timeout):
                _, connection = await loop.create_connection(
                    lambda: UpstreamConnection(self._make_codec(), self, self._report_bug),
                    self.endpoint.host,
                    self.endpoint.port,
                )
        except TimeoutError:
            failure = "connect timeout"
        except OSError as error:
            failure = error.strerror or str(error)
        self._dials.discard(asyncio.current_task())  # type: ignore[arg-type]
        if connection is None:
            self._on_dial_failed(failure)
        else:
            self.connections.add(connection)
            self._offer(connection)

    def _offer(self, connection: UpstreamConnection) -> None:
        """Give a free connection to the first request that still waits."""
        if connection.is_lost:
            self._dial_if_needed()
            return
        while self._waiting:
            handler = self._waiting.popleft().handler
            if handler is not None:
                self._balancer.on_start(self._index, self._timers.now())
                handler.on_upstream_open(connection.open_stream(handler))
                return
        self._idle.append((connection, self._timers.now()))
        self._watch_idle()

    def _on_dial_failed(self, failure: str) -> None:
        """Every waiter for whom no other dial is under way hears of it: none may wait for a dead endpoint."""
        self._balancer.on_connect_failure(self._index, self._timers.now())
        error_detail = f"{self.endpoint}: {failure}"
        while len(self._waiting) > len(self._dials):
            handler = self._waiting.popleft().handler
            if handler is not None:
                handler.on_upstream_error(
                    ProxyError(
                        ErrorKind.UPSTREAM_CONNECT, error_detail, source=Source.UPSTREAM, retry=Retry.UNPROCESSED
                    )
                )

    def _watch_idle(self) -> None:
        if not self._sweep:
            self._sweep = True
            self._timers.call_later(self._limits.idle_timeout, self._close_idle)

    def _close_idle(self) -> None:
        self._sweep = False
        expired = self._timers.now() - self._limits.idle_timeout
        while self._idle and self._idle[0][1] <= expired:
            self._idle.pop(0)[0].close()
        if self._idle:
            self._sweep = True
            left = self._idle[0][1] + self._limits.idle_timeout - self._timers.now()
            self._timers.call_later(max(left, 0.05), self._close_idle)


class Upstream:
    """One named upstream: its balancer and the pools of its endpoints."""

    __slots__ = ("balancer", "name", "pools")

    def __init__(self, name: str, balancer: Balancer, pools: list[EndpointPool]) -> None:
        self.name = name
        self.balancer = balancer
        self.pools = pools

    def open(self, handler: UpstreamHandler) -> ClientStream | Waiter:
        return self.pools[self.balancer.pick(time.monotonic())].open(handler)

    def retire(self) -> None:
        for pool in self.pools:
            pool.retire()

    def close(self) -> None:
        for pool in self.pools:
            pool.close()

    def describe(self) -> dict[str, object]:
        return {"name": self.name, "endpoints": [pool.describe() for pool in self.pools]}


class UpstreamPools:
    """Implements :class:`sidecar.exchange.ports.UpstreamPort` for one configuration generation."""

    __slots__ = ("upstreams",)

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self.upstreams = dict(upstreams)

    def open(self, upstream: str, handler: UpstreamHandler) -> ClientStream | Waiter:
        """Lease a stream; raises ProxyError when that is refused at once."""
        found = self.upstreams.get(upstream)
        if found is None:
            raise ProxyError(ErrorKind.NO_ROUTE, f"no upstream '{upstream}'")
        return found.open(handler)
