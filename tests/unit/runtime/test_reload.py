from __future__ import annotations

import asyncio
from dataclasses import replace

from sidecar.errors import ConfigError, Problem
from sidecar.runtime.logsink import Logger
from sidecar.runtime.reload import Reloader, fixed_problems
from sidecar.telemetry.metrics import MetricsRegistry
from tests.support.runtime import FakeTarget, Lines, make_bundle, moved, on_loop, until


class Bench:
    def __init__(self, folder) -> None:
        self.lines = Lines()
        self.registry = MetricsRegistry(2000)
        self.target = FakeTarget()
        self.disk = make_bundle(folder, port=2001, app=2002)
        self.error: ConfigError | None = None
        log = Logger(self.lines, "debug")
        self.reloader = Reloader(["x.yaml"], {}, self.target, self.registry, log, read=self.read)

    def read(self, _files, _environ):
        if self.error is not None:
            raise self.error
        return self.disk

    def generation(self, state: str) -> float:
        return self.registry.gauge("loom_config_generation", state).value


def test_the_start_is_generation_1(tmp_path):
    async def main() -> None:
        bench = Bench(tmp_path)
        assert bench.generation("active") == 0
        await bench.reloader.start(bench.disk)
        assert bench.target.steps == ["prepare 1", "commit"]
        assert bench.generation("active") == 1
        assert bench.reloader.active is bench.disk

    on_loop(main)


def test_a_new_configuration_is_prepared_then_committed(tmp_path):
    async def main() -> None:
        bench = Bench(tmp_path)
        await bench.reloader.start(bench.disk)
        bench.disk = moved(bench.disk, 2003)
        assert await bench.reloader.reload("SIGHUP") == (True, "generation 2 is active")
        assert bench.target.steps[2:] == ["prepare 2", "commit"]
        assert bench.generation("active") == 2
        assert '"cause":"SIGHUP"' in bench.lines.text

    on_loop(main)


def test_Y7_what_cannot_be_read_leaves_everything_as_it_was(tmp_path):
    async def main() -> None:
        bench = Bench(tmp_path)
        active = bench.disk
        await bench.reloader.start(active)
        bench.error = ConfigError([Problem("x.yaml", 3, "listeners", "is no list"), Problem("x.yaml", 9, "", "more")])
        is_taken, text = await bench.reloader.reload("file")
        assert not is_taken
        assert text.splitlines()[:2] == ["x.yaml:3: listeners: is no list", "x.yaml:9: more"]
        assert bench.target.steps == ["prepare 1", "commit"]
        assert (bench.generation("active"), bench.generation("refused")) == (1, 2)
        assert bench.reloader.active is active
        assert bench.reloader.refusal is not None
        assert bench.reloader.refusal.problems == text.splitlines()[:2]

    on_loop(main)


def test_Y7_what_cannot_be_prepared_is_refused_and_a_later_one_taken(tmp_path):
    async def main() -> None:
        bench = Bench(tmp_path)
        await bench.reloader.start(bench.disk)
        bench.target.refuses = "does not start"
        assert (await bench.reloader.reload("file"))[0] is False
        assert bench.target.steps[2:] == ["prepare 2"]
        bench.target.refuses = ""
        assert await bench.reloader.reload("file") == (True, "generation 3 is active")
        assert (bench.generation("active"), bench.generation("refused")) == (3, 2)
        assert bench.reloader.refusal is None

    on_loop(main)


def test_a_touched_file_with_the_same_content_makes_no_generation(tmp_path):
    async def main() -> None:
        bench = Bench(tmp_path)
        await bench.reloader.start(bench.disk)
        is_taken, text = await bench.reloader.reload("file", only_changed=True)
        assert is_taken and "nothing has changed" in text
        assert bench.target.steps == ["prepare 1", "commit"]
        assert (await bench.reloader.reload("sidecar reload"))[1] == "generation 2 is active"

    on_loop(main)


def test_what_a_running_process_cannot_change_is_refused_by_name(tmp_path):
    config = make_bundle(tmp_path).config
    address = config.metrics.address._replace(port=9999)
    wanted = replace(config, workers=3, metrics=replace(config.metrics, address=address))
    problems = {problem.path: problem.message for problem in fixed_problems(config, wanted)}
    assert set(problems) == {"workers", "metrics.address"}
    assert "0.0.0.0:15020" in problems["metrics.address"] and "9999" in problems["metrics.address"]
    assert fixed_problems(config, config) == []


def test_two_at_once_are_made_one_after_the_other(tmp_path):
    async def main() -> None:
        bench = Bench(tmp_path)
        await bench.reloader.start(bench.disk)
        bench.target.gate = asyncio.Event()
        both = [asyncio.create_task(bench.reloader.reload(cause)) for cause in ("file", "SIGHUP")]
        await until(lambda: len(bench.target.steps) == 3)
        bench.target.gate.set()
        assert [answer[0] for answer in await asyncio.gather(*both)] == [True, True]
        assert bench.target.steps[2:] == ["prepare 2", "commit", "prepare 3", "commit"]

    on_loop(main)


def test_D5_a_drain_waits_for_a_change_under_way_and_takes_no_more(tmp_path):
    async def main() -> None:
        bench = Bench(tmp_path)
        await bench.reloader.start(bench.disk)
        bench.target.gate = asyncio.Event()
        reload = asyncio.create_task(bench.reloader.reload("file"))
        await until(lambda: len(bench.target.steps) == 3)
        close = asyncio.create_task(bench.reloader.close())
        await asyncio.sleep(0)
        assert not close.done()
        bench.target.gate.set()
        assert (await reload)[0]
        await close
        is_taken, text = await bench.reloader.reload("file")
        assert not is_taken and "draining" in text

    on_loop(main)
