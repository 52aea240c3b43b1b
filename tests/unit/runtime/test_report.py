from __future__ import annotations

import msgspec

from sidecar.runtime import report
from sidecar.runtime.logsink import Logger
from sidecar.runtime.reload import Refusal, Reloader
from sidecar.telemetry.metrics import MetricsRegistry
from tests.support.runtime import FakeTarget, Lines, make_bundle, make_config


def test_the_configuration_page_tells_what_serves_and_why_the_last_one_does_not(tmp_path):
    reloader = Reloader(["x"], {}, FakeTarget(), MetricsRegistry(2000), Logger(Lines()))
    assert report.config_page(reloader)["effective"] == {}
    reloader.active = make_bundle(tmp_path, "routes:\n  - {id: a, path: /a/*, upstream: app}\n")
    reloader.refusal = Refusal(4, [], 1.0)
    page = report.config_page(reloader)
    assert page["source"]["routes"][0]["id"] == "a"
    assert page["effective"]["limits"]["header_count"] == 100
    assert "source" not in page["effective"]
    assert page["refused"]["generation"] == 4
    assert msgspec.json.encode(page)


def test_the_routes_page_reads_like_the_file(tmp_path):
    text = "routes:\n  - {id: a, path: {regex: '/a+'}, split: [{upstream: app, weight: 3}], plugins: []}\n"
    (row,) = report.routes_page(make_config(tmp_path, text))
    assert row["path"] == {"regex": "/a+"}
    assert row["split"] == [{"upstream": "app", "weight": 3}]
    assert row["plugins"] == []


def test_totals_are_summed_by_direction_and_class():
    registry = MetricsRegistry(2000)
    for status, count in (("200", 3), ("204", 1), ("503", 2), ("0", 1)):
        registry.counter("loom_requests_total", "inbound", "r", "GET", status, "h1").inc(count)
    registry.counter("loom_requests_total", "outbound", "", "GET", "200", "h1").inc()
    registry.limit_hit("connections")
    totals = report.totals(registry.snapshot())
    assert totals["requests"]["inbound"] == {"total": 7, "2xx": 4, "5xx": 2, "cut": 1}
    assert totals["requests"]["outbound"] == {"total": 1, "2xx": 1}
    assert totals["limit_hits"] == {"connections": 1}
    assert report.stats_page([{"pid": 1}], registry.snapshot())["workers"] == [{"pid": 1}]
    assert report.totals({})["requests"] == {}


def test_memory_is_read_from_the_kernel():
    assert report.resident_bytes() > 1 << 20
