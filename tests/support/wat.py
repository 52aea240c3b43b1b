"""Guests written down as text, and the two twins of the engine seam that run them."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

import wasmtime

from sidecar.wasm.module import Module, compile_module


@functools.cache
def assemble(text: str) -> bytes:
    """The binary format of a module in the text format."""
    return bytes(wasmtime.wat2wasm(text))


def guest(text: str) -> Module:
    return compile_module(assemble(text))


def twins() -> dict[str, ModuleType]:
    """The twins that can be had here, by name: always ``py``, and ``c`` where it was built."""
    found = {"py": importlib.import_module("sidecar.wasm._vm_py")}
    try:
        found["c"] = importlib.import_module("sidecar.wasm._vm_c")
    except ImportError:
        pass  # scripts/check_compiled.py --require is what notices that
    return found
