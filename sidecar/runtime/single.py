"""One worker in the process that the user started; no supervisor."""

from __future__ import annotations

from typing import Any

from sidecar.errors import ConfigError, Problem
from sidecar.runtime import report
from sidecar.runtime.bundle import Bundle
from sidecar.runtime.process import Process
from sidecar.runtime.sockets import SocketBook, addresses_of
from sidecar.runtime.worker import Worker


class Single:
    """A worker with its own sockets; implements :class:`sidecar.runtime.life.Proxy`."""

    def __init__(self, process: Process, book: SocketBook, descriptors: int) -> None:
        self._process = process
        self._book = book
        self.worker = Worker(process, book.duplicate, descriptors)
        self.is_started = False

    @property
    def is_ready(self) -> bool:
        return self.worker.is_ready

    @property
    def beat(self) -> float:
        return self.worker.beat

    async def prepare(self, bundle: Bundle, number: int) -> None:
        bind_all(self._book, bundle)
        is_prepared = False
        try:
            await self.worker.prepare(bundle, number)
            is_prepared = True
        finally:
            if not is_prepared:
                self._book.abort()

    async def commit(self) -> None:
        await self.worker.commit()
        self._book.commit()

    async def abort(self) -> None:
        """What was prepared is not going to be."""
        self._book.abort()
        await self.worker.abort()

    async def settle(self) -> None:
        self.worker.settle()
        self.is_started = True

    async def pages(self, name: str) -> list[Any]:
        page = report.worker_page(self.worker, name)
        return [page] if name == "stats" else page

    async def metrics(self) -> dict[str, Any]:
        return self._process.registry.snapshot()

    def begin_drain(self) -> None:
        self.worker.begin_drain()

    async def drain(self) -> bool:
        return await self.worker.drain(self._book.release)

    def hurry(self) -> None:
        self.worker.hurry()

    async def close(self) -> None:
        self._book.close()
        await self.worker.close()


def bind_all(book: SocketBook, bundle: Bundle) -> None:
    """Bind every address of a configuration; raises ConfigError with each that cannot be had."""
    problems = book.prepare(addresses_of(bundle.config))
    if problems:
        where = bundle.config.files[-1] if bundle.config.files else "configuration"
        raise ConfigError([Problem(where, 0, "listeners", problem) for problem in problems])
