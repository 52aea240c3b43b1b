"""What calls between a plugin and its host cost, without any proxying (``make bench ONLY=wasm``).

The guest loops inside one callback (guest.wat); the price of a host call is the difference between two lengths of the
loop, so what the callback itself costs drops out. Figures are the best of several: noise only ever adds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sidecar.http.headers import HeaderMap
from sidecar.wasm.vm import COMPILED
from tests.support.plugins import House

GUEST = Path(__file__).parent / "guest.wat"
LOOP = 400
REPEATS = 15
REQUEST = [
    (b":method", b"GET"),
    (b":path", b"/bench"),
    (b":authority", b"127.0.0.1"),
    (b"accept", b"*/*"),
    (b"accept-language", b"en-GB,en;q=0.8"),
    (b"cookie", b"session=0123456789abcdef0123456789abcdef"),
    (b"user-agent", b"bench/1.0"),
    (b"cache-control", b"no-cache"),
]
RESPONSE = [(b":status", b"200"), (b"x-bench-seen", b"")]


def best(call: Callable[[], Any], times: int) -> float:
    """Microseconds per call in the fastest of several batches of ``times``."""
    fastest = float("inf")
    for _ in range(REPEATS):
        begin = time.perf_counter_ns()
        for _ in range(times):
            call()
        fastest = min(fastest, (time.perf_counter_ns() - begin) / times)
    return fastest / 1e3


def per_host_call(callback: Callable[[int, bool], int]) -> float:
    """Microseconds of one host call made from inside ``callback``."""
    return (best(lambda: callback(LOOP, True), 1) - best(lambda: callback(0, True), 1)) / LOOP


def measure_calls(module: Path) -> dict[str, Any]:
    """Costs in microseconds through the whole host, and which twin of the seam gave them."""
    house = House()
    plugin = house.plugin(GUEST.read_text(encoding="utf-8"))
    facts: Any = SimpleNamespace(
        request_headers=HeaderMap.of(REQUEST), request_trailers=None,
        response_headers=HeaderMap.of(RESPONSE), response_trailers=None,
        record=None, is_over=False, timers=house.timers,
    )  # fmt: skip
    bridge: Any = SimpleNamespace(is_headers_writable=lambda direction: True, trace_id=lambda: "")
    stream = plugin.open_stream(bridge, facts)
    assert stream is not None
    try:
        return {
            "seam": "compiled" if COMPILED else "python",
            "empty_callback": round(best(lambda: stream.on_request_headers(0, True), 200), 3),
            "header_read": round(per_host_call(stream.on_request_headers), 3),
            "header_set": round(per_host_call(stream.on_response_headers), 3),
        }
    finally:
        plugin.close()
        assert not house.lines, house.lines  # a guest that failed costs nothing
