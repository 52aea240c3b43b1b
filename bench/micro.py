"""What calls between a plugin and its host cost, without any proxying (``make bench ONLY=wasm``).

The guest loops inside one callback (guest.wat); the price of a host call is the difference between two lengths of the
loop, so what the callback itself costs drops out. Figures are the best of several: noise only ever adds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import wasmtime

from sidecar.http.headers import HeaderMap
from sidecar.wasm.vm import COMPILED, GuestFunction, Vm, compile_module

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


class Host:
    """The least that answers the guest: a header map of eight, reached over the engine seam.

    It measures the seam and the map; argument checks and access rules of the full ABI come on top.
    """

    def __init__(self) -> None:
        self.request = HeaderMap.of(REQUEST)
        self.response = HeaderMap.of([(b":status", b"200"), (b"x-bench-seen", b"")])
        module = compile_module(bytes(wasmtime.wat2wasm(GUEST.read_text(encoding="utf-8"))))
        imports = {
            ("env", "proxy_get_header_map_value"): self.get,
            ("env", "proxy_replace_header_map_value"): self.replace,
        }
        self.vm = Vm(module, imports, memory_limit=16_000_000)
        self.vm.timeout = 10.0
        self.vm.instantiate(10.0)
        self.allocate = self.function("proxy_on_memory_allocate")

    def function(self, name: str) -> GuestFunction:
        found = self.vm.function(name)
        assert found is not None, name
        return found

    def get(self, map_id: int, key: int, key_size: int, value_slot: int, size_slot: int) -> int:
        value = self.request.get(self.vm.read(key, key_size))
        return 1 if value is None else self.vm.return_bytes(value, value_slot, size_slot, self.allocate)

    def replace(self, map_id: int, key: int, key_size: int, value: int, value_size: int) -> int:
        self.response.set(self.vm.read(key, key_size), self.vm.read(value, value_size))
        return 0


def best(call: Callable[[], Any], times: int) -> float:
    """Microseconds per call in the fastest of several batches of ``times``."""
    fastest = float("inf")
    for _ in range(REPEATS):
        begin = time.perf_counter_ns()
        for _ in range(times):
            call()
        fastest = min(fastest, (time.perf_counter_ns() - begin) / times)
    return fastest / 1e3


def per_host_call(callback: Callable[[int, int, int], Any]) -> float:
    """Microseconds of one host call made from inside ``callback``."""
    return (best(lambda: callback(1, LOOP, 1), 1) - best(lambda: callback(1, 0, 1), 1)) / LOOP


def measure_calls(module: Path) -> dict[str, Any]:
    """Costs in microseconds, and which twin of the seam gave them."""
    host = Host()
    try:
        read, write = host.function("proxy_on_request_headers"), host.function("proxy_on_response_headers")
        return {
            "seam": "compiled" if COMPILED else "python",
            "empty_callback": round(best(lambda: read.call3(1, 0, 1), 200), 3),
            "header_read": round(per_host_call(read.call3), 3),
            "header_set": round(per_host_call(write.call3), 3),
        }
    finally:
        host.vm.close()
