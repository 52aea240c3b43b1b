"""The memory of guests: mapped by us, so that we know when one was refused more than its limit.

The engine's own limiter says "no" to ``memory.grow`` without telling anybody, and a guest that gets no memory ends
like one with any other fault. Which of both it was decides what happens to its traffic (``on_failure``), therefore the
engine asks this module for each memory and each growth. That is rare: a few times in the life of an instance.

What the engine relies on, and why nothing here may be given up: it leaves out the bounds checks of compiled code. So
the whole range that it names (4 GiB, and a guard behind) stays reserved without access, and what was granted becomes
readable and writable in place. Memory of an instance therefore never moves; the layers above do not count on that.
"""

from __future__ import annotations

import ctypes
import mmap
import threading  # noqa: TID251 - for the per-thread slot only
from typing import Any

import wasmtime
from wasmtime import _bindings as c

PAGE = 64 * 1024
PROT_NONE = 0
REFUSED = b"memory exceeds memory limits"
UNMAPPABLE = b"memory cannot be mapped"
BROKEN = b"memory callback failed"

_libc = ctypes.CDLL(None, use_errno=True)
_map = _libc.mmap
_map.restype = ctypes.c_void_p
_map.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_protect = _libc.mprotect
_protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_unmap = _libc.munmap
_unmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
MAP_FAILED = ctypes.c_void_p(-1).value


class GuestMemory(ctypes.Structure):
    """One memory; a structure because the compiled twin reads it in place. All sizes in bytes.

    ``base`` is 0 while there is no memory (before the instance, after it, or in a module without one). ``refused``
    is set once a growth, or the first size, was over ``limit``.
    """

    _fields_ = [
        ("base", ctypes.c_size_t),
        ("size", ctypes.c_size_t),
        ("limit", ctypes.c_size_t),
        ("reserved", ctypes.c_size_t),
        ("refused", ctypes.c_bool),
    ]
    base: int
    size: int
    limit: int
    reserved: int
    refused: bool

    def __init__(self, limit: int) -> None:
        super().__init__(limit=limit)

    def map(self, size: int, reserve: int) -> bytes:
        """Reserve ``reserve`` bytes and grant the first ``size``; the reason when that cannot be, else nothing."""
        if size > self.limit:
            self.refused = True
            return REFUSED
        # Growing must never need another place.
        reserve = max(reserve, -(-self.limit // PAGE) * PAGE)
        base = _map(None, reserve, PROT_NONE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        if base is None or base == MAP_FAILED:
            return UNMAPPABLE
        self.base, self.reserved = base, reserve
        why = self.grow(size)
        if why:
            self.unmap()
        return why

    def grow(self, size: int) -> bytes:
        """Grant ``size`` bytes in all; the reason when that cannot be, else nothing."""
        if size > self.limit:
            self.refused = True
            return REFUSED
        if size > self.size:
            if _protect(self.base, size, mmap.PROT_READ | mmap.PROT_WRITE):
                return UNMAPPABLE
            self.size = size
        return b""

    def unmap(self) -> None:
        if self.base:
            _unmap(self.base, self.reserved)
            self.base = self.size = self.reserved = 0


class _Making(threading.local):
    """The memory that the instance being made on this thread is to get."""

    memory: GuestMemory | None = None


making = _Making()
_in_use: dict[int, GuestMemory] = {}
"""By address, which is what the engine knows a memory by; kept until the engine lets go of it."""


def use_for(config: wasmtime.Config) -> None:
    """Let an engine of that configuration take all memories from here."""
    config.memory_init_cow = False  # its image wants a memory of the engine's own, and takes the process down without
    c.wasmtime_config_host_memory_creator_set(config.ptr(), ctypes.byref(_creator))


def _error(why: bytes) -> int:
    """Address of a new error, owned by the engine; 0 for no reason."""
    return ctypes.cast(c.wasmtime_error_new(why), ctypes.c_void_p).value or 0 if why else 0


def _new(env: Any, kind: Any, minimum: int, maximum: int, reserve: int, guard: int, result: Any) -> int:
    try:
        memory = making.memory
        if memory is None or memory.base:
            return _error(BROKEN)
        why = memory.map(minimum, reserve + guard)
        if not why:
            key = ctypes.addressof(memory)
            _in_use[key] = memory
            result[0].env = key
            result[0].get_memory = _get_callback
            result[0].grow_memory = _grow_callback
            result[0].finalizer = _finalizer
        return _error(why)
    except BaseException:  # firewall: into the engine nothing can be raised, and no answer would mean success
        return _error(BROKEN)


def _get(env: int, size: Any, capacity: Any) -> int:
    memory = _in_use[env]
    size[0] = memory.size
    capacity[0] = memory.reserved
    return memory.base


def _grow(env: int, size: int) -> int:
    try:
        return _error(_in_use[env].grow(size))
    except BaseException:  # firewall: as above
        return _error(BROKEN)


def _free(env: int) -> None:
    _in_use.pop(env).unmap()


_get_callback = c.wasmtime_memory_get_callback_t(_get)
_grow_callback = c.wasmtime_memory_grow_callback_t(_grow)
_finalizer = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_free)
_new_callback = c.wasmtime_new_memory_callback_t(_new)
_creator = c.wasmtime_memory_creator_t(None, _new_callback, ctypes.CFUNCTYPE(None, ctypes.c_void_p)())
