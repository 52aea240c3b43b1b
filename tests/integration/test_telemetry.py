"""Spans to receivers that are not ours, through two sidecars; metrics by Prometheus' own parser; the access log."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.conftest import Pair
from tests.support.otlp import attributes_of, grpc_receiver, http_receiver
from tests.support.raw_app import echo, fast_app, raw_app
from tests.support.raw_client import Client, ask, get
from tests.support.sidecar_process import Sidecar, plugin, sidecar, sidecar_config
from tests.support.wait import eventually

SERVER, CLIENT = 2, 3
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_spans_of_two_sidecars_and_the_app_are_one_trace(tmp_path: Path, protocol: str) -> None:
    receiver = grpc_receiver() if protocol == "grpc" else http_receiver()
    with receiver as received, raw_app() as app:
        tracing = {"endpoint": received.endpoint, "protocol": protocol, "sample_rate": 1.0}
        routes = [{"id": "shop", "path": "/shop/*", "upstream": "app"}]
        server = sidecar_config(app.port, tracing=tracing, routes=routes)
        with sidecar(tmp_path / "server", server) as inner:
            client = sidecar_config(inner.inbound, tracing=tracing, node={"service": "client", "namespace": "shop"})
            with sidecar(tmp_path / "client", client) as outer:
                request = get("/shop/1?secret=x", f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01", "baggage: k=v")
                assert ask(outer.outbound, request).status == 200
                assert ask(outer.outbound, get("/own")).status == 200
                spans = received.wait_for(4)
        ours = [span for span in spans if span.trace_id.hex() == TRACE]
        outbound = next(span for span in ours if span.kind == CLIENT)
        inbound = next(span for span in ours if span.kind == SERVER)
        assert len(ours) == 2
        assert outbound.parent_span_id.hex() == "00f067aa0ba902b7"
        assert inbound.parent_span_id == outbound.span_id
        at_app = app.requests[0].get(b"traceparent")
        assert at_app == f"00-{TRACE}-{inbound.span_id.hex()}-01".encode()
        assert app.requests[0].get(b"baggage") == b"k=v"
        assert received.services == {"orders", "client"}
        _check_attributes(attributes_of(inbound), attributes_of(outbound))
        assert inbound.name.startswith("GET")
        assert inbound.start_time_unix_nano <= inbound.end_time_unix_nano
        own = [span for span in spans if span.trace_id.hex() != TRACE]
        assert len({span.trace_id for span in own}) == 1
        root = next(span for span in own if span.kind == CLIENT)
        assert root.parent_span_id == b""


def _check_attributes(inbound: dict[str, object], outbound: dict[str, object]) -> None:
    assert (inbound["mesh.direction"], outbound["mesh.direction"]) == ("inbound", "outbound")
    for attributes in (inbound, outbound):
        assert attributes["http.request.method"] == "GET"
        assert attributes["http.response.status_code"] == 200
        assert "secret" not in json.dumps({key: str(value) for key, value in attributes.items()})
    assert inbound["http.route"] in ("shop", "/shop/*")
    assert inbound["url.path"] == "/shop/1"


def test_failure_is_on_its_span(tmp_path: Path) -> None:
    with http_receiver() as received, raw_app() as app:
        config = sidecar_config(app.port, tracing={"endpoint": received.endpoint, "protocol": "http/protobuf"})
        app.close()
        with sidecar(tmp_path, config) as running:
            assert running.ask("/x").refusal == (503, "upstream_connect")
            span = received.wait_for(1)[0]
    attributes = attributes_of(span)
    assert attributes["loom.error"] == "upstream_connect"
    assert attributes["http.response.status_code"] == 503


def test_b3_and_jaeger_parents_are_understood(tmp_path: Path) -> None:
    with http_receiver() as received, raw_app() as app:
        config = sidecar_config(app.port, tracing={"endpoint": received.endpoint, "protocol": "http/protobuf"})
        with sidecar(tmp_path, config) as running:
            running.ask("/b3", f"b3: {TRACE}-00f067aa0ba902b7-1")
            running.ask("/multi", f"X-B3-TraceId: {TRACE}", "X-B3-SpanId: 00f067aa0ba902b7", "X-B3-Sampled: 1")
            running.ask("/jaeger", f"uber-trace-id: {TRACE}:00f067aa0ba902b7:0:1")
            spans = received.wait_for(3)
    assert {(span.trace_id.hex(), span.parent_span_id.hex()) for span in spans} == {(TRACE, "00f067aa0ba902b7")}


def test_endpoint_and_name_from_the_environment(tmp_path: Path) -> None:
    with http_receiver() as received, raw_app() as app:
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_SERVICE_NAME": "from-environment",
        }
        with sidecar(tmp_path, sidecar_config(app.port, node={}), environ=environ) as running:
            running.ask("/x")
            received.wait_for(1)
    assert received.services == {"from-environment"}


# --- metrics ---------------------------------------------------------------------------------------------------------

LABELS = {
    "loom_requests": {"direction", "route", "method", "status", "protocol"},
    "loom_request_duration_seconds": {"direction", "route"},
    "loom_requests_in_flight": {"direction"},
    "loom_upstream_requests": {"upstream", "status"},
    "loom_upstream_duration_seconds": {"upstream"},
    "loom_plugin_duration_seconds": {"plugin", "phase"},
    "loom_plugin_memory_bytes": {"plugin"},
    "loom_connections": {"listener", "state"},
    "loom_config_generation": {"state"},
    "loom_otlp_spans": {"result"},
    "loom_limit_hits": {"limit"},
}
"""Contract section 7; a counter's family is named without ``_total``."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sidecar, str]]:
    """After some traffic, with its page."""
    with raw_app() as app:
        routes = [{"id": "shop", "path": "/shop/*", "upstream": "app"}]
        config = sidecar_config(app.port, routes=routes, plugins=[plugin("header-edit"), plugin("access-log")])
        with sidecar(tmp_path_factory.mktemp("measured"), config) as running, Client(running.inbound):
            for _ in range(3):
                running.ask("/shop/1")
            ask(running.outbound, get("/shop/2", method="PURGE"))
            running.ask("/a/../b")
            running.ask("/x", "X: " + "y" * 70_000)
            eventually(lambda: running.metric("loom_limit_hits_total", limit="header_bytes"))
            yield running, running.metrics_page().decode()


def test_prometheus_reads_the_page(measured: tuple[Sidecar, str]) -> None:
    families = {family.name: family for family in text_string_to_metric_families(measured[1])}
    for name, labels in LABELS.items():
        assert name in families, f"{name} is missing among {sorted(families)}"
        for sample in families[name].samples:
            assert set(sample.labels) - {"le"} == labels, sample
    assert families["loom_request_duration_seconds"].type == "histogram"
    assert families["loom_plugin_duration_seconds"].type == "histogram"
    assert families["loom_requests"].type == "counter"
    assert families["loom_requests_in_flight"].type == "gauge"


def test_series_say_what_happened(measured: tuple[Sidecar, str]) -> None:
    running, _ = measured
    assert (
        running.metric(
            "loom_requests_total", direction="inbound", route="shop", method="GET", status="200", protocol="h1"
        )
        == 3
    )
    assert running.metric("loom_requests_total", direction="outbound", method="_OTHER", route="shop") == 1
    assert running.metric("loom_requests_total", direction="inbound", status="400") == 1
    assert running.metric("loom_requests_total", direction="inbound", status="431") == 1
    assert running.metric("loom_request_duration_seconds_count", direction="inbound", route="shop") == 3
    assert running.metric("loom_upstream_requests_total", upstream="app", status="200") == 4
    assert running.metric("loom_plugin_duration_seconds_count", plugin="header-edit", phase="on_request_headers") == 4
    assert running.metric("loom_plugin_duration_seconds_count", plugin="access-log", phase="on_log") >= 4
    assert running.metric("loom_config_generation", state="active") == 1
    assert running.metric("loom_connections", listener="inbound") >= 1
    assert running.metric("loom_requests_in_flight") == 0


def test_histogram_is_cumulative_and_ends_at_its_count(measured: tuple[Sidecar, str]) -> None:
    for family in text_string_to_metric_families(measured[1]):
        if family.type != "histogram":
            continue
        buckets: dict[frozenset[tuple[str, str]], list[tuple[float, float]]] = {}
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                key = frozenset(pair for pair in sample.labels.items() if pair[0] != "le")
                buckets.setdefault(key, []).append((float(sample.labels["le"]), sample.value))
        for found in buckets.values():
            values = [value for _, value in sorted(found)]
            assert values == sorted(values)
            assert sorted(found)[-1][0] == float("inf")


# --- access log and plugin log ---------------------------------------------------------------------------------------


def test_access_log_has_one_json_line_for_each_request(pair: Pair) -> None:
    pair.app.script = echo
    fields = ("User-Agent: test/1", "X-Request-Id: id-1")
    answer = pair.sidecar.ask("/logged?token=hidden", *fields, method="POST", body=b"12345")
    assert answer.status == 200
    line = pair.sidecar.access_line("/logged")
    expected = {
        "direction": "inbound", "listener": "inbound", "method": "POST", "authority": "app.test", "status": 200,
        "bytes_in": 5, "upstream": "app", "attempts": 1, "request_id": "id-1", "user_agent": "test/1",
        "bytes_out": len(answer.body),
    }  # fmt: skip
    assert {key: line.get(key) for key in expected} == expected
    assert line["upstream_address"] == f"127.0.0.1:{pair.app.port}"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert 0 < line["duration_ms"] < 60_000
    assert "hidden" not in json.dumps(line)


def test_thousand_requests_at_once_through_three_plugins_are_not_mixed_up(tmp_path: Path) -> None:
    """Each carries an id in path, header and body, and gets back its own; so do the app, the log and the plugins."""
    count = 1000
    plugins = [
        plugin("header-edit", priority=30),
        plugin("body-edit", priority=20, config={"request": {"find": "in-", "replace": "through-"},
                                                "response": {"find": "through-", "replace": "out-"}}),
        plugin("access-log", priority=10),
    ]  # fmt: skip
    with fast_app() as app, sidecar(tmp_path, sidecar_config(app.port, plugins=plugins)) as running:
        results = asyncio.run(_all_at_once(running.inbound, count))
        lines = eventually(lambda: found if len(found := running.access_lines()) >= count else None)
        origins = Counter(re.findall(r"Request origin: [^\"]*id=(id-\d+)", running.log_text))
    assert results == {number: f"/n/{number} id=id-{number}\nbody out-{number}.".encode() for number in range(count)}
    assert Counter(app.seen) == Counter((b"/n/%d" % number, b"id-%d" % number) for number in range(count))
    assert {(line["path"], line["request_id"]) for line in lines} == {(f"/n/{n}", f"id-{n}") for n in range(count)}
    # A plugin's log lines have a rate; those that were written name each request once.
    assert len(origins) > 100
    assert set(origins) <= {f"id-{number}" for number in range(count)}
    assert max(origins.values()) == 1


async def _all_at_once(port: int, count: int) -> dict[int, bytes]:
    gate = asyncio.Event()
    results: dict[int, bytes] = {}

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = b"body in-%d." % number
        await gate.wait()
        writer.write(
            b"POST /n/%d HTTP/1.1\r\nHost: a\r\nx-id: id-%d\r\nx-request-id: id-%d\r\nContent-Length: %d\r\n\r\n"
            % (number, number, number, len(body))
        )
        await asyncio.sleep(0)  # heads first, so that all of them are open at once
        writer.write(body)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"x-id: id-%d\r\n" % number in head, head
        found = re.search(rb"(?i)content-length: (\d+)", head)
        if found:
            results[number] = await reader.readexactly(int(found[1]))
        else:
            data = b""
            while size := int(await reader.readuntil(b"\r\n"), 16):
                data += (await reader.readexactly(size + 2))[:-2]
            results[number] = data
        writer.close()

    tasks = [asyncio.create_task(one(number)) for number in range(count)]
    await asyncio.sleep(0.2)  # every connection is open before the first request goes
    gate.set()
    await asyncio.wait_for(asyncio.gather(*tasks), 60)
    return results
