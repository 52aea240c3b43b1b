from __future__ import annotations

import os
from typing import Any

from sidecar.runtime.bundle import config_message, module_messages
from sidecar.runtime.journal import make_journal
from sidecar.runtime.sockets import SocketBook, addresses_of
from sidecar.runtime.spawn import spawn_worker
from tests.support.runtime import TinyApp, fetch, make_bundle, on_loop

BEGIN: dict[str, Any] = {
    "worker": 1,
    "log_level": "info",
    "log_format": "json",
    "max_series": 2000,
    "held_bodies": 1 << 20,
}


async def told(worker, bundle, sockets, number: int):
    worker.hand_over(sockets)
    for piece in module_messages(bundle):
        await worker.line.ask("module", 10, **piece)
    return await worker.line.ask("prepare", 20, config=config_message(bundle.config), number=number)


def test_a_worker_serves_changes_reports_and_drains_as_it_is_told(tmp_path):
    async def main() -> None:
        import asyncio

        app = await TinyApp().start()
        bundle = make_bundle(tmp_path, app=app.port)
        book = SocketBook()
        assert book.prepare(addresses_of(bundle.config)) == []
        book.commit()
        port = bundle.config.listeners[0].addresses[0].port
        worker = await spawn_worker(os.environ, make_journal())
        farewells: list[Any] = []

        async def hear(message):
            farewells.append(message)
            return None

        listening = asyncio.create_task(worker.line.serve(hear))
        await worker.line.ask("begin", 20, **BEGIN)
        assert (await told(worker, bundle, book.held(), 1))["problems"] == []
        await worker.line.ask("commit", 10)
        assert (await fetch(port)).startswith(b"HTTP/1.1 200")

        # A change that is called off, and one whose socket never came.
        assert (await told(worker, bundle, {}, 2))["problems"] == []
        await worker.line.ask("abort", 10)
        other = make_bundle(tmp_path, app=app.port)
        (problem,) = (await told(worker, other, {}, 3))["problems"]
        assert "no socket for" in problem[3]

        stats = (await worker.line.ask("page", 10, name="stats"))["data"]
        assert (stats["pid"], stats["generation"]) == (worker.pid, 1)
        metrics = (await worker.line.ask("metrics", 10))["data"]
        assert metrics["loom_requests_total"]["rows"][0][1] == 1

        await worker.line.ask("drain", 10)
        book.close()
        assert await worker.process.wait() == 0
        await listening
        assert farewells[-1]["data"]["loom_requests_total"]["rows"][0][1] == 1
        worker.close()
        app.close()

    on_loop(main)
