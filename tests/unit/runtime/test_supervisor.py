from __future__ import annotations

import asyncio
import os
import signal

from sidecar.runtime.bundle import read_bundle
from sidecar.runtime.logsink import Logger
from sidecar.runtime.run import RunOptions
from sidecar.runtime.supervisor import supervise
from tests.support.runtime import Lines, TinyApp, fetch, on_loop, until, write_config
from tests.support.sidecar_process import free_ports


def test_two_workers_serve_on_one_socket_until_the_signal(tmp_path):
    async def main() -> None:
        app = await TinyApp().start()
        port, metrics, health, admin = free_ports(4)
        path = write_config(
            tmp_path,
            f"workers: 2\nmetrics: {{address: '127.0.0.1:{metrics}'}}\nhealth: {{address: '127.0.0.1:{health}'}}\n"
            f"admin: {{address: '127.0.0.1:{admin}', socket: {tmp_path}/admin.sock}}\n",
            port=port,
            app=app.port,
        )
        lines = Lines()
        bundle = read_bundle([str(path)], {})
        task = asyncio.create_task(supervise(RunOptions((str(path),)), bundle, os.environ, Logger(lines)))
        await until(lambda: "ready" in lines.text or task.done())
        for _ in range(4):
            assert (await fetch(port)).startswith(b"HTTP/1.1 200")
        os.kill(os.getpid(), signal.SIGTERM)
        assert await task == []
        app.close()

    on_loop(main)
