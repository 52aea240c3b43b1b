from __future__ import annotations

import threading

from sidecar.runtime import exporter as module
from sidecar.runtime.exporter import MAX_QUEUE, Exporter
from sidecar.runtime.otlp_client import Answer
from sidecar.telemetry.metrics import MetricsRegistry
from sidecar.telemetry.span import SERVER, Span
from sidecar.telemetry.tracer import resource_of
from tests.support.exchange_views import NODE, tracing_settings
from tests.support.wait import eventually


class FakeClient:
    """Answers as told, and can be held."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.bodies = []
        self.gate = threading.Event()
        self.gate.set()
        self.timeouts = []
        self.is_closed = False

    def send(self, body, timeout):
        self.gate.wait(30)
        self.bodies.append(body)
        self.timeouts.append(timeout)
        answer = self.answers.pop(0) if self.answers else Answer()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self):
        self.is_closed = True
        self.gate.set()


def make_span():
    return Span(b"\x01" * 16, b"\x02" * 8, None, SERVER, 5, is_sampled=True)


def started(client, **options):
    registry = MetricsRegistry(2000)
    exporter = Exporter(
        tracing_settings(), resource_of(NODE), registry, environ={}, client_of=lambda *_: client, delay=0.0, **options
    )
    exporter.start()
    return exporter, registry


def counts(registry):
    return {labels[0]: value for labels, value in registry.snapshot()["loom_otlp_spans_total"]["rows"]}


def test_spans_are_exported_and_counted():
    client = FakeClient()
    exporter, registry = started(client)
    for _ in range(1000):
        exporter.submit(make_span())
    eventually(lambda: not exporter.queued)
    exporter.close()
    assert counts(registry) == {"exported": 1000, "dropped": 0, "failed": 0}
    assert client.is_closed


def test_O1_the_queue_is_bounded_and_everything_adds_up():
    client = FakeClient()
    client.gate.clear()
    exporter, registry = started(client)
    exporter.submit(make_span())
    eventually(lambda: exporter._in_flight == 1)
    for _ in range(MAX_QUEUE + 100):
        exporter.submit(make_span())
    assert exporter.queued == MAX_QUEUE + 1
    assert counts(registry)["dropped"] == 100
    client.gate.set()
    eventually(lambda: not exporter.queued)
    exporter.close()
    assert counts(registry) == {"exported": MAX_QUEUE + 1, "dropped": 100, "failed": 0}


def test_a_batch_that_may_be_repeated_is_and_one_that_may_not_is_not(monkeypatch):
    monkeypatch.setattr(module, "FIRST_BACKOFF", 0.001)
    client = FakeClient(Answer("down", may_retry=True), Answer("down", may_retry=True), Answer(), Answer("bad"))
    exporter, registry = started(client)
    exporter.submit(make_span())
    eventually(lambda: counts(registry)["exported"] == 1)
    exporter.submit(make_span())
    eventually(lambda: counts(registry)["failed"] == 1)
    exporter.close()
    assert len(client.bodies) == 4


def test_trying_comes_to_an_end(monkeypatch):
    monkeypatch.setattr(module, "FIRST_BACKOFF", 0.001)
    client = FakeClient(*[Answer("down", may_retry=True)] * 100)
    exporter, registry = started(client)
    exporter.submit(make_span())
    eventually(lambda: counts(registry)["failed"] == 1)
    exporter.close()
    assert len(client.bodies) == module.MAX_TRIES


def test_O1_retry_after_an_hour_is_thirty_seconds():
    waited = []

    class Patience(threading.Event):
        def wait(self, timeout=None):
            waited.append(timeout)
            return False

    client = FakeClient(Answer("busy", may_retry=True, retry_after=3600.0), Answer())
    exporter, registry = started(client)
    exporter._closing = Patience()
    exporter.submit(make_span())
    eventually(lambda: counts(registry)["exported"] == 1)
    assert waited == [30.0]
    exporter.close()


def test_O1_a_partial_success_is_counted_as_told_and_never_beyond():
    client = FakeClient(Answer(rejected=1), Answer(rejected=999), Answer(rejected=-5))
    exporter, registry = started(client)
    for total in (1, 2, 3):
        exporter.submit(make_span())
        eventually(lambda total=total: sum(counts(registry).values()) == total)
    exporter.close()
    assert counts(registry) == {"exported": 1, "dropped": 0, "failed": 2}


def test_O2_closing_with_a_collector_that_hangs_counts_what_is_left():
    client = FakeClient()
    client.gate.clear()
    exporter, registry = started(client)
    exporter.submit(make_span())
    eventually(lambda: exporter._in_flight == 1)
    for _ in range(10):
        exporter.submit(make_span())
    exporter.close(0.05)
    assert counts(registry) == {"exported": 0, "dropped": 10, "failed": 1}
    exporter._thread.join(30)
    assert counts(registry) == {"exported": 0, "dropped": 10, "failed": 1}
    exporter.submit(make_span())
    assert counts(registry)["dropped"] == 11


def test_closing_sends_what_is_queued():
    client = FakeClient()
    exporter, registry = started(client)
    exporter._delay = 3600.0
    for _ in range(5):
        exporter.submit(make_span())
    exporter.close(30)
    assert counts(registry)["exported"] == 5


def test_an_exporter_that_cannot_be_set_up_fails_its_spans_and_says_so_once():
    said = []

    def refuse(*_):
        raise ValueError("no such file")

    registry = MetricsRegistry(2000)
    exporter = Exporter(
        tracing_settings(), resource_of(NODE), registry, environ={}, client_of=refuse, delay=0.0,
        log=lambda level, message, **fields: said.append((level, fields["error"])),
    )  # fmt: skip
    exporter.start()
    for total in (1, 2):
        exporter.submit(make_span())
        eventually(lambda total=total: counts(registry)["failed"] == total)
    exporter.close()
    assert len(said) == 1 and "no such file" in said[0][1]


def test_an_exporter_never_started_counts_its_spans_at_the_end():
    registry = MetricsRegistry(2000)
    exporter = Exporter(tracing_settings(), resource_of(NODE), registry, environ={}, client_of=lambda *_: FakeClient())
    exporter.submit(make_span())
    exporter.close()
    assert counts(registry) == {"exported": 0, "dropped": 1, "failed": 0}
