"""Which traces are recorded, through the OpenTelemetry SDK's sampler interface.

The usual samplers (always on, always off, ratio, and each of them parent-based with default children) are recognised
and decided with one comparison; any other sampler is asked through ``should_sample``.

A stranger can mark every request as sampled. Its word is taken, as parent-based sampling means, but beyond our own
rate only so often a second; a flood falls back to our own rate (see :class:`ForcedBudget`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sidecar.telemetry.span import CLIENT, TraceContext

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.sampling import Sampler

FORCED_PER_SECOND: Final = 100.0
FORCED_BURST: Final = 200.0
_LOW: Final = (1 << 64) - 1


class ForcedBudget:
    """A token bucket: traces recorded only because an unverified peer asked for it."""

    __slots__ = ("_last", "_tokens", "burst", "rate")

    def __init__(self, rate: float = FORCED_PER_SECOND, burst: float = FORCED_BURST) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = burst
        self._last = 0.0

    def take(self, now: float) -> bool:
        """True while the bucket holds a token; ``now`` is monotonic seconds."""
        self._tokens = min(self.burst, self._tokens + (now - self._last) * self.rate)
        self._last = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Sampling:
    """Decides by ``bound``: a trace is ours when the low 64 bits of its id are below it."""

    __slots__ = ("_bound", "_budget", "_is_parent_based", "_other")

    def __init__(self, bound: int, *, is_parent_based: bool = True, other: Sampler | None = None) -> None:
        self._bound = bound
        self._is_parent_based = is_parent_based
        self._other = other
        self._budget = ForcedBudget()

    @classmethod
    def of_rate(cls, rate: float) -> Sampling:
        """Parent-based, with ``rate`` (0.0 to 1.0) for traces that begin here."""
        return cls(bound_of(rate))

    def is_sampled(
        self, trace_id: bytes, parent: TraceContext | None, kind: int, name: str, now: float, *, is_trusted: bool
    ) -> bool:
        """``is_trusted``: the parent comes from the app or from a verified peer."""
        if self._other is not None:
            return self._ask(trace_id, parent, kind, name)
        if parent is not None and self._is_parent_based and parent.is_sampled is not None:
            if not parent.is_sampled:
                return False
            if is_trusted or self._is_ours(trace_id):
                return True
            return self._budget.take(now)
        return self._is_ours(trace_id)

    def _is_ours(self, trace_id: bytes) -> bool:
        return int.from_bytes(trace_id[8:], "big") < self._bound

    def _ask(self, trace_id: bytes, parent: TraceContext | None, kind: int, name: str) -> bool:
        from opentelemetry import trace
        from opentelemetry.context import Context

        context: Context | None = None
        if parent is not None:
            flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if parent.is_sampled else trace.TraceFlags.DEFAULT)
            remote = trace.SpanContext(
                int.from_bytes(parent.trace_id, "big"), int.from_bytes(parent.span_id, "big"), True, flags
            )
            context = trace.set_span_in_context(trace.NonRecordingSpan(remote))
        assert self._other is not None
        result = self._other.should_sample(
            context,
            int.from_bytes(trace_id, "big"),
            name,
            trace.SpanKind.CLIENT if kind == CLIENT else trace.SpanKind.SERVER,
        )
        return bool(result.decision.is_sampled())  # type: ignore[no-untyped-call]  # the SDK's own


def bound_of(rate: float) -> int:
    """The SDK's own bound for a ratio: ids below it are sampled."""
    return round(rate * (_LOW + 1))


def from_sampler(sampler: Sampler) -> Sampling:
    """Take an SDK sampler, the fast way when it is one of the usual ones."""
    from opentelemetry.sdk.trace import sampling as sdk

    root: Sampler = sampler
    is_parent_based = isinstance(sampler, sdk.ParentBased)
    if is_parent_based:
        described = sampler.get_description()
        root = getattr(sampler, "_root", sampler)
        if described != sdk.ParentBased(root).get_description():  # type: ignore[no-untyped-call]  # the SDK's own
            return Sampling(0, other=sampler)
    if isinstance(root, sdk.TraceIdRatioBased):
        return Sampling(bound_of(root.rate), is_parent_based=is_parent_based)
    if root in (sdk.ALWAYS_ON, sdk.ALWAYS_OFF):
        is_on = root is sdk.ALWAYS_ON
        return Sampling(bound_of(1.0 if is_on else 0.0), is_parent_based=is_parent_based)
    return Sampling(0, other=sampler)


def from_environment() -> Sampling:
    """The sampler the SDK builds from OTEL_TRACES_SAMPLER and its argument; parent-based always-on when unset."""
    from opentelemetry.sdk.trace import TracerProvider

    return from_sampler(TracerProvider(shutdown_on_exit=False).sampler)
