"""The workers as one: every change is prepared by all of them and then made by all of them, or by none.

A worker that dies is replaced at once, and ever more slowly when its successors die too. It gets what its siblings
serve. What it had counted is kept, so that the sums on the page do not fall.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from sidecar.config.model import Config
from sidecar.errors import ConfigError, Problem
from sidecar.runtime.bundle import Bundle, config_message, module_messages
from sidecar.runtime.control import Message
from sidecar.runtime.logsink import Logger
from sidecar.runtime.single import bind_all
from sidecar.runtime.sockets import SocketBook
from sidecar.runtime.spawn import WorkerProcess
from sidecar.telemetry.metrics import MetricsRegistry, merge

BEGIN_TIMEOUT: Final = 20.0
PREPARE_TIMEOUT: Final = 50.0
ASK_TIMEOUT: Final = 3.0
SHORT_LIFE: Final = 10.0
"""Seconds; a worker that lived less counts towards the back-off."""
FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 10.0
PING_INTERVAL: Final = 5.0
STUCK_AFTER: Final = 60.0
"""Seconds without an answer; longer than a worker may take to prepare a change, during which it answers nothing."""
FLUSH: Final = 4.0
"""Seconds that a worker may take to flush after its drain."""

Spawn = Callable[[], Awaitable[WorkerProcess]]


def pause_before(short_lives: int) -> float:
    """Seconds before the next worker of a slot, after this many short lives in a row: the first costs nothing."""
    return 0.0 if short_lives <= 1 else min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (short_lives - 2))


def without_gauges(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """What stays true of a worker that is gone."""
    return {name: family for name, family in snapshot.items() if family["type"] != "gauge"}


class Slot:
    """The place of one worker, whoever fills it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.worker: WorkerProcess | None = None
        """None while there is none that serves."""
        self.restarts = 0
        self.latest: Mapping[str, Any] = {}
        """The last snapshot of the present worker."""
        self.past: Mapping[str, Any] = {}
        """Sums over the workers that were here before."""

    def bury(self) -> None:
        self.past = merge([self.past, without_gauges(self.latest)])
        self.latest = {}
        self.worker = None


class Fleet:
    """Implements :class:`sidecar.runtime.life.Proxy` over ``count`` worker processes."""

    def __init__(
        self,
        spawn: Spawn,
        count: int,
        book: SocketBook,
        registry: MetricsRegistry,
        log: Logger,
        settings: Mapping[str, Any],
    ) -> None:
        self.slots = [Slot(number) for number in range(1, count + 1)]
        self.is_started = False
        self.ping_interval = PING_INTERVAL
        self.stuck_after = STUCK_AFTER
        self._spawn = spawn
        self._book = book
        self._registry = registry
        self._log = log
        self._settings = settings
        """What a worker is told first: log level and format."""
        self._is_draining = False
        self._hurry = asyncio.Event()
        self._turn = asyncio.Lock()
        """Held while the workers are being changed, so that none is born into the middle of it."""
        self._bundle: Bundle | None = None
        self._number = 0
        self._next: tuple[Bundle, int] | None = None
        self._keepers: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    # --- seen from the admin's threads -------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        return self.is_started and not self._is_draining and any(slot.worker is not None for slot in self.slots)

    @property
    def beat(self) -> float:
        # This loop does nothing that could hold it up, and a worker that hangs is the other workers' loss only.
        return time.monotonic()

    # --- change ------------------------------------------------------------------------------------------------

    async def prepare(self, bundle: Bundle, number: int) -> None:
        """All workers prepare, or ConfigError says why one could not and none has changed."""
        await self._turn.acquire()
        is_prepared = False
        try:
            bind_all(self._book, bundle)
            await self._prepare_all(bundle, number)
            self._next = (bundle, number)
            is_prepared = True
        finally:
            if not is_prepared:
                self._book.abort()
                self._turn.release()

    async def _prepare_all(self, bundle: Bundle, number: int) -> None:
        if not self.is_started:
            await self._start_all(bundle, number)
            return
        workers = [slot.worker for slot in self.slots if slot.worker is not None]
        fresh = self._book.fresh()
        answers = await asyncio.gather(*(self._prepare_one(worker, bundle, number, fresh) for worker in workers))
        problems = list(dict.fromkeys(problem for answer in answers for problem in answer))
        if problems:
            await asyncio.gather(*(self._try(worker, "abort") for worker in workers))
            raise ConfigError(problems)

    async def commit(self) -> None:
        """All workers serve by what they have prepared; one that does not is replaced by one that does."""
        assert self._next is not None
        self._bundle, self._number = self._next
        self._next = None
        try:
            if self.is_started:
                workers = [slot.worker for slot in self.slots if slot.worker is not None]
                done = await asyncio.gather(*(self._try(worker, "commit", PREPARE_TIMEOUT) for worker in workers))
                for worker, answer in zip(workers, done, strict=True):
                    if answer is None:
                        worker.kill()
            self._book.commit()
        finally:
            self._turn.release()

    async def settle(self) -> None:
        self.is_started = True
        for slot in self.slots:
            self._keepers += [asyncio.create_task(self._keep(slot)), asyncio.create_task(self._watch_over(slot))]

    async def _start_all(self, bundle: Bundle, number: int) -> None:
        results = await asyncio.gather(
            *(self._bring_up(slot, bundle, number) for slot in self.slots), return_exceptions=True
        )
        problems: list[Problem] = []
        for result in results:
            if isinstance(result, ConfigError):
                problems += result.problems
            elif isinstance(result, BaseException):
                problems.append(_problem(bundle.config, f"a worker cannot start: {result or type(result).__name__}"))
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)))

    async def _bring_up(self, slot: Slot, bundle: Bundle, number: int) -> None:
        """A new worker in ``slot`` that serves ``bundle``; raises ConfigError, OSError or TimeoutError."""
        worker = await self._spawn()
        try:
            self._listen_to(slot, worker)
            limits, metrics = bundle.config.limits, bundle.config.metrics
            await worker.line.ask(
                "begin",
                BEGIN_TIMEOUT,
                worker=slot.number,
                max_series=metrics.max_series,
                held_bodies=limits.held_bodies,
                **self._settings,
            )
            problems = await self._prepare_one(worker, bundle, number, {**self._book.held(), **self._book.fresh()})
            if problems:
                raise ConfigError(problems)
            await worker.line.ask("commit", PREPARE_TIMEOUT)
        except (ConfigError, OSError, TimeoutError):
            worker.kill()
            await worker.process.wait()
            worker.close()
            raise
        slot.worker = worker

    async def _prepare_one(
        self, worker: WorkerProcess, bundle: Bundle, number: int, sockets: Mapping[Any, Any]
    ) -> list[Problem]:
        try:
            worker.hand_over(sockets)
            for piece in module_messages(bundle):
                await worker.line.ask("module", ASK_TIMEOUT, **piece)
            answer = await worker.line.ask(
                "prepare", PREPARE_TIMEOUT, config=config_message(bundle.config), number=number
            )
        except (OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            return [_problem(bundle.config, f"worker {worker.pid} could not prepare it: {reason}")]
        return [Problem(*problem) for problem in answer["problems"]]

    # --- keeping workers alive -----------------------------------------------------------------------------------

    async def _keep(self, slot: Slot) -> None:
        """Wait for the worker of a slot to end, and put another in its place, until the drain."""
        short_lives = 0
        born = time.monotonic()
        while True:
            worker = slot.worker
            if worker is not None:
                status = await worker.process.wait()
                worker.close()
                slot.bury()
                if self._is_draining:
                    return
                short_lives = short_lives + 1 if time.monotonic() - born < SHORT_LIFE else 0
                self._log.log("error", "a worker has ended; another takes its place", worker=slot.number,
                              pid=worker.pid, status=status)  # fmt: skip
            await self._sleep(pause_before(short_lives))
            async with self._turn:
                if self._is_draining:
                    return
                assert self._bundle is not None
                born = time.monotonic()
                try:
                    await self._bring_up(slot, self._bundle, self._number)
                    slot.restarts += 1
                except (ConfigError, OSError, TimeoutError) as error:
                    short_lives += 1
                    self._log.log("error", "a worker cannot start", worker=slot.number, error=str(error))

    async def _watch_over(self, slot: Slot) -> None:
        """End a worker that answers nothing any more, so that another takes its place."""
        while True:
            await asyncio.sleep(self.ping_interval)
            worker = slot.worker
            if worker is None or await self._try(worker, "ping", self.stuck_after) is not None:
                continue
            if worker is slot.worker and worker.process.returncode is None:
                self._log.log("error", "a worker does not answer; it is ended", worker=slot.number, pid=worker.pid)
                worker.kill()

    def _listen_to(self, slot: Slot, worker: WorkerProcess) -> None:
        async def hear(message: Message) -> Message | None:
            if message["do"] == "farewell":
                slot.latest = message["data"]
            return None

        task = asyncio.create_task(worker.line.serve(hear))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            pass

    # --- pages -----------------------------------------------------------------------------------------------------

    async def pages(self, name: str) -> list[Any]:
        """Each item says which worker it is of."""
        serving = [(slot, slot.worker) for slot in self.slots if slot.worker is not None]
        answers = await asyncio.gather(*(self._try(worker, "page", name=name) for _, worker in serving))
        items: list[Any] = []
        for (slot, _), answer in zip(serving, answers, strict=True):
            if answer is None:
                continue
            if name == "stats":
                items.append({"worker": slot.number, "restarts": slot.restarts, **answer["data"]})
            else:
                items += [{"worker": slot.number, **item} for item in answer["data"]]
        return items

    async def metrics(self) -> dict[str, Any]:
        """The sums over all workers, those that are gone included."""
        await asyncio.gather(*(self._refresh(slot) for slot in self.slots))
        parts: list[Mapping[str, Any]] = [self._registry.snapshot()]
        for slot in self.slots:
            parts += [slot.past, slot.latest]
        return merge(parts)

    async def _refresh(self, slot: Slot) -> None:
        worker = slot.worker
        if worker is not None:
            answer = await self._try(worker, "metrics")
            if answer is not None and slot.worker is worker:
                slot.latest = answer["data"]

    async def _try(
        self, worker: WorkerProcess, do: str, patience: float = ASK_TIMEOUT, **fields: Any
    ) -> Message | None:
        """The answer, or None from a worker that is gone or does not answer in time."""
        try:
            return await worker.line.ask(do, patience, **fields)
        except (OSError, TimeoutError):
            return None

    # --- end -------------------------------------------------------------------------------------------------------

    def begin_drain(self) -> None:
        """Not ready from now on; the workers are told by :meth:`drain`."""
        self._is_draining = True

    async def drain(self) -> bool:
        """All drain at the same moment; what has not ended in time is killed."""
        self.begin_drain()
        assert self._bundle is not None
        settings = self._bundle.config.drain
        workers = [slot.worker for slot in self.slots if slot.worker is not None]
        await asyncio.gather(*(self._try(worker, "drain") for worker in workers))
        # Theirs are the last copies now: whoever closes the last one first takes all that wait in it.
        self._book.close()
        ends = asyncio.gather(*(worker.process.wait() for worker in workers))
        try:
            async with asyncio.timeout(settings.delay + settings.timeout + FLUSH):
                return not any(await ends)
        except TimeoutError:
            return False

    def hurry(self) -> None:
        self._hurry.set()
        for slot in self.slots:
            if slot.worker is not None:
                task = asyncio.create_task(self._try(slot.worker, "hurry"))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        self._is_draining = True
        for keeper in self._keepers:
            keeper.cancel()
        for slot in self.slots:
            worker, slot.worker = slot.worker, None
            if worker is not None:
                worker.kill()
                await worker.process.wait()
                worker.close()
        self._book.close()


def _problem(config: Config, message: str) -> Problem:
    return Problem(config.files[-1] if config.files else "configuration", 0, "workers", message)
