from __future__ import annotations

from opentelemetry.sdk.trace import sampling as sdk

from sidecar.telemetry.sampling import ForcedBudget, Sampling, bound_of, from_environment, from_sampler
from sidecar.telemetry.span import SERVER, TraceContext

LOW, HIGH = bytes(15) + b"\x01", b"\xff" * 16


def decide(sampling, trace_id=HIGH, parent=None, now=0.0, *, is_trusted=True):
    return sampling.is_sampled(trace_id, parent, SERVER, "GET", now, is_trusted=is_trusted)


def parent(is_sampled):
    return TraceContext(HIGH, b"\x01" * 8, is_sampled, "tracecontext")


def test_a_rate_decides_for_traces_that_begin_here():
    assert decide(Sampling.of_rate(1.0)) and not decide(Sampling.of_rate(0.0), LOW)
    assert decide(Sampling.of_rate(0.5), LOW) and not decide(Sampling.of_rate(0.5), HIGH)


def test_the_bound_is_the_sdks_own():
    for rate in (0.0, 0.01, 0.5, 1.0):
        assert bound_of(rate) == sdk.TraceIdRatioBased(rate).bound


def test_a_parent_decides_for_its_children():
    assert decide(Sampling.of_rate(0.0), parent=parent(True))
    assert not decide(Sampling.of_rate(1.0), parent=parent(False))
    assert decide(Sampling.of_rate(1.0), parent=parent(None))


def test_O8_strangers_cannot_make_us_record_everything():
    sampling = Sampling.of_rate(0.0)
    taken = sum(decide(sampling, parent=parent(True), now=5.0, is_trusted=False) for _ in range(10_000))
    assert taken == 200
    assert sum(decide(sampling, parent=parent(True), now=6.0, is_trusted=False) for _ in range(10_000)) == 100
    assert decide(sampling, parent=parent(True), now=6.0, is_trusted=True)


def test_the_budget_never_saves_more_than_its_burst():
    budget = ForcedBudget(rate=10, burst=5)
    assert sum(budget.take(1e6) for _ in range(100)) == 5


def test_the_sdks_usual_samplers_are_decided_the_fast_way():
    for sampler, root, child in (
        (sdk.ALWAYS_ON, True, True),
        (sdk.ALWAYS_OFF, False, False),
        (sdk.DEFAULT_ON, True, True),
        (sdk.DEFAULT_OFF, False, True),
        (sdk.TraceIdRatioBased(0.0), False, False),
        (sdk.ParentBasedTraceIdRatio(0.0), False, True),
    ):
        sampling = from_sampler(sampler)
        assert sampling._other is None
        assert (decide(sampling), decide(sampling, parent=parent(True))) == (root, child), sampler.get_description()


def test_any_other_sampler_is_asked():
    class Picky(sdk.Sampler):
        def should_sample(
            self, parent_context, trace_id, name, kind=None, attributes=None, links=None, trace_state=None
        ):
            takes = name == "GET" and parent_context is not None
            return sdk.SamplingResult(sdk.Decision.RECORD_AND_SAMPLE if takes else sdk.Decision.DROP)

        def get_description(self):
            return "Picky"

    for sampler in (Picky(), sdk.ParentBased(sdk.ALWAYS_ON, remote_parent_sampled=Picky())):
        assert decide(from_sampler(sampler), parent=parent(True))
    assert not decide(from_sampler(Picky()))
    assert not decide(from_sampler(sdk.ParentBased(Picky())))


def test_the_environments_sampler_is_taken(monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    assert not decide(from_environment())
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "1.0")
    assert decide(from_environment())
