"""The life of the process that owns sockets, admin pages and signals, whatever serves inside it: start, change, end.

SIGTERM and SIGINT drain, and end at once when they come a second time; SIGHUP reloads.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from sidecar.admin.http import AdminServer
from sidecar.config.load import in_order
from sidecar.errors import ConfigError
from sidecar.runtime.bundle import Bundle
from sidecar.runtime.logsink import Logger
from sidecar.runtime.reload import Reloader, Target
from sidecar.runtime.state import Served, State
from sidecar.runtime.watch import Watcher
from sidecar.telemetry.metrics import MetricsRegistry

ENDINGS: Final = (signal.SIGTERM, signal.SIGINT)


class Proxy(Target, Served, Protocol):
    """What is kept alive: one worker in this process, or the workers of a supervisor."""

    async def settle(self) -> None:
        """The first generation serves: be ready."""

    def begin_drain(self) -> None:
        """Not ready from this moment on."""

    async def drain(self) -> bool:
        """Serve out; False when something had to be cut."""

    def hurry(self) -> None:
        """End a drain now."""

    async def close(self) -> None:
        """Flush within bounds and be gone."""


class Life:
    """Run by :meth:`run` on a running loop."""

    def __init__(
        self,
        proxy: Proxy,
        registry: MetricsRegistry,
        log: Logger,
        files: Sequence[str],
        environ: Mapping[str, str],
    ) -> None:
        self._proxy = proxy
        self._log = log
        self._files = files
        self._loop = asyncio.get_running_loop()
        self._reloader = Reloader(files, environ, proxy, registry, log)
        self._state = State(self._loop, proxy, self._reloader, self._begin_drain)
        self._end = asyncio.Event()
        self._is_ending = False
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, bundle: Bundle) -> list[str]:
        """From the first generation to the last answer. The answer is why it could not start, or empty."""
        config = bundle.config
        for number in ENDINGS:
            self._loop.add_signal_handler(number, self._on_ending, number)
        self._loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        admin = AdminServer(config.admin, config.metrics, config.health, self._state)
        try:
            for problem in admin.start():
                self._log.log("warn", problem)
        except OSError as error:
            await self._proxy.close()
            return [error.strerror or str(error)]
        try:
            try:
                await self._reloader.start(bundle)
            except ConfigError as error:
                return [str(problem) for problem in in_order(error.problems, self._files)]
            await self._proxy.settle()
            self._say_ready(bundle, admin)
            watcher = Watcher(self._reloader.watched, lambda: self._reloader.reload("file", only_changed=True))
            self._spawn(watcher.run())
            await self._end.wait()
            self._log.log("info", "draining")
            await self._reloader.close()
            if await self._proxy.drain():
                self._log.log("info", "drained")
            else:
                self._log.log("warn", "the drain was cut short: what was still open is closed")
            return []
        finally:
            for task in tuple(self._tasks):
                task.cancel()
            await self._proxy.close()
            # The pages end last: until here somebody may ask how the drain goes.
            await asyncio.to_thread(admin.close)

    def _say_ready(self, bundle: Bundle, admin: AdminServer) -> None:
        config = bundle.config
        for warning in config.warnings:
            self._log.log("warn", warning)
        self._log.log(
            "info",
            "ready",
            listeners={each.name: [str(address) for address in each.addresses] for each in config.listeners},
            **{name: str(address) for name, address in admin.addresses.items()},
            plugins=[plugin.name for plugin in config.plugins],
            workers=config.workers,
        )

    def _on_ending(self, number: int) -> None:
        if self._is_ending:
            self._log.log("warn", "second signal: ending at once", signal=signal.Signals(number).name)
            self._proxy.hurry()
        else:
            self._begin_drain()

    def _begin_drain(self) -> None:
        self._is_ending = True
        self._proxy.begin_drain()
        self._end.set()

    def _on_hangup(self) -> None:
        self._spawn(self._reloader.reload("SIGHUP"))

    def _spawn(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
