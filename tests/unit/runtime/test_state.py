from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from sidecar.runtime.logsink import Logger
from sidecar.runtime.reload import Reloader
from sidecar.runtime.state import STUCK_AFTER, State
from sidecar.telemetry.metrics import MetricsRegistry
from tests.support.runtime import FakeTarget, Lines, make_bundle, on_loop, until


class FakeServed:
    is_ready = True
    is_started = True

    def __init__(self) -> None:
        self.beat = time.monotonic()
        self.thread_ids: list[int] = []

    async def pages(self, name: str) -> list[Any]:
        return [{"page": name}]

    async def metrics(self) -> dict[str, Any]:
        return MetricsRegistry(2000).snapshot()


def made(bundle=None):
    served = FakeServed()
    registry = MetricsRegistry(2000)
    reloader = Reloader(["x"], {}, FakeTarget(), registry, Logger(Lines()), read=lambda files, environ: bundle)
    reloader.active = bundle
    drains: list[int] = []
    return State(asyncio.get_running_loop(), served, reloader, lambda: drains.append(1)), served, drains


def test_pages_are_answered_by_the_loop(tmp_path):
    async def main() -> None:
        state, _, _ = made(make_bundle(tmp_path))
        assert await asyncio.to_thread(state.upstreams) == [{"page": "upstreams"}]
        assert await asyncio.to_thread(state.plugins) == [{"page": "plugins"}]
        stats: Any = await asyncio.to_thread(state.stats)
        assert stats["workers"] == [{"page": "stats"}]
        assert b"loom_requests_in_flight" in await asyncio.to_thread(state.metrics)
        assert await asyncio.to_thread(state.routes) == []
        config: Any = await asyncio.to_thread(state.config)
        assert config["source"]["upstreams"]

    on_loop(main)


def test_health_is_told_without_the_loop():
    async def main() -> None:
        state, served, _ = made()
        # Called on the loop's own thread: asking it would never be answered.
        assert (state.ready(), state.live(), state.started()) == (True, True, True)
        served.is_ready = False
        served.beat -= STUCK_AFTER + 1
        assert (state.ready(), state.live()) == (False, False)
        assert state.routes() == []

    on_loop(main)


@pytest.mark.parametrize("is_good", [True, False])
def test_a_reload_is_made_on_the_loop_and_its_words_come_back(tmp_path, is_good):
    async def main() -> None:
        bundle = make_bundle(tmp_path)
        state, _, _ = made(bundle)
        state._reloader._target.refuses = "" if is_good else "no"  # type: ignore[attr-defined]
        is_taken, text = await asyncio.to_thread(state.reload)
        assert is_taken is is_good
        assert ("is active" in text) is is_good

    on_loop(main)


def test_a_drain_begins_on_the_loop():
    async def main() -> None:
        state, _, drains = made()
        await asyncio.to_thread(state.drain)
        await until(lambda: drains == [1])

    on_loop(main)
