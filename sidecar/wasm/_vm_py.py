"""The engine seam in Python: the specification that ``_vm_c.pyx`` follows, and the fallback without a compiler.

It calls the C library inside the wasmtime wheel by ``ctypes``, through the calls that do not check types: every
function is defined with exactly the type that the module imports it by, and called with the type it was exported
with, so there is nothing left to check.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping
from typing import Any

import wasmtime
from wasmtime import _bindings as c

from sidecar.wasm._watchdog_py import Watch, Watchdog
from sidecar.wasm.module import Module, ModuleError, engine
from sidecar.wasm.trap import (
    DEADLINE_MESSAGE,
    HOST_MESSAGE,
    MemoryRangeError,
    ProcExit,
    Trap,
    TrapKind,
    take_error,
    take_trap,
)

HostFunction = Callable[..., Any]

MASK32 = 0xFFFFFFFF
MASK64 = 0xFFFFFFFFFFFFFFFF
NUMBERS = frozenset(("i32", "i64", "f32", "f64"))
_NO_FINALIZER = ctypes.cast(None, ctypes.CFUNCTYPE(None, ctypes.c_void_p))

_call_unchecked = ctypes.CFUNCTYPE(
    ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p
)(ctypes.cast(c.dll.wasmtime_func_call_unchecked, ctypes.c_void_p).value or 0)
# These three are too short to be worth giving up the GIL for.
_set_deadline = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64)(
    ctypes.cast(c.dll.wasmtime_context_set_epoch_deadline, ctypes.c_void_p).value or 0
)
_memory_data = ctypes.PYFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p)(
    ctypes.cast(c.dll.wasmtime_memory_data, ctypes.c_void_p).value or 0
)
_memory_size = ctypes.PYFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p)(
    ctypes.cast(c.dll.wasmtime_memory_data_size, ctypes.c_void_p).value or 0
)

_watchdog = Watchdog(engine())


class _Running(threading.local):
    """The instance whose guest code this thread is in."""

    vm: Vm | None = None


_running = _Running()


class GuestFunction:
    """An exported function. ``fn(a, b)`` calls it under its instance's ``timeout``."""

    __slots__ = ("call0", "call1", "call2", "call3", "name", "params", "raw", "results", "vm")

    def __init__(
        self, vm: Vm, name: str, params: tuple[str, ...], results: tuple[str, ...], raw: c.wasmtime_func
    ) -> None:
        self.vm: Vm | None = vm
        self.name = name
        self.params = params
        self.results = results
        self.raw = raw
        self.call0 = self.call1 = self.call2 = self.call3 = self.__call__

    def __call__(self, *args: int) -> Any:
        vm = self.vm
        if vm is None:
            raise Trap(TrapKind.OTHER, "the instance is closed")
        return vm.call(self, args, vm.timeout)


class Vm:
    """One instance of a module, with its own memory. Used by one thread at a time.

    ``timeout``: seconds for calls that name none. ``failed``: the guest was unwound half-way and must not be called
    again. ``memory_limit_hit``: the guest was refused memory at least once.
    """

    __slots__ = (
        "__weakref__",
        "_closing",
        "_context",
        "_depth",
        "_functions",
        "_hosts",
        "_instance",
        "_memory",
        "_memory_limit",
        "_module",
        "_on_epoch",
        "_pending",
        "_store",
        "_watch",
        "failed",
        "memory_limit_hit",
        "timeout",
    )

    def __init__(
        self,
        module: Module,
        imports: Mapping[tuple[str, str], HostFunction],
        *,
        memory_limit: int,
        table_limit: int = 10000,
    ) -> None:
        self._module = module
        link(module)
        try:
            self._hosts: list[HostFunction] = [imports[item.module, item.name] for item in _functions_of(module)]
        except KeyError as error:
            raise ModuleError("unknown import {}.{}".format(*error.args[0])) from None
        self._memory_limit = memory_limit
        self._store: wasmtime.Store | None = wasmtime.Store(engine())
        self._store.set_limits(
            memory_size=memory_limit, table_elements=table_limit, instances=1, tables=16, memories=1
        )
        self._context: int = ctypes.cast(self._store._context(), ctypes.c_void_p).value or 0
        self._instance: c.wasmtime_instance | None = None
        self._memory: c.wasmtime_memory | None = None
        self._functions: dict[str, GuestFunction | None] = {}
        self._pending: BaseException | None = None
        self._depth = 0
        self._closing = False
        self._watch = Watch()
        self._on_epoch = _epoch_callback(self._watch)
        c.wasmtime_store_epoch_deadline_callback(self._store.ptr(), self._on_epoch, None, _NO_FINALIZER)
        _watchdog.add(self._watch)
        self.timeout = 0.05
        self.failed = False
        self.memory_limit_hit = False

    def instantiate(self, timeout: float) -> None:
        """Make the instance and run its start section. Memory is usable from host functions while that runs.

        :raises Trap: the start section was stopped, or the module wants more memory than its limit
        """
        if self._store is None or self._instance is not None:
            raise Trap(TrapKind.OTHER, "instantiated twice or closed")
        instance = c.wasmtime_instance_t()
        trap = ctypes.POINTER(c.wasm_trap_t)()
        outer = self._enter(timeout)
        try:
            error = c.wasmtime_instance_pre_instantiate(
                link(self._module).ptr(), self._store._context(), ctypes.byref(instance), ctypes.byref(trap)
            )
        finally:
            self._leave(outer)
        if error or trap:
            self._raise(_address(error), _address(trap))
        self._instance = instance
        item = self._export("memory")
        if item is not None and item.kind == 3:
            self._memory = c.wasmtime_memory.from_buffer_copy(item.of.memory)

    def function(self, name: str) -> GuestFunction | None:
        """The exported function of that name; None when there is none or it takes or gives more than plain numbers."""
        if name not in self._functions:
            self._functions[name] = self._resolve(name)
        return self._functions[name]

    def call(self, fn: GuestFunction, args: tuple[int, ...], timeout: float) -> Any:
        """Call the guest; an outermost call is cut after ``timeout`` seconds, a nested one lives by the outer one's.

        The result is masked to unsigned; None when the function has none.

        :raises Trap: the guest was stopped, now or in an earlier call
        :raises BaseException: whatever a host function raised, unchanged
        """
        if self.failed or fn.vm is not self:
            raise Trap(TrapKind.OTHER, "the instance has failed or is closed")
        if len(args) != len(fn.params):
            raise TypeError(f"{fn.name} takes {len(fn.params)} arguments, {len(args)} given")
        slots = (c.wasmtime_val_raw_t * max(len(args), len(fn.results), 1))()
        for index, (kind, value) in enumerate(zip(fn.params, args, strict=True)):
            _store_value(slots[index], kind, value)
        trap = ctypes.c_void_p()
        outer = self._enter(timeout)
        try:
            error = _call_unchecked(self._context, ctypes.byref(fn.raw), slots, len(slots), ctypes.byref(trap))
        finally:
            self._leave(outer)
        if error or trap.value:
            self._raise(error or 0, trap.value or 0)
        return _load_value(slots[0], fn.results[0]) if fn.results else None

    def _enter(self, timeout: float) -> Vm | None:
        outer = _running.vm
        _running.vm = self
        if not self._depth:
            _watchdog.arm(self._watch, timeout)
            _set_deadline(self._context, 1)
        self._depth += 1
        return outer

    def _leave(self, outer: Vm | None) -> None:
        _running.vm = outer
        self._depth -= 1
        if not self._depth:
            self._watch.deadline = 0.0
            if self._closing:
                self.close()

    def _raise(self, error: int, trap: int) -> None:
        ended = take_error(error) if error else take_trap(trap)
        pending, self._pending = self._pending, None
        if pending is not None:
            self.failed = self.failed or not (isinstance(pending, ProcExit) and pending.code == 0)
            raise pending
        self.failed = True
        if ended.message == DEADLINE_MESSAGE.decode():
            ended.kind = TrapKind.INTERRUPT
        if ended.kind is TrapKind.MEMORY:
            self.memory_limit_hit = True
        raise ended

    def _host_call(self, index: int, caller: Any, slots: Any) -> int:
        """A host function, called by the guest: 0, or the address of a trap that unwinds it."""
        try:
            if self._memory is None:
                self._find_memory(caller)
            item = link_of(self._module)[index]
            args = [_load_value(slots[at], kind) for at, kind in enumerate(item.params)]
            value = self._hosts[index](*args)
            if item.results:
                _store_value(slots[0], item.results[0], 0 if value is None else value)
            return 0
        except BaseException as error:  # carried past the guest and raised again at call()
            self._pending = error
            return _address(c.wasmtime_trap_new(HOST_MESSAGE, len(HOST_MESSAGE)))

    def _find_memory(self, caller: Any) -> None:
        item = c.wasmtime_extern_t()
        if c.wasmtime_caller_export_get(caller, b"memory", 6, ctypes.byref(item)) and item.kind == 3:
            self._memory = c.wasmtime_memory.from_buffer_copy(item.of.memory)

    def _export(self, name: str) -> Any:
        if self._store is None or self._instance is None:
            return None
        item = c.wasmtime_extern_t()
        raw = name.encode()
        found = c.wasmtime_instance_export_get(
            self._store._context(), ctypes.byref(self._instance), raw, len(raw), ctypes.byref(item)
        )
        return item if found else None

    def _resolve(self, name: str) -> GuestFunction | None:
        for export in self._module.exports:
            if export.name == name and export.kind == "func":
                item = self._export(name)
                if item is None or not plain(export.params, export.results):
                    return None
                raw = c.wasmtime_func.from_buffer_copy(item.of.func)
                return GuestFunction(self, name, export.params, export.results, raw)
        return None

    # --- memory -------------------------------------------------------------------------------------------------

    @property
    def memory_size(self) -> int:
        """Bytes; 0 while there is no memory."""
        memory = self._memory
        return 0 if memory is None else _memory_size(self._context, ctypes.byref(memory))

    def has_range(self, ptr: int, size: int) -> bool:
        return 0 <= ptr and 0 <= size and ptr + size <= self.memory_size

    def _at(self, ptr: int, size: int) -> int:
        """Address of a range of guest memory, good until the guest runs again: growing moves it."""
        memory = self._memory
        if memory is None or not self.has_range(ptr, size):
            raise MemoryRangeError(f"{size} bytes at {ptr} of {self.memory_size}")
        return _memory_data(self._context, ctypes.byref(memory)) + ptr

    def read(self, ptr: int, size: int) -> bytes:
        """A copy of exactly ``size`` bytes.

        :raises MemoryRangeError: not wholly inside memory
        """
        return ctypes.string_at(self._at(ptr, size), size)

    def write(self, ptr: int, data: bytes) -> None:
        """:raises MemoryRangeError: not wholly inside memory; nothing was written"""
        ctypes.memmove(self._at(ptr, len(data)), data, len(data))

    def read_u32(self, ptr: int) -> int:
        return int.from_bytes(self.read(ptr, 4), "little")

    def write_u32(self, ptr: int, value: int) -> None:
        self.write(ptr, (value & MASK32).to_bytes(4, "little"))

    def write_u64(self, ptr: int, value: int) -> None:
        self.write(ptr, (value & MASK64).to_bytes(8, "little"))

    def return_bytes(self, data: bytes, ptr_slot: int, size_slot: int, alloc: GuestFunction) -> int:
        """Hand ``data`` to the guest in a block from its own allocator; 0, or 6 (InvalidMemoryAccess).

        The allocator is never asked for nothing: some guests panic on that. Empty data is pointer 0, size 0.
        """
        if not (self.has_range(ptr_slot, 4) and self.has_range(size_slot, 4)):
            return 6
        ptr = 0
        if data:
            ptr = alloc(len(data))
            if not ptr or not self.has_range(ptr, len(data)):
                return 6
            self.write(ptr, data)
        self.write_u32(ptr_slot, ptr)
        self.write_u32(size_slot, len(data))
        return 0

    def close(self) -> None:
        """Free the instance and let go of the host functions; inside a guest call, when that call has returned."""
        if self._store is None:
            return
        self.failed = True
        if self._depth:
            self._closing = True
            return
        _watchdog.remove(self._watch)
        self._store.close()
        self._store = None
        self._instance = self._memory = None
        self._hosts = []
        for fn in self._functions.values():
            if fn is not None:
                fn.vm = None
                del fn.call0, fn.call1, fn.call2, fn.call3
        self._functions = {}

    def __del__(self) -> None:
        if getattr(self, "_store", None) is not None:
            self.close()


def plain(params: tuple[str, ...], results: tuple[str, ...]) -> bool:
    """Whether a function of that type can cross the seam."""
    return NUMBERS.issuperset(params) and NUMBERS.issuperset(results) and len(results) <= 1


def _functions_of(module: Module) -> list[Any]:
    """The imported functions, each once, in order: a host function is known to the guest by its place here."""
    unique: dict[tuple[str, str], Any] = {}
    for item in module.imports:
        key = (item.module, item.name)
        if item.kind != "func" or not plain(item.params, item.results):
            raise ModuleError(f"import {item.module}.{item.name} is not a function of plain numbers")
        if unique.setdefault(key, item) != item:
            raise ModuleError(f"import {item.module}.{item.name} appears twice with different types")
    return list(unique.values())


def link_of(module: Module) -> list[Any]:
    functions: list[Any] = module.links["functions"]
    return functions


def link(module: Module) -> wasmtime.InstancePre:
    """The module with its imports resolved, made once for all its instances."""
    if "py" not in module.links:
        functions = module.links["functions"] = _functions_of(module)
        linker = wasmtime.Linker(engine())
        types = {(item.module, item.name): item.type for item in module.compiled.imports}
        for index, item in enumerate(functions):
            names = (item.module.encode(), item.name.encode())
            error = c.wasmtime_linker_define_func_unchecked(
                linker.ptr(), names[0], len(names[0]), names[1], len(names[1]),
                types[item.module, item.name].ptr(), _trampoline, index, _NO_FINALIZER,
            )  # fmt: skip
            if error:
                raise ModuleError(str(wasmtime.WasmtimeError._from_ptr(error)))
        module.links["py"] = linker.instantiate_pre(module.compiled)
    pre: wasmtime.InstancePre = module.links["py"]
    return pre


@c.wasmtime_func_unchecked_callback_t
def _trampoline(index: int | None, caller: Any, slots: Any, count: int) -> int:
    vm = _running.vm
    return vm._host_call(index or 0, caller, slots) if vm is not None else 0



def _epoch_callback(watch: Watch) -> Any:
    """What the engine asks when the epoch moved: go on for one more (0), or the error that stops the guest."""

    def moved(context: Any, data: Any, delta: Any, kind: Any) -> int:
        if watch.expired():
            return _address(c.wasmtime_error_new(DEADLINE_MESSAGE))
        delta[0] = 1
        return 0

    return _epoch_type(moved)


_epoch_type = c._wasmtime_store_epoch_deadline_callback.argtypes[1]


def _address(pointer: Any) -> int:
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0


def _store_value(slot: Any, kind: str, value: Any) -> None:
    if kind == "i32":
        slot.i64 = value & MASK32  # the engine expects the upper half to be zero
    elif kind == "i64":
        slot.i64 = value & MASK64
    elif kind == "f32":
        slot.f32 = value
    else:
        slot.f64 = value


def _load_value(slot: Any, kind: str) -> Any:
    if kind == "i32":
        return slot.i32 & MASK32
    if kind == "i64":
        return slot.i64 & MASK64
    return slot.f32 if kind == "f32" else slot.f64
