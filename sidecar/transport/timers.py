"""Alarms by the thousand: a wheel of coarse buckets on one event-loop timer.

A request sets two or three deadlines and meets almost none of them, so setting and cancelling must cost next
to nothing. An alarm here is an entry in a set, and cancelling takes it out. Alarms fire up to one tick late,
never early.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

TICK: Final = 0.02
"""Seconds per bucket: finer than any timeout a user sets, coarse enough to cost nothing."""


class Alarm:
    __slots__ = ("bucket", "callback")

    def __init__(self, callback: Callable[[], None], bucket: set[Alarm]) -> None:
        self.callback: Callable[[], None] | None = callback
        self.bucket = bucket

    def cancel(self) -> None:
        # Out at once: a minute's worth of requests that were answered long ago must not be kept alive by their alarms.
        self.callback = None
        self.bucket.discard(self)


class TimerWheel:
    """Implements :class:`sidecar.exchange.ports.TimerPort` on a running event loop."""

    __slots__ = ("_buckets", "_handle", "_loop", "_next", "now", "unix_nanos")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, set[Alarm]] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._next = 0
        self.now: Callable[[], float] = time.monotonic
        self.unix_nanos: Callable[[], int] = time.time_ns

    def call_later(self, delay: float, callback: Callable[[], None]) -> Alarm:
        """Run ``callback`` once, ``delay`` seconds from now or up to a tick later."""
        slot = int((self.now() + delay) / TICK) + 1
        bucket = self._buckets.get(slot)
        if bucket is None:
            bucket = self._buckets[slot] = set()
            if self._handle is None or slot < self._next:
                self._arm(slot)
        alarm = Alarm(callback, bucket)
        bucket.add(alarm)
        return alarm

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` in a fresh stack, as soon as the loop turns."""
        self._loop.call_soon(callback)

    def close(self) -> None:
        """Forget every alarm."""
        self._buckets.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self, slot: int) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._next = slot
        self._handle = self._loop.call_later(max(0.0, slot * TICK - self.now()), self._turn)

    def _turn(self) -> None:
        self._handle = None
        due = int(self.now() / TICK)
        for slot in sorted(slot for slot in self._buckets if slot <= due):
            for alarm in tuple(self._buckets.pop(slot)):
                callback, alarm.callback = alarm.callback, None
                if callback is not None:
                    callback()
        if self._buckets and self._handle is None:
            self._arm(min(self._buckets))
