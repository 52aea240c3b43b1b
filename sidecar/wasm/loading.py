"""What a module must be before it becomes a plugin: its ABI version, allocator, callbacks, and imports we can serve.

Every reason to refuse is told at once. A callback with a wrong type is refused and not skipped: a plugin that is
silently never called would let everything through.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sidecar.wasm.abi.function import HostFunction
from sidecar.wasm.abi.table import find
from sidecar.wasm.module import Import, Module
from sidecar.wasm.settings import PluginLoadError

MARKERS: Final = {f"proxy_abi_version_{version.replace('.', '_')}": version for version in ("0.1.0", "0.2.0", "0.2.1")}
ALLOCATORS: Final = ("proxy_on_memory_allocate", "malloc")
"""In order of preference; the specification calls the second one deprecated."""

PHASES: Final = {
    "proxy_on_request_headers": "on_request_headers",
    "proxy_on_request_body": "on_request_body",
    "proxy_on_request_trailers": "on_request_trailers",
    "proxy_on_response_headers": "on_response_headers",
    "proxy_on_response_body": "on_response_body",
    "proxy_on_response_trailers": "on_response_trailers",
    "proxy_on_log": "on_log",
}
"""Exports that are phases of an exchange, and the names that configuration and metrics know them by."""

CALLBACKS: Final[dict[str, tuple[int, int]]] = {
    "proxy_on_context_create": (2, 0),
    "proxy_on_vm_start": (2, 1),
    "proxy_on_configure": (2, 1),
    "proxy_on_tick": (1, 0),
    "proxy_on_done": (1, 1),
    "proxy_on_log": (1, 0),
    "proxy_on_delete": (1, 0),
    "proxy_on_queue_ready": (2, 0),
    "proxy_on_foreign_function": (3, 0),
    "proxy_on_request_headers": (3, 1),
    "proxy_on_request_body": (3, 1),
    "proxy_on_request_trailers": (2, 1),
    "proxy_on_response_headers": (3, 1),
    "proxy_on_response_body": (3, 1),
    "proxy_on_response_trailers": (2, 1),
    "proxy_on_http_call_response": (5, 0),
    **dict.fromkeys(ALLOCATORS, (1, 1)),
    "_initialize": (0, 0),
    "_start": (0, 0),
}
"""Exports that are called: number of i32 parameters and of i32 results."""

TWO_ARGUMENTS_IN_010: Final = frozenset({"proxy_on_request_headers", "proxy_on_response_headers"})


class Shape(NamedTuple):
    """A module that can be a plugin."""

    abi: str
    """``0.1.0``, ``0.2.0`` or ``0.2.1``."""
    allocator: str
    exports: frozenset[str]
    """Callbacks that it has."""
    phases: frozenset[str]
    """By the names of the configuration."""
    imports: tuple[tuple[Import, HostFunction], ...]


def inspect(module: Module) -> Shape:
    """Judge ``module``.

    :raises PluginLoadError: with every reason, when it cannot be a plugin
    """
    problems: list[str] = []
    functions = {item.name: item for item in module.exports if item.kind == "func"}
    abi = next((MARKERS[item.name] for item in module.exports if item.kind == "func" and item.name in MARKERS), "")
    if not abi:
        problems.append("missing or unknown ABI version: no function proxy_abi_version_0_1_0, _0_2_0 or _0_2_1")
    if not any(item.name == "memory" and item.kind == "memory" for item in module.exports):
        problems.append("exports no memory")
    allocator = next((name for name in ALLOCATORS if name in functions), "")
    if not allocator:
        problems.append("exports no allocator (proxy_on_memory_allocate or malloc)")
    exports = set()
    for name, (params, results) in CALLBACKS.items():
        item = functions.get(name)
        if item is None:
            continue
        if abi == "0.1.0" and name in TWO_ARGUMENTS_IN_010:
            params = 2
        wanted = (("i32",) * params, ("i32",) * results)
        if (item.params, item.results) != wanted:
            problems.append(f"export {name} is {_type(item.params, item.results)}, ABI {abi} wants {_type(*wanted)}")
        exports.add(name)
    imports = _serve(module, problems)
    if problems:
        raise PluginLoadError("; ".join(problems))
    phases = frozenset(phase for name, phase in PHASES.items() if name in exports)
    return Shape(abi, allocator, frozenset(exports), phases, imports)


def _serve(module: Module, problems: list[str]) -> tuple[tuple[Import, HostFunction], ...]:
    """Each import with the host function that serves it."""
    served = []
    unknown = []
    for item in module.imports:
        row = find(item.module, item.name) if item.kind == "func" else None
        if row is None:
            unknown.append(f"{item.module}.{item.name}" + ("" if item.kind == "func" else f" (a {item.kind})"))
        elif (item.params, item.results) not in row.signatures:
            problems.append(
                f"import {item.module}.{item.name} is {_type(item.params, item.results)},"
                f" the host has {' or '.join(_type(*kind) for kind in row.signatures)}"
            )
        else:
            served.append((item, row))
    if unknown:
        problems.append(f"unknown imports: {', '.join(unknown)}")
    return tuple(served)


def _type(params: tuple[str, ...], results: tuple[str, ...]) -> str:
    return f"({', '.join(params)})->{results[0] if results else '()'}"
