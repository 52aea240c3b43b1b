"""Plugins in real exchanges without any socket: fakes of the house's services, and what the guests said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sidecar.address import Address
from sidecar.exchange.chain import FilterChain
from sidecar.exchange.exchange import Exchange
from sidecar.exchange.flow import HoldBudget
from sidecar.exchange.ports import CallResult
from sidecar.filters.wasm import WasmFilterFactory
from sidecar.http.headers import HeaderMap
from sidecar.telemetry.record import ConnectionInfo, ExchangeRecord
from sidecar.wasm.metrics import CustomMetrics
from sidecar.wasm.plugin import Plugin
from sidecar.wasm.settings import PluginSettings, Services
from sidecar.wasm.shared import SharedState
from sidecar.wasm.vm import compile_module
from tests.support.exchanges import FakeDownstream, FakeTerminal, FakeTimers, Stage
from tests.support.guest import Guest
from tests.support.wat import assemble

DIST = Path(__file__).parents[2] / "plugins" / "dist"


class FakeCall:
    """One HTTP call a plugin made; ``answer`` brings its result as the event loop would."""

    def __init__(self, upstream: str, headers: HeaderMap, body: bytes, trailers: HeaderMap | None, timeout: float,
                 done: Callable[[CallResult], None]) -> None:  # fmt: skip
        self.upstream = upstream
        self.headers = headers
        self.body = body
        self.trailers = trailers
        self.timeout = timeout
        self.done = done
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def answer(self, *pairs: tuple[bytes, bytes], body: bytes = b"", failure: str = "") -> None:
        assert not self.is_cancelled
        self.done(CallResult(HeaderMap.of(pairs), body, None, failure))


class FakeCalls:
    def __init__(self, *upstreams: str) -> None:
        self.upstreams = set(upstreams)
        self.made: list[FakeCall] = []

    def has_upstream(self, name: str) -> bool:
        return name in self.upstreams

    def http_call(self, *arguments: Any) -> FakeCall:
        self.made.append(FakeCall(*arguments))
        return self.made[-1]


class FakeMetrics:
    """Counts by (what, labels)."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.observed: list[tuple[str, str, float]] = []
        self.memory_bytes: dict[str, int] = {}

    def call_observer(self, plugin: str, phase: str) -> Callable[[float], None]:
        return lambda seconds: self.observed.append((plugin, phase, seconds))

    def error(self, plugin: str, error: str) -> None:
        self.counts["error", plugin, error] += 1

    def restart(self, plugin: str) -> None:
        self.counts["restart", plugin] += 1

    def memory(self, plugin: str, size: int) -> None:
        self.memory_bytes[plugin] = size

    def passed_by_policy(self, plugin: str, cause: str) -> None:
        self.counts["passed", plugin, cause] += 1

    def limit_hit(self, limit: str) -> None:
        self.counts["limit", limit] += 1


class House:
    """The services of one process, and the plugins made with them."""

    def __init__(self, *upstreams: str) -> None:
        self.timers = FakeTimers()
        self.calls = FakeCalls(*upstreams)
        self.metrics = FakeMetrics()
        self.shared = SharedState()
        self.custom_metrics = CustomMetrics()
        self.lines: list[tuple[str, str, str, dict[str, object]]] = []
        self.services = Services(
            timers=self.timers,
            calls=self.calls,
            log=lambda plugin, level, message, **fields: self.lines.append((plugin, level, message, fields)),
            metrics=self.metrics,
            shared=self.shared,
            custom_metrics=self.custom_metrics,
            random_bytes=lambda size: bytes(range(1, 256))[:size] or b"",
        )

    def made(self, module: Guest | str | bytes | Path, **settings: Any) -> Plugin:
        """A plugin that is not started yet; a ``str`` is WAT."""
        if isinstance(module, Path):
            code = module.read_bytes()
        elif isinstance(module, Guest):
            code = module.binary()
        else:
            code = assemble(module) if isinstance(module, str) else module
        settings.setdefault("name", "probe")
        settings.setdefault("timeout", 5.0)  # a busy machine is no endless loop
        return Plugin(PluginSettings(**settings), compile_module(code), self.services)

    def plugin(self, module: Guest | str | bytes | Path, **settings: Any) -> Plugin:
        plugin = self.made(module, **settings)
        plugin.start()
        return plugin

    def said(self, plugin: str = "probe") -> list[str]:
        """The guest's own lines, oldest first."""
        return [text for name, _, text, fields in self.lines if name == plugin and not fields.keys() & OURS]

    def told(self, plugin: str = "probe") -> list[tuple[str, dict[str, object]]]:
        """Our lines about the plugin."""
        return [(text, fields) for name, _, text, fields in self.lines if name == plugin and fields.keys() & OURS]


OURS = {"callback", "error"}


class Talk(Stage):
    """One exchange through ``plugins``, in request order."""

    def __init__(self, house: House, *plugins: Plugin, budget: int = 1 << 30, direction: str = "inbound") -> None:
        self.house = house
        self.timers = house.timers
        self.downstream = FakeDownstream()
        self.terminal = FakeTerminal()
        self.bugs = []
        stage = self

        class Terminals:
            def create(self, view: Any) -> Any:
                return stage.terminal

        info = ConnectionInfo(7, direction, direction, Address("10.0.0.1", 4), Address("10.0.0.2", 15006), "h1")
        self.record = ExchangeRecord(info, self.timers.now(), self.timers.unix_nanos())
        self.record.request_id = "made-here"
        self.record.route_id = "shop"
        self.budget = HoldBudget(budget)
        factories = [WasmFilterFactory(plugin) for plugin in plugins]
        self.exchange = Exchange(
            FilterChain(factories, Terminals()), None, 1, self.downstream, self.timers, self.record, self.budget,
            lambda where, bug: self.bugs.append((where, bug)),
        )  # fmt: skip

    def get(self, *pairs: tuple[bytes, bytes]) -> Talk:
        """A whole request without a body, and what was asked for soon."""
        self.request(*pairs)
        self.turn()
        return self

    def turn(self) -> None:
        """One turn of the event loop."""
        self.timers.advance(0)

    @property
    def upstream(self) -> HeaderMap | None:
        """The request head that reached the upstream."""
        return self.terminal.events[0].headers if self.terminal.events else None
