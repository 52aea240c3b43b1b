"""The demo in words and tables: text made from what was found, for somebody who has never seen any of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from demo.plan import Place
from demo.sidecars import Sidecar
from demo.tour import BUY, Finding
from demo.trace import drawn
from sidecar.config.model import PHASES

INTRO = """\
Loom sidecar: a small shop on this machine. Nothing leaves 127.0.0.1, and nothing stays when it is over.

                     ┌─────────── sidecar ───────────┐
   customer ────────►│ :{inbound:<5} in                     ├──► storefront :{app}
                     │      rate-limit, header-edit  │         │  asks for the stock, places the order;
                     │      access-log               │         │  knows no token, no address of orders
                     │ :{outbound:<5} out                    │◄────────┘
                     └─────────┬─────────────────────┘
                               │    header-edit (adds the token), access-log
                     ┌─────────▼───── sidecar ───────┐
                     │ :{peer_inbound:<5} in                     ├──► orders :{peer_app}
                     │      auth, json-guard         │
                     │      access-log               │
                     └───────────────────────────────┘

This version speaks HTTP/1.1. mTLS between the sidecars and a gRPC service are not part of it yet."""

PAGES = (("dashboard", "admin", "/"), ("metrics", "metrics", "/metrics"), ("health", "health", "/healthz/ready"))
FILES = (("configuration", "config"), ("access log", "access_log"), ("log", "log"))


def intro(places: Mapping[str, Place]) -> str:
    shop, orders = places["storefront"], places["orders"]
    return INTRO.format(
        inbound=shop.inbound, outbound=shop.outbound, app=shop.app, peer_inbound=orders.inbound, peer_app=orders.app
    )


def started(sidecars: Sequence[Sidecar]) -> str:
    each = ", ".join(f"{one.place.service} after {one.ready_after * 1000:.0f} ms" for one in sidecars)
    return f"Both sidecars are ready, their plugins compiled ({each})."


def purchase(finding: Finding) -> str:
    method, path = BUY
    sold = finding.bought
    kept = ("content-type", "x-content-type-options", "x-frame-options")
    lines = [
        _title("1. A customer buys tea"),
        f"  > {method} {path}      with a forged header  x-internal: admin",
        f"  < {sold.status} {sold.body.strip()}",
        *(f"    {name}: {sold.headers[name]}" for name in kept if name in sold.headers),
        "",
        "  Its way, as the two sidecars' access logs tell it:",
        "",
    ]
    rows = [("", "sidecar of", "direction", "request", "route", "status", "ms", "went to")]
    for number, step in enumerate(finding.steps, 1):
        request = f"{step['method']} {step['path']}"
        rows.append((
            str(number), step["service"], step["direction"], request, step.get("route", ""), str(step["status"]),
            f"{step['duration_ms']:.1f}", f"{step.get('upstream', '')} {step.get('upstream_address', '')}",
        ))  # fmt: skip
    lines += _table(rows, right={5, 6})
    token = finding.order_headers.get("authorization", "")
    lines += [
        "",
        "  What the plugins did on the way, in both directions:",
        "    in    header-edit took x-internal off before the storefront saw it"
        + ("" if "x-internal" not in finding.customer_headers else " (NOT this time)"),
        f"    out   header-edit added  authorization: {_masked(token)}  to what the storefront asked of orders",
        "    in    auth let that token in, json-guard read the order's body and found it to be JSON",
        "    back  header-edit set x-content-type-options and x-frame-options, and took x-powered-by off",
    ]
    return "\n".join(lines)


def trace(finding: Finding) -> str:
    lines = [_title("2. The same purchase as a trace (spans by OTLP)")]
    if not finding.roots:
        return "\n".join([*lines, "  no span arrived"])
    lines += [f"  trace {finding.roots[0].span.trace_id}", ""]
    start = min(root.span.start for root in finding.roots)
    rows = [("span", "service", "kind", "begins", "lasts")]
    for name, span in drawn(finding.roots):
        begins = (span.start - start) / 1e6
        rows.append((name, span.service, span.kind, f"+{begins:.1f} ms", f"{span.milliseconds:.1f} ms"))
    lines += _table(rows, right={3, 4})
    lines += ["", "  The services only passed traceparent on; the spans are the sidecars'."]
    return "\n".join(lines)


def refusals(finding: Finding) -> str:
    lines = [_title("3. What does not get through")]
    rows = [("asked", "answer", "said by")]
    for refusal in finding.refusals:
        answer = refusal.answer
        code = answer.headers.get("x-sidecar-error")
        said = f"x-sidecar-error: {code}" if code else _first_words(answer.body)
        rows.append((refusal.what, f"{answer.status} {said}", refusal.by))
    lines += _table(rows)
    lines += ["", "  None of it reached the service behind. A plugin's answer is its own, the sidecar's has a code."]
    return "\n".join(lines)


def plugin_times(finding: Finding) -> str:
    """One line for each plugin, the phases side by side."""
    phases = [phase for phase in PHASES if any(time.phase == phase for time in finding.plugin_times)]
    cells = {
        (time.service, time.plugin, time.phase): f"{time.seconds / time.calls * 1e6:.0f}"
        for time in finding.plugin_times
    }
    rows = [("sidecar of", "plugin", *phases)]
    for service, plugin in dict.fromkeys((time.service, time.plugin) for time in finding.plugin_times):
        rows.append((service, plugin, *(cells.get((service, plugin, phase), "") for phase in phases)))
    title = _title("4. What the plugins cost: µs a call, from loom_plugin_duration_seconds")
    return "\n".join([title, *_table(rows, right=range(2, len(rows[0])))])


def checks(results: Iterable[tuple[str, bool]]) -> str:
    lines = [f"  {'ok    ' if is_so else 'FAILED'}  {what}" for what, is_so in results]
    return "\n".join([_title("5. Checked"), *lines])


def addresses(places: Mapping[str, Place]) -> str:
    lines = [_title("Look around")]
    shop, orders = places["storefront"], places["orders"]
    rows = [("", "storefront's sidecar", "orders' sidecar")]
    for title, name, path in PAGES:
        first, second = (f"http://127.0.0.1:{getattr(place, name)}{path}" for place in (shop, orders))
        rows.append((title, first, second))
    for title, name in FILES:
        rows.append((title, str(getattr(shop, name)), str(getattr(orders, name))))
    lines += _table(rows)
    lines += [
        "",
        f"  curl -i -d '{{\"item\": \"tea\", \"quantity\": 1}}' http://127.0.0.1:{shop.inbound}/buy/tea",
        f"  .venv/bin/sidecar stats --socket {shop.socket}",
        f"  .venv/bin/sidecar validate -c {shop.config}      (SHOP_TOKEN must be set, as the demo does)",
    ]
    return "\n".join(lines)


def _title(text: str) -> str:
    return f"\n── {text} {'─' * max(0, 96 - len(text))}\n"


def _table(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Columns of equal width, two blanks apart; the first row is the heading."""
    aligned_right = set(right)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if column in aligned_right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _masked(token: str) -> str:
    """The scheme and the first characters: enough to recognise it."""
    return f"{token[:11]}…" if len(token) > 11 else "(missing)"


def _first_words(body: str) -> str:
    text = " ".join(body.split())
    return text if len(text) <= 44 else text[:43] + "…"
