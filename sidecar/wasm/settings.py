"""What one plugin is run with: its settings, and the services of the house it may reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sidecar.wasm.metrics import CustomMetrics
from sidecar.wasm.ports import CallPort, LogSink, MetricsSink, TimerPort
from sidecar.wasm.shared import SharedState

LEVELS: Final = {"trace": 0, "debug": 1, "info": 2, "warn": 3, "warning": 3, "error": 4, "critical": 5, "off": 6}


class PluginLoadError(Exception):
    """A module that cannot be loaded, started or configured; the text says why.

    ``error`` is the label of ``loom_plugin_errors_total``: ``load`` or ``configure``.
    """

    def __init__(self, message: str, error: str = "load") -> None:
        super().__init__(message)
        self.error = error


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What ``node`` properties tell about this pod."""

    id: str = ""
    cluster: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """Sizes in bytes, times in seconds. ``allow_upstreams`` None means any named upstream.

    ``on_failure`` maps the causes ``load``, ``trap``, ``timeout`` and ``limit`` to ``closed`` or ``open``.
    """

    name: str
    config: bytes = b""
    vm_config: bytes = b""
    root_id: str = ""
    vm_id: str = ""
    memory_limit: int = 16_000_000
    timeout: float = 0.05
    log_level: int = 2
    on_failure: dict[str, str] = field(default_factory=dict)
    max_body: int = 1 << 20
    overflow_streams: bool = False
    allow_upstreams: frozenset[str] | None = None
    phases: frozenset[str] | None = None
    """Phases by the names of the configuration; None is every phase that the module exports."""
    pause_timeout: float = 60.0
    """Longest that a paused exchange waits for any progress: then it ends as after a ``timeout``."""
    node: NodeInfo = NodeInfo()
    direction: int = 0
    """``listener_direction`` seen by a root context: 0 unspecified, 1 inbound, 2 outbound."""

    def passes(self, cause: str) -> bool:
        """True when traffic goes on without the plugin after a failure of that kind."""
        return self.on_failure.get(cause, "closed") == "open"


@dataclass(frozen=True, slots=True)
class Services:
    """Shared by all plugins of a process."""

    timers: TimerPort
    calls: CallPort
    log: LogSink
    metrics: MetricsSink
    shared: SharedState
    custom_metrics: CustomMetrics
    random_bytes: Callable[[int], bytes]
