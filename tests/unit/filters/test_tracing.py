from __future__ import annotations

from sidecar.errors import ErrorKind
from sidecar.filters.tracing import TracingFilterFactory
from sidecar.http.events import RequestHeaders
from sidecar.telemetry.tracer import Tracer
from tests.support.exchange_views import NODE, Collected, make_view, tracing_settings


def test_the_span_is_there_for_whoever_comes_later_and_leaves_at_the_end():
    sink = Collected()
    view = make_view()
    filter_ = TracingFilterFactory(Tracer(tracing_settings(), NODE, sink), "inbound").create(view)
    filter_.on_request_headers(RequestHeaders(1, view.request_headers, True))
    assert view.record.span is not None and sink.spans == []
    filter_.on_log()
    assert sink.spans == [view.record.span]


def test_a_request_refused_before_the_filters_has_a_span_too():
    sink = Collected()
    view = make_view()
    view.record.status, view.record.error = 400, ErrorKind.BAD_REQUEST
    TracingFilterFactory(Tracer(tracing_settings(), NODE, sink), "inbound").create(view).on_log()
    assert sink.spans[0].attributes["loom.error"] == "bad_request"
