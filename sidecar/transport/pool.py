"""Connections to endpoints, shared by every downstream: what :mod:`sidecar.upstream` decides is carried out here.

One :class:`EndpointPool` per endpoint holds the sockets that its :class:`~sidecar.upstream.pool.PoolState` reasons
about. :class:`UpstreamPools` is the port that the router and the callouts see. A reload keeps the pools of upstreams
that did not change, and with them their warm connections.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sidecar.address import Address
from sidecar.codec.base import Codec
from sidecar.config import model as config
from sidecar.errors import ErrorKind, ProxyError, Retry, Source
from sidecar.exchange.ports import UpstreamHandler
from sidecar.transport.timers import TimerWheel
from sidecar.transport.upstream import ClientStream, UpstreamConnection
from sidecar.upstream.cluster import CircuitLimits, Upstream
from sidecar.upstream.pool import DIAL, PoolState, Refuse, Reuse, Wait
from sidecar.upstream.retry import RetryBudget

BugReporter = Callable[[str, BaseException], None]


class Waiter:
    """A request in the queue; implements :class:`sidecar.exchange.ports.PendingOpen`."""

    __slots__ = ("_handler", "_pool")

    is_open = False

    def __init__(self, pool: EndpointPool, handler: UpstreamHandler) -> None:
        self._pool = pool
        self._handler = handler

    def cancel(self) -> None:
        self._pool.cancel(self._handler)


class EndpointPool:
    """The connections of one endpoint. Requests are known to the state by their handler."""

    __slots__ = (
        "_connect_timeout",
        "_dials",
        "_index",
        "_is_sweeping",
        "_make_codec",
        "_promised",
        "_report_bug",
        "_state",
        "_timers",
        "_upstream",
        "connections",
        "endpoint",
        "is_retired",
    )

    def __init__(
        self,
        upstream: Upstream,
        index: int,
        settings: config.Upstream,
        make_codec: Callable[[], Codec],
        timers: TimerWheel,
        report_bug: BugReporter,
    ) -> None:
        self.endpoint: Address = upstream.endpoints[index]
        self._upstream = upstream
        self._index = index
        self._connect_timeout = settings.connect_timeout
        self._make_codec = make_codec
        self._timers = timers
        self._report_bug = report_bug
        self._state: PoolState[UpstreamConnection, UpstreamHandler] = PoolState(
            settings.max_connections, settings.max_pending, settings.idle_timeout
        )
        self._promised: dict[UpstreamHandler, UpstreamConnection] = {}
        """Requests that have a connection and will hear of it when the loop turns."""
        self._dials: set[asyncio.Task[None]] = set()
        self._is_sweeping = False
        self.connections: set[UpstreamConnection] = set()
        self.is_retired = False

    # --- requests ----------------------------------------------------------------------------------------------

    def open(self, handler: UpstreamHandler, fresh: bool) -> ClientStream | Waiter:
        """A stream now, or a place in the queue; raises ProxyError when the queue is full."""
        while True:
            outcome = self._state.acquire(handler, fresh=fresh)
            if isinstance(outcome, Reuse):
                connection = outcome.connection
                if connection.is_lost or connection.codec.should_close or connection.has_unread():
                    # Its end is known and not yet told, or bytes wait that nobody has asked for: an answer to the next
                    # request they are not.
                    self._close(connection)
                    continue
                stream: ClientStream = connection.open_stream(handler)
                return stream
            if isinstance(outcome, Refuse):
                raise outcome.error
            if outcome is DIAL:
                self._dial()
            return Waiter(self, handler)

    def cancel(self, handler: UpstreamHandler) -> None:
        """A request that waits gave up."""
        connection = self._promised.pop(handler, None)
        if connection is not None:
            self._release(connection, is_reusable=not connection.is_lost)
        elif not self._state.cancel(handler):
            return
        self._upstream.end(self._index, self._timers.now(), 0.0, False)

    def on_stream_end(self, connection: UpstreamConnection, stream: ClientStream, is_ok: bool) -> None:
        """A stream has ended; an intact connection serves the next request or goes idle."""
        now = self._timers.now()
        self._upstream.end(self._index, now, stream.latency if stream.latency >= 0.0 else now - stream.started, is_ok)
        self._release(connection, is_reusable=is_ok and not connection.codec.should_close and not connection.is_lost)

    def _release(self, connection: UpstreamConnection, *, is_reusable: bool) -> None:
        state = self._state
        outcome = state.release(connection, self._timers.now(), is_reusable=is_reusable)
        if outcome is None:
            if is_reusable and (self.is_retired or state.is_finished(connection)):
                self._close(connection)
            else:
                self._watch_idle()
        elif isinstance(outcome, Wait):
            self._dial()
        else:
            # In a fresh stack: the exchange that just ended is still on this one.
            self._promise(outcome.waiter, outcome.connection)

    def _promise(self, handler: UpstreamHandler, connection: UpstreamConnection) -> None:
        self._promised[handler] = connection
        self._timers.call_soon(lambda: self._keep_promise(handler, connection))

    def _keep_promise(self, handler: UpstreamHandler, connection: UpstreamConnection) -> None:
        if self._promised.get(handler) is not connection:
            return
        del self._promised[handler]
        has_spoken = connection.has_unread()
        if not connection.is_lost and not connection.codec.should_close and not has_spoken:
            handler.on_upstream_open(connection.open_stream(handler))
            return
        was_used = connection.served > 0
        self._close(connection)
        if not was_used:
            # A dial again for every dial that is cut at once would never end: that is for the retry rules to decide.
            self._refuse(handler, self._no_connection("spoke before it was asked" if has_spoken else "closed at once"))
            return
        try:
            opened = self.open(handler, fresh=True)
        except ProxyError as error:
            self._refuse(handler, error)
            return
        if isinstance(opened, ClientStream):
            handler.on_upstream_open(opened)

    def _refuse(self, handler: UpstreamHandler, error: ProxyError) -> None:
        """A request that waited gets no connection."""
        self._upstream.end(self._index, self._timers.now(), 0.0, False)
        handler.on_upstream_error(error)

    def _no_connection(self, failure: str, retry: Retry = Retry.UNPROCESSED) -> ProxyError:
        return ProxyError(
            ErrorKind.UPSTREAM_CONNECT, f"{self.endpoint}: {failure}", source=Source.UPSTREAM, retry=retry
        )

    # --- connections -------------------------------------------------------------------------------------------

    def on_connection_lost(self, connection: UpstreamConnection) -> None:
        self.connections.discard(connection)
        if self._state.on_closed(connection) is DIAL:
            self._dial()

    def _close(self, connection: UpstreamConnection) -> None:
        connection.close()
        if self._state.on_closed(connection) is DIAL:
            self._dial()

    def _dial(self) -> None:
        task = asyncio.get_running_loop().create_task(self._connect())
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _connect(self) -> None:
        """One dial, to its end: a connection for whoever waits, or the news for those who waited in vain."""
        failure = ""
        connection = UpstreamConnection(self._make_codec(), self, self._report_bug)
        # Untyped, since a Connection is an asyncio.Protocol by its methods alone.
        factory: Any = lambda: connection  # noqa: E731
        try:
            async with asyncio.timeout(self._connect_timeout):
                await asyncio.get_running_loop().create_connection(factory, *self.endpoint)
        except TimeoutError:
            failure = "connect timeout"
        except asyncio.CancelledError:
            connection.abort()
            for handler in self._state.on_dial_failed().waiters:
                self._refuse(handler, self._no_connection("pool closed", Retry.NEVER))
            raise
        except (OSError, ValueError) as error:
            # ValueError: a name that no resolver can be asked for.
            failure = _reason(error)
        if not failure and connection.is_lost:
            failure = "closed at once"
        if failure:
            # It may stand already when the deadline comes: nobody would ever close it.
            connection.abort()
            self._on_dial_failed(failure)
            return
        self.connections.add(connection)
        for served in self._state.on_dialed(connection, self._timers.now()):
            self._promise(served.waiter, connection)
        if self.is_retired and not connection.streams and connection not in self._promised.values():
            self._close(connection)
        else:
            self._watch_idle()

    def _on_dial_failed(self, failure: str) -> None:
        now = self._timers.now()
        self._upstream.connect_failed(self._index, now)
        failed = self._state.on_dial_failed()
        if failed.redial:
            self._dial()
        for handler in failed.waiters:
            self._refuse(handler, self._no_connection(failure))

    def _watch_idle(self) -> None:
        if not self._is_sweeping and self._state.idle_count:
            self._is_sweeping = True
            self._timers.call_later(self._state.idle_timeout, self._close_idle)

    def _close_idle(self) -> None:
        self._is_sweeping = False
        for connection in self._state.expire(self._timers.now()):
            connection.close()
        self._watch_idle()

    # --- the end -------------------------------------------------------------------------------------------------

    def retire(self) -> None:
        """Serve what is open and what waits, close the rest."""
        self.is_retired = True
        for connection in self._state.drain():
            connection.close()

    def close(self) -> None:
        """Cut everything that is under way."""
        self.is_retired = True
        for task in tuple(self._dials):
            task.cancel()
        for connection in tuple(self.connections):
            if connection.streams:
                connection.abort()
            else:
                connection.close()  # an idle one has nothing to lose: the app sees an end and no failure
        for handler in self._state.abandon():
            self._refuse(handler, self._no_connection("pool closed", Retry.NEVER))

    def describe(self) -> dict[str, object]:
        return {
            "address": str(self.endpoint),
            "connections": self._state.connection_count,
            "idle": self._state.idle_count,
            "dialing": self._state.dialing_count,
            "waiting": self._state.waiting_count,
        }


class UpstreamPool:
    """One named upstream: which endpoint is next, and the pool of each."""

    __slots__ = ("budget", "pools", "settings", "upstream")

    def __init__(
        self,
        settings: config.Upstream,
        make_codec: Callable[[], Codec],
        timers: TimerWheel,
        report_bug: BugReporter,
        random: Callable[[], float],
    ) -> None:
        self.settings = settings
        endpoints = [(endpoint.address, endpoint.weight) for endpoint in settings.endpoints]
        limits = CircuitLimits(settings.max_connections, settings.max_pending, settings.max_requests)
        self.upstream = Upstream.build(settings.name, endpoints, settings.load_balancer, limits, random)
        self.budget = RetryBudget(settings.retry_budget)
        self.pools = [
            EndpointPool(self.upstream, index, settings, make_codec, timers, report_bug)
            for index in range(len(endpoints))
        ]

    def open(self, handler: UpstreamHandler, now: float, attempt: int) -> ClientStream | Waiter:
        index = self.upstream.begin(now)
        try:
            return self.pools[index].open(handler, attempt > 1)
        except ProxyError:
            self.upstream.end(index, now, 0.0, False)
            raise

    def describe(self) -> dict[str, object]:
        return {
            "name": self.settings.name,
            "load_balancer": self.settings.load_balancer,
            "in_flight": self.upstream.in_flight,
            "endpoints": [pool.describe() for pool in self.pools],
        }


class UpstreamPools:
    """Implements :class:`sidecar.exchange.ports.UpstreamPort` for one configuration generation."""

    __slots__ = ("_limits", "_timers", "upstreams")

    def __init__(self, upstreams: dict[str, UpstreamPool], limits: config.Limits, timers: TimerWheel) -> None:
        self.upstreams = upstreams
        self._limits = limits
        self._timers = timers

    @classmethod
    def build(
        cls,
        upstreams: Sequence[config.Upstream],
        *,
        limits: config.Limits,
        previous: UpstreamPools | None,
        make_codec: Callable[[], Codec],
        timers: TimerWheel,
        report_bug: BugReporter,
        random: Callable[[], float],
    ) -> UpstreamPools:
        """The pools of one generation; those of upstreams that did not change are ``previous``'s own.

        ``limits`` are those that ``make_codec`` was made for: under others no connection is kept.
        """
        known = previous.upstreams if previous is not None and previous._limits == limits else {}
        pools: dict[str, UpstreamPool] = {}
        for settings in upstreams:
            found = known.get(settings.name)
            if found is None or _essence(found.settings) != _essence(settings):
                found = UpstreamPool(settings, make_codec, timers, report_bug, random)
            pools[settings.name] = found
        return cls(pools, limits, timers)

    def open(self, upstream: str, handler: UpstreamHandler, attempt: int = 1) -> ClientStream | Waiter:
        """Lease a stream; raises ProxyError when that is refused at once."""
        found = self.upstreams.get(upstream)
        if found is None:
            raise ProxyError(ErrorKind.NO_ROUTE, f"no upstream '{upstream}'")
        now = self._timers.now()
        if attempt == 1:
            found.budget.on_request(now)
        return found.open(handler, now, attempt)

    def take_retry(self, upstream: str) -> bool:
        """Spend one of the retries that ``upstream`` may still see; False when there is none."""
        found = self.upstreams.get(upstream)
        return found is not None and found.budget.take(self._timers.now())

    def retire(self, keep: UpstreamPools) -> None:
        """Let what ``keep`` does not use end with its last stream."""
        kept = {id(pool) for pool in keep.upstreams.values()}
        for upstream in self.upstreams.values():
            if id(upstream) not in kept:
                for pool in upstream.pools:
                    pool.retire()

    def close(self) -> None:
        """Cut everything."""
        for upstream in self.upstreams.values():
            for pool in upstream.pools:
                pool.close()

    def describe(self) -> list[dict[str, object]]:
        return [upstream.describe() for upstream in self.upstreams.values()]


def _reason(error: OSError | ValueError) -> str:
    """In the system's words, whichever loop dialed."""
    if isinstance(error, OSError) and error.errno is not None:
        return (error.strerror or str(error)) if isinstance(error, socket.gaierror) else os.strerror(error.errno)
    return str(error)


def _essence(settings: config.Upstream) -> config.Upstream:
    """What a pool is made of: its line in the file and who is sent to it are not."""
    return replace(settings, line=0, match=None)
