from __future__ import annotations

import json
from types import SimpleNamespace

from sidecar.address import Address
from sidecar.errors import ErrorKind
from sidecar.exchange.filter import Phase
from sidecar.filters.access_log import AccessLogFilterFactory
from sidecar.telemetry.span import SERVER, Span
from tests.support.exchange_views import START, Collected, make_view


def logged(view, form="json"):
    sink = Collected()
    factory = AccessLogFilterFactory(sink, SimpleNamespace(enabled=True, format=form))
    factory.create(view).on_log()
    (line,) = sink.lines
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    return line


def test_a_line_says_what_happened():
    view = make_view((b"user-agent", b"curl/8"), peer_id="spiffe://mesh.local/a")
    record = view.record
    record.request_id, record.details = "r-1", "via_upstream"
    record.request_body_bytes, record.response_body_bytes = 3, 12
    record.span = Span(b"\xab" * 16, b"\x01" * 8, None, SERVER, START, is_sampled=True)
    assert json.loads(logged(view)) == {
        "time": "2026-11-24T17:26:44.678Z",
        "direction": "inbound",
        "listener": "inbound",
        "method": "GET",
        "path": "/a/b",
        "authority": "orders.shop:8080",
        "protocol": "HTTP/1.1",
        "status": 200,
        "duration_ms": 5.0,
        "bytes_in": 3,
        "bytes_out": 12,
        "route": "private",
        "upstream": "app",
        "upstream_address": "127.0.0.1:8080",
        "attempts": 1,
        "request_id": "r-1",
        "trace_id": "ab" * 16,
        "source": "10.0.0.1:4711",
        "peer": "spiffe://mesh.local/a",
        "user_agent": "curl/8",
        "details": "via_upstream",
    }


def test_a_refusal_names_its_code_and_reason():
    view = make_view()
    view.record.error, view.record.error_detail = ErrorKind.PLUGIN_FAILED, "trap: unreachable"
    line = json.loads(logged(view))
    assert (line["error"], line["error_detail"]) == ("plugin_failed", "trap: unreachable")


def test_O6_nothing_in_a_request_breaks_out_of_its_line():
    view = make_view((b"user-agent", b'a\r\nb\x1b[31m"\\</script>\x00\xff'), source=Address("::1", 5))
    view.record.path = b'/a\r\n{"status":200}\x1b'
    view.record.error_detail = "lone \udcff surrogate\nnext"
    line = logged(view)
    found = json.loads(line)
    assert found["path"] == '/a\r\n{"status":200}\x1b' and found["user_agent"].startswith('a\r\nb\x1b[31m"')
    assert not any(byte < 32 for byte in line[:-1])
    text = logged(view, "text")
    assert not any(byte < 32 for byte in text[:-1])


def test_O7_secrets_stay_out():
    view = make_view((b"authorization", b"Bearer hunter2"), (b"cookie", b"hunter2"), (b"user-agent", b"curl"))
    assert b"hunter2" not in logged(view) and b"hunter2" not in logged(view, "text")


def test_the_text_form_is_one_readable_line():
    line = logged(make_view((b"user-agent", b"my browser")), "text").decode()
    assert line.startswith('2026-11-24T17:26:44.678Z inbound "GET /a/b HTTP/1.1" 200 5.0ms ')
    assert 'user_agent="my browser"' in line and "upstream=app" in line


def test_huge_values_are_cut():
    view = make_view((b"user-agent", b"x" * 100_000))
    view.record.path = b"/" + b"y" * 100_000
    assert len(logged(view)) < 6000


def test_switched_off_it_asks_for_no_phase():
    factory = AccessLogFilterFactory(Collected(), SimpleNamespace(enabled=False, format="json"))
    assert Phase.LOG not in factory.phases
