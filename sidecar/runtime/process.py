"""What a serving process has once, whatever generation it serves: clock, registry, log, shared plugin data."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import traceback
from collections.abc import Mapping
from typing import Any, Final

from sidecar.exchange.flow import HoldBudget
from sidecar.runtime.logsink import Logger
from sidecar.telemetry.metrics import MetricsRegistry
from sidecar.transport.timers import TimerWheel
from sidecar.wasm.metrics import BUCKETS, CustomMetrics
from sidecar.wasm.shared import SharedState

MAX_REPORTS: Final = 10
"""Reports of bugs written a second; a fault that every request meets must not fill the disk."""
TRACE_LINES: Final = 20


class Process:
    """Belongs to the event loop's thread, except for reading the registry."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        log: Logger,
        *,
        max_series: int,
        held_bodies: int,
        environ: Mapping[str, str],
        worker: int = 0,
    ) -> None:
        self.loop = loop
        self.log = log
        self.environ = environ
        self.timers = TimerWheel(loop)
        self.registry = MetricsRegistry(max_series)
        self.budget = HoldBudget(held_bodies)
        self.shared = SharedState()
        self.custom_metrics = CustomMetrics()
        self.registry.attach_custom(self.custom_metrics.collect, BUCKETS)
        # Workers number apart, so that a connection's id names one connection of the pod.
        self.new_connection_id = itertools.count((worker << 40) + 1).__next__
        self.random = random.random
        self.random_bits = random.getrandbits
        self.random_bytes = os.urandom
        self._second = 0
        self._reports = 0
        loop.set_exception_handler(self._on_loop_exception)

    def report_bug(self, where: str, bug: BaseException) -> None:
        """A fault of ours that one request or connection has paid for."""
        trace = traceback.format_exception(type(bug), bug, bug.__traceback__)[-TRACE_LINES:]
        self._report("internal error", where=where, error=f"{type(bug).__name__}: {bug}", trace="".join(trace))

    def log_from_thread(self, level: str, message: str, **fields: object) -> None:
        """The log's queue belongs to the loop's thread."""
        try:
            self.loop.call_soon_threadsafe(lambda: self.log.log(level, message, **fields))
        except RuntimeError:
            pass  # the loop is closed: the process ends, and nobody reads on

    def _report(self, message: str, **fields: object) -> None:
        second = int(self.timers.now())
        if second != self._second:
            self._second, self._reports = second, 0
        self._reports += 1
        if self._reports <= MAX_REPORTS:
            self.log.log("error", message, **fields)

    def _on_loop_exception(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        message = str(context.get("message") or "event loop")
        if isinstance(error, OSError):
            # Out of descriptors while accepting, say: the system's state, not a fault of ours.
            self._report("the system refuses", where=message, error=str(error))
        elif error is not None:
            self.report_bug(message, error)
        else:
            self._report("internal error", where=message)
