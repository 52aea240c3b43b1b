"""How a guest call can end badly, and the table that sorts the engine's traps into kinds.

Both twins of the engine seam import this module, so that they cannot disagree about a name.
"""

from __future__ import annotations

import ctypes
import enum
from typing import Any

import wasmtime
from wasmtime import _bindings as c
from wasmtime import _ffi as ffi


class TrapKind(enum.Enum):
    """Why the guest stopped; the values are used in log lines and as metric labels by the layers above."""

    UNREACHABLE = "unreachable"
    STACK_OVERFLOW = "stack_overflow"
    OUT_OF_BOUNDS = "out_of_bounds"
    INTERRUPT = "interrupt"
    """The deadline of the call passed."""
    MEMORY = "memory"
    """The initial memory or table is larger than the limit allows."""
    EXIT = "exit"
    HOST = "host"
    """The engine reported a failure of a host function without keeping the Python exception."""
    OTHER = "other"


class Trap(Exception):
    """The guest was stopped. ``backtrace`` has one line per guest frame, innermost first."""

    def __init__(self, kind: TrapKind, message: str, backtrace: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.backtrace = backtrace


class ProcExit(Exception):
    """Raised by a host function to unwind the guest because it asked to exit."""

    def __init__(self, code: int) -> None:
        super().__init__(f"proc_exit({code})")
        self.code = code


class MemoryRangeError(Exception):
    """A range that does not lie wholly inside the guest's memory."""


KINDS = {
    wasmtime.TrapCode.UNREACHABLE: TrapKind.UNREACHABLE,
    wasmtime.TrapCode.STACK_OVERFLOW: TrapKind.STACK_OVERFLOW,
    wasmtime.TrapCode.MEMORY_OUT_OF_BOUNDS: TrapKind.OUT_OF_BOUNDS,
    wasmtime.TrapCode.TABLE_OUT_OF_BOUNDS: TrapKind.OUT_OF_BOUNDS,
    wasmtime.TrapCode.INTERRUPT: TrapKind.INTERRUPT,
}

DEADLINE_MESSAGE = b"deadline exceeded"
HOST_MESSAGE = b"host function raised"


def take_trap(address: int) -> Trap:
    """Turn the engine's trap at ``address`` into ours and free it."""
    # wasmtime-py has no public constructor from an address; its classes do the freeing.
    raw = wasmtime.Trap._from_ptr(ctypes.cast(address, ctypes.POINTER(c.wasm_trap_t)))
    code = raw.trap_code
    message = raw.message
    kind = KINDS.get(code, TrapKind.OTHER) if code is not None else TrapKind.HOST
    return Trap(kind, reason(message), frames(raw.frames))


def take_error(address: int) -> Trap:
    """Turn the engine's error at ``address`` into a :class:`Trap` and free it."""
    pointer = ctypes.cast(address, ctypes.POINTER(c.wasmtime_error_t))
    trace: Any = wasmtime._trap.FrameList(None)
    ffi.wasmtime_error_wasm_trace(pointer, ctypes.byref(trace.vec))
    backtrace = frames([wasmtime.Frame._from_ptr(trace.vec.data[index], trace) for index in range(trace.vec.size)])
    message = str(wasmtime.WasmtimeError._from_ptr(pointer))
    kind = TrapKind.OTHER
    if reason(message) == DEADLINE_MESSAGE.decode():
        kind = TrapKind.INTERRUPT
    elif "exceeds memory limits" in message or "exceeds table limits" in message:
        kind = TrapKind.MEMORY
    return Trap(kind, reason(message), backtrace)


def reason(message: str) -> str:
    """The engine puts a backtrace before the cause; only the cause is wanted, the frames are kept apart."""
    _, _, cause = message.rpartition("Caused by:")
    return cause.strip().removeprefix("0: ").removeprefix("wasm trap: ").strip() or message.strip()


def frames(raw: list[wasmtime.Frame]) -> tuple[str, ...]:
    return tuple(f"{frame.func_name or frame.func_index} at 0x{frame.module_offset:x}" for frame in raw)
