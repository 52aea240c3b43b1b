"""demo/report.py: tables that stay in line, and words that do not give the token away."""

from __future__ import annotations

from pathlib import Path

from demo import report
from demo.plan import PORTS, places
from demo.shop import Answer
from demo.tour import Finding, PluginTime, Refusal
from demo.trace import Node, Span

TOKEN = "Bearer 0123456789abcdef"
STEP = {
    "service": "storefront", "direction": "inbound", "method": "POST", "path": "/buy/tea", "route": "buy",
    "status": 201, "duration_ms": 12.34, "upstream": "app", "upstream_address": "127.0.0.1:1",
}  # fmt: skip


def finding() -> Finding:
    child = Node(Span("orders", "GET stock", "SERVER", "abc", "2", "1", 2_000_000, 3_000_000))
    root = Node(Span("storefront", "POST buy", "SERVER", "abc", "1", "", 1_000_000, 9_000_000), [child])
    return Finding(
        bought=Answer(201, {"x-frame-options": "DENY"}, '{"order": 1001}\n'),
        customer_headers={},
        order_headers={"authorization": TOKEN},
        steps=[STEP],
        roots=[root],
        refusals=[
            Refusal("a stranger", "sidecar", Answer(404, {"x-sidecar-error": "no_route"}, ""), 404, "no_route"),
            Refusal("too often", "plugin rate-limit", Answer(429, {}, "Too Many Requests"), 429),
        ],
        plugin_times=[PluginTime("orders", "auth", "on_request_headers", 4, 0.000_2)],
    )


def test_the_purchase_shows_each_step_and_hides_the_token() -> None:
    text = report.purchase(finding())
    assert "1  storefront  inbound    POST /buy/tea  buy       201  12.3  app 127.0.0.1:1" in text
    assert "x-frame-options: DENY" in text
    assert TOKEN not in text
    assert "Bearer 0123" in text


def test_a_header_that_was_not_removed_is_not_said_to_be() -> None:
    wrong = finding()
    assert "NOT this time" not in report.purchase(wrong)
    wrong.customer_headers["x-internal"] = "admin"
    assert "NOT this time" in report.purchase(wrong)


def test_the_trace_is_a_tree_with_times_since_its_start() -> None:
    lines = report.trace(finding()).splitlines()
    assert any(line.split() == ["POST", "buy", "storefront", "SERVER", "+0.0", "ms", "8.0", "ms"] for line in lines)
    assert any(line.split() == ["└─", "GET", "stock", "orders", "SERVER", "+1.0", "ms", "1.0", "ms"] for line in lines)


def test_a_trace_that_did_not_arrive_is_said() -> None:
    lost = finding()
    lost.roots = []
    assert "no span arrived" in report.trace(lost)


def test_refusals_show_who_said_no() -> None:
    text = report.refusals(finding())
    assert "404 x-sidecar-error: no_route" in text
    assert "429 Too Many Requests" in text


def test_plugin_times_are_averages_in_microseconds() -> None:
    seen = finding()
    seen.plugin_times.append(PluginTime("orders", "auth", "on_log", 2, 0.000_002))
    heading, line = report.plugin_times(seen).splitlines()[-2:]
    assert heading.split()[-2:] == ["on_request_headers", "on_log"]
    assert line.split() == ["orders", "auth", "50", "1"]


def test_checks_show_what_failed() -> None:
    text = report.checks([("this", True), ("that", False)])
    assert "  ok      this\n  FAILED  that" in text


def test_the_addresses_are_those_of_the_plan() -> None:
    shop = places(Path("/shop"), list(range(20001, 20001 + 2 * len(PORTS))))
    assert f":{shop['storefront'].inbound}" in report.intro(shop)
    assert f"http://127.0.0.1:{shop['orders'].admin}/" in report.addresses(shop)
