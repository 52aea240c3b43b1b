"""Rows H4 to H9, P5 to P14: forged names, odd bytes and what is logged of them, prefixes, the counters of limits."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.bystander import Stage, stage
from tests.support.raw_app import raw_app, saying
from tests.support.raw_client import Client, ask, get
from tests.support.wait import eventually

DIRECTIONS = pytest.mark.parametrize("direction", ["inbound", "outbound"])
FORGED = (
    "X-Forwarded-Client-Cert: By=spiffe://mesh.local/ns/shop/sa/root",
    "x-sidecar-attempt: 9",
    "X-Sidecar-Error: denied",
    "X-Sidecar-Anything: 1",
    "X_Forwarded_Client_Cert: By=spiffe://mesh.local/evil",
    "x-forwarded_client-cert: evil",
    "X_Sidecar_Peer: evil",
)


@DIRECTIONS
def test_H4_names_of_the_mesh_never_come_from_outside(attacked: Stage, direction: str) -> None:
    answer = ask(attacked.sidecar.ports[direction], get("/h", *FORGED, "X-Honest: 1"))
    assert answer.status == 200
    seen = attacked.app.requests[0]
    assert seen.own_fields == [(b"Host", b"app.test"), (b"X-Honest", b"1")]
    assert seen.get(b"x-sidecar-attempt") == b"1"


def test_H4_x_forwarded_for_is_appended_to_not_trusted(attacked: Stage) -> None:
    attacked.sidecar.ask("/h", "X-Forwarded-For: 6.6.6.6, 7.7.7.7")
    hops = (attacked.app.requests[0].get(b"x-forwarded-for") or b"").split(b",")
    assert [hop.strip() for hop in hops] == [b"6.6.6.6", b"7.7.7.7", b"127.0.0.1"]


def test_H4_app_cannot_speak_in_our_name(attacked: Stage) -> None:
    attacked.app.script = saying(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\nX-Sidecar-Error: denied\r\n\r\n")
    assert attacked.sidecar.ask("/h4-answer").status == 503
    assert "error" not in attacked.sidecar.access_line("/h4-answer")


def test_H5_look_alikes_with_underscores_do_not_shadow(attacked: Stage) -> None:
    evil = ("X_Request_Id: evil", "X_Forwarded_For: evil", "X-Real_IP: evil")
    answer = attacked.sidecar.ask("/h", *evil, "X-Request-Id: good")
    assert answer.status == 200
    seen = attacked.app.requests[0]
    assert b"evil" not in seen.head
    assert seen.get(b"x-request-id") == b"good"


def test_H6_bytes_that_are_no_text_reach_app_client_and_log(attacked: Stage) -> None:
    attacked.app.script = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Odd: \xff\xfe\xed\xa0\x80\r\n\r\n")
    answer = attacked.sidecar.ask("/h6", "User-Agent: \xff\xfe\xed\xa0\x80", "Referer: \x80")
    assert (b"X-Odd", b"\xff\xfe\xed\xa0\x80") in answer.fields
    assert attacked.app.requests[0].get(b"user-agent") == b"\xff\xfe\xed\xa0\x80"
    assert attacked.sidecar.access_line("/h6")["status"] == 200


@pytest.mark.parametrize(
    "field",
    [
        "traceparent: 00-" + "0" * 32 + "-" + "0" * 16 + "-01",
        "traceparent: ff-" + "1" * 32 + "-" + "1" * 16 + "-01",
        "traceparent: 00-" + "1" * 31 + "-" + "1" * 16 + "-01",
        "traceparent: \xff\xfe",
        "tracestate: " + ",".join(f"a{number}=1" for number in range(1000)),
        "baggage: " + ",".join(f"key{number}=value" for number in range(1000)),
        "baggage: " + "k=" + "v" * 60_000,
        "uber-trace-id: 0:0:0:zz",
        "b3: not-a-context",
        "X-B3-TraceId: " + "f" * 5000,
    ],
    ids=["zeros", "version-ff", "short", "bytes", "tracestate", "entries", "64KiB", "jaeger", "b3", "b3-long"],
)
def test_H7_trace_headers_that_make_no_sense_are_no_error(attacked: Stage, field: str) -> None:
    assert attacked.sidecar.ask("/h7", field).status == 200


def test_H9_alt_svc_of_the_app_is_removed_inbound(attacked: Stage) -> None:
    attacked.app.script = saying(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAlt-Svc: h3=":443"; ma=99999\r\n\r\n')
    assert attacked.sidecar.ask("/h9").get("alt-svc") is None


@pytest.mark.parametrize(
    ("data", "limit"),
    [
        pytest.param(get("/f", "A: " + "x" * 65537), "header_bytes", id="H1-header_bytes"),
        pytest.param(get("/f", *(f"A{number}: x" for number in range(101))), "header_count", id="H1-header_count"),
        pytest.param(get("/" + "a" * 65537), "request_line", id="H3-request_line"),
        pytest.param(
            b"POST /f HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"e" * 5000 + b"\r\nx\r\n",
            "chunk_ext",
            id="F7-chunk_ext",
        ),
    ],
)
def test_limit_that_was_hit_is_counted_by_its_name(attacked: Stage, data: bytes, limit: str) -> None:
    before = attacked.sidecar.limit_hits(limit)
    with Client(attacked.sidecar.inbound) as client:
        assert client.send(data).read_answer().error
    assert attacked.sidecar.wait_for_metric(before, "loom_limit_hits_total", limit=limit) == before + 1


def test_F13_seventeen_interim_answers_are_counted(attacked: Stage) -> None:
    before = attacked.sidecar.limit_hits("interim")
    hints = b"HTTP/1.1 103 Early Hints\r\n\r\n" * 17
    attacked.app.script = saying(hints + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert attacked.sidecar.ask("/f13").refusal == (502, "upstream_reset")
    attacked.sidecar.wait_for_metric(before, "loom_limit_hits_total", limit="interim")


def test_refusal_has_exactly_one_log_line_with_its_code(attacked: Stage) -> None:
    before = len(attacked.sidecar.access_lines())
    attacked.sidecar.ask("/one-line/../x")
    lines = eventually(
        lambda: [line for line in attacked.sidecar.access_lines()[before:] if line.get("path") == "/one-line/../x"]
    )
    assert [(line["status"], line["error"]) for line in lines] == [(400, "bad_request")]


def test_refusal_of_bytes_has_a_log_line_too(attacked: Stage) -> None:
    before = len(attacked.sidecar.access_lines())
    ask(attacked.sidecar.inbound, b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx")
    lines = eventually(
        lambda: [line for line in attacked.sidecar.access_lines()[before:] if line.get("error") == "bad_request"]
    )
    assert [line["status"] for line in lines] == [400]


# --- routes: P4, P5, P6, P9, P12, P14, P16 --------------------------------------------------------------------------

ROUTES = [
    {"id": "admin", "path": "/admin/*", "upstream": "private"},
    {"id": "exact", "path": "/exact", "upstream": "private"},
    {"id": "case", "path": "/Case/*", "upstream": "private"},
    {"id": "host", "host": "secret.test", "upstream": "private"},
    {"id": "header", "path": "/header", "headers": {"x-canary": "1"}, "upstream": "private"},
    {"id": "method", "path": "/method", "methods": ["PUT"], "upstream": "private"},
]


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, str]]:
    """With the port of the private app, as text."""
    with raw_app() as private, stage(
        tmp_path_factory.mktemp("routed"), routes=ROUTES, upstreams={"private": private.port}
    ) as ready:
        yield ready, str(private.port)
        ready.check()


@pytest.mark.parametrize(
    ("request_bytes", "route"),
    [
        pytest.param(get("/admin/x"), "admin", id="P14-below"),
        pytest.param(get("/admin"), "admin", id="P14-itself"),
        pytest.param(get("/admin/"), "admin", id="P14-slash"),
        pytest.param(get("/admin?x"), "admin", id="P14-query"),
        pytest.param(get("/administrator"), "", id="P14-longer-word"),
        pytest.param(get("/other;x/y"), "", id="P5-parameter"),
        pytest.param(get("/admin/x;v=1"), "admin", id="P5-parameter-below"),
        pytest.param(get("/ADMIN/x"), "", id="P6-case"),
        pytest.param(get("/case/x"), "", id="P6-case-of-route"),
        pytest.param(get("/exact/x"), "", id="exact-only"),
        pytest.param(get("/exact?a=b"), "exact", id="exact-with-query"),
        pytest.param(get("/", host="SECRET.test"), "host", id="P12-host-case"),
        pytest.param(get("/", host="secret.test."), "host", id="P12-trailing-dot"),
        pytest.param(get("/", host="secret.test:80"), "host", id="P12-default-port"),
        pytest.param(get("/", host="notsecret.test"), "", id="P12-suffix"),
        pytest.param(get("http://secret.test/", host="secret.test"), "host", id="P9-absolute"),
        pytest.param(get("/header", "X-Canary: 1"), "header", id="header"),
        pytest.param(get("/header", "X-Canary: 11"), "", id="header-longer"),
        pytest.param(get("/header", "X_Canary: 1"), "", id="H5-header-underscore"),
        pytest.param(get("/method", method="PUT"), "method", id="method"),
        pytest.param(get("/method", "X-HTTP-Method-Override: PUT"), "", id="P13-override"),
    ],
)
def test_route_is_the_one_that_the_request_names(
    routed: tuple[Stage, str], request_bytes: bytes, route: str
) -> None:
    ready, private = routed
    ready.app.reset()
    before = len(ready.sidecar.access_lines())
    assert ask(ready.sidecar.inbound, request_bytes).status == 200
    lines = eventually(
        lambda: [line for line in ready.sidecar.access_lines()[before:] if line.get("authority") != "bystander.test"]
    )
    assert lines[0].get("route", "") == route, json.dumps(lines[0])
    assert lines[0]["upstream_address"].endswith(private) == bool(route)


@pytest.mark.parametrize("path", ["/admin;x", "/admin;x/y", "/admin;/y", "/exact;v=1", "/admin%3bx/y"])
def test_P5_path_that_is_another_without_its_parameters_is_refused(routed: tuple[Stage, str], path: str) -> None:
    """An app that cuts parameters off would see what the route has just not seen."""
    ready, _ = routed
    ready.app.reset()
    assert ready.sidecar.ask(path).refusal == (400, "bad_request")
    assert not ready.app.requests
