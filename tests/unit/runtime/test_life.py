from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from typing import Any

from sidecar.runtime.bundle import read_bundle
from sidecar.runtime.life import Life
from sidecar.runtime.logsink import Logger
from sidecar.telemetry.metrics import MetricsRegistry
from tests.support.runtime import FakeTarget, Lines, on_loop, until, write_config
from tests.support.sidecar_process import free_ports


class FakeProxy(FakeTarget):
    is_ready = False
    is_started = False

    def __init__(self) -> None:
        super().__init__()
        self.beat = time.monotonic()
        self.hurried = asyncio.Event()
        self.waits = False

    async def settle(self) -> None:
        self.is_ready = self.is_started = True
        self.steps.append("settle")

    async def pages(self, name: str) -> list[Any]:
        return []

    async def metrics(self) -> dict[str, Any]:
        return {}

    def begin_drain(self) -> None:
        self.is_ready = False

    async def drain(self) -> bool:
        self.steps.append("drain")
        if self.waits:
            await self.hurried.wait()
        return not self.waits

    def hurry(self) -> None:
        self.steps.append("hurry")
        self.hurried.set()

    async def close(self) -> None:
        self.steps.append("close")


class Bench:
    def __init__(self, folder) -> None:
        self.lines = Lines()
        self.proxy = FakeProxy()
        self.ports = free_ports(3)
        metrics, health, admin = self.ports
        self.file = write_config(
            folder,
            f"metrics: {{address: '127.0.0.1:{metrics}'}}\nhealth: {{address: '127.0.0.1:{health}'}}\n"
            f"admin: {{address: '127.0.0.1:{admin}', socket: {folder}/admin.sock}}\n",
        )
        files = [str(self.file)]
        self.bundle = read_bundle(files, {})
        self.life = Life(self.proxy, MetricsRegistry(2000), Logger(self.lines), files, {})

    def messages(self) -> list[str]:
        return [json.loads(line)["message"] for line in self.lines.lines]


def signalled(folder, act) -> Bench:
    """Run a life, ``act`` on it once it is ready, and let it end."""
    made: list[Bench] = []

    async def main() -> None:
        bench = Bench(folder)
        made.append(bench)
        task = asyncio.create_task(bench.life.run(bench.bundle))
        await until(lambda: bench.proxy.is_ready and "ready" in bench.messages())
        await act(bench)
        assert await task == []

    on_loop(main)
    return made[0]


def test_D1_a_signal_drains_and_ends(tmp_path):
    async def act(bench: Bench) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    bench = signalled(tmp_path, act)
    assert bench.proxy.steps == ["prepare 1", "commit", "settle", "drain", "close"]
    assert bench.messages() == ["ready", "draining", "drained"]


def test_D2_a_second_signal_hurries(tmp_path):
    async def act(bench: Bench) -> None:
        bench.proxy.waits = True
        os.kill(os.getpid(), signal.SIGINT)
        await until(lambda: "drain" in bench.proxy.steps)
        os.kill(os.getpid(), signal.SIGTERM)

    bench = signalled(tmp_path, act)
    assert bench.proxy.steps[3:] == ["drain", "hurry", "close"]
    assert "second signal: ending at once" in bench.messages()


def test_SIGHUP_reloads(tmp_path):
    async def act(bench: Bench) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: bench.proxy.steps.count("commit") == 2)
        os.kill(os.getpid(), signal.SIGTERM)

    bench = signalled(tmp_path, act)
    assert "a new configuration is active" in bench.messages()


def test_Y6_a_changed_file_reloads_and_a_touched_one_does_not(tmp_path):
    async def act(bench: Bench) -> None:
        text = bench.file.read_text()
        bench.file.write_text(text.replace("delay: 0s", "delay: 1s"))
        await until(lambda: bench.proxy.steps.count("commit") == 2)
        os.utime(bench.file)
        bench.file.write_text("nonsense: 1\n")
        await until(lambda: any("refused" in message for message in bench.messages()))
        assert bench.proxy.steps.count("commit") == 2
        os.kill(os.getpid(), signal.SIGTERM)

    signalled(tmp_path, act)


def test_the_pages_are_there_before_the_first_generation_and_until_the_end(tmp_path):
    async def main() -> None:
        bench = Bench(tmp_path)
        bench.proxy.gate = asyncio.Event()
        task = asyncio.create_task(bench.life.run(bench.bundle))

        async def ask(page: str) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", bench.ports[1])
            writer.write(f"GET /healthz/{page} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            answer = await reader.readline()
            writer.close()
            return answer

        await until(lambda: bench.proxy.steps)
        assert b" 503 " in await ask("started")
        assert b" 200 " in await ask("live")
        bench.proxy.gate.set()
        await until(lambda: bench.proxy.is_ready)
        assert b" 200 " in await ask("ready")
        os.kill(os.getpid(), signal.SIGTERM)
        assert await task == []

    on_loop(main)


def test_a_start_that_fails_says_every_reason_and_leaves_nothing(tmp_path):
    async def main() -> None:
        bench = Bench(tmp_path)
        bench.proxy.refuses = "does not start"
        assert await bench.life.run(bench.bundle) == ["x.yaml:7: plugins.auth: does not start"]
        assert bench.proxy.steps[-1] == "close"

    on_loop(main)


def test_a_taken_admin_address_is_one_clear_line(tmp_path):
    async def main() -> None:
        bench = Bench(tmp_path)
        with socket.create_server(("127.0.0.1", bench.ports[0])):
            (line,) = await bench.life.run(bench.bundle)
        assert f"127.0.0.1:{bench.ports[0]}" in line

    on_loop(main)
