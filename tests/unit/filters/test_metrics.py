from __future__ import annotations

from sidecar.errors import ErrorKind
from sidecar.filters.metrics import MetricsFilterFactory
from sidecar.http.events import RequestHeaders
from sidecar.telemetry.metrics import MetricsRegistry
from tests.support.exchange_views import make_view


def rows(registry, name):
    return {labels: value for labels, value in registry.snapshot()[name]["rows"] if value}


def run(factory, view, *, is_refused=False):
    filter_ = factory.create(view)
    if not is_refused:
        filter_.on_request_headers(RequestHeaders(1, view.request_headers, True))
    filter_.on_log()


def test_an_exchange_is_counted_once_under_the_labels_of_the_contract():
    registry = MetricsRegistry(2000)
    run(MetricsFilterFactory(registry), make_view())
    assert rows(registry, "loom_requests_total") == {("inbound", "private", "GET", "200", "h1"): 1}
    ((labels, (counts, total)),) = rows(registry, "loom_request_duration_seconds").items()
    assert (labels, sum(counts), round(total, 6)) == (("inbound", "private"), 1, 0.005)
    assert rows(registry, "loom_upstream_requests_total") == {("app", "200"): 1}
    ((labels, (counts, total)),) = rows(registry, "loom_upstream_duration_seconds").items()
    assert (labels, round(total, 6)) == (("app",), 0.004)


def test_requests_in_flight_rise_and_fall():
    registry = MetricsRegistry(2000)
    view = make_view(direction="outbound")
    filter_ = MetricsFilterFactory(registry).create(view)
    filter_.on_request_headers(RequestHeaders(1, view.request_headers, True))
    assert registry.in_flight("outbound").value == 1
    filter_.on_log()
    assert registry.in_flight("outbound").value == 0


def test_a_request_refused_before_the_filters_is_counted_but_was_never_in_flight():
    registry = MetricsRegistry(2000)
    view = make_view()
    view.record.status, view.record.error, view.record.attempts = 400, ErrorKind.BAD_REQUEST, 0
    run(MetricsFilterFactory(registry), view, is_refused=True)
    assert registry.in_flight("inbound").value == 0
    assert rows(registry, "loom_requests_total") == {("inbound", "private", "GET", "400", "h1"): 1}
    assert rows(registry, "loom_upstream_requests_total") == {}


def test_an_upstream_that_failed_is_counted_by_the_error():
    registry = MetricsRegistry(2000)
    view = make_view()
    view.record.status, view.record.error, view.record.upstream_start = 503, ErrorKind.UPSTREAM_CONNECT, 0.0
    run(MetricsFilterFactory(registry), view)
    assert rows(registry, "loom_upstream_requests_total") == {("app", "upstream_connect"): 1}


def test_O3_unknown_methods_are_one_label_and_are_not_remembered():
    registry = MetricsRegistry(2000)
    factory = MetricsFilterFactory(registry)
    for number in range(1000):
        view = make_view()
        view.record.method = b"M%d" % number
        run(factory, view)
    assert rows(registry, "loom_requests_total") == {("inbound", "private", "_OTHER", "200", "h1"): 1000}
    assert len(factory.requests) == 0
