"""What OpenTelemetry's SDK and prometheus-client do that we do otherwise (group O), and what we lean on."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.otlp import black_hole


def test_attributes_are_kept_at_any_length() -> None:
    tracer = TracerProvider().get_tracer("test")
    span = tracer.start_span("x", attributes={"long": "a" * 1_000_000})
    assert len(span.attributes["long"]) == 1_000_000  # type: ignore[attr-defined]


def test_batch_processor_drops_what_does_not_fit_without_telling_the_caller() -> None:
    class Stuck(SpanExporter):
        exported = 0

        def export(self, spans: object) -> SpanExportResult:
            Stuck.exported += len(spans)  # type: ignore[arg-type]
            return SpanExportResult.SUCCESS

        def shutdown(self) -> None: ...

    hour = 3_600_000
    processor = BatchSpanProcessor(Stuck(), max_queue_size=10, max_export_batch_size=10, schedule_delay_millis=hour)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("test")
    for _ in range(10_000):
        tracer.start_span("x").end()
    processor.shutdown()
    assert Stuck.exported < 10_000


def test_shutdown_waits_long_for_a_collector_that_says_nothing() -> None:
    """In a child, which is given up: the SDK would make a drain last longer than its budget."""
    code = """
import sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=sys.argv[1] + "/v1/traces")))
provider.get_tracer("t").start_span("x").end()
provider.shutdown()
"""
    with black_hole() as endpoint:
        began = time.monotonic()
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run([sys.executable, "-c", code, endpoint], capture_output=True, timeout=5, check=False)
        assert time.monotonic() - began >= 5


def test_prometheus_client_adds_created_series_of_its_own() -> None:
    registry = CollectorRegistry()
    Counter("x", "help", registry=registry).inc()
    assert b"x_created" in generate_latest(registry)


def test_prometheus_client_never_forgets_a_label_set() -> None:
    registry = CollectorRegistry()
    counter = Counter("x", "help", ["path"], registry=registry)
    for number in range(1000):
        counter.labels(str(number)).inc()
    assert generate_latest(registry).count(b"x_total{") == 1000


def test_parser_names_a_counter_without_its_suffix() -> None:
    page = "# TYPE loom_x_total counter\nloom_x_total 1\n"
    (family,) = text_string_to_metric_families(page)
    assert (family.name, family.samples[0].name) == ("loom_x", "loom_x_total")


def test_parser_takes_the_same_series_twice() -> None:
    """So a page must be checked for doubles by ourselves."""
    page = "# TYPE x_total counter\nx_total 1\nx_total 2\n"
    (family,) = text_string_to_metric_families(page)
    assert [sample.value for sample in family.samples] == [1, 2]
