# long-module: the specification of one class, to be read beside its compiled twin
"""The engine seam in Python: the specification that ``_vm_c.pyx`` follows, and the fallback without a compiler.

It calls the C library inside the wasmtime wheel by ``ctypes``, through the calls that do not check types: every
import is defined with exactly the type that the module asks for, and every export called with the type it has, so
there is nothing left to check.

Measured on 2026-11-24, CPython 3.11, wasmtime 50.0.1: call in with three arguments 3.5 µs, call out with three
arguments 1.4 µs, read and write of 64 bytes 0.5 and 0.7 µs, ``return_bytes`` 7 µs, make and close an instance 26 µs.
"""

from __future__ import annotations

import ctypes
import sys
import threading  # for the per-thread slot and the check that threads do not share an instance
from collections.abc import Callable, Mapping
from typing import Any

import wasmtime
from wasmtime import _bindings as c
from wasmtime import _ffi as ffi

from sidecar.wasm._watchdog_py import Watch, Watchdog
from sidecar.wasm.linking import (
    EXTERN_FUNC,
    MAX_DEPTH,
    NO_FINALIZER,
    address,
    functions_of,
    has_memory,
    instance_export,
    link,
    new_store,
    plain,
)
from sidecar.wasm.memory import GuestMemory, making
from sidecar.wasm.module import Import, Module, ModuleError, engine
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
INVALID_MEMORY_ACCESS = 6

_pointer = ctypes.c_void_p
_call_unchecked = ctypes.CFUNCTYPE(_pointer, _pointer, _pointer, _pointer, ctypes.c_size_t, _pointer)(
    address(ffi.dll.wasmtime_func_call_unchecked)
)
_epoch_callback_type: Any = c._wasmtime_store_epoch_deadline_callback.argtypes[1]

_watchdogs: dict[wasmtime.Engine, Watchdog] = {}
"""One: threads that race for it agree by ``setdefault``."""


class _Running(threading.local):
    """The instance whose guest code this thread is in."""

    vm: Vm | None = None


_running = _Running()


class GuestFunction:
    """An exported function. ``fn(a, b)`` and ``fn.call2(a, b)`` call it under its instance's ``timeout``."""

    __slots__ = ("name", "params", "raw", "results", "vm")

    def __init__(self, vm: Vm, name: str, params: tuple[str, ...], results: tuple[str, ...], raw: Any) -> None:
        self.vm: Vm | None = vm
        self.name = name
        self.params = params
        self.results = results
        self.raw = raw

    def __call__(self, *args: int) -> Any:
        vm = self.vm
        if vm is None:
            raise Trap(TrapKind.OTHER, "the instance is closed")
        return vm.call(self, args, vm.timeout)

    def call0(self) -> Any:
        return self()

    def call1(self, a: int) -> Any:
        return self(a)

    def call2(self, a: int, b: int) -> Any:
        return self(a, b)

    def call3(self, a: int, b: int, c: int) -> Any:
        return self(a, b, c)


class Vm:
    """One instance of a module with its own memory; used by one thread at a time.

    * ``timeout``: seconds for calls made through a :class:`GuestFunction` itself.
    * ``failed``: the guest was unwound half-way and is not called again. A ``ProcExit(0)`` alone does not set it,
      because a start function may end so; the layer above sets it when the exit came at any other time.
    """

    __slots__ = (
        "_closing",
        "_context",
        "_depth",
        "_functions",
        "_hosts",
        "_instance",
        "_items",
        "_memory",
        "_on_epoch",
        "_pending",
        "_pre",
        "_reachable",
        "_store",
        "_thread",
        "_watch",
        "_watchdog",
        "__weakref__",
        "failed",
        "module",
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
        """Make the store; nothing of the guest runs yet. Limits: bytes and table elements.

        :raises ModuleError: an import that ``imports`` lacks or that is not a function
        """
        self._store: wasmtime.Store | None = None
        self._items: list[Import] = functions_of(module)
        self._hosts: list[HostFunction] = []
        for item in self._items:
            if (item.module, item.name) not in imports:
                raise ModuleError(f"unknown import {item.module}.{item.name}")
            self._hosts.append(imports[item.module, item.name])
        self.module = module
        self._pre = link(module, "py", _trampoline)
        self._reachable = has_memory(module)
        self._memory = GuestMemory(memory_limit)
        self._store = new_store(table_limit)
        self._context = address(self._store._context())
        self._instance: Any = None
        self._functions: dict[str, GuestFunction | None] = {}
        self._pending: BaseException | None = None
        self._depth = 0
        self._thread = 0
        self._closing = False
        self._watch = Watch()
        self._on_epoch = _epoch_callback(self._watch)
        c.wasmtime_store_epoch_deadline_callback(self._store.ptr(), self._on_epoch, None, NO_FINALIZER)
        self._watchdog = _watchdogs.get(engine()) or _watchdogs.setdefault(engine(), Watchdog(engine()))
        self._watchdog.add(self._watch)
        self.timeout = 0.05
        self.failed = False

    def instantiate(self, timeout: float) -> None:
        """Make the instance and run its start section; host functions may use the memory while that runs.

        :raises Trap: the start section was stopped, or the module wants more memory than the limit from the start
        :raises BaseException: whatever a host function raised, unchanged
        """
        if self._store is None or self._instance is not None or self._depth:
            raise Trap(TrapKind.OTHER, "the instance is closed or was made before")
        instance = c.wasmtime_instance_t()
        trap = ctypes.POINTER(c.wasm_trap_t)()
        outer = self._enter(timeout)
        outer_memory, making.memory = making.memory, self._memory
        try:
            error = c.wasmtime_instance_pre_instantiate(
                self._pre.ptr(), self._store._context(), ctypes.byref(instance), ctypes.byref(trap)
            )
        finally:
            making.memory = outer_memory
            self._leave(outer)
        if error or trap:
            self._unwound(address(error), address(trap))
        if self._store is not None:  # a host function may have asked to close
            self._instance = instance

    def function(self, name: str) -> GuestFunction | None:
        """The exported function of that name; None when there is none, or when more than numbers cross its edge."""
        if name not in self._functions:
            self._functions[name] = self._resolve(name)
        return self._functions[name]

    def _resolve(self, name: str) -> GuestFunction | None:
        if self._store is None or self._instance is None:
            raise Trap(TrapKind.OTHER, "the instance is closed or not made yet")
        handle = instance_export(self._store, self._instance, name, EXTERN_FUNC)
        for export in self.module.exports if handle is not None else ():
            if export.name == name and plain(export.params, export.results):
                return GuestFunction(self, name, export.params, export.results, handle.func)
        return None

    def call(self, fn: GuestFunction, args: tuple[int, ...], timeout: float) -> Any:
        """Call the guest. An outermost call is cut after ``timeout`` seconds; a nested one lives by the outer one's.

        The result is unsigned; None when the function has none.

        :raises Trap: the guest was stopped, now or in an earlier call, or calls itself through the host too deeply
        :raises BaseException: whatever a host function raised, unchanged
        """
        if self.failed or fn.vm is not self:
            raise Trap(TrapKind.OTHER, "the instance has failed or is closed")
        if len(args) != len(fn.params):
            raise TypeError(f"{fn.name} takes {len(fn.params)} arguments, {len(args)} given")
        slots = (c.wasmtime_val_raw_t * max(len(args), 1))()
        for slot, kind, value in zip(slots, fn.params, args, strict=False):
            _store_value(slot, kind, value)
        trap = ctypes.c_void_p()
        outer = self._enter(timeout)
        try:
            error = _call_unchecked(self._context, ctypes.byref(fn.raw), slots, len(slots), ctypes.byref(trap))
        finally:
            self._leave(outer)
        if error or trap.value:
            self._unwound(error or 0, trap.value or 0)
        return _load_value(slots[0], fn.results[0]) if fn.results else None

    def _enter(self, timeout: float) -> Vm | None:
        thread = threading.get_ident()
        if not self._depth:
            self._thread = thread
            self._memory.refused = False
            self._watchdog.arm(self._watch, timeout)
        elif self._thread != thread:
            raise Trap(TrapKind.OTHER, "the instance is in use by another thread")
        elif self._depth >= MAX_DEPTH:
            raise Trap(TrapKind.STACK_OVERFLOW, "the guest calls itself through the host too deeply")
        outer = _running.vm
        _running.vm = self
        self._depth += 1
        return outer

    def _leave(self, outer: Vm | None) -> None:
        _running.vm = outer
        self._depth -= 1
        if not self._depth:
            self._watch.deadline = 0.0
            if self._closing:
                self.close()

    def _unwound(self, error: int, trap: int) -> None:
        """Raise what ended the guest: a host function's exception, or the engine's reason."""
        ended = take_error(error) if error else take_trap(trap)
        pending, self._pending = self._pending, None
        if pending is not None:
            self.failed = self.failed or not (isinstance(pending, ProcExit) and pending.code == 0)
            raise pending
        self.failed = True
        raise ended

    def _host_call(self, place: int, slots: Any) -> int:
        """A host function, called by the guest: 0, or the address of a trap that unwinds it."""
        try:
            item = self._items[place]
            args = [_load_value(slots[index], kind) for index, kind in enumerate(item.params)]
            value = self._hosts[place](*args)
            if item.results:
                _store_value(slots[0], item.results[0], 0 if value is None else value)
            return 0
        except BaseException as error:  # firewall: unwinds the guest and is raised again at call()
            self._pending = error
            return address(c.wasmtime_trap_new(HOST_MESSAGE, len(HOST_MESSAGE)))

    @property
    def memory_limit_hit(self) -> bool:
        """Whether the guest was refused memory during the last outermost call."""
        return self._memory.refused

    @property
    def memory_size(self) -> int:
        """Bytes; 0 while there is no memory."""
        return self._memory.size if self._reachable else 0

    def has_range(self, ptr: int, size: int) -> bool:
        """Whether ``size`` bytes at ``ptr`` lie inside memory. Zero bytes may also lie right behind its end."""
        return ptr >= 0 and size >= 0 and ptr + size <= self.memory_size

    def _at(self, ptr: int, size: int) -> int:
        """Address of a range of guest memory, good until the guest runs again: growing may move it."""
        if not self.has_range(ptr, size):
            raise MemoryRangeError(f"{size} bytes at {ptr} of {self.memory_size}")
        return self._memory.base + ptr

    def read(self, ptr: int, size: int) -> bytes:
        """A copy of exactly ``size`` bytes.

        :raises MemoryRangeError: not wholly inside memory
        """
        start = self._at(ptr, size)
        return ctypes.string_at(start, size) if size else b""

    def write(self, ptr: int, data: bytes) -> None:
        """Copy ``data`` in.

        :raises MemoryRangeError: not wholly inside memory; nothing was written
        """
        start = self._at(ptr, len(data))
        if data:
            ctypes.memmove(start, bytes(data), len(data))

    def read_u32(self, ptr: int) -> int:
        return int.from_bytes(self.read(ptr, 4), "little")

    def write_u32(self, ptr: int, value: int) -> None:
        self.write(ptr, (value & MASK32).to_bytes(4, "little"))

    def write_u64(self, ptr: int, value: int) -> None:
        self.write(ptr, (value & MASK64).to_bytes(8, "little"))

    def return_bytes(self, data: bytes, ptr_slot: int, size_slot: int, alloc: GuestFunction) -> int:
        """Hand ``data`` to the guest in a block from its own allocator; ABI status 0, or 6 for a bad address.

        Both slots are checked before anything happens. The allocator is never asked for nothing, on which some
        guests panic: empty data is pointer 0, size 0.

        :raises Trap: the allocator was stopped
        """
        if not (self.has_range(ptr_slot, 4) and self.has_range(size_slot, 4)):
            return INVALID_MEMORY_ACCESS
        ptr = 0
        if data:
            ptr = alloc(len(data))
            if not ptr or not self.has_range(ptr, len(data)):
                return INVALID_MEMORY_ACCESS
            self.write(ptr, data)
        self.write_u32(ptr_slot, ptr)
        self.write_u32(size_slot, len(data))
        return 0

    def close(self) -> None:
        """Free the instance and let go of the host functions; inside a guest call, as soon as that returns."""
        if self._store is None:
            return
        self.failed = True
        if self._depth:
            self._closing = True
            return
        self._watchdog.remove(self._watch)
        self._store.close()
        self._store = self._instance = None
        self._hosts = []
        for fn in self._functions.values():
            if fn is not None:
                fn.vm = None
        self._functions = {}

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not is_finalizing():  # then the library's wrapper is half gone, and the system frees everything
            self.close()


def _trampoline_body(place: int | None, caller: Any, slots: Any, count: int) -> int:
    vm = _running.vm
    assert vm is not None
    return vm._host_call(place or 0, slots)


_trampoline = c.wasmtime_func_unchecked_callback_t(_trampoline_body)


def _epoch_callback(watch: Watch) -> Any:
    """What the engine asks when the epoch moved: go on for one more (0), or the error that stops the guest."""

    def moved(context: Any, data: Any, delta: Any, kind: Any) -> int:
        if watch.expired():
            return address(c.wasmtime_error_new(DEADLINE_MESSAGE))
        delta[0] = 1
        return 0

    return _epoch_callback_type(moved)


def _store_value(slot: Any, kind: str, value: Any) -> None:
    if kind == "i32":
        slot.i64 = value & MASK32  # the engine wants the upper half zero
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
