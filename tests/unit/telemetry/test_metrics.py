from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from sidecar.telemetry.metrics import MetricsRegistry, merge


def rows(snapshot, name):
    return {tuple(labels): value for labels, value in snapshot[name]["rows"]}


def series(snapshot):
    return sum(
        len(family["rows"]) * (len(family["buckets"]) + 3 if family["type"] == "histogram" else 1)
        for family in snapshot.values()
    )


def test_a_child_is_made_once_and_found_again():
    registry = MetricsRegistry(2000)
    registry.limit_hit("connections")
    registry.limit_hit("connections")
    assert rows(registry.snapshot(), "loom_limit_hits_total") == {("connections",): 2}


def test_the_plugin_sink_fills_the_families_of_the_contract():
    registry = MetricsRegistry(2000)
    registry.call_observer("auth", "on_request_headers")(0.00002)
    registry.error("auth", "trap")
    registry.restart("auth")
    registry.memory("auth", 65536)
    registry.memory("auth", 131072)
    registry.passed_by_policy("auth", "timeout")
    page = registry.snapshot()
    counts, total = rows(page, "loom_plugin_duration_seconds")["auth", "on_request_headers"]
    assert (sum(counts), total) == (1, pytest.approx(0.00002))
    assert rows(page, "loom_plugin_errors_total") == {("auth", "trap"): 1}
    assert rows(page, "loom_plugin_restarts_total") == {("auth",): 1}
    assert rows(page, "loom_plugin_memory_bytes") == {("auth",): 131072}
    assert rows(page, "loom_plugin_passed_by_policy_total") == {("auth", "timeout"): 1}


def test_a_histogram_puts_a_value_on_a_bound_into_that_bucket():
    registry = MetricsRegistry(2000)
    child = registry.histogram("loom_upstream_duration_seconds", "app")
    child.observe(0.0005)
    child.observe(11.0)
    assert (child.counts[0], child.counts[-1], sum(child.counts)) == (1, 1, 2)


def test_beyond_the_cap_traffic_falls_into_other_and_keeps_its_direction():
    registry = MetricsRegistry(500)
    for number in range(20_000):
        registry.counter("loom_requests_total", "inbound", f"r{number}", "GET", "200", "h1").inc()
        registry.histogram("loom_request_duration_seconds", "outbound", f"r{number}").observe(0.1)
    page = registry.snapshot()
    assert series(page) <= 500
    found = rows(page, "loom_requests_total")
    assert sum(found.values()) == 20_000
    assert found["inbound", "other", "other", "other", "other"] > 0
    assert ("outbound", "other") in rows(page, "loom_request_duration_seconds")


def test_a_flood_of_traffic_leaves_room_for_what_the_house_reports():
    registry = MetricsRegistry(600)
    for number in range(1000):
        registry.counter("loom_upstream_requests_total", f"u{number}", "200").inc()
    registry.error("auth", "trap")
    registry.limit_hit("log_queue")
    assert rows(registry.snapshot(), "loom_plugin_errors_total") == {("auth", "trap"): 1}
    assert rows(registry.snapshot(), "loom_limit_hits_total") == {("log_queue",): 1}


def test_a_child_of_the_wrong_kind_is_a_mistake_of_ours():
    registry = MetricsRegistry(2000)
    with pytest.raises(TypeError):
        registry.counter("loom_request_duration_seconds", "inbound", "")
    with pytest.raises(TypeError):
        registry.gauge("loom_limit_hits_total", "x")
    with pytest.raises(TypeError):
        registry.histogram("loom_limit_hits_total", "x")


def test_merge_adds_counters_histograms_and_gauges_and_keeps_the_highest_generation():
    first, second = MetricsRegistry(2000), MetricsRegistry(2000)
    for registry, generation in ((first, 3), (second, 4)):
        registry.limit_hit("connections")
        registry.in_flight("inbound").inc()
        registry.config_generation("active", generation)
        registry.cert_expiry(1000.0 + generation)
        registry.call_observer("auth", "on_log")(0.001)
        registry.connections("inbound", "active").set(5)
    second.limit_hit("body")
    # A snapshot crosses a socket as JSON on its way to the supervisor.
    page = merge(json.loads(json.dumps(registry.snapshot())) for registry in (first, second))
    assert rows(page, "loom_limit_hits_total") == {("connections",): 2, ("body",): 1}
    assert rows(page, "loom_requests_in_flight")["inbound",] == 2
    assert rows(page, "loom_config_generation") == {("active",): 4}
    assert rows(page, "loom_cert_expiry_timestamp_seconds") == {(): 1004.0}
    assert rows(page, "loom_connections") == {("inbound", "active"): 10}
    counts, total = rows(page, "loom_plugin_duration_seconds")["auth", "on_log"]
    assert (sum(counts), total) == (2, pytest.approx(0.002))


def test_merge_leaves_its_sources_alone():
    registry = MetricsRegistry(2000)
    registry.call_observer("auth", "on_log")(0.001)
    page = registry.snapshot()
    merge([page, page])
    assert sum(rows(page, "loom_plugin_duration_seconds")["auth", "on_log"][0]) == 1


def test_plugin_defined_metrics_are_shown_and_capped():
    registry = MetricsRegistry(300)
    made = [SimpleNamespace(kind=0, name="loom_plugin_custom_hits", value=3, total=0, counts=[])]
    made += [
        SimpleNamespace(kind=2, name=f"loom_plugin_custom_h{n}", value=0, total=7, counts=[1, 2]) for n in range(400)
    ]
    registry.attach_custom(lambda: made, (1.0,))
    page = registry.snapshot()
    assert rows(page, "loom_plugin_custom_hits") == {(): 3}
    assert rows(page, "loom_plugin_custom_h0") == {(): [[1, 2], 7]}
    assert series(page) <= 300
