"""``sidecar validate``: everything that a start would check, with the plugins running, and no socket bound."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence

from sidecar.config.load import in_order
from sidecar.config.model import Config
from sidecar.errors import ConfigError, Problem
from sidecar.runtime.bundle import Bundle, examine_bundle
from sidecar.runtime.generation import Generation, build_generation
from sidecar.runtime.logsink import Logger, LogSink
from sidecar.runtime.process import Process


def validate(files: Sequence[str], environ: Mapping[str, str]) -> int:
    """0 and the plan on stdout, or 1 and every problem on stderr."""
    sink = LogSink("/dev/stderr")
    sink.start()
    try:
        bundle, problems = examine_bundle(files, environ)
        plan = asyncio.run(_build(bundle, problems, Logger(sink, "info"), environ))
    except ConfigError as error:
        sink.close()
        for problem in in_order(error.problems, files):
            print(problem, file=sys.stderr)
        return 1
    sink.close()
    for warning in bundle.config.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print("\n".join(plan))
    return 0


async def _build(
    bundle: Bundle, problems: list[Problem], log: Logger, environ: Mapping[str, str]
) -> list[str]:
    """The plan; raises ConfigError with ``problems`` and what the plugins add to them."""
    config = bundle.config
    process = Process(
        asyncio.get_running_loop(),
        log,
        max_series=config.metrics.max_series,
        held_bodies=config.limits.held_bodies,
        environ=environ,
    )
    try:
        generation = await build_generation(process, bundle, 1, None)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    try:
        if problems:
            raise ConfigError(problems)
        return plan_of(config, generation)
    finally:
        generation.discard(None)
        process.timers.close()


def plan_of(config: Config, generation: Generation) -> list[str]:
    """What the configuration comes to, a line for each thing."""
    lines = [f"workers: {config.workers}"]
    for listener in config.listeners:
        addresses = ", ".join(str(address) for address in listener.addresses)
        rest = f"unmatched to {listener.upstream}" if listener.upstream else "unmatched refused"
        lines.append(f"listener {listener.name}: {listener.direction} on {addresses}, {rest}")
    for upstream in config.upstreams:
        endpoints = ", ".join(str(endpoint.address) for endpoint in upstream.endpoints)
        lines.append(f"upstream {upstream.name}: {endpoints} ({upstream.load_balancer})")
    absent = dict(generation.plugins.absent)
    for plugin in generation.plugins.ordered:
        running = generation.plugins.running.get((plugin.name, None))
        if running is None:
            lines.append(f"plugin {plugin.name}: absent, traffic passes ({absent.get((plugin.name, None), '')})")
        else:
            phases = ", ".join(sorted(running.phases)) or "no phase"
            lines.append(f"plugin {plugin.name}: priority {plugin.priority}, {plugin.direction}, {phases}")
    for route in config.routes:
        where = " ".join(
            part
            for part in (
                "/".join(route.methods),
                route.host or "",
                route.path or (f"~{route.path_regex}" if route.path_regex else "/*"),
            )
            if part
        )
        split = ", ".join(name if len(route.split) == 1 else f"{name}={weight}" for name, weight in route.split)
        chosen = route.plugins
        plugins = "all plugins" if chosen is None else ", ".join(use.name for use in chosen) or "no plugins"
        lines.append(f"route {route.id}: {route.direction} {where} to {split}; {plugins}")
    lines.append("the configuration is valid")
    return lines
