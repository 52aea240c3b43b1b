from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sidecar.errors import ConfigError
from sidecar.runtime.fleet import LONGEST_PAUSE, Fleet, pause_before, without_gauges
from sidecar.runtime.logsink import Logger
from sidecar.runtime.sockets import SocketBook
from sidecar.telemetry.metrics import MetricsRegistry
from tests.support.runtime import Lines, make_bundle, moved, on_loop, until
from tests.support.sidecar_process import free_ports


class FakeProcess:
    def __init__(self) -> None:
        self.returncode: int | None = None
        self._ended = asyncio.Event()

    def end(self, status: int) -> None:
        self.returncode = status
        self._ended.set()

    async def wait(self) -> int:
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode


class FakeLine:
    """Answers as a worker would; ``refuses``, ``is_deaf`` and ``is_broken`` make it a bad one."""

    def __init__(self, worker: FakeWorker) -> None:
        self.worker = worker
        self.asked: list[str] = []
        self.refuses = ""
        self.is_deaf = False
        self.is_broken = False
        self.registry = MetricsRegistry(2000)

    async def ask(self, do: str, patience: float, **fields: Any) -> dict[str, Any]:
        if self.worker.process.returncode is not None:
            raise ConnectionError("gone")
        self.asked.append(do)
        if self.is_deaf:
            raise TimeoutError
        if do == "prepare" and self.is_broken:
            raise KeyError("a fault of ours")
        if do == "prepare":
            return {"problems": [["x.yaml", 7, "plugins.auth", self.refuses]] if self.refuses else []}
        if do == "metrics":
            return {"data": self.registry.snapshot()}
        if do == "page":
            return {"data": {"pid": self.worker.pid} if fields["name"] == "stats" else [{"name": "app"}]}
        if do in ("drain", "hurry"):
            self.worker.process.end(0)
        return {}

    async def serve(self, _hear: Any) -> None:
        await self.worker.process.wait()

    def close(self) -> None: ...


class FakeWorker:
    pids = iter(range(100, 10_000))

    def __init__(self) -> None:
        self.process = FakeProcess()
        self.line = FakeLine(self)
        self.pid = next(self.pids)
        self.sockets: list[str] = []

    def hand_over(self, sockets: Any) -> None:
        self.sockets += [str(address) for address in sockets]

    def kill(self) -> None:
        if self.process.returncode is None:
            self.process.end(-9)

    def close(self) -> None: ...


class Bench:
    def __init__(self, folder, count: int = 2) -> None:
        self.workers: list[FakeWorker] = []
        self.lines = Lines()
        self.registry = MetricsRegistry(2000)
        self.refuses = ""
        self.bundle = make_bundle(folder)
        self.book = SocketBook()
        self.fleet = Fleet(self.spawn, count, self.book, self.registry, Logger(self.lines), {"log_level": "info"})  # type: ignore[arg-type]

    async def spawn(self) -> FakeWorker:
        worker = FakeWorker()
        worker.line.refuses = self.refuses
        self.workers.append(worker)
        return worker

    async def start(self) -> Bench:
        await self.fleet.prepare(self.bundle, 1)
        await self.fleet.commit()
        await self.fleet.settle()
        return self


def test_all_workers_start_with_the_sockets(tmp_path):
    async def main() -> None:
        bench = await Bench(tmp_path).start()
        address = str(bench.bundle.config.listeners[0].addresses[0])
        assert [worker.sockets for worker in bench.workers] == [[address], [address]]
        assert all(worker.line.asked == ["begin", "prepare", "commit"] for worker in bench.workers)
        assert bench.fleet.is_ready
        await bench.fleet.close()

    on_loop(main)


def test_a_start_that_one_refuses_is_refused(tmp_path):
    async def main() -> None:
        bench = Bench(tmp_path)
        bench.refuses = "does not start"
        with pytest.raises(ConfigError, match="does not start") as refused:
            await bench.fleet.prepare(bench.bundle, 1)
        assert len(refused.value.problems) == 1  # the same from both: said once
        assert not bench.fleet.is_ready
        await bench.fleet.close()

    on_loop(main)


def test_a_change_is_prepared_by_all_before_anyone_makes_it(tmp_path):
    async def main() -> None:
        bench = await Bench(tmp_path).start()
        (port,) = free_ports(1)
        await bench.fleet.prepare(moved(bench.bundle, port), 2)
        assert all(worker.line.asked[3:] == ["prepare"] for worker in bench.workers)
        await bench.fleet.commit()
        assert all(worker.line.asked[3:] == ["prepare", "commit"] for worker in bench.workers)
        assert bench.workers[0].sockets[1:] == [f"127.0.0.1:{port}"]
        await bench.fleet.close()

    on_loop(main)


def test_one_refusal_aborts_it_everywhere(tmp_path):
    async def main() -> None:
        bench = await Bench(tmp_path).start()
        bench.workers[1].line.refuses = "no"
        (port,) = free_ports(1)
        with pytest.raises(ConfigError, match=r"plugins\.auth: no"):
            await bench.fleet.prepare(moved(bench.bundle, port), 2)
        assert all(worker.line.asked[3:] == ["prepare", "abort"] for worker in bench.workers)
        assert bench.book.fresh() == {}
        bench.workers[1].line.refuses = ""
        await bench.fleet.prepare(bench.bundle, 3)  # and the next change is not in its way
        await bench.fleet.commit()
        await bench.fleet.close()

    on_loop(main)


def test_X6_a_dead_worker_is_replaced_by_one_that_serves_the_same(tmp_path):
    async def main() -> None:
        bench = await Bench(tmp_path).start()
        bench.workers[0].kill()
        await until(lambda: len(bench.workers) == 3 and bench.fleet.slots[0].worker is bench.workers[2])
        assert bench.workers[2].line.asked == ["begin", "prepare", "commit"]
        assert bench.fleet.slots[0].restarts == 1
        assert "a worker has ended" in bench.lines.text
        assert bench.fleet.is_ready
        await bench.fleet.close()

    on_loop(main)


def test_X7_a_worker_that_answers_nothing_is_replaced(tmp_path):
    async def main() -> None:
        bench = Bench(tmp_path)
        bench.fleet.ping_interval = bench.fleet.stuck_after = 0.01
        await bench.start()
        await until(lambda: "ping" in bench.workers[0].line.asked)
        bench.workers[0].line.is_deaf = True
        await until(lambda: bench.fleet.slots[0].worker is bench.workers[-1])
        assert bench.workers[0].process.returncode == -9
        assert "does not answer" in bench.lines.text
        await bench.fleet.close()

    on_loop(main)


def test_a_fault_while_preparing_is_not_in_the_way_of_the_next_change(tmp_path):
    async def main() -> None:
        bench = await Bench(tmp_path).start()
        bench.workers[0].line.is_broken = True
        with pytest.raises(KeyError):
            await bench.fleet.prepare(bench.bundle, 2)
        bench.workers[0].line.is_broken = False
        await bench.fleet.prepare(bench.bundle, 3)
        await bench.fleet.commit()
        await bench.fleet.close()

    on_loop(main)


def test_X6_a_crash_loop_slows_down():
    pauses = [pause_before(count) for count in range(12)]
    assert pauses[:4] == [0.0, 0.0, 0.25, 0.5]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE


def test_metrics_are_sums_that_outlive_a_worker(tmp_path):
    async def main() -> None:
        bench = await Bench(tmp_path).start()
        bench.registry.config_generation("active", 1)
        for number, worker in enumerate(bench.workers, 1):
            worker.line.registry.limit_hit("connections")
            worker.line.registry.in_flight("inbound").set(number)

        async def read() -> tuple[Any, Any]:
            page = await bench.fleet.metrics()
            hits = dict(page["loom_limit_hits_total"]["rows"]).get(("connections",))
            return hits, dict(page["loom_requests_in_flight"]["rows"])["inbound",]

        assert await read() == (2, 3)
        bench.workers[1].kill()
        await until(lambda: len(bench.workers) == 3 and bench.fleet.slots[1].worker is not None)
        assert await read() == (2, 1)
        await bench.fleet.close()

    on_loop(main)


def test_gauges_end_with_their_worker():
    registry = MetricsRegistry(2000)
    registry.limit_hit("x")
    left = without_gauges(registry.snapshot())
    assert "loom_limit_hits_total" in left
    assert "loom_requests_in_flight" not in left


def test_pages_say_which_worker_each_item_is_of(tmp_path):
    async def main() -> None:
        bench = await Bench(tmp_path).start()
        assert await bench.fleet.pages("upstreams") == [{"worker": 1, "name": "app"}, {"worker": 2, "name": "app"}]
        stats = await bench.fleet.pages("stats")
        assert [(item["worker"], item["restarts"]) for item in stats] == [(1, 0), (2, 0)]
        await bench.fleet.close()

    on_loop(main)


def test_D1_a_drain_is_one_step_and_nobody_is_replaced(tmp_path):
    async def main() -> None:
        bench = await Bench(tmp_path).start()
        assert await bench.fleet.drain()
        assert not bench.fleet.is_ready
        assert all(worker.line.asked[-1] == "drain" for worker in bench.workers)
        assert len(bench.workers) == 2
        assert bench.book.held() == {}
        await bench.fleet.close()

    on_loop(main)
