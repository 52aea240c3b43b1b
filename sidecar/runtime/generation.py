"""One configuration at work: its pools, plugins, outlets, and a snapshot for every listener.

Built whole beside the one that serves; a fault in any part is a list of problems and no generation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sidecar.codec.base import CodecLimits
from sidecar.codec.h1 import H1ClientCodec
from sidecar.config.model import Config, Limits, Listener
from sidecar.errors import ConfigError, Problem
from sidecar.exchange.chain import FilterChain
from sidecar.exchange.filter import FilterFactory
from sidecar.filters.forwarding import ForwardingFilterFactory
from sidecar.filters.metrics import MetricsFilterFactory
from sidecar.filters.router import RouterFactory
from sidecar.filters.tracing import TracingFilterFactory
from sidecar.proxy.callout import CallPorts
from sidecar.proxy.site import Snapshot
from sidecar.route.table import RouteTable
from sidecar.runtime.bundle import Bundle, problem_of
from sidecar.runtime.plugins import PluginSet, start_plugins
from sidecar.runtime.process import Process
from sidecar.runtime.telemetry import LogOutlet, TracingOutlet, open_access_log, open_tracing
from sidecar.transport.pool import UpstreamPools


def codec_limits(limits: Limits) -> CodecLimits:
    return CodecLimits(
        header_bytes=limits.header_bytes,
        header_count=limits.header_count,
        request_line=limits.request_line,
        chunk_ext=limits.chunk_ext,
        interim=limits.interim,
        pipeline=limits.pipeline,
        watermark=limits.body_window,
    )


class Generation:
    """Built by :func:`build_generation`; numbered from 1 in the order of attempts."""

    def __init__(
        self,
        number: int,
        bundle: Bundle,
        pools: UpstreamPools,
        plugins: PluginSet,
        tracing: TracingOutlet | None,
        access_log: LogOutlet | None,
    ) -> None:
        self.number = number
        self.bundle = bundle
        self.config = bundle.config
        self.pools = pools
        self.plugins = plugins
        self.tracing = tracing
        self.access_log = access_log
        self.snapshots: dict[tuple[str, str], Snapshot] = {}
        """By name and direction of the listener."""

    @property
    def outlets(self) -> list[TracingOutlet | LogOutlet]:
        return [outlet for outlet in (self.tracing, self.access_log) if outlet is not None]

    def start(self, previous: Generation | None) -> None:
        """It serves from now on: start what writes, and let what only ``previous`` needs end with its exchanges."""
        known = previous.outlets if previous is not None else []
        for outlet in self.outlets:
            if outlet not in known:
                outlet.start()
        if previous is not None:
            previous.plugins.retire()
            previous.pools.retire(keep=self.pools)

    def discard(self, previous: Generation | None) -> None:
        """It never served; what it would have taken over from ``previous`` stays there."""
        self.plugins.retire()
        self.plugins.close()
        if previous is not None:
            self.pools.retire(keep=previous.pools)
        else:
            self.pools.close()

    async def close(self, living: Sequence[Generation]) -> None:
        """No exchange of it is left; what a generation among ``living`` uses too stays."""
        self.plugins.retire()  # each plugin is told that it ends
        self.plugins.close()
        if not living:
            self.pools.close()
        used = [outlet for other in living for outlet in other.outlets]
        # Flushing waits for a collector or a reader: on threads, so that traffic does not.
        ends = [asyncio.to_thread(outlet.close) for outlet in self.outlets if outlet not in used]
        await asyncio.gather(*ends)


async def build_generation(process: Process, bundle: Bundle, number: int, previous: Generation | None) -> Generation:
    """Build and self-test; raises ConfigError with everything that is wrong, and leaves nothing behind then."""
    config = bundle.config
    limits = codec_limits(config.limits)
    pools = UpstreamPools.build(
        config.upstreams,
        limits=config.limits,
        previous=previous.pools if previous is not None else None,
        make_codec=lambda: H1ClientCodec(limits),
        timers=process.timers,
        report_bug=process.report_bug,
        random=process.random,
    )
    calls = CallPorts(pools, process.timers, pools.upstreams, config.limits.callout_body)
    problems: list[Problem] = []
    plugins = await start_plugins(bundle, process, calls, problems)
    tracing: TracingOutlet | None = None
    try:
        tracing = await open_tracing(config, process, previous.tracing if previous is not None else None)
    except ValueError as error:
        problems.append(problem_of(config, 0, "tracing", str(error)))
    access_log = open_access_log(config, process, previous.access_log if previous is not None else None)
    generation = Generation(number, bundle, pools, plugins, tracing, access_log)
    if not problems:
        for place, listener in enumerate(config.listeners):
            try:
                generation.snapshots[listener.name, listener.direction] = _snapshot(generation, process, listener)
            except ValueError as error:
                problems.append(problem_of(config, listener.line, f"listeners[{place}]", str(error)))
    if problems:
        generation.discard(previous)
        raise ConfigError(problems)
    return generation


def _snapshot(generation: Generation, process: Process, listener: Listener) -> Snapshot:
    config: Config = generation.config
    direction = listener.direction
    table = RouteTable(
        config.routes, direction, listener.upstream, config.upstreams, config.limits.route_timeout
    )
    terminal = RouterFactory(table, generation.pools, process.random, config.limits.stream_idle_timeout)
    telemetry: list[FilterFactory] = []
    # The order is the contract between them: the span is there before anything that may be traced, the log line and
    # the counters see what every later filter has written into the record, and plugins see the request as the app
    # will (x-request-id, x-forwarded-*).
    if generation.tracing is not None:
        telemetry.append(TracingFilterFactory(generation.tracing.tracer, direction))
    telemetry.append(MetricsFilterFactory(process.registry))
    if generation.access_log is not None:
        telemetry.append(generation.access_log.factory)
    forwarding = ForwardingFilterFactory(process.random_bits, direction == "inbound")

    def chain(plugins: Sequence[FilterFactory]) -> FilterChain:
        return FilterChain([*telemetry, forwarding, *plugins], terminal)

    unrouted = chain(generation.plugins.chain(direction, None))
    chains = {
        entry.id: chain(generation.plugins.chain(direction, entry.plugins))
        for entry in table.entries
        if entry.plugins is not None
    }
    return Snapshot(generation.number, table, chains, unrouted, FilterChain(telemetry, terminal))
