"""Guest code: checked, compiled once, described, and shared by every instance made of it.

There is one engine in a process. That is not only thrift: a function type that has met one engine and is then used
with another takes the whole process down (``tests/deps/test_wasmtime.py``), so no second engine is ever made.
"""

from __future__ import annotations

import functools
import hashlib
import weakref
from typing import Any, NamedTuple

import wasmtime
from wasmtime import _ffi as ffi

from sidecar.wasm import memory

MAGIC = b"\0asm"
MAX_MODULE_SIZE = 32 * 1024 * 1024
MAX_WASM_STACK = 512 * 1024

# What no Proxy-Wasm toolchain emits. Each is more engine code that hostile guest code could reach, and a 64-bit
# memory would also break the 32-bit pointers of the ABI.
REFUSED_PROPOSALS = (
    "wasm_memory64",
    "wasm_threads",
    "shared_memory",
    "wasm_multi_memory",
    "wasm_gc",
    "wasm_exceptions",
    "wasm_function_references",
    "wasm_tail_call",
    "wasm_relaxed_simd",
    "wasm_wide_arithmetic",
    "wasm_custom_page_sizes",
    "wasm_stack_switching",
    "wasm_component_model",
)

VALUE_TYPES = {0: "i32", 1: "i64", 2: "f32", 3: "f64", 4: "v128", 128: "externref", 129: "funcref"}


class ModuleError(Exception):
    """The bytes are not a module that this host can run; the text says why."""


class Export(NamedTuple):
    """One entry of the export section. ``kind``: func, memory, global or table; types only for a func."""

    name: str
    kind: str
    params: tuple[str, ...] = ()
    results: tuple[str, ...] = ()


class Import(NamedTuple):
    """One entry of the import section, as :class:`Export`."""

    module: str
    name: str
    kind: str
    params: tuple[str, ...] = ()
    results: tuple[str, ...] = ()


class Module:
    """Compiled guest code. Immutable and shared; ``exports`` and ``imports`` are in section order."""

    __slots__ = ("__weakref__", "compiled", "digest", "exports", "imports", "links", "size")

    def __init__(self, compiled: wasmtime.Module, digest: str, size: int) -> None:
        self.compiled = compiled
        self.digest = digest
        self.size = size
        self.exports = tuple(Export(item.name, *_describe(item.type)) for item in compiled.exports)
        self.imports = tuple(Import(item.module, item.name or "", *_describe(item.type)) for item in compiled.imports)
        self.links: dict[str, Any] = {}
        """Per twin of the seam: the module with its imports already resolved, see :mod:`sidecar.wasm.linking`."""


_modules: weakref.WeakValueDictionary[str, Module] = weakref.WeakValueDictionary()


@functools.cache
def engine() -> wasmtime.Engine:
    """The engine of this process."""
    config = wasmtime.Config()
    for proposal in REFUSED_PROPOSALS:
        setattr(config, proposal, False)
    config.epoch_interruption = True
    config.max_wasm_stack = MAX_WASM_STACK
    memory.use_for(config)
    return wasmtime.Engine(config)


def compile_module(code: bytes) -> Module:
    """Compile ``code`` (the binary format only), or hand out the live module of the same bytes.

    :raises ModuleError: not WebAssembly, too large, invalid, or using a proposal that is switched off
    """
    if code[:4] != MAGIC:  # the engine would also take the text format
        raise ModuleError("not a WebAssembly binary (no \\0asm at the start)")
    if len(code) > MAX_MODULE_SIZE:
        raise ModuleError(f"module of {len(code)} bytes is over the limit of {MAX_MODULE_SIZE}")
    digest = hashlib.sha256(code).hexdigest()
    module = _modules.get(digest)
    if module is None:
        try:
            compiled = wasmtime.Module(engine(), code)
        except wasmtime.WasmtimeError as error:
            raise ModuleError(" ".join(str(error).split())) from None
        module = _modules[digest] = Module(compiled, digest, len(code))
    return module


def _describe(item: Any) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    if isinstance(item, wasmtime.FuncType):
        return "func", _names(item.params), _names(item.results)
    kinds = {wasmtime.MemoryType: "memory", wasmtime.GlobalType: "global", wasmtime.TableType: "table"}
    return kinds.get(type(item), "tag"), (), ()


def _names(types: list[wasmtime.ValType]) -> tuple[str, ...]:
    # not str(): wasmtime-py fails to name the types it does not know
    return tuple(VALUE_TYPES.get(int(ffi.wasm_valtype_kind(item.ptr())), "other") for item in types)
