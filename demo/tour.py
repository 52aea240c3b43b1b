"""What the demo does to the shop, and what it must find. The finding is kept; telling it is the report's work."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from demo.collector import Collector
from demo.plan import BURST, Place
from demo.shop import Answer, Diary, ask
from demo.trace import Node, Span, spans_of, tree

WAIT_SECONDS = 10.0
MOST_KNOCKS = BURST * 10
"""A machine slower than the limit would never be refused; then the demo says so."""

COUNTED = ("loom_requests_total", "inbound")
EXPORTED = ("loom_otlp_spans_total", "exported")

BUY = ("POST", "/buy/tea")
ORDER = b'{"item": "tea", "quantity": 2}'
NOT_JSON = b'{"item": "tea", "quantity": '
TWO_LENGTHS = (
    b"POST /buy/tea HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
)

PURCHASE = (
    "storefront", "SERVER", "POST buy", (
        ("storefront", "CLIENT", "GET stock", (("orders", "SERVER", "GET stock", ()),)),
        ("storefront", "CLIENT", "POST order", (("orders", "SERVER", "POST order", ()),)),
    ),
)  # fmt: skip
"""The one trace of a purchase: (service, kind, name, children)."""


@dataclass
class Refusal:
    """Something that must not get through: who asked for what, the answer, and who made it."""

    what: str
    by: str
    answer: Answer
    status: int
    """The expected one."""
    sign: str = ""
    """The expected ``x-sidecar-error``; empty for a plugin's own answer, which carries none."""
    reached: bool = False
    """The service behind got something of it after all."""

    @property
    def is_right(self) -> bool:
        is_signed = self.answer.headers.get("x-sidecar-error", "") == self.sign
        return self.answer.status == self.status and is_signed and not self.reached


@dataclass
class PluginTime:
    """Calls into one plugin in one phase, and the seconds they took together."""

    service: str
    plugin: str
    phase: str
    calls: int
    seconds: float


@dataclass
class Finding:
    """Everything that was seen."""

    bought: Answer
    customer_headers: dict[str, str]
    """As the storefront got them."""
    order_headers: dict[str, str]
    """As `orders` got them."""
    steps: list[dict[str, Any]]
    """The purchase's lines of both access logs, in order of their start."""
    roots: list[Node]
    refusals: list[Refusal] = field(default_factory=list)
    plugin_times: list[PluginTime] = field(default_factory=list)
    metrics: dict[str, Mapping[tuple[str, str], float]] = field(default_factory=dict)
    """For each service (metric, value of its first interesting label) to value; see :func:`totals`."""


def purchase(places: Mapping[str, Place], diaries: Mapping[str, Diary], collector: Collector) -> Finding:
    """One request of a customer, with all that it sets off."""
    method, path = BUY
    bought = ask(places["storefront"].inbound, method, path, host="shop", body=ORDER, headers={"x-internal": "admin"})
    arrived = diaries["storefront"].of(method, path)
    ordered = diaries["orders"].of("POST", "/orders")
    trace_id = arrived[0].get("traceparent", "--").split("-")[1] if arrived else ""
    count = len(list(_flat(PURCHASE)))
    collector.wait(lambda requests: len(_of_trace(requests, trace_id)) >= count, WAIT_SECONDS)
    roots = tree(_of_trace(collector.requests, trace_id))
    return Finding(
        bought,
        arrived[0] if arrived else {},
        ordered[0] if ordered else {},
        [line for line in _wait_for_lines(places, trace_id, count) if line.get("trace_id") == trace_id],
        roots,
    )


def refusals(finding: Finding, places: Mapping[str, Place], diaries: Mapping[str, Diary]) -> None:
    """One of each kind."""
    finding.refusals += _refusals(places, diaries)


def _refusals(places: Mapping[str, Place], diaries: Mapping[str, Diary]) -> Iterator[Refusal]:
    shop, orders = places["storefront"].inbound, places["orders"].inbound
    seen = diaries["orders"].seen

    knocks = [ask(shop, "GET", "/", host="shop")]
    while knocks[-1].status != 429 and len(knocks) < MOST_KNOCKS:
        knocks.append(ask(shop, "GET", "/", host="shop"))
    let_in = len(diaries["storefront"].of("GET", "/"))
    yield Refusal(
        f"GET / again and again: {len(knocks) - 1} let in, the next refused",
        "plugin rate-limit", knocks[-1], 429, reached=let_in != len(knocks) - 1,
    )  # fmt: skip

    before = len(seen)
    stranger = ask(orders, "GET", "/stock/tea", host="orders.shop")
    yield Refusal("orders asked without a token", "plugin auth", stranger, 401, reached=len(seen) > before)

    before = len(diaries["orders"].of("POST", "/orders"))
    broken = ask(shop, "POST", "/buy/tea", host="shop", body=NOT_JSON)
    after = len(diaries["orders"].of("POST", "/orders"))
    yield Refusal("an order that is no JSON", "plugin json-guard", broken, 400, reached=after > before)

    before = len(diaries["storefront"].seen)
    lost = ask(shop, "GET", "/admin", host="shop")
    yield Refusal(
        "a path that no route names", "sidecar", lost, 404, "no_route", len(diaries["storefront"].seen) > before
    )
    ambiguous = send_raw(shop, TWO_LENGTHS)
    yield Refusal(
        "a body with two lengths (request smuggling)",
        "sidecar", ambiguous, 400, "bad_request", len(diaries["storefront"].seen) > before,
    )  # fmt: skip


def read_metrics(finding: Finding, places: Mapping[str, Place]) -> None:
    """Ask each sidecar for its page, and note the plugins' times and the totals.

    Spans are counted after they have arrived here, and a page is up to a second old: wait for that count.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    for service, place in places.items():
        page = ask(place.metrics, "GET", "/metrics").body
        while not totals(page).get(EXPORTED) and time.monotonic() < deadline:
            time.sleep(0.1)
            page = ask(place.metrics, "GET", "/metrics").body
        finding.metrics[service] = totals(page)
        finding.plugin_times += plugin_times(service, page)


def checks(finding: Finding) -> Iterator[tuple[str, bool]]:
    """What must be so, in words, and whether it is."""
    sold = finding.bought
    order = _object(sold.body)
    yield "the purchase is answered 201 with the order", sold.status == 201 and order.get("order") == 1001
    guarded = sold.headers.get("x-content-type-options") == "nosniff" and sold.headers.get("x-frame-options") == "DENY"
    yield "header-edit set the security headers of the answer and hid x-powered-by", (
        guarded and "x-powered-by" not in sold.headers
    )
    came = finding.customer_headers
    yield "the storefront got x-request-id and traceparent, and not the x-internal that the customer sent", (
        "x-request-id" in came and "traceparent" in came and "x-internal" not in came
    )
    yield "orders got the token that the storefront never had", (
        finding.order_headers.get("authorization", "").startswith("Bearer ") and "authorization" not in came
    )
    shapes = [node.shape() for node in finding.roots]
    yield "one trace, both services, every span under its caller", shapes == [PURCHASE]
    yield "one access log line for each step, with the trace's id", len(finding.steps) == len(list(_flat(PURCHASE)))
    for refusal in finding.refusals:
        yield f"refused with {refusal.status}, nothing behind it saw it: {refusal.what}", refusal.is_right
    timed = {(time.service, time.plugin) for time in finding.plugin_times if time.calls}
    yield "every plugin has its time in loom_plugin_duration_seconds", timed >= {
        ("storefront", "rate-limit"), ("storefront", "security-headers"), ("storefront", "credentials"),
        ("storefront", "access-log"), ("orders", "auth"), ("orders", "json-guard"), ("orders", "access-log"),
    }  # fmt: skip
    yield "both sidecars count requests and exported spans", all(
        page.get(COUNTED, 0) > 0 and page.get(EXPORTED, 0) > 0 for page in finding.metrics.values()
    ) and len(finding.metrics) == 2


def send_raw(port: int, data: bytes) -> Answer:
    """Bytes as they are to 127.0.0.1, and the answer to them."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS) as sock:
        sock.sendall(data)
        response = http.client.HTTPResponse(sock)
        response.begin()
        text = response.read().decode("utf-8", "replace")
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, text)


def plugin_times(service: str, page: str) -> list[PluginTime]:
    """What the page says in ``loom_plugin_duration_seconds``, in the page's order."""
    found: dict[tuple[str, str], PluginTime] = {}
    for family in text_string_to_metric_families(page):
        if family.name != "loom_plugin_duration_seconds":
            continue
        for sample in family.samples:
            key = (sample.labels["plugin"], sample.labels["phase"])
            entry = found.setdefault(key, PluginTime(service, *key, 0, 0.0))
            if sample.name.endswith("_count"):
                entry.calls = int(sample.value)
            elif sample.name.endswith("_sum"):
                entry.seconds = sample.value
    return [entry for entry in found.values() if entry.calls]


def totals(page: str) -> dict[tuple[str, str], float]:
    """Requests by direction, spans by result."""
    labels = {"loom_requests_total": "direction", "loom_otlp_spans_total": "result"}
    sums: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if label := labels.get(sample.name):
                key = (sample.name, sample.labels[label])
                sums[key] = sums.get(key, 0.0) + sample.value
    return sums


def _of_trace(requests: list[Any], trace_id: str) -> list[Span]:
    return [span for span in spans_of(requests) if span.trace_id == trace_id]


def _wait_for_lines(places: Mapping[str, Place], trace_id: str, count: int) -> list[dict[str, Any]]:
    """The access logs' lines by time, once ``count`` of them belong to the trace; the log is written by a thread."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        lines = [line | {"service": service} for service, place in places.items() for line in _log_lines(place)]
        if sum(line.get("trace_id") == trace_id for line in lines) >= count or time.monotonic() > deadline:
            return sorted(lines, key=_by_trace_order)
        time.sleep(0.02)


def _by_trace_order(line: dict[str, Any]) -> tuple[str, float]:
    """Start in milliseconds; among equals the caller, which took longer, comes first."""
    return line["time"], -line["duration_ms"]


def _log_lines(place: Place) -> Iterator[dict[str, Any]]:
    if place.access_log.exists():
        for line in place.access_log.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):  # else it is still being written
                yield json.loads(line)


def _flat(shape: tuple[Any, ...]) -> Iterator[str]:
    yield shape[2]
    for child in shape[3]:
        yield from _flat(child)


def _object(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
