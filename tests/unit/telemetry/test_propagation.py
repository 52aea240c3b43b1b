from __future__ import annotations

import pytest

from sidecar.http.headers import HeaderMap
from sidecar.telemetry.propagation import Propagation, clean_baggage, clean_trace_state, parse_traceparent
from sidecar.telemetry.span import SERVER, Span

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ALL = ("tracecontext", "baggage", "b3", "jaeger")
OURS = Span(bytes.fromhex(TRACE), b"\x01" * 8, bytes.fromhex(PARENT), SERVER, 0, is_sampled=True)


def headers(**named: str) -> HeaderMap:
    return HeaderMap.of([(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()])


def extracted(formats=ALL, **named):
    context, _ = Propagation(formats).extract(headers(**named))
    return context and (context.trace_id.hex(), context.span_id.hex(), context.is_sampled, context.source)


def test_a_traceparent_is_read():
    assert parse_traceparent(f"00-{TRACE}-{PARENT}-01".encode()) == (bytes.fromhex(TRACE), bytes.fromhex(PARENT), True)
    assert parse_traceparent(f"00-{TRACE}-{PARENT}-00".encode()) == (bytes.fromhex(TRACE), bytes.fromhex(PARENT), False)


def test_a_later_version_is_read_by_what_it_shares_with_ours():
    assert parse_traceparent(f"cc-{TRACE}-{PARENT}-01-what-comes".encode()) is not None
    assert parse_traceparent(f"cc-{TRACE}-{PARENT}-01".encode()) is not None


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}-0x",
        f"00-{TRACE}-{PARENT}-01,00-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01.more",
        f" 00-{TRACE}-{PARENT}-01\n",
    ],
)
def test_H7_a_malformed_traceparent_is_as_good_as_absent(value):
    assert parse_traceparent(value.encode()) is None


def test_two_traceparents_are_malformed():
    both = HeaderMap.of([(b"traceparent", f"00-{TRACE}-{PARENT}-01".encode())] * 2)
    assert Propagation(ALL).extract(both)[0] is None


@pytest.mark.parametrize(
    "named, is_sampled, source",
    [
        ({"traceparent": f"00-{TRACE}-{PARENT}-01"}, True, "tracecontext"),
        ({"b3": f"{TRACE}-{PARENT}-1"}, True, "b3"),
        ({"b3": f"{TRACE}-{PARENT}-d"}, True, "b3"),
        ({"b3": f"{TRACE}-{PARENT}-0-{PARENT}"}, False, "b3"),
        ({"b3": f"{TRACE}-{PARENT}"}, None, "b3"),
        ({"x_b3_traceid": TRACE, "x_b3_spanid": PARENT, "x_b3_sampled": "1"}, True, "b3multi"),
        ({"x_b3_traceid": TRACE, "x_b3_spanid": PARENT, "x_b3_sampled": "false"}, False, "b3multi"),
        ({"x_b3_traceid": TRACE, "x_b3_spanid": PARENT, "x_b3_flags": "1"}, True, "b3multi"),
        ({"x_b3_traceid": TRACE, "x_b3_spanid": PARENT}, None, "b3multi"),
        ({"uber_trace_id": f"{TRACE}:{PARENT}:0:1"}, True, "jaeger"),
        ({"uber_trace_id": f"{TRACE}%3A{PARENT}%3A0%3A0"}, False, "jaeger"),
    ],
)
def test_each_format_is_read(named, is_sampled, source):
    assert extracted(**named) == (TRACE, PARENT, is_sampled, source)


def test_short_ids_are_filled_up_on_the_left():
    assert extracted(b3=f"{PARENT}-{PARENT}-1") == ("0" * 16 + PARENT, PARENT, True, "b3")
    assert extracted(uber_trace_id="abc:1:0:1") == ("abc".zfill(32), "1".zfill(16), True, "jaeger")


def test_the_first_valid_format_in_order_wins():
    other = "f" * 32
    both = {"traceparent": f"00-{TRACE}-{PARENT}-01", "b3": f"{other}-{PARENT}-0"}
    assert extracted(ALL, **both)[0] == TRACE
    assert extracted(("b3", "tracecontext"), **both)[0] == other
    assert extracted(ALL, traceparent="broken", b3=f"{other}-{PARENT}-0")[0] == other


def test_a_format_that_is_not_configured_is_not_read():
    assert extracted(("tracecontext",), b3=f"{TRACE}-{PARENT}-1") is None


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match="known are"):
        Propagation(("xray",))


def injected(formats, named):
    map_ = headers(**named)
    propagation = Propagation(formats)
    context, shapes = propagation.extract(map_)
    span = Span(OURS.trace_id, OURS.span_id, OURS.parent_span_id, SERVER, 0, is_sampled=True)
    span.trace_state = context.trace_state if context else ""
    propagation.inject(map_, span, shapes)
    return {name.decode(): value.decode() for name, value in map_.pairs()}


def test_traceparent_is_always_written_when_configured():
    assert injected(ALL, {}) == {"traceparent": f"00-{TRACE}-{'01' * 8}-01"}


def test_what_the_request_came_with_is_written_too():
    found = injected(ALL, {"b3": f"{TRACE}-{PARENT}-1"})
    assert found == {"b3": f"{TRACE}-{'01' * 8}-1", "traceparent": f"00-{TRACE}-{'01' * 8}-01"}
    found = injected(ALL, {"x-b3-traceid": TRACE, "x-b3-spanid": PARENT, "x-b3-flags": "1"})
    assert found["x-b3-spanid"] == "01" * 8 and found["x-b3-parentspanid"] == PARENT and "x-b3-flags" not in found
    found = injected(ALL, {"traceparent": f"00-{TRACE}-{PARENT}-01", "uber-trace-id": "1:2:0:1"})
    assert found["uber-trace-id"] == f"{TRACE}:{'01' * 8}:0:1"


def test_without_tracecontext_the_first_format_is_written():
    assert injected(("b3",), {}) == {"b3": f"{TRACE}-{'01' * 8}-1"}
    assert injected(("baggage", "jaeger"), {}) == {"uber-trace-id": f"{TRACE}:{'01' * 8}:0:1"}
    assert injected(("baggage",), {}) == {}


def test_tracestate_goes_with_its_traceparent():
    valid = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "a=1,b=2"}
    assert injected(ALL, valid)["tracestate"] == "a=1,b=2"
    assert "tracestate" not in injected(ALL, {**valid, "traceparent": "broken"})
    assert "tracestate" not in injected(ALL, {**valid, "tracestate": "no list"})


@pytest.mark.parametrize(
    "value, kept",
    [
        (b"a=1,b=2", "a=1,b=2"),
        (b"a=1, ,b=2", "a=1,b=2"),
        (b"t1@vendor=x", "t1@vendor=x"),
        (b"A=1", ""),
        (b"a=1,a=2", ""),
        (b"a", ""),
        (b",".join(b"k%d=1" % number for number in range(33)), ""),
    ],
)
def test_H7_a_tracestate_is_passed_on_only_when_it_is_one(value, kept):
    assert clean_trace_state(value) == kept


def test_H7_a_long_tracestate_loses_its_oldest_members():
    kept = clean_trace_state(b",".join(b"k%d=%s" % (number, b"v" * 100) for number in range(10)))
    assert len(kept) <= 512 and kept.startswith("k0=")


def test_H7_baggage_is_cut_to_64_entries_and_8_kib():
    assert clean_baggage(b",".join(b"k%d=v" % number for number in range(1000))).count(b"=") == 64
    assert len(clean_baggage(b",".join(b"k%d=%s" % (number, b"v" * 1000) for number in range(64)))) <= 8192
    assert clean_baggage(b"a=" + b"x" * 65536) == b""
    assert clean_baggage(b"a=1,broken,b=2;p=3") == b"a=1,b=2;p=3"


def test_good_baggage_stays_byte_for_byte_and_bad_baggage_goes():
    good = HeaderMap.of([(b"Baggage", b"a=1 , b=2;p")])
    Propagation(ALL).extract(good)
    assert (good.get(b"baggage"), good.revision) == (b"a=1 , b=2;p", 0)
    bad = HeaderMap.of([(b"baggage", b"nothing")])
    Propagation(ALL).extract(bad)
    assert bad.get(b"baggage") is None
