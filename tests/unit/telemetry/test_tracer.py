from __future__ import annotations

import random

from sidecar.errors import ErrorKind
from sidecar.http.headers import HeaderMap
from sidecar.telemetry.span import CLIENT, ERROR, SERVER, UNSET
from sidecar.telemetry.tracer import Tracer, resource_of
from tests.support.exchange_views import NODE, START, Collected, make_view, tracing_settings

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = (b"traceparent", f"00-{TRACE}-{PARENT}-01".encode())


def traced(*extra, direction="inbound", peer_id="", change=None, **settings):
    """One exchange through a tracer: the span that was exported (or None), and the view."""
    sink = Collected()
    view = make_view(*extra, direction=direction, peer_id=peer_id)
    tracer = Tracer(tracing_settings(**settings), NODE, sink, random_bits=random.Random(7).getrandbits)
    span = tracer.start(view.request_headers, view.record)
    if change:
        change(view.record)
    tracer.finish(span, view.request_headers, view.record)
    return (sink.spans[0] if sink.spans else None), view


def test_an_inbound_exchange_is_a_server_span_under_its_caller():
    span, view = traced(CALLER)
    assert (span.kind, span.trace_id.hex(), span.parent_span_id.hex()) == (SERVER, TRACE, PARENT)
    assert view.request_headers.get(b"traceparent").decode() == f"00-{TRACE}-{span.span_id.hex()}-01"
    assert view.record.span is span


def test_an_outbound_exchange_is_a_client_span_under_the_app():
    span, _ = traced(CALLER, direction="outbound")
    assert (span.kind, span.parent_span_id.hex()) == (CLIENT, PARENT)
    assert span.attributes["url.full"] == "http://orders.shop:8080/a/b"
    assert (span.attributes["network.peer.address"], span.attributes["network.peer.port"]) == ("127.0.0.1", 8080)


def test_a_trace_goes_through_both_sidecars_and_the_app():
    headers = HeaderMap.of([(b":method", b"GET")])
    sink = Collected()
    tracer = Tracer(tracing_settings(), NODE, sink)
    client = tracer.start(headers, make_view(direction="outbound").record)
    server = tracer.start(headers, make_view(direction="inbound").record)
    assert (client.parent_span_id, server.parent_span_id) == (None, client.span_id)
    assert client.trace_id == server.trace_id and server.span_id.hex().encode() in headers.get(b"traceparent")


def test_the_attributes_are_the_stable_http_ones():
    span, _ = traced((b"user-agent", b"curl/8"), peer_id="spiffe://mesh.local/ns/shop/sa/a")
    assert span.name == "GET private"
    assert span.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "private",
        "url.scheme": "http",
        "url.path": "/a/b",
        "server.address": "orders.shop",
        "server.port": 8080,
        "client.address": "10.0.0.1",
        "network.protocol.version": "1.1",
        "user_agent.original": "curl/8",
        "mesh.direction": "inbound",
        "mesh.peer.id": "spiffe://mesh.local/ns/shop/sa/a",
    }
    assert (span.start, span.end, span.status) == (START, START + 4_999_999, UNSET) or span.end == START + 5_000_000


def test_without_a_route_the_name_is_the_method_alone():
    def unrouted(record):
        record.route_id = ""
        record.method = b"BREW"

    span, _ = traced(change=unrouted)
    assert span.name == "GET" and "http.route" not in span.attributes
    assert (span.attributes["http.request.method"], span.attributes["http.request.method_original"]) == (
        "_OTHER",
        "BREW",
    )


def test_an_error_of_ours_is_named_and_a_clients_mistake_is_no_error_of_the_server():
    def refused(status, kind):
        def change(record):
            record.status, record.error = status, kind

        return change

    span, _ = traced(change=refused(503, ErrorKind.PLUGIN_FAILED))
    assert (span.status, span.attributes["error.type"]) == (ERROR, "plugin_failed")
    assert span.attributes["loom.error"] == "plugin_failed"
    span, _ = traced(change=refused(404, ErrorKind.NO_ROUTE))
    assert (span.status, span.attributes["loom.error"], "error.type" in span.attributes) == (UNSET, "no_route", False)
    span, _ = traced(change=refused(404, None), direction="outbound")
    assert (span.status, span.attributes["error.type"]) == (ERROR, "404")
    span, _ = traced(change=refused(0, None))
    assert (span.status, "http.response.status_code" in span.attributes) == (ERROR, False)


def test_events_carry_their_time_and_are_cut():
    def busy(record):
        record.events += [(100.001, "retry", {"reason": "x" * 10_000})] * 1000
        record.attempts = 3

    span, _ = traced(change=busy)
    assert (len(span.events), span.dropped_events) == (128, 872)
    time, name, attributes = span.events[0]
    assert (abs(time - START - 1_000_000) < 1000, name, len(attributes["reason"])) == (True, "retry", 4096)
    assert span.attributes["http.request.resend_count"] == 2


def test_O4_odd_and_huge_values_become_text_of_bounded_length():
    def odd(record):
        record.path = b"/\xff\0" + b"x" * 1_000_000

    span, _ = traced((b"user-agent", b"\xfe" * 1_000_000), change=odd)
    assert span.attributes["url.path"].startswith("/��x")
    assert all(len(value) <= 4096 for value in span.attributes.values() if isinstance(value, str))


def test_O7_no_secret_gets_into_a_span():
    span, _ = traced(
        (b"authorization", b"Bearer hunter2"),
        (b"cookie", b"sid=hunter2"),
        (b"user-agent", b"curl"),
        direction="outbound",
    )
    assert "hunter2" not in repr(span.attributes)


def test_what_is_not_sampled_is_passed_on_and_not_exported():
    span, view = traced(sample_rate=0.0)
    assert span is None
    assert view.request_headers.get(b"traceparent").endswith(b"-00")
    span, view = traced((b"traceparent", f"00-{TRACE}-{PARENT}-00".encode()))
    assert span is None and view.request_headers.get(b"traceparent").startswith(f"00-{TRACE}-".encode())


def test_without_an_exporter_the_context_still_travels():
    view = make_view(CALLER)
    tracer = Tracer(tracing_settings(), NODE, None)
    tracer.finish(tracer.start(view.request_headers, view.record), view.request_headers, view.record)
    assert view.request_headers.get(b"traceparent") != CALLER[1]


def test_authorities_are_split_once_and_never_without_end():
    tracer = Tracer(tracing_settings(), NODE, None)
    assert tracer._split(b"[::1]:80") == ("::1", 80)
    assert tracer._split(b"orders") == ("orders", None)
    for number in range(5000):
        tracer._split(b"h%d" % number)
    assert len(tracer._authorities) <= 1024


def test_the_resource_is_the_sdks_with_our_names(monkeypatch):
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=blue,service.name=else")
    attributes = resource_of(NODE).attributes
    assert (attributes["service.name"], attributes["service.namespace"], attributes["team"]) == (
        "orders",
        "shop",
        "blue",
    )
