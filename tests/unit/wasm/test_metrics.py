from __future__ import annotations

import pytest

from sidecar.wasm.metrics import BUCKETS, MAX_PER_PLUGIN, CustomMetric, CustomMetrics

MASK = (1 << 64) - 1


def test_a_counter_only_grows() -> None:
    metric = CustomMetric(0, "c")
    assert [metric.increment(5), metric.increment(0), metric.increment(-1 & MASK), metric.record(2)] == [0, 2, 2, 0]
    assert metric.value == 7


def test_a_gauge_goes_both_ways_and_not_below_zero() -> None:
    metric = CustomMetric(1, "g")
    metric.record(10)
    metric.increment(-3 & MASK)
    assert metric.value == 7
    metric.increment(-30 & MASK)
    assert metric.value == 0


def test_a_histogram_notes_values() -> None:
    metric = CustomMetric(2, "h")
    for value in (1, 7, 1 << 40):
        assert metric.record(value) == 0
    assert metric.increment(1) == 2
    assert (metric.count, metric.total, sum(metric.counts)) == (3, 8 + (1 << 40), 3)
    assert metric.counts[BUCKETS.index(1)] == 1 and metric.counts[-1] == 1


@pytest.mark.parametrize(
    ("name", "shown"), [(b"c_x.y-z", "c_x_y_z"), (b"a b", "a_b"), (b"\xff\n{}", "____"), (b"=.=;.;", "______")]
)
def test_abi_100_names_are_fit_for_prometheus(name: bytes, shown: str) -> None:
    metric = CustomMetrics().define("p", 0, name)
    assert isinstance(metric, CustomMetric) and metric.name == f"loom_plugin_custom_{shown}"


def test_two_definitions_of_a_name_are_one_metric() -> None:
    metrics = CustomMetrics()
    assert metrics.define("a", 0, b"x") is metrics.define("b", 0, b"x")
    assert metrics.define("a", 1, b"x") == 2
    assert metrics.define("a", 0, b"") == 2
    assert metrics.define("a", 0, b"n" * 300) == 2
    assert len(list(metrics.collect())) == 1


def test_W17_names_of_one_plugin_are_bounded() -> None:
    metrics = CustomMetrics()
    answers = [metrics.define("a", 0, b"m%d" % number) for number in range(MAX_PER_PLUGIN + 5)]
    assert answers[MAX_PER_PLUGIN:] == [10] * 5
    assert not isinstance(metrics.define("b", 0, b"other"), int)
