"""demo/tour.py: what it makes of a metrics page, and that its checks can fail."""

from __future__ import annotations

from dataclasses import replace

import pytest

from demo.shop import Answer
from demo.tour import COUNTED, EXPORTED, PURCHASE, Finding, PluginTime, Refusal, checks, plugin_times, totals
from demo.trace import Node, Span

PAGE = """\
# TYPE loom_requests_total counter
loom_requests_total{direction="inbound",route="buy",method="POST",status="201",protocol="h1"} 1
loom_requests_total{direction="inbound",route="",method="GET",status="404",protocol="h1"} 2
loom_requests_total{direction="outbound",route="stock",method="GET",status="200",protocol="h1"} 4
# TYPE loom_otlp_spans_total counter
loom_otlp_spans_total{result="exported"} 7
# TYPE loom_plugin_duration_seconds histogram
loom_plugin_duration_seconds_bucket{plugin="auth",phase="on_log",le="+Inf"} 4
loom_plugin_duration_seconds_sum{plugin="auth",phase="on_log"} 0.002
loom_plugin_duration_seconds_count{plugin="auth",phase="on_log"} 4
loom_plugin_duration_seconds_bucket{plugin="idle",phase="on_log",le="+Inf"} 0
loom_plugin_duration_seconds_sum{plugin="idle",phase="on_log"} 0
loom_plugin_duration_seconds_count{plugin="idle",phase="on_log"} 0
"""

TIMED = (
    ("storefront", "rate-limit"), ("storefront", "security-headers"), ("storefront", "credentials"),
    ("storefront", "access-log"), ("orders", "auth"), ("orders", "json-guard"), ("orders", "access-log"),
)  # fmt: skip


def node(shape: tuple[str, str, str, tuple[object, ...]]) -> Node:
    service, kind, name, children = shape
    return Node(Span(service, name, kind, "t", name, "", 0, 1), [node(child) for child in children])  # type: ignore[arg-type]


@pytest.fixture
def finding() -> Finding:
    """Everything as it should be."""
    headers = {"x-content-type-options": "nosniff", "x-frame-options": "DENY"}
    return Finding(
        bought=Answer(201, headers, '{"order": 1001}'),
        customer_headers={"x-request-id": "1", "traceparent": "00-1-2-01"},
        order_headers={"authorization": "Bearer x"},
        steps=[{}] * 5,
        roots=[node(PURCHASE)],
        refusals=[Refusal("a stranger", "sidecar", Answer(404, {"x-sidecar-error": "no_route"}, ""), 404, "no_route")],
        plugin_times=[PluginTime(service, plugin, "on_log", 1, 0.1) for service, plugin in TIMED],
        metrics={"storefront": {COUNTED: 1, EXPORTED: 1}, "orders": {COUNTED: 1, EXPORTED: 1}},
    )


def failed(finding: Finding) -> int:
    return sum(not is_so for _, is_so in checks(finding))


def test_a_page_is_summed_up() -> None:
    assert totals(PAGE)[COUNTED] == 3
    assert totals(PAGE)["loom_requests_total", "outbound"] == 4
    assert totals(PAGE)[EXPORTED] == 7


def test_plugins_that_were_called_are_listed() -> None:
    assert plugin_times("orders", PAGE) == [PluginTime("orders", "auth", "on_log", 4, 0.002)]


def test_all_is_well(finding: Finding) -> None:
    assert failed(finding) == 0


BREAKERS = {
    "status": lambda good: replace(good, bought=replace(good.bought, status=200)),
    "body": lambda good: replace(good, bought=replace(good.bought, body="sold")),
    "security header": lambda good: replace(good, bought=replace(good.bought, headers={"x-frame-options": "DENY"})),
    "header not removed": lambda good: replace(good, customer_headers=good.customer_headers | {"x-internal": "admin"}),
    "no trace context": lambda good: replace(good, customer_headers={"x-request-id": "1"}),
    "no token": lambda good: replace(good, order_headers={}),
    "a span is missing": lambda good: replace(good, roots=[node((*PURCHASE[:3], PURCHASE[3][:1]))]),
    "two traces": lambda good: replace(good, roots=[*good.roots, node(("orders", "SERVER", "GET stock", ()))]),
    "no log": lambda good: replace(good, steps=[]),
    "wrong refusal": lambda good: replace(good, refusals=[replace(good.refusals[0], status=403)]),
    "refusal by another": lambda good: replace(good, refusals=[replace(good.refusals[0], sign="")]),
    "refused too late": lambda good: replace(good, refusals=[replace(good.refusals[0], reached=True)]),
    "a plugin never ran": lambda good: replace(good, plugin_times=good.plugin_times[1:]),
    "no spans exported": lambda good: replace(good, metrics=good.metrics | {"orders": {COUNTED: 1}}),
    "one page only": lambda good: replace(good, metrics={"orders": good.metrics["orders"]}),
}


@pytest.mark.parametrize("what", BREAKERS)
def test_each_thing_that_is_wrong_fails_its_check(finding: Finding, what: str) -> None:
    assert failed(BREAKERS[what](finding)) == 1
