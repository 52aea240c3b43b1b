"""Metrics that plugins define for themselves, shown as ``loom_plugin_custom_<name>``.

Values belong to the process: they outlive instances and reloads, and two definitions of one name share one value.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from sidecar.wasm.abi.status import BAD_ARGUMENT, COUNTER, GAUGE, HISTOGRAM, INTERNAL_FAILURE, OK

MAX_PER_PLUGIN: Final = 100
MAX_NAME: Final = 256
PREFIX: Final = "loom_plugin_custom_"
KINDS: Final = {COUNTER: "counter", GAUGE: "gauge", HISTOGRAM: "histogram"}
BUCKETS: Final = (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000)
"""Upper bounds, those of Envoy's histograms."""

_NOT_PROMETHEUS = re.compile(r"[^A-Za-z0-9_]")
_SIGN: Final = 1 << 63
_WRAP: Final = 1 << 64


class CustomMetric:
    """One value. ``kind`` is an ABI metric type; ``counts`` are a histogram's buckets, the last one +Inf."""

    __slots__ = ("count", "counts", "kind", "name", "total", "value")

    def __init__(self, kind: int, name: str) -> None:
        self.kind = kind
        self.name = name
        self.value = 0
        self.count = 0
        self.total = 0
        self.counts = [0] * (len(BUCKETS) + 1) if kind == HISTOGRAM else []

    def increment(self, delta: int) -> int:
        """``delta`` as the raw 64 bits of the guest's i64. A counter only grows, a histogram cannot be added to."""
        if delta >= _SIGN:
            delta -= _WRAP
        if self.kind == HISTOGRAM or (self.kind == COUNTER and delta <= 0):
            return BAD_ARGUMENT
        self.value = max(self.value + delta, 0)
        return OK

    def record(self, value: int) -> int:
        """A counter adds, a gauge is set, a histogram notes the value (unsigned)."""
        if self.kind == COUNTER:
            self.value += value
        elif self.kind == GAUGE:
            self.value = value
        else:
            self.count += 1
            self.total += value
            self.counts[bisect_left(BUCKETS, value)] += 1
        return OK


class CustomMetrics:
    """All plugin-defined metrics of a process, by name. Instances hand out ids of their own."""

    def __init__(self) -> None:
        self._by_name: dict[str, CustomMetric] = {}
        self._per_plugin: dict[str, set[str]] = {}

    def define(self, plugin: str, kind: int, name: bytes) -> CustomMetric | int:
        """The metric, or an ABI status.

        BadArgument for a type that does not exist or a name already taken by another type; InternalFailure beyond
        the limit per plugin.
        """
        if kind not in KINDS or not name or len(name) > MAX_NAME:
            return BAD_ARGUMENT
        text = PREFIX + _NOT_PROMETHEUS.sub("_", name.decode("utf-8", "replace"))
        metric = self._by_name.get(text)
        if metric is not None and metric.kind != kind:
            return BAD_ARGUMENT
        owned = self._per_plugin.setdefault(plugin, set())
        if text not in owned and len(owned) >= MAX_PER_PLUGIN:
            return INTERNAL_FAILURE
        if metric is None:
            metric = self._by_name[text] = CustomMetric(kind, text)
        owned.add(text)
        return metric

    def collect(self) -> Iterator[CustomMetric]:
        """Every metric, for exposition."""
        yield from self._by_name.values()
