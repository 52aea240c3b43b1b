"""The reader of a module's interface, against the engine's own view and against bytes that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from sidecar.wasm.binary import HEADER, MAX_ENTRIES, Export, Import, ModuleError, read_interface
from tests.support.wat import assemble

PLUGINS = sorted((Path(__file__).parents[3] / "plugins" / "dist").glob("*.wasm"))

EVERYTHING = assemble(
    """(module
  (import "a" "f" (func (param i32 i64 f32 f64) (result i32)))
  (import "a" "t" (table 1 2 funcref))
  (import "b" "m" (memory 1 2))
  (import "b" "g" (global (mut i64)))
  (import "a" "void" (func))
  (import "" "\\u{e9}" (func (param v128 externref)))
  (func $own (export "own") (param funcref) (result i32 i64) unreachable)
  (export "again" (func 0))
  (export "memory" (memory 0))
  (export "table" (table 0))
  (export "global" (global 0)))"""
)


def uleb(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def section(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + uleb(len(body)) + body


def test_all_kinds_of_imports_and_exports_are_told_in_order() -> None:
    imports, exports = read_interface(EVERYTHING)
    assert imports == (
        Import("a", "f", "func", ("i32", "i64", "f32", "f64"), ("i32",)),
        Import("a", "t", "table"),
        Import("b", "m", "memory"),
        Import("b", "g", "global"),
        Import("a", "void", "func"),
        Import("", "é", "func", ("v128", "externref")),
    )
    assert exports == (
        Export("own", "func", ("funcref",), ("i32", "i64")),
        Export("again", "func", ("i32", "i64", "f32", "f64"), ("i32",)),
        Export("memory", "memory"),
        Export("table", "table"),
        Export("global", "global"),
    )


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.stem)
def test_it_agrees_with_the_engine_on_real_plugins(path: Path) -> None:
    code = path.read_bytes()
    compiled = wasmtime.Module(wasmtime.Engine(), code)
    imports, exports = read_interface(code)
    assert [(each.module, each.name) for each in imports] == [(each.module, each.name) for each in compiled.imports]
    assert [each.name for each in exports] == [each.name for each in compiled.exports]
    for ours, theirs in zip([*imports, *exports], [*compiled.imports, *compiled.exports], strict=True):
        kind = theirs.type
        if isinstance(kind, wasmtime.FuncType):
            assert ours.params == tuple(str(each) for each in kind.params)
            assert ours.results == tuple(str(each) for each in kind.results)


def test_a_module_without_anything_has_no_interface() -> None:
    assert read_interface(HEADER) == ((), ())


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (b"", "not a WebAssembly binary"),
        (b"(module)", "not a WebAssembly binary"),
        (b"\0asm", "version 1"),
        (b"\0asm\x0d\0\1\0", "component"),
        (HEADER + b"\1", "malformed"),
        (HEADER + b"\1\x7f", "malformed"),
        (HEADER + b"\1\xff\xff\xff\xff\xff\xff\xff\1", "malformed"),
        (HEADER + section(1, b"\1\x60\5\x7f"), "malformed"),
        (HEADER + section(1, b"\1\x5f\0"), "plain function type"),
        (HEADER + section(1, b"\1\x60\1\x6e\0"), "reference types"),
        (HEADER + section(2, b"\1\1a\1\xff\0\0"), "malformed"),
        (HEADER + section(2, b"\1\1a\1b\0\0"), "malformed"),
        (HEADER + section(2, b"\1\1a\1b\7\0"), "malformed"),
        (HEADER + section(3, b"\1\0"), "malformed"),
        (HEADER + section(7, b"\1\1a\0\0"), "malformed"),
        (HEADER + section(7, b"\1\1a\5\0"), "malformed"),
    ],
)
def test_W6_bytes_that_are_no_module_are_refused(code: bytes, why: str) -> None:
    with pytest.raises(ModuleError, match=why):
        read_interface(code)


@pytest.mark.parametrize("kind", [1, 2, 3, 7])
def test_W6_more_entries_than_any_plugin_has_are_refused_before_they_are_read(kind: int) -> None:
    with pytest.raises(ModuleError, match="over the limit"):
        read_interface(HEADER + section(kind, uleb(MAX_ENTRIES + 1)))


def test_W6_imported_and_own_functions_count_together() -> None:
    many = MAX_ENTRIES // 2 + 1
    code = HEADER + section(1, b"\1\x60\0\0") + section(2, uleb(many) + b"\1a\1b\0\0" * many)
    read_interface(code)
    with pytest.raises(ModuleError, match="over the limit"):
        read_interface(code + section(3, uleb(many) + bytes(many)))


@given(st.data())
def test_changed_bytes_give_an_interface_or_a_module_error(data: st.DataObject) -> None:
    code = bytearray(EVERYTHING)
    for _ in range(data.draw(st.integers(1, 4))):
        code[data.draw(st.integers(8, len(code) - 1))] = data.draw(st.integers(0, 255))
    del code[data.draw(st.integers(8, len(code))) :]
    try:
        read_interface(bytes(code))
    except ModuleError:
        pass
