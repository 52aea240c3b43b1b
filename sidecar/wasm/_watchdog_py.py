"""Cuts guest calls that run past their deadline; the Python twin's stand-in for the native thread of ``_vm_c.pyx``.

One thread serves all instances. It wakes once per *quantum* (the shortest timeout in use) while calls are being
made, sleeps to the very deadline of a call that it finds running, and parks when nothing was called for a while: an
idle proxy has no ticking thread. Waking is all it does: it moves the engine's epoch, and every instance inside guest
code then asks itself whether the deadline that passed was its own.
"""

from __future__ import annotations

import threading  # nothing on the roof can stop a guest that holds the only reactor
import time  # a deadline of machine code in flight has no caller who could pass the time

from wasmtime import Engine

IDLE_ROUNDS = 8
RETRY = 0.001
"""How soon an expired call is poked again: it may be inside a host function, where epochs do not reach."""


class Watch:
    """The deadline of one instance: ``deadline`` in seconds of the monotonic clock, 0 while no call runs."""

    __slots__ = ("deadline", "quantum")

    def __init__(self) -> None:
        self.deadline = 0.0
        self.quantum = 3600.0

    def expired(self) -> bool:
        return 0.0 < self.deadline <= time.monotonic()


class Watchdog:
    """The thread and the watches it looks after."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._watches: set[Watch] = set()
        self._wake = threading.Condition()
        self._quantum = 3600.0
        self._active = False
        self._parked = True
        self._thread: threading.Thread | None = None

    # Neither takes the lock, which is never given back by a thread that the end of the process has frozen.
    def add(self, watch: Watch) -> None:
        self._watches.add(watch)

    def remove(self, watch: Watch) -> None:
        self._watches.discard(watch)
        self._quantum = min((each.quantum for each in tuple(self._watches)), default=3600.0)

    def arm(self, watch: Watch, timeout: float) -> None:
        """Start the clock of a call: it is to be cut ``timeout`` seconds from now."""
        watch.deadline = time.monotonic() + timeout
        self._active = True
        quantum = max(timeout, RETRY)
        if quantum < watch.quantum:
            watch.quantum = quantum
        if self._parked or quantum < self._quantum:
            self._rouse(quantum)

    def _rouse(self, quantum: float) -> None:
        with self._wake:
            self._quantum = min(self._quantum, quantum)
            self._parked = False
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="wasm-watchdog", daemon=True)
                self._thread.start()
            self._wake.notify()

    def _run(self) -> None:
        idle = 0
        with self._wake:
            while True:
                idle = 0 if self._active else idle + 1
                self._active = False
                if idle > IDLE_ROUNDS:
                    self._parked = True
                    # In this order: a call that began before it could see "parked" is found here.
                    if not any(watch.deadline for watch in tuple(self._watches)):
                        self._wake.wait_for(lambda: not self._parked)
                    self._parked = False
                    idle = 0
                self._wake.wait(self._pause())

    def _pause(self) -> float:
        """Move the epoch when a call is over its time; how long to sleep until the next one may be."""
        now = time.monotonic()
        pause = self._quantum
        for watch in tuple(self._watches):
            deadline = watch.deadline
            if not deadline:
                continue
            self._active = True
            if deadline > now:
                pause = min(pause, deadline - now)
            else:
                self._engine.increment_epoch()
                pause = RETRY
        return max(pause, 0.0)
