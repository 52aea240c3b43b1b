"""Alarms by the thousand: a wheel of coarse buckets on one event-loop timer.

A request sets two or three deadlines and meets almost none of them, so setting and cancelling must cost next
to nothing. An alarm here is an entry in a set, and cancelling takes it out. Alarms never fire early, and late by at
most a tick or one part in 128 of their delay: buckets far away are wide, so that minutes ahead there are hundreds
of them and not thousands. Those of one bucket fire in any order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

TICK: Final = 0.02
"""Seconds per bucket: finer than any timeout a user sets, coarse enough to cost nothing."""
_FAR: Final = 256 * TICK


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
        self._next = -1
        """The bucket that the loop's timer is set for; negative when it is not set."""
        self.now: Callable[[], float] = time.monotonic
        self.unix_nanos: Callable[[], int] = time.time_ns

    def call_later(self, delay: float, callback: Callable[[], None]) -> Alarm:
        """Run ``callback`` once, ``delay`` seconds from now or a little later."""
        slot = int((self.now() + delay) / TICK) + 1
        if delay >= _FAR:
            shift = int(delay / TICK).bit_length() - 8
            slot = ((slot >> shift) + 1) << shift
        bucket = self._buckets.get(slot)
        if bucket is None:
            bucket = self._buckets[slot] = set()
            if self._next < 0 or slot < self._next:
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
        self._next = -1
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
        self._next = -1
        now = self.now()
        due = int(now / TICK)
        # The quotient may fall short of a whole number that it is meant to be.
        if (due + 1) * TICK <= now:
            due += 1
        try:
            for slot in sorted(slot for slot in self._buckets if slot <= due):
                bucket = self._buckets.get(slot)
                while bucket:
                    alarm = bucket.pop()
                    callback, alarm.callback = alarm.callback, None
                    if callback is not None:
                        callback()
                self._buckets.pop(slot, None)
        finally:
            # A callback that raises is the loop's to report; the alarms behind it still go off. One that set an alarm
            # has armed for that one alone.
            nearest = min(self._buckets, default=-1)
            if nearest >= 0 and (self._next < 0 or nearest < self._next):
                self._arm(nearest)
