"""The ways out for spans and access-log lines; a generation takes over its predecessor's when nothing changed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from sidecar.config.model import AccessLog, Config, Node, Tracing
from sidecar.filters.access_log import AccessLogFilterFactory
from sidecar.runtime.exporter import Exporter
from sidecar.runtime.logsink import LogSink
from sidecar.runtime.process import Process
from sidecar.telemetry.tracer import Tracer, resource_of

FLUSH_TIMEOUT = 2.0
"""Seconds for queued spans at the end, whatever the collector does (reliability row O2)."""
LOG_TIMEOUT = 1.0


class TracingOutlet:
    """The tracer and its exporter."""

    def __init__(self, settings: Tracing, node: Node, tracer: Tracer, exporter: Exporter) -> None:
        self.settings = settings
        self.node = node
        self.tracer = tracer
        self.exporter = exporter

    def start(self) -> None:
        self.exporter.start()

    def close(self) -> None:
        """Blocks for up to :data:`FLUSH_TIMEOUT`: never on the event loop while it serves."""
        self.exporter.close(FLUSH_TIMEOUT)


class LogOutlet:
    """The access log."""

    def __init__(self, settings: AccessLog, sink: LogSink) -> None:
        self.settings = settings
        self.sink = sink
        self.factory = AccessLogFilterFactory(sink, settings)

    def start(self) -> None:
        self.sink.start()

    def close(self) -> None:
        self.sink.close(LOG_TIMEOUT)


async def open_tracing(config: Config, process: Process, previous: TracingOutlet | None) -> TracingOutlet | None:
    """None when nothing asks for spans. Raises ValueError for settings that cannot work."""
    settings = config.tracing or _from_environment(process.environ)
    if settings is None:
        return None
    if previous is not None and previous.settings == settings and previous.node == config.node:
        return previous
    # The SDK is slow to import, and reads files about the machine.
    resource = await asyncio.to_thread(resource_of, config.node)
    exporter = Exporter(
        settings, resource, process.registry, environ=process.environ, log=process.log_from_thread
    )
    return TracingOutlet(settings, config.node, Tracer(settings, config.node, exporter), exporter)


def _from_environment(environ: Mapping[str, str]) -> Tracing | None:
    """A collector named in the environment is enough to ask for spans."""
    is_named = any(environ.get(f"OTEL_EXPORTER_OTLP_{name}ENDPOINT") for name in ("", "TRACES_"))
    return Tracing() if is_named and environ.get("OTEL_SDK_DISABLED", "").lower() != "true" else None


def open_access_log(config: Config, process: Process, previous: LogOutlet | None) -> LogOutlet | None:
    """None when it is switched off."""
    settings = config.access_log
    if not settings.enabled:
        return None
    if previous is not None and previous.settings == settings:
        return previous
    return LogOutlet(settings, LogSink(settings.path, process.registry))
