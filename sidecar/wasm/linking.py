"""What both twins of the engine seam do the same way: imports resolved once per module, exports looked up by name.

A host function is known to the guest by its place in :func:`functions_of`. The module is linked once, with one
callback for every import and that place as its argument; each instance brings its own list of functions. So making
an instance costs no look-up of imports.
"""

from __future__ import annotations

import ctypes
from typing import Any

import wasmtime
from wasmtime import _bindings as c

from sidecar.wasm.module import Import, Module, ModuleError, engine

NUMBERS = frozenset(("i32", "i64", "f32", "f64"))
MAX_PARAMS = 32

MAX_DEPTH = 16
"""Calls into one instance inside each other: guest, host function, allocator is two."""

EXTERN_FUNC = 0

Finalizer = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
NO_FINALIZER = Finalizer()


def address(pointer: Any) -> int:
    """Of what a ctypes pointer or function points to."""
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0


def plain(params: tuple[str, ...], results: tuple[str, ...]) -> bool:
    """Whether a function of that type can cross the seam: numbers only, at most one result."""
    return NUMBERS.issuperset(params + results) and len(results) <= 1 and len(params) <= MAX_PARAMS


def functions_of(module: Module) -> list[Import]:
    """The imported functions in order, each once.

    :raises ModuleError: something other than a function of plain numbers is imported, or one name with two types
    """
    unique: dict[tuple[str, str], Import] = {}
    for item in module.imports:
        if item.kind != "func" or not plain(item.params, item.results):
            raise ModuleError(f"import {item.module}.{item.name} is not a function of plain numbers")
        if unique.setdefault((item.module, item.name), item) != item:
            raise ModuleError(f"import {item.module}.{item.name} appears twice with different types")
    return list(unique.values())


def has_memory(module: Module) -> bool:
    """Whether its memory is exported by the name under which the host looks for it."""
    return any(item.kind == "memory" and item.name == "memory" for item in module.exports)


def new_store(table_limit: int) -> wasmtime.Store:
    """For one instance. How much memory it may have is decided in :mod:`sidecar.wasm.memory`."""
    store = wasmtime.Store(engine())
    store.set_limits(-1, table_limit, instances=1, tables=16, memories=1)
    store.set_epoch_deadline(1)
    return store


def link(module: Module, twin: str, callback: Any) -> wasmtime.InstancePre:
    """The module with its imports resolved to ``callback``; made once per module and twin."""
    linked = module.links.get(twin)
    if linked is None:
        linker = wasmtime.Linker(engine())
        # The types come from the module itself and never meet another engine.
        types = {(item.module, item.name): item.type for item in module.compiled.imports}
        for place, item in enumerate(functions_of(module)):
            module_name, name = item.module.encode(), item.name.encode()
            error = c.wasmtime_linker_define_func_unchecked(
                linker.ptr(), module_name, len(module_name), name, len(name),
                types[item.module, item.name].ptr(), callback, place, NO_FINALIZER,
            )  # fmt: skip
            if error:
                raise ModuleError(str(wasmtime.WasmtimeError._from_ptr(error)))
        linked = module.links[twin] = linker.instantiate_pre(module.compiled)
    return linked


def instance_export(store: wasmtime.Store, instance: Any, name: str, kind: int) -> Any:
    """The engine's handle of an export, or None when there is none of that name and kind."""
    raw = name.encode()
    item = c.wasmtime_extern_t()
    found = c.wasmtime_instance_export_get(store._context(), ctypes.byref(instance), raw, len(raw), ctypes.byref(item))
    return item.of if found and int(item.kind) == kind else None

