"""The memory that the engine is given: its limit, its range, and that it is given back."""

from __future__ import annotations

import ctypes
import gc

import pytest
import wasmtime

from sidecar.wasm import memory
from sidecar.wasm.linking import new_store
from sidecar.wasm.memory import PAGE, GuestMemory, making
from tests.support.wat import guest

TEXT = """(module (memory (export "memory") 1 40)
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "load") (param i32 i32) (result i32) (i32.load offset=4294967295 (local.get 0))))"""


class Held:
    """An instance made through the package, with a memory of ours."""

    def __init__(self, limit: int, text: str = TEXT) -> None:
        self.memory = GuestMemory(limit)
        self.store = new_store(100)
        making.memory = self.memory
        try:
            self.instance = wasmtime.Instance(self.store, guest(text).compiled, [])
        finally:
            making.memory = None

    def call(self, name: str, *args: int) -> int:
        function = self.instance.exports(self.store)[name]
        assert isinstance(function, wasmtime.Func)
        answer = function(self.store, *args)
        assert isinstance(answer, int)
        return answer


def test_it_grows_in_place_up_to_its_limit() -> None:
    held = Held(3 * PAGE)
    base = held.memory.base
    assert (held.call("grow", 1), held.memory.size, held.memory.refused) == (1, 2 * PAGE, False)
    assert (held.call("grow", 2), held.memory.size, held.memory.refused) == (-1, 2 * PAGE, True)
    assert (held.call("grow", 1), held.memory.size) == (2, 3 * PAGE)
    assert held.memory.base == base
    assert ctypes.string_at(base + 3 * PAGE - 1, 1) == b"\0"


def test_the_modules_own_maximum_is_no_limit_of_ours() -> None:
    held = Held(100 * PAGE)
    assert held.call("grow", 40) == -1
    assert not held.memory.refused


def test_all_that_a_guest_can_address_is_reserved_and_nothing_beyond_its_size_can_be_read() -> None:
    held = Held(3 * PAGE)
    assert held.memory.reserved > 1 << 32
    with pytest.raises(wasmtime.Trap, match="out of bounds"):
        held.call("load", -1, 0)
    assert rights(held.memory.base + held.memory.size) == "---p"
    assert rights(held.memory.base + held.memory.reserved - 1) == "---p"


def test_a_first_size_over_the_limit_is_refused() -> None:
    with pytest.raises(wasmtime.WasmtimeError, match="exceeds memory limits"):
        Held(PAGE - 1)


def test_it_is_given_back_with_the_store() -> None:
    held = Held(3 * PAGE)
    kept, base = held.memory, held.memory.base
    assert rights(base) == "rw-p"
    held.store.close()
    assert (kept.base, kept.size) == (0, 0)
    del held
    gc.collect()
    assert not any(each is kept for each in memory._in_use.values())


def test_a_memory_that_nobody_prepared_is_an_error_and_not_an_accident() -> None:
    with pytest.raises(wasmtime.WasmtimeError, match="callback failed"):
        wasmtime.Instance(new_store(1), guest(TEXT).compiled, [])


def test_what_the_system_will_not_map_is_an_error() -> None:
    held = GuestMemory(PAGE)
    assert held.map(PAGE, 1 << 62) == memory.UNMAPPABLE
    assert held.base == 0 and not held.refused


def rights(place: int) -> str:
    with open("/proc/self/maps", encoding="ascii") as file:
        for line in file:
            span, mode = line.split()[:2]
            begin, end = (int(each, 16) for each in span.split("-"))
            if begin <= place < end:
                return mode
    return ""
