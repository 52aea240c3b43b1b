from __future__ import annotations

import math

from prometheus_client.parser import text_string_to_metric_families

from sidecar.telemetry.exposition import number, render
from sidecar.telemetry.metrics import MetricsRegistry

CONTRACT = [
    "loom_requests_total",
    "loom_request_duration_seconds",
    "loom_requests_in_flight",
    "loom_upstream_requests_total",
    "loom_upstream_duration_seconds",
    "loom_plugin_duration_seconds",
    "loom_plugin_errors_total",
    "loom_plugin_restarts_total",
    "loom_plugin_memory_bytes",
    "loom_plugin_passed_by_policy_total",
    "loom_connections",
    "loom_tls_handshakes_total",
    "loom_cert_expiry_timestamp_seconds",
    "loom_config_generation",
    "loom_otlp_spans_total",
    "loom_limit_hits_total",
]


def parsed(registry):
    text = render(registry.snapshot()).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_every_name_of_the_contract_is_on_the_page_from_the_start():
    text = render(MetricsRegistry(2000).snapshot()).decode()
    assert [name for name in CONTRACT if f"# TYPE {name} " not in text] == []


def test_prometheus_own_parser_reads_back_what_was_counted():
    registry = MetricsRegistry(2000)
    registry.counter("loom_requests_total", "inbound", "a", "GET", "200", "h1").inc()
    registry.histogram("loom_request_duration_seconds", "inbound", "a").observe(0.003)
    registry.histogram("loom_request_duration_seconds", "inbound", "a").observe(99)
    families = parsed(registry)
    sample = families["loom_requests"].samples[0]
    assert sample.labels == {"direction": "inbound", "route": "a", "method": "GET", "status": "200", "protocol": "h1"}
    assert sample.value == 1
    buckets = [
        (float(sample.labels["le"]), sample.value)
        for sample in families["loom_request_duration_seconds"].samples
        if sample.name.endswith("_bucket")
    ]
    assert buckets == sorted(buckets) and buckets[-1] == (math.inf, 2)
    assert [value for bound, value in buckets if bound == 0.005] == [1]
    values = {sample.name: sample.value for sample in families["loom_request_duration_seconds"].samples}
    assert values["loom_request_duration_seconds_count"] == 2
    assert values["loom_request_duration_seconds_sum"] == 99.003


def test_label_values_are_escaped():
    registry = MetricsRegistry(2000)
    registry.limit_hit('a"b\\c\nd')
    samples = parsed(registry)["loom_limit_hits"].samples
    assert [sample.labels["limit"] for sample in samples] == ['a"b\\c\nd']


def test_numbers_are_short_and_exact():
    assert [number(value) for value in (0, 3, 3.0, 0.25, 0.000005, 0.00001)] == [
        "0",
        "3",
        "3",
        "0.25",
        "0.000005",
        "0.00001",
    ]
