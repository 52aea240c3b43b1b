"""A serving process: listeners, the generation they serve by, the change from one to the next, and the drain.

A change is made in two steps, so that several workers can make it as one: :meth:`Worker.prepare` builds the next
generation beside the present one, :meth:`Worker.commit` puts it in its place by one assignment per listener.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from sidecar.address import Address
from sidecar.codec.h1 import H1ServerCodec
from sidecar.config.model import Drain, Limits
from sidecar.config.model import Listener as ListenerConfig
from sidecar.exchange.exchange import Exchange
from sidecar.proxy.manager import HttpManager
from sidecar.proxy.site import Deadlines, Site
from sidecar.runtime.bundle import Bundle
from sidecar.runtime.generation import Generation, build_generation, codec_limits
from sidecar.runtime.process import Process
from sidecar.runtime.sockets import connection_share
from sidecar.transport.listener import Listener

LOOK: Final = 0.05
"""Seconds between two looks at whether the last connection is gone."""
LOOK_AT_OLD: Final = 0.5
BEAT: Final = 1.0
GC_THRESHOLDS: Final = (10_000, 20, 50)
"""Exchanges end by themselves and leave no cycles behind, so there is little to look for: in batches, and seldom."""


class Place:
    """One listener at work."""

    __slots__ = ("accepting", "site")

    def __init__(self, site: Site) -> None:
        self.site = site
        self.accepting: dict[Address, Listener] = {}

    def stop_accepting(self) -> None:
        for listener in self.accepting.values():
            listener.stop_accepting()
        self.accepting.clear()


class Worker:
    """``take_socket`` gives a listening socket of its own for an address of the generation being committed."""

    def __init__(self, process: Process, take_socket: Callable[[Address], socket.socket], descriptors: int) -> None:
        self.process = process
        self.current: Generation | None = None
        self.places: dict[tuple[str, str], Place] = {}
        self.old: list[Generation] = []
        """Replaced, and still serving exchanges that began with them."""
        self.is_ready = False
        self.is_draining = False
        self.lag = 0.0
        self.most_lag = 0.0
        """Seconds by which the loop was late for its own beat: the last, and the most so far."""
        self.beat = time.monotonic()
        self._take_socket = take_socket
        self._descriptors = descriptors
        self._prepared: Generation | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._hurry = asyncio.Event()
        self._due = 0.0

    # --- change ----------------------------------------------------------------------------------------------

    async def prepare(self, bundle: Bundle, number: int) -> None:
        """Build the next generation; raises ConfigError, and nothing has changed then."""
        await self.abort()
        self._prepared = await build_generation(self.process, bundle, number, self.current)

    async def abort(self) -> None:
        """The prepared generation is not going to be."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            prepared.discard(self.current)

    async def commit(self) -> None:
        """From here on every new exchange is the prepared generation's; those that began end on the old one."""
        generation, self._prepared = self._prepared, None
        assert generation is not None
        old, self.current = self.current, generation
        began = self._open_exchanges() if old is not None else []
        self.process.budget.limit = generation.config.limits.held_bodies
        gone = self.places.keys() - generation.snapshots.keys()
        generation.start(old)
        for listener in generation.config.listeners:
            self._place(listener, generation)
        for listener in generation.config.listeners:
            await self._listen(listener)
        for key in gone:
            # Its address may be another listener's by now: what is open ends, nothing new begins.
            place = self.places.pop(key)
            place.stop_accepting()
            self._spawn(self._end_place(place, generation.config.drain))
        self.process.registry.config_generation("active", generation.number)
        if old is not None:
            self.old.append(old)
            self._spawn(self._end_old(old, began))

    def settle(self) -> None:
        """Started: what lives now lives for good, and is no business of the garbage collector's."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        self._due = time.monotonic() + BEAT
        self.process.loop.call_later(BEAT, self._on_beat)
        self.is_ready = not self.is_draining

    def _place(self, listener: ListenerConfig, generation: Generation) -> None:
        """Make or change the site of a listener."""
        key = (listener.name, listener.direction)
        limits = generation.config.limits
        make_codec = partial(H1ServerCodec, codec_limits(limits))
        most = connection_share(self._descriptors, len(generation.config.listeners), limits.connections)
        place = self.places.get(key)
        if place is None:
            process = self.process
            site = Site(
                listener.name,
                listener.direction,
                generation.snapshots[key],
                make_codec=make_codec,
                timers=process.timers,
                budget=process.budget,
                deadlines=_deadlines(limits),
                metrics=process.registry,
                new_connection_id=process.new_connection_id,
                report_bug=process.report_bug,
                max_connections=most,
                max_in_flight=limits.requests_in_flight,
            )
            self.places[key] = Place(site)
            if self.is_draining:
                site.begin_drain()
            return
        site = place.site
        site.snapshot = generation.snapshots[key]
        site.make_codec = make_codec
        site.deadlines = _deadlines(limits)
        site.max_connections = most
        site.max_in_flight = limits.requests_in_flight

    async def _listen(self, listener: ListenerConfig) -> None:
        """Accept from new addresses first, then from old ones no more."""
        place = self.places[listener.name, listener.direction]
        for address in listener.addresses:
            if address not in place.accepting:
                accepting = Listener(listener.name, [self._take_socket(address)], partial(HttpManager, place.site))
                place.accepting[address] = accepting
                await accepting.start()
        for address in place.accepting.keys() - set(listener.addresses):
            place.accepting.pop(address).stop_accepting()

    def _living(self) -> list[Generation]:
        return [*self.old, *([self.current] if self.current is not None else [])]

    def _open_exchanges(self) -> list[Exchange]:
        return [
            exchange
            for place in self.places.values()
            for connection in place.site.connections
            for exchange in connection.exchanges()
        ]

    async def _end_old(self, old: Generation, began: list[Exchange]) -> None:
        """Let a replaced generation go when the last exchange that began with it is over."""
        while True:
            began = [exchange for exchange in began if not exchange.is_over]
            if not began:
                break
            await asyncio.sleep(LOOK_AT_OLD)
        self.old.remove(old)
        await old.close(self._living())
        self.process.log.log("debug", "a replaced configuration is gone", generation=old.number)

    # --- end -------------------------------------------------------------------------------------------------

    def begin_drain(self) -> None:
        """Not ready from now on, and every answer is its connection's last."""
        self.is_draining = True
        for place in self.places.values():
            place.site.begin_drain()
        # Last: whoever reads that we are not ready finds that what it asks now is answered so.
        self.is_ready = False

    async def drain(self, release: Callable[[Address], socket.socket]) -> bool:
        """Serve out: see :class:`sidecar.config.model.Drain`. False when the timeout has cut something off.

        ``release`` gives up the last copy of a listening socket that this process has.
        """
        assert self.current is not None
        self.begin_drain()
        settings = self.current.config.drain
        ends = [self._end_place(place, settings, release) for place in self.places.values()]
        return all(await asyncio.gather(*ends))

    def hurry(self) -> None:
        """Whatever is being waited for, stop waiting."""
        self._hurry.set()

    async def close(self) -> None:
        """Cut what is left, flush what is written, within bounds."""
        self.is_ready = False
        for place in self.places.values():
            place.stop_accepting()
            place.site.cut()
        await asyncio.sleep(0)
        for task in tuple(self._tasks):
            task.cancel()
        await self.abort()
        living = self._living()
        self.old.clear()
        self.current = None
        while living:
            await living.pop(0).close(living)
        self.process.timers.close()

    async def _end_place(
        self, place: Place, settings: Drain, release: Callable[[Address], socket.socket] | None = None
    ) -> bool:
        """Still accept for ``delay``, then finish what is open within ``timeout``, then cut."""
        site = place.site
        site.begin_drain()
        await self._wait(settings.delay, lambda: False)
        addresses = list(place.accepting)
        place.stop_accepting()
        if release is not None:
            for address in addresses:
                await self._take_rest(site, release(address))
        site.close_idle()
        if await self._wait(settings.timeout, lambda: not site.open_count):
            return True
        site.cut()
        return False

    async def _take_rest(self, site: Site, listening: socket.socket) -> None:
        """Stop listening; whom the kernel has let in by then is still served, instead of reset."""
        accepted: list[socket.socket] = []
        with listening, contextlib.suppress(OSError):
            while True:
                accepted.append(listening.accept()[0])
        make: Callable[[], Any] = partial(HttpManager, site)
        for sock in accepted:
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                await self.process.loop.connect_accepted_socket(make, sock)

    async def _wait(self, seconds: float, is_done: Callable[[], bool]) -> bool:
        """Whether ``is_done`` came true in time; a hurry ends the wait."""
        end = time.monotonic() + seconds
        while not is_done():
            left = end - time.monotonic()
            if left <= 0 or self._hurry.is_set():
                return False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(LOOK, left)):
                    await self._hurry.wait()
        return True

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = self.process.loop.create_task(work)  # type: ignore[arg-type]  # any result
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_beat(self) -> None:
        now = time.monotonic()
        self.lag = max(0.0, now - self._due)
        self.most_lag = max(self.most_lag, self.lag)
        self.beat = now
        self._due = now + BEAT
        self.process.loop.call_later(BEAT, self._on_beat)


def _deadlines(limits: Limits) -> Deadlines:
    return Deadlines(
        header=limits.header_timeout,
        idle=limits.idle_timeout,
        write_stall=limits.write_stall,
        body_rate=limits.body_rate,
        body_grace=limits.body_grace,
    )
