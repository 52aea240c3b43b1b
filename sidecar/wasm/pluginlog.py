"""The log lines of one plugin, and ours about it: levels, a rate that holds, a length that holds."""

from __future__ import annotations

from typing import Final

from sidecar.wasm.abi.status import LOG_LEVELS
from sidecar.wasm.ports import LogSink, TimerPort

RATE: Final = 100.0
"""Lines per second."""
BURST: Final = 1000.0
MAX_LINE: Final = 8192
"""Bytes of one message."""


class PluginLog:
    """Shared by all instances of one plugin. What is dropped is counted, and told with the next line that passes."""

    __slots__ = ("_dropped", "_sink", "_timers", "_tokens", "_updated", "dropped_total", "level", "name")

    def __init__(self, name: str, level: int, sink: LogSink, timers: TimerPort) -> None:
        self.name = name
        self.level = level
        self._sink = sink
        self._timers = timers
        self._tokens = BURST
        self._updated = timers.now()
        self._dropped = 0
        self.dropped_total = 0

    def guest(self, level: int, message: str, trace_id: str) -> None:
        """A line of the plugin's own, its level judged already."""
        fields: dict[str, object] = {"trace_id": trace_id} if trace_id else {}
        self._write(LOG_LEVELS[level], message[:MAX_LINE], fields)

    def about(self, level: str, message: str, **fields: object) -> None:
        """A line of ours about the plugin; has ``callback`` or ``error``."""
        self._write(level, message, fields)

    def _write(self, level: str, message: str, fields: dict[str, object]) -> None:
        now = self._timers.now()
        self._tokens = min(BURST, self._tokens + (now - self._updated) * RATE)
        self._updated = now
        if self._tokens < 1:
            self._dropped += 1
            self.dropped_total += 1
            return
        self._tokens -= 1
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._sink(self.name, "warn", f"{dropped} log lines dropped", error="log_rate", dropped=dropped)
        self._sink(self.name, level, message, **fields)
