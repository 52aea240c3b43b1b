from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from sidecar.telemetry.otlp import Encoder, any_value, rejected_spans, varint
from sidecar.telemetry.span import CLIENT, ERROR, SERVER, Span


def read_back(*spans, resource=None):
    return ExportTraceServiceRequest.FromString(Encoder(resource or {}, version="1.2").request(spans))


def first(span):
    return read_back(span).resource_spans[0].scope_spans[0].spans[0]


def make(**changes):
    span = Span(b"\xaa" * 16, b"\xbb" * 8, b"\xcc" * 8, SERVER, 5, is_sampled=True)
    span.name, span.end = "GET private", 9
    for name, value in changes.items():
        setattr(span, name, value)
    return span


def test_every_field_reads_back():
    span = make(
        trace_state="a=1",
        attributes={"s": "ü", "i": 200, "n": -5, "f": 1.5, "b": True, "c": False},
        events=[(7, "retry", {"reason": "reset", "n": 2})],
        dropped_events=3,
        status=ERROR,
        status_message="why",
    )
    found = first(span)
    assert (found.trace_id, found.span_id, found.parent_span_id) == (b"\xaa" * 16, b"\xbb" * 8, b"\xcc" * 8)
    assert (found.trace_state, found.name, found.kind) == ("a=1", "GET private", SERVER)
    assert (found.start_time_unix_nano, found.end_time_unix_nano) == (5, 9)
    values = {each.key: each.value for each in found.attributes}
    assert (values["s"].string_value, values["i"].int_value, values["n"].int_value) == ("ü", 200, -5)
    assert (values["f"].double_value, values["b"].bool_value, values["c"].bool_value) == (1.5, True, False)
    assert values["c"].WhichOneof("value") == "bool_value"
    event = found.events[0]
    assert (event.time_unix_nano, event.name, [each.key for each in event.attributes]) == (7, "retry", ["reason", "n"])
    assert (found.dropped_events_count, found.status.code, found.status.message) == (3, 2, "why")
    assert found.flags == 0x301


def test_a_root_has_no_parent():
    found = first(Span(b"\x01" * 16, b"\x02" * 8, None, CLIENT, 5, is_sampled=True))
    assert (found.parent_span_id, found.kind, found.flags) == (b"", 3, 0x101)


def test_the_resource_and_the_scope_stand_once_for_a_batch():
    request = read_back(make(), make(), resource={"service.name": "orders", "process.pid": 7, "list": ("a", "b")})
    (resource_spans,) = request.resource_spans
    values = {each.key: each.value for each in resource_spans.resource.attributes}
    assert values["service.name"].string_value == "orders"
    assert (values["process.pid"].int_value, values["list"].string_value) == (7, "a,b")
    (scope_spans,) = resource_spans.scope_spans
    assert (scope_spans.scope.name, scope_spans.scope.version, len(scope_spans.spans)) == ("loom-sidecar", "1.2", 2)


def test_attributes_that_are_equal_but_of_another_type_stay_apart():
    encoder = Encoder({})
    request = ExportTraceServiceRequest.FromString(
        encoder.request([make(attributes={"k": value}) for value in (1, True, 1.0, "1")])
    )
    kinds = [each.attributes[0].value.WhichOneof("value") for each in request.resource_spans[0].scope_spans[0].spans]
    assert kinds == ["int_value", "bool_value", "double_value", "string_value"]


def test_O4_too_many_attributes_are_counted_and_memory_stays_bounded():
    found = first(make(attributes={f"k{number}": number for number in range(1000)}))
    assert (len(found.attributes), found.dropped_attributes_count) == (128, 872)
    encoder = Encoder({})
    for number in range(10_000):
        encoder.span(make(attributes={"k": number}))
    assert len(encoder._cache) <= 4096


def test_text_that_is_none_does_no_harm():
    assert first(make(name="a\udcffb", attributes={"k": "\udcff"})).name == "a?b"


@given(st.integers(min_value=-(2**70), max_value=2**70) | st.floats(allow_nan=False) | st.booleans() | st.text())
def test_any_value_reads_back(value):
    found = AnyValue.FromString(any_value(value))
    which = found.WhichOneof("value")
    read = getattr(found, which)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        value = str(value)
    if isinstance(value, str):
        value = value.encode("utf-8", "replace").decode()
    assert read == value and type(read) is type(value)


def test_varint_is_the_protobuf_one():
    assert [varint(number).hex() for number in (0, 127, 128, 300, -1)] == ["00", "7f", "8001", "ac02", "ff" * 9 + "01"]


def test_a_partial_success_is_read():
    partial = ExportTracePartialSuccess(rejected_spans=300, error_message="too old")
    assert rejected_spans(ExportTraceServiceResponse(partial_success=partial).SerializeToString()) == 300
    assert rejected_spans(ExportTraceServiceResponse().SerializeToString()) == 0


@given(st.binary(max_size=64))
def test_O1_a_wrong_answer_is_no_trouble(answer):
    assert isinstance(rejected_spans(answer), int)
