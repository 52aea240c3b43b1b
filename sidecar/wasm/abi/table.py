"""The table: every function a module may import. What is implemented is a fact about this table, and
docs/proxy-wasm.md is written from it.

Every row is offered to modules of every ABI version, also to those whose version does not name it: nothing breaks by
it, and more modules load.
"""

from __future__ import annotations

from typing import Final

from sidecar.wasm.abi import buffers, callouts, general, headers, properties, shared, stream, toolchain, wasi
from sidecar.wasm.abi.function import HostFunction

GROUPS: Final[tuple[tuple[str, tuple[HostFunction, ...]], ...]] = (
    ("Logging, time, configuration", general.FUNCTIONS),
    ("Header maps", headers.FUNCTIONS),
    ("Buffers", buffers.FUNCTIONS),
    ("Streams", stream.FUNCTIONS),
    ("Properties and foreign functions", properties.FUNCTIONS),
    ("Calls to other services", callouts.FUNCTIONS),
    ("Shared data, queues, metrics", shared.FUNCTIONS),
    ("Extras of toolchains", toolchain.FUNCTIONS),
)
"""Module ``env``."""

WASI_MODULES: Final = ("wasi_snapshot_preview1", "wasi_unstable")

_ENV: Final = {row.name: row for _, rows in GROUPS for row in rows}
_WASI: Final = {row.name: row for row in wasi.FUNCTIONS}


def find(module: str, name: str) -> HostFunction | None:
    """The row that serves an import."""
    if module == "env":
        return _ENV.get(name)
    return _WASI.get(name) if module in WASI_MODULES else None
