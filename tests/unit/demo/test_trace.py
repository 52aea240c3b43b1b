"""demo/trace.py: from what the exporters send to a tree that can be read."""

from __future__ import annotations

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from demo.trace import Span, drawn, spans_of, tree


def span(name: str, span_id: str, parent: str = "", start: int = 0) -> Span:
    return Span("shop", name, "SERVER", "t", span_id, parent, start, start + 2_500_000)


def test_what_arrives_is_read() -> None:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    service = resource.resource.attributes.add()
    service.key, service.value.string_value = "service.name", "orders"
    sent = resource.scope_spans.add().spans.add()
    sent.name, sent.kind = "GET stock", 3
    sent.trace_id, sent.span_id, sent.parent_span_id = b"\x01" * 16, b"\x02" * 8, b""
    sent.start_time_unix_nano, sent.end_time_unix_nano = 1_000_000, 3_500_000
    status = sent.attributes.add()
    status.key, status.value.int_value = "http.response.status_code", 200
    (found,) = spans_of([request])
    assert (found.service, found.name, found.kind) == ("orders", "GET stock", "CLIENT")
    assert (found.trace_id, found.span_id, found.parent_id) == ("01" * 16, "02" * 8, "")
    assert found.milliseconds == 2.5
    assert found.attributes == {"http.response.status_code": 200}


def test_children_hang_under_their_parents_in_order_of_their_start() -> None:
    spans = [span("late", "c", "a", 5), span("root", "a"), span("early", "b", "a", 3), span("deep", "d", "b", 4)]
    (root,) = tree(spans)
    assert root.shape() == (
        "shop", "SERVER", "root",
        (("shop", "SERVER", "early", (("shop", "SERVER", "deep", ()),)), ("shop", "SERVER", "late", ())),
    )  # fmt: skip


def test_an_orphan_is_a_root_and_so_seen() -> None:
    assert [root.span.name for root in tree([span("root", "a"), span("orphan", "b", "gone", 1)])] == ["root", "orphan"]


def test_the_drawing() -> None:
    spans = [span("root", "a"), span("one", "b", "a", 1), span("two", "c", "b", 2), span("three", "d", "a", 3)]
    assert [text for text, _ in drawn(tree(spans))] == ["root", "├─ one", "│  └─ two", "└─ three"]
