"""What both twins take from the linking module."""

from __future__ import annotations

import ctypes

import pytest
from wasmtime import _bindings as c

from sidecar.wasm.linking import MAX_PARAMS, address, functions_of, has_memory, link, plain
from sidecar.wasm.module import Import, ModuleError
from tests.support.wat import guest

CALLBACK = c.wasmtime_func_unchecked_callback_t(lambda *args: 0)


def test_only_numbers_and_at_most_one_result_cross() -> None:
    assert plain(("i32", "i64", "f32", "f64"), ("i64",))
    assert plain((), ())
    assert not plain(("v128",), ())
    assert not plain((), ("externref",))
    assert not plain((), ("i32", "i32"))
    assert plain(("i32",) * MAX_PARAMS, ()) and not plain(("i32",) * (MAX_PARAMS + 1), ())


def test_functions_are_listed_in_order_and_once() -> None:
    module = guest('(module (import "a" "x" (func)) (import "a" "y" (func (param i32))) (import "a" "x" (func)))')
    assert functions_of(module) == [Import("a", "x", "func"), Import("a", "y", "func", ("i32",))]


@pytest.mark.parametrize(
    "text",
    [
        '(module (import "a" "x" (memory 1)))',
        '(module (import "a" "x" (global i32)))',
        '(module (import "a" "x" (table 1 funcref)))',
        '(module (import "a" "x" (func (param v128))))',
        '(module (import "a" "x" (func (result i32 i32))))',
        '(module (import "a" "x" (func)) (import "a" "x" (func (param i32))))',
    ],
)
def test_imports_that_no_host_function_can_be_are_refused_by_name(text: str) -> None:
    with pytest.raises(ModuleError, match=r"import a\.x"):
        functions_of(guest(text))


def test_a_module_is_linked_once_for_each_twin() -> None:
    module = guest('(module (import "a" "x" (func)) (func (export "linked")))')
    assert link(module, "py", CALLBACK) is link(module, "py", CALLBACK)
    assert link(module, "other", CALLBACK) is not link(module, "py", CALLBACK)


def test_memory_counts_under_its_name_only() -> None:
    assert has_memory(guest('(module (memory (export "memory") 1))'))
    assert not has_memory(guest('(module (memory (export "other") 1))'))
    assert not has_memory(guest('(module (func (export "memory")))'))


def test_an_address_is_a_number_and_nothing_is_zero() -> None:
    number = ctypes.c_int(5)
    assert address(ctypes.pointer(number)) == ctypes.addressof(number)
    assert address(None) == 0
