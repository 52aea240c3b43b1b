"""The plugins of one generation: compiled off the loop, started, and found again by name and configuration.

A route that gives a plugin another configuration gets an instance of its own, with the plugin's name and ``vm_id``.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping
from typing import Any

from sidecar.config.model import Config, Node, Plugin, PluginUse
from sidecar.errors import Problem
from sidecar.exchange.filter import CONTINUE, ExchangeView, Filter, FilterFactory, Phase, Status
from sidecar.exchange.ports import CallPort
from sidecar.http.events import RequestHeaders
from sidecar.runtime.bundle import Bundle, is_needed, problem_with, with_path
from sidecar.runtime.process import Process

DIRECTIONS = {"inbound": 1, "outbound": 2}
"""``listener_direction`` of the ABI; 0 is unspecified."""

Use = tuple[str, bytes | None]
"""A plugin's name and the configuration a route gives it; None is its own."""


class AbsentFilter(Filter):
    """Stands where a plugin would that could not be loaded and need not be."""

    __slots__ = ("_factory",)

    def __init__(self, factory: AbsentFilterFactory) -> None:
        self._factory = factory

    def on_request_headers(self, event: RequestHeaders) -> Status:
        self._factory.count()
        return CONTINUE


class AbsentFilterFactory:
    """Lets everything pass and counts it (``on_failure.load: open``)."""

    phases = frozenset({Phase.REQUEST_HEADERS})

    def __init__(self, process: Process, plugin: str) -> None:
        self._registry = process.registry
        self._plugin = plugin
        self._filter = AbsentFilter(self)

    def create(self, view: ExchangeView) -> Filter:
        return self._filter

    def count(self) -> None:
        self._registry.passed_by_policy(self._plugin, "load")


class PluginSet:
    """Built by :func:`start_plugins`."""

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        # Higher first; equal ones stay in the order of the file.
        self.ordered = sorted(plugins, key=lambda plugin: -plugin.priority)
        self.factories: dict[Use, FilterFactory] = {}
        self.running: dict[Use, Any] = {}
        """:class:`sidecar.wasm.plugin.Plugin` by use."""
        self.absent: dict[Use, str] = {}
        """Why a plugin is not there, by use."""

    def chain(self, direction: str, chosen: tuple[PluginUse, ...] | None) -> list[FilterFactory]:
        """The factories of one route, in request order; ``chosen`` None is every plugin."""
        configs = {use.name: use.config for use in chosen} if chosen is not None else None
        factories: list[FilterFactory] = []
        for plugin in self.ordered:
            if plugin.direction not in ("both", direction) or (configs is not None and plugin.name not in configs):
                continue
            config = configs[plugin.name] if configs is not None else None
            factories.append(self.factories[use_of(plugin, config)])
        return factories

    def describe(self) -> list[dict[str, object]]:
        described = [dict(plugin.describe()) for plugin in self.running.values()]
        return described + [{"name": name, "state": "absent", "reason": why} for (name, _), why in self.absent.items()]

    def retire(self) -> None:
        """No new streams; each plugin ends with its last one."""
        for plugin in self.running.values():
            plugin.retire()

    def close(self) -> None:
        for plugin in self.running.values():
            plugin.close()


def use_of(plugin: Plugin, config: bytes | None) -> Use:
    return (plugin.name, None if config is None or config == plugin.config else config)


def wanted_uses(config: Config) -> list[tuple[Plugin, Use]]:
    """Every instance a generation needs: each plugin as it is, then as routes configure it."""
    by_name = {plugin.name: plugin for plugin in config.plugins}
    uses: dict[Use, Plugin] = {(plugin.name, None): plugin for plugin in with_path(config.plugins)}
    for route in config.routes:
        for use in route.plugins or ():
            plugin = by_name[use.name]
            uses.setdefault(use_of(plugin, use.config), plugin)
    return [(plugin, use) for use, plugin in uses.items()]


async def start_plugins(
    bundle: Bundle, process: Process, calls: CallPort, problems: list[Problem]
) -> PluginSet:
    """Compile, start and configure; what fails and must not is added to ``problems``."""
    config = bundle.config
    plugins = PluginSet(with_path(config.plugins))
    if not config.plugins:
        return plugins
    compiled = await asyncio.to_thread(_compile, bundle.modules)
    directions = {listener.direction for listener in config.listeners}
    for plugin, use in wanted_uses(config):
        settings = _settings(plugin, use, directions, config.node)
        failure = _start(plugin, use, settings, compiled.get(plugin.path), process, calls, plugins)
        if failure:
            if not is_needed(config, plugin):
                plugins.absent[use] = failure
                plugins.factories[use] = AbsentFilterFactory(process, plugin.name)
                process.log.plugin(plugin.name, "error", "the plugin cannot be loaded; traffic passes without it",
                                   error=failure)  # fmt: skip
            else:
                problems.append(problem_with(config, plugin, failure))
        # A start may take as long as the plugin's timeout: let the exchanges of the old generation go on between.
        await asyncio.sleep(0)
    return plugins


def _compile(modules: Mapping[str, bytes]) -> dict[str, Any]:
    """Module, or the reason why there is none, by path."""
    # Here and not above: the engine takes a while to import, and a proxy without plugins never needs it.
    from sidecar.wasm.module import ModuleError, compile_module

    compiled: dict[str, Any] = {}
    for path, code in modules.items():
        try:
            compiled[path] = compile_module(code)
        except ModuleError as error:
            compiled[path] = str(error)
    return compiled


def _start(
    plugin: Plugin,
    use: Use,
    settings: Any,
    module: Any,
    process: Process,
    calls: CallPort,
    plugins: PluginSet,
) -> str:
    """Start one instance; the answer is empty, or why it failed."""
    from sidecar.filters.wasm import WasmFilterFactory
    from sidecar.wasm.plugin import Plugin as Running
    from sidecar.wasm.settings import PluginLoadError, Services

    if module is None or isinstance(module, str):
        process.registry.error(plugin.name, "load")
        return module or f"{plugin.path} could not be read"
    if plugin.sha256 and plugin.sha256.lower() != module.digest:
        process.registry.error(plugin.name, "load")
        return f"{plugin.path} has sha256 {module.digest}, not the pinned {plugin.sha256}"
    services = Services(
        timers=process.timers,
        calls=calls,
        log=process.log.plugin,
        metrics=process.registry,
        shared=process.shared,
        custom_metrics=process.custom_metrics,
        random_bytes=process.random_bytes,
    )
    running = Running(settings, module, services)
    try:
        running.start()
    except PluginLoadError as error:
        running.close()
        process.registry.error(plugin.name, error.error)
        return str(error)
    plugins.running[use] = running
    plugins.factories[use] = WasmFilterFactory(running)
    return ""


def _settings(plugin: Plugin, use: Use, directions: set[str], node: Node) -> Any:
    """:class:`sidecar.wasm.settings.PluginSettings`; ``node`` tells the guest of this pod."""
    from sidecar.wasm.settings import LEVELS, NodeInfo, PluginSettings

    metadata = {"service": node.service, "namespace": node.namespace, "trust_domain": node.trust_domain}
    served = directions if plugin.direction == "both" else {plugin.direction}
    return PluginSettings(
        name=plugin.name,
        config=plugin.config if use[1] is None else use[1],
        vm_config=plugin.vm_config,
        root_id=plugin.root_id,
        vm_id=plugin.vm_id,
        memory_limit=plugin.memory_limit,
        timeout=plugin.timeout,
        log_level=LEVELS[plugin.log_level],
        # Closed is the default: where nothing is open, a filter need not keep what it would have to restore.
        on_failure={cause: way for cause, way in plugin.on_failure.items() if way == "open"},
        max_body=plugin.max_body,
        overflow_streams=plugin.overflow_streams,
        allow_upstreams=frozenset(plugin.allow_upstreams) if plugin.allow_upstreams is not None else None,
        phases=frozenset(plugin.phases) if plugin.phases is not None else None,
        node=NodeInfo(socket.gethostname(), node.service, metadata),
        direction=DIRECTIONS[next(iter(served))] if len(served) == 1 else 0,
    )
