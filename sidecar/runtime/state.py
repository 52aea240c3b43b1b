"""The admin pages' view of the running proxy: called on the admin's threads, answered by the loop's.

Health never asks the loop: it is read from flags, so that it is told at once, and truly, while the loop is stuck.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from sidecar.runtime import report
from sidecar.runtime.reload import Reloader
from sidecar.telemetry.exposition import render

ASK_TIMEOUT: Final = 5.0
RELOAD_TIMEOUT: Final = 60.0
STUCK_AFTER: Final = 30.0
"""Seconds without a beat of the loop after which only a restart helps."""


class Served(Protocol):
    """What the pages ask about: one worker, or all of them; methods run on the loop, properties anywhere."""

    @property
    def is_ready(self) -> bool: ...
    @property
    def is_started(self) -> bool: ...
    @property
    def beat(self) -> float:
        """When the loop was last seen alive; monotonic seconds."""

    async def pages(self, name: str) -> list[Any]:
        """``upstreams`` or ``plugins``, or one ``stats`` item for each worker."""

    async def metrics(self) -> dict[str, Any]:
        """A snapshot of every series."""


class State:
    """Implements :class:`sidecar.admin.state.AdminState`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, served: Served, reloader: Reloader, begin_drain: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._served = served
        self._reloader = reloader
        self._begin_drain = begin_drain

    def config(self) -> object:
        return report.config_page(self._reloader)

    def routes(self) -> object:
        bundle = self._reloader.active
        return report.routes_page(bundle.config) if bundle is not None else []

    def upstreams(self) -> object:
        return self._ask(self._served.pages("upstreams"))

    def plugins(self) -> object:
        return self._ask(self._served.pages("plugins"))

    def stats(self) -> object:
        workers, snapshot = self._ask(self._stats())
        return report.stats_page(workers, snapshot)

    def metrics(self) -> bytes:
        return render(self._ask(self._served.metrics()))

    def ready(self) -> bool:
        return self._served.is_ready

    def live(self) -> bool:
        return time.monotonic() - self._served.beat < STUCK_AFTER

    def started(self) -> bool:
        return self._served.is_started

    def reload(self) -> tuple[bool, str]:
        answer: tuple[bool, str] = self._ask(self._reloader.reload("sidecar reload"), RELOAD_TIMEOUT)
        return answer

    def drain(self) -> None:
        self._loop.call_soon_threadsafe(self._begin_drain)

    async def _stats(self) -> tuple[list[Any], dict[str, Any]]:
        return await self._served.pages("stats"), await self._served.metrics()

    def _ask(self, question: Coroutine[Any, Any, Any], patience: float = ASK_TIMEOUT) -> Any:
        return asyncio.run_coroutine_threadsafe(question, self._loop).result(patience)
