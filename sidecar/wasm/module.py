"""Guest code: checked, compiled once, described, and shared by every instance made of it.

There is one engine in a process. That is not only thrift: a function type that has met one engine and is then used
with another takes the whole process down (``tests/deps/test_wasmtime.py``), so no second engine is ever made. The
engine catches the faults of guests by signals: nothing may install a handler of SIGSEGV (``faulthandler``) after it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import threading  # noqa: TID251 - for one lock
import weakref
from typing import Any

import wasmtime

from sidecar.wasm import memory
from sidecar.wasm.binary import Export, Import, ModuleError, read_interface

__all__ = ["Export", "Import", "MAX_MODULE_SIZE", "Module", "ModuleError", "compile_module", "engine"]

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


class Module:
    """Compiled guest code. Immutable and shared; ``exports`` and ``imports`` are in section order."""

    __slots__ = ("__weakref__", "compiled", "digest", "exports", "imports", "links", "size")

    def __init__(
        self,
        compiled: wasmtime.Module,
        digest: str,
        size: int,
        imports: tuple[Import, ...],
        exports: tuple[Export, ...],
    ) -> None:
        self.compiled = compiled
        self.digest = digest
        self.size = size
        self.imports = imports
        self.exports = exports
        self.links: dict[str, Any] = {}
        """Per twin of the seam: the module with its imports already resolved, see :mod:`sidecar.wasm.linking`."""


_modules: weakref.WeakValueDictionary[str, Module] = weakref.WeakValueDictionary()


_making = threading.Lock()


def engine() -> wasmtime.Engine:
    """The engine of this process.

    :raises RuntimeError: in the child of a fork of the process that made it: neither the engine's compiling threads
        nor the watchdog have come along, so that compiling would wait for ever and a loop would never be cut
    """
    # Plugins are compiled on threads, and a race would make two engines.
    with _making:
        made, pid = _engine()
    if pid != os.getpid():
        raise RuntimeError("the Wasm engine does not survive a fork: start a fresh process")
    return made


@functools.cache
def _engine() -> tuple[wasmtime.Engine, int]:
    config = wasmtime.Config()
    for proposal in REFUSED_PROPOSALS:
        setattr(config, proposal, False)
    config.epoch_interruption = True
    config.max_wasm_stack = MAX_WASM_STACK
    memory.use_for(config)
    return wasmtime.Engine(config), os.getpid()


def compile_module(code: bytes) -> Module:
    """Compile ``code`` (the binary format only), or hand out the live module of the same bytes.

    :raises ModuleError: not WebAssembly, too large, invalid, or using a proposal that is switched off
    """
    if len(code) > MAX_MODULE_SIZE:
        raise ModuleError(f"module of {len(code)} bytes is over the limit of {MAX_MODULE_SIZE}")
    digest = hashlib.sha256(code).hexdigest()
    module = _modules.get(digest)
    if module is None:
        imports, exports = read_interface(code)
        try:
            compiled = wasmtime.Module(engine(), code)
        except wasmtime.WasmtimeError as error:
            raise ModuleError(" ".join(str(error).split())) from None
        module = _modules[digest] = Module(compiled, digest, len(code), imports, exports)
    return module
