"""Counters, gauges and histograms of one process, with a hard cap on how many series they may make.

Children are found by a tuple of label values in a plain dict; callers on the request path keep the child they
got and update it in place. Only the event loop's thread updates, other threads read :meth:`MetricsRegistry.snapshot`.

When a family asks for a child beyond the cap it gets the family's overflow child, whose labels read ``other``
(``direction`` is kept). A histogram child counts as many series as it has lines.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

Labels = tuple[str, ...]
Snapshot = dict[str, Any]
"""``{family: {"type", "help", "labels", "buckets", "merge", "rows": [[label values, value]]}}``; JSON as it is."""

DURATION_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds, upper bounds."""
PLUGIN_BUCKETS: Final = (0.000005, 0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.25)
OVERFLOW: Final = "other"
TRAFFIC_SHARE: Final = 0.75
"""The part of the cap that traffic can fill, so that a flood of odd requests never hides a plugin's failure."""


class Counter:
    """Only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        self.value += amount


class Gauge(Counter):
    """Goes up and down."""

    __slots__ = ()

    def dec(self) -> None:
        self.value -= 1

    def set(self, value: float) -> None:
        self.value = value


class Histogram:
    """``counts[i]`` are the observations in bucket i alone (not cumulative); the last one is +Inf."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


Child = Counter | Histogram


class CustomMetric(Protocol):
    """A plugin-defined metric; ``kind`` 0 counter, 1 gauge, 2 histogram as in the Proxy-Wasm ABI."""

    @property
    def kind(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def counts(self) -> list[int]: ...


class Family:
    """One metric name with its children."""

    __slots__ = ("bounds", "children", "help", "is_traffic", "kind", "labels", "merge", "name", "overflow", "weight")

    def __init__(
        self,
        kind: str,
        name: str,
        labels: Labels,
        help_text: str,
        *,
        bounds: Sequence[float] = (),
        is_traffic: bool = False,
        merge: str = "sum",
    ) -> None:
        self.kind = kind
        self.name = name
        self.labels = labels
        self.help = help_text
        self.bounds = tuple(bounds)
        self.is_traffic = is_traffic
        """Label values come from requests, not from configuration."""
        self.merge = merge
        """How workers' values join: ``sum`` or ``max``."""
        self.weight = len(self.bounds) + 3 if kind == "histogram" else 1
        self.children: dict[Labels, Child] = {}
        self.overflow: dict[Labels, Child] = {}

    def make(self) -> Child:
        if self.kind == "histogram":
            return Histogram(self.bounds)
        return Gauge() if self.kind == "gauge" else Counter()

    def overflow_labels(self, values: Labels) -> Labels:
        return tuple(
            value if label == "direction" else OVERFLOW for label, value in zip(self.labels, values, strict=True)
        )

    @property
    def reserve(self) -> int:
        """Series kept free for the overflow children."""
        return self.weight * (2 if "direction" in self.labels else 1)


def _families() -> tuple[Family, ...]:
    return (
        Family("counter", "loom_requests_total", ("direction", "route", "method", "status", "protocol"),
               "Requests answered, by the status sent.", is_traffic=True),
        Family("histogram", "loom_request_duration_seconds", ("direction", "route"),
               "From the request's first byte to the end of the exchange.",
               bounds=DURATION_BUCKETS, is_traffic=True),
        Family("gauge", "loom_requests_in_flight", ("direction",), "Requests being handled now."),
        Family("counter", "loom_upstream_requests_total", ("upstream", "status"),
               "Requests sent to an upstream, by outcome.", is_traffic=True),
        Family("histogram", "loom_upstream_duration_seconds", ("upstream",),
               "From the request to the upstream to the end of its answer.",
               bounds=DURATION_BUCKETS, is_traffic=True),
        Family("histogram", "loom_plugin_duration_seconds", ("plugin", "phase"),
               "Time of one call into a plugin.", bounds=PLUGIN_BUCKETS),
        Family("counter", "loom_plugin_errors_total", ("plugin", "error"), "Calls into a plugin that failed."),
        Family("counter", "loom_plugin_restarts_total", ("plugin",), "Instances replaced after a failure."),
        Family("gauge", "loom_plugin_memory_bytes", ("plugin",), "Linear memory of a plugin's instances."),
        Family("counter", "loom_plugin_passed_by_policy_total", ("plugin", "cause"),
               "Requests let pass without a failed plugin because on_failure is open."),
        Family("gauge", "loom_connections", ("listener", "state"), "Downstream connections."),
        Family("counter", "loom_tls_handshakes_total", ("listener", "result"), "TLS handshakes, by result."),
        Family("gauge", "loom_cert_expiry_timestamp_seconds", (), "When the identity's certificate ends.",
               merge="max"),
        Family("gauge", "loom_config_generation", ("state",), "Generation of the configuration.", merge="max"),
        Family("counter", "loom_otlp_spans_total", ("result",), "Spans made, by what became of them."),
        Family("counter", "loom_limit_hits_total", ("limit",), "Limits that turned something away."),
    )  # fmt: skip


class MetricsRegistry:
    """All series of this process. Also the plugin host's sink (``call_observer`` to ``limit_hit``)."""

    def __init__(self, max_series: int) -> None:
        self.max_series = max_series
        self.families = {family.name: family for family in _families()}
        self._series = sum(family.reserve for family in self.families.values())
        self._traffic_cap = int(max_series * TRAFFIC_SHARE)
        self._custom: list[tuple[Callable[[], Iterable[CustomMetric]], tuple[float, ...]]] = []
        for result in ("exported", "dropped", "failed"):
            self.counter("loom_otlp_spans_total", result)
        for direction in ("inbound", "outbound"):
            self.in_flight(direction)

    # -- children -----------------------------------------------------------------------------------------

    def child(self, name: str, values: Labels) -> Child:
        """The child with these label values, or the overflow child once the cap is reached."""
        family = self.families[name]
        found = family.children.get(values)
        if found is not None:
            return found
        cap = self._traffic_cap if family.is_traffic else self.max_series
        if self._series + family.weight > cap:
            values = family.overflow_labels(values)
            found = family.overflow.get(values)
            if found is None:
                found = family.overflow[values] = family.make()
            return found
        self._series += family.weight
        found = family.children[values] = family.make()
        return found

    def counter(self, name: str, *values: str) -> Counter:
        child = self.child(name, values)
        if not isinstance(child, Counter):
            raise TypeError(f"{name} is a histogram")
        return child

    def gauge(self, name: str, *values: str) -> Gauge:
        child = self.child(name, values)
        if not isinstance(child, Gauge):
            raise TypeError(f"{name} is no gauge")
        return child

    def histogram(self, name: str, *values: str) -> Histogram:
        child = self.child(name, values)
        if not isinstance(child, Histogram):
            raise TypeError(f"{name} is no histogram")
        return child

    def in_flight(self, direction: str) -> Gauge:
        return self.gauge("loom_requests_in_flight", direction)

    # -- what the house reports ---------------------------------------------------------------------------

    def limit_hit(self, limit: str) -> None:
        self.counter("loom_limit_hits_total", limit).inc()

    def connections(self, listener: str, state: str) -> Gauge:
        """``state``: ``active``, ``draining`` ...; the caller keeps the gauge."""
        return self.gauge("loom_connections", listener, state)

    def config_generation(self, state: str, generation: int) -> None:
        """``state``: ``active`` or ``refused``."""
        self.gauge("loom_config_generation", state).set(generation)

    def cert_expiry(self, timestamp: float) -> None:
        """Unix seconds."""
        self.gauge("loom_cert_expiry_timestamp_seconds").set(timestamp)

    def tls_handshake(self, listener: str, result: str) -> None:
        self.counter("loom_tls_handshakes_total", listener, result).inc()

    # -- what the plugin host reports ---------------------------------------------------------------------

    def call_observer(self, plugin: str, phase: str) -> Callable[[float], None]:
        """What takes the seconds of each call into ``plugin`` in ``phase``."""
        return self.histogram("loom_plugin_duration_seconds", plugin, phase).observe

    def error(self, plugin: str, error: str) -> None:
        self.counter("loom_plugin_errors_total", plugin, error).inc()

    def restart(self, plugin: str) -> None:
        self.counter("loom_plugin_restarts_total", plugin).inc()

    def memory(self, plugin: str, size: int) -> None:
        self.gauge("loom_plugin_memory_bytes", plugin).set(size)

    def passed_by_policy(self, plugin: str, cause: str) -> None:
        self.counter("loom_plugin_passed_by_policy_total", plugin, cause).inc()

    def attach_custom(self, collect: Callable[[], Iterable[CustomMetric]], bounds: Sequence[float]) -> None:
        """Show plugin-defined metrics too; ``bounds`` are the upper bounds of their histograms."""
        self._custom.append((collect, tuple(bounds)))

    # -- out ----------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Everything as plain data; safe from another thread (a dict's items are copied in one step)."""
        page: Snapshot = {}
        shown = 0
        for family in list(self.families.values()):
            children = list(family.children.items()) + list(family.overflow.items())
            shown += len(children) * family.weight
            page[family.name] = {
                "type": family.kind,
                "help": family.help,
                "labels": family.labels,
                "buckets": family.bounds,
                "merge": family.merge,
                "rows": [(labels, value_of(child)) for labels, child in children],
            }
        for collect, bounds in self._custom:
            for metric in list(collect()):
                shown += len(bounds) + 3 if metric.kind == 2 else 1
                if shown > self.max_series:
                    return page
                page[metric.name] = custom_family(metric, bounds)
        return page


def value_of(child: Child) -> Any:
    if isinstance(child, Histogram):
        return [child.counts.copy(), child.total]
    return child.value


def custom_family(metric: CustomMetric, bounds: tuple[float, ...]) -> dict[str, Any]:
    """A plugin-defined metric as a family of one row."""
    is_histogram = metric.kind == 2
    return {
        "type": ("counter", "gauge", "histogram")[metric.kind],
        "help": "Defined by a plugin.",
        "labels": (),
        "buckets": bounds if is_histogram else (),
        "merge": "sum",
        "rows": [((), [list(metric.counts), metric.total] if is_histogram else metric.value)],
    }


def merge(snapshots: Iterable[Mapping[str, Any]]) -> Snapshot:
    """Join several workers' snapshots: counters, histograms and gauges add, generation and expiry take the highest."""
    page: Snapshot = {}
    for snapshot in snapshots:
        for name, family in snapshot.items():
            joined = page.get(name)
            if joined is None:
                joined = page[name] = {**family, "rows": {}}
            rows = joined["rows"]
            for labels, value in family["rows"]:
                key = tuple(labels)
                rows[key] = value if key not in rows else _joined(rows[key], value, family["merge"])
    for family in page.values():
        family["rows"] = list(family["rows"].items())
    return page


def _joined(left: Any, right: Any, how: str) -> Any:
    if isinstance(left, list):
        return [[a + b for a, b in zip(left[0], right[0], strict=True)], left[1] + right[1]]
    return max(left, right) if how == "max" else left + right
