"""``sidecar run``: from the command line's words to a living process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.errors import ConfigError
from sidecar.runtime.bundle import Bundle, read_bundle
from sidecar.runtime.life import Life
from sidecar.runtime.logsink import Logger, LogSink
from sidecar.runtime.process import Process
from sidecar.runtime.single import Single
from sidecar.runtime.sockets import SocketBook, raise_descriptor_limit


@dataclass(frozen=True, slots=True)
class RunOptions:
    files: tuple[str, ...]
    log_level: str = "info"
    log_format: str = "json"


def run(options: RunOptions, environ: Mapping[str, str]) -> int:
    """The exit code: 0 after a drain, 1 when it cannot start."""
    try:
        bundle = read_bundle(options.files, environ)
    except ConfigError as error:
        return refuse([str(problem) for problem in error.problems])
    sink = LogSink("/dev/stderr")
    sink.start()
    log = Logger(sink, options.log_level, format=options.log_format)
    try:
        if bundle.config.workers > 1:
            from sidecar.runtime.supervisor import supervise

            return refuse(asyncio.run(supervise(options, bundle, environ, log)))
        return refuse(run_loop(_serve(options, bundle, environ, log), environ))
    finally:
        sink.close()


async def _serve(options: RunOptions, bundle: Bundle, environ: Mapping[str, str], log: Logger) -> list[str]:
    config = bundle.config
    process = Process(
        asyncio.get_running_loop(),
        log,
        max_series=config.metrics.max_series,
        held_bodies=config.limits.held_bodies,
        environ=environ,
    )
    single = Single(process, SocketBook(), raise_descriptor_limit())
    return await Life(single, process.registry, log, options.files, environ).run(bundle)


def refuse(problems: Sequence[str]) -> int:
    """Say why it did not start, a line each; 1 when there is a reason, else 0."""
    for problem in problems:
        sys.stderr.write(problem + "\n")
    return 1 if problems else 0


def run_loop(main: Coroutine[Any, Any, list[str]], environ: Mapping[str, str]) -> list[str]:
    """Run a serving process on uvloop, or on asyncio's own loop with ``SIDECAR_LOOP=asyncio``."""
    if environ.get("SIDECAR_LOOP") == "asyncio":
        return asyncio.run(main)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
