"""``workers: N``: the process that the user started binds the sockets and keeps N workers alive."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from sidecar.runtime.bundle import Bundle
from sidecar.runtime.fleet import Fleet
from sidecar.runtime.journal import make_journal
from sidecar.runtime.life import Life
from sidecar.runtime.logsink import Logger
from sidecar.runtime.run import RunOptions
from sidecar.runtime.sockets import SocketBook, raise_descriptor_limit
from sidecar.runtime.spawn import spawn_worker
from sidecar.telemetry.metrics import MetricsRegistry


async def supervise(options: RunOptions, bundle: Bundle, environ: Mapping[str, str], log: Logger) -> list[str]:
    """From the start to the end of the drain; the answer is why it could not start, or empty."""
    config = bundle.config
    raise_descriptor_limit()
    registry = MetricsRegistry(config.metrics.max_series)
    fleet = Fleet(
        partial(spawn_worker, environ, make_journal()),
        config.workers,
        SocketBook(),
        registry,
        log,
        {"log_level": options.log_level, "log_format": options.log_format},
    )
    return await Life(fleet, registry, log, options.files, environ).run(bundle)
