"""The engine seam: one guest instance, calls in, calls out, its memory. Chooses between the two twins.

``_vm_c`` (Cython) is used when it was built; ``SIDECAR_PURE=1`` in the environment forces ``_vm_py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.wasm.module import Export, Import, Module, ModuleError, compile_module
from sidecar.wasm.trap import MemoryRangeError, ProcExit, Trap, TrapKind

HostFunction = Callable[..., int | float | None]
"""Called with the guest's arguments as unsigned ints (floats stay floats); the result is masked, None means 0.
Whatever it raises unwinds the guest and comes out of ``Vm.call`` unchanged."""

if TYPE_CHECKING:
    from sidecar.wasm._vm_py import GuestFunction, Vm

    COMPILED: bool
else:
    COMPILED = False
    if os.environ.get("SIDECAR_PURE") != "1":  # chosen at import, before any configuration
        try:
            from sidecar.wasm._vm_c import GuestFunction, Vm

            COMPILED = True
        except ImportError:
            pass
    if not COMPILED:
        from sidecar.wasm._vm_py import GuestFunction, Vm

__all__ = [
    "COMPILED",
    "Export",
    "GuestFunction",
    "HostFunction",
    "Import",
    "MemoryRangeError",
    "Module",
    "ModuleError",
    "ProcExit",
    "Trap",
    "TrapKind",
    "Vm",
    "compile_module",
]
