"""What a module says about itself in its binary form: the types of its functions, its imports and its exports.

The engine would tell too, but its C interface takes the process down when it is asked for the kind of a vector type
(``tests/deps/test_wasmtime.py``), which any plugin may have in an export. Reading the four sections also shows how
many functions there are before any time is spent on compiling them.

Only the framing is checked here, and never trusted: whatever this reader lets pass is validated by the engine.
Source: WebAssembly core specification 2.0, section 5 (binary format).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

MAGIC = b"\0asm"
HEADER = MAGIC + b"\1\0\0\0"
MAX_ENTRIES = 50_000
"""Of each list, and functions in all: above what real plugins have, and some seconds of compiling."""

VALUE_TYPES = {
    0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64", 0x7B: "v128", 0x70: "funcref", 0x6F: "externref",
}  # fmt: skip
FUNC, TABLE, MEMORY, GLOBAL, TAG = range(5)
KINDS = ("func", "table", "memory", "global", "tag")
TYPES, IMPORTS, FUNCTIONS, EXPORTS = 1, 2, 3, 7

Signature = tuple[tuple[str, ...], tuple[str, ...]]
T = TypeVar("T")


class ModuleError(Exception):
    """The bytes are not a module that this host can run; the text says why."""


class Export(NamedTuple):
    """One entry of the export section. ``kind``: one of :data:`KINDS`; types only for a func."""

    name: str
    kind: str
    params: tuple[str, ...] = ()
    results: tuple[str, ...] = ()


class Import(NamedTuple):
    """One entry of the import section, as :class:`Export`."""

    module: str
    name: str
    kind: str
    params: tuple[str, ...] = ()
    results: tuple[str, ...] = ()


def read_interface(code: bytes) -> tuple[tuple[Import, ...], tuple[Export, ...]]:
    """Imports and exports in section order.

    :raises ModuleError: not the binary format, cut off, of another kind, or with more than MAX_ENTRIES of a thing
    """
    if code[:4] != MAGIC:  # the engine would also take the text format
        raise ModuleError("not a WebAssembly binary (no \\0asm at the start)")
    if code[:8] != HEADER:
        raise ModuleError("not a WebAssembly module of version 1 (a component?)")
    try:
        return _interface(dict(_sections(code)))
    except (IndexError, UnicodeDecodeError, OverflowError):
        raise ModuleError("malformed WebAssembly: a section does not hold what it announces") from None


def _interface(sections: dict[int, _Reader]) -> tuple[tuple[Import, ...], tuple[Export, ...]]:
    types = _vector(sections.get(TYPES), _signature)
    imports = [_import(entry, types) for entry in _vector(sections.get(IMPORTS), _import_entry)]
    functions = [(each.params, each.results) for each in imports if each.kind == "func"]
    defined = sections.get(FUNCTIONS)
    count = defined.number() if defined else 0
    _bound(len(functions) + count)
    if defined:
        functions += [types[defined.number()] for _ in range(count)]
    exports = []
    for name, kind, index in _vector(sections.get(EXPORTS), _export_entry):
        exports.append(Export(name, KINDS[kind], *(functions[index] if kind == FUNC else ((), ()))))
    return tuple(imports), tuple(exports)


class _Reader:
    """A position in the bytes of one section; IndexError past their end."""

    __slots__ = ("_at", "_code", "_end")

    def __init__(self, code: bytes, at: int, end: int) -> None:
        self._code = code
        self._at = at
        self._end = end

    def byte(self) -> int:
        if self._at >= self._end:
            raise IndexError
        self._at += 1
        return self._code[self._at - 1]

    def number(self, bits: int = 32) -> int:
        """An unsigned LEB128."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= bits:
                raise OverflowError
        return value

    def text(self) -> str:
        return self._code[slice(*self.skip(self.number()))].decode()

    def skip(self, size: int) -> tuple[int, int]:
        """Begin and end of the next ``size`` bytes, which are passed over."""
        begin = self._at
        if size > self._end - begin:
            raise IndexError
        self._at = begin + size
        return begin, self._at

    @property
    def at_end(self) -> bool:
        return self._at >= self._end


def _sections(code: bytes) -> Iterator[tuple[int, _Reader]]:
    whole = _Reader(code, len(HEADER), len(code))
    while not whole.at_end:
        kind = whole.byte()
        yield kind, _Reader(code, *whole.skip(whole.number()))


def _vector(section: _Reader | None, entry: Callable[[_Reader], T]) -> list[T]:
    return [entry(section) for _ in range(_bound(section.number()))] if section else []


def _bound(count: int) -> int:
    if count > MAX_ENTRIES:
        raise ModuleError(f"{count} entries in one section are over the limit of {MAX_ENTRIES}")
    return count


def _signature(section: _Reader) -> Signature:
    if section.byte() != 0x60:
        raise ModuleError("a type that is no plain function type is not supported")
    params = tuple(_vector(section, _value_type))
    return params, tuple(_vector(section, _value_type))


def _value_type(section: _Reader) -> str:
    name = VALUE_TYPES.get(section.byte())
    if name is None:
        raise ModuleError("reference types beyond funcref and externref are not supported")
    return name


def _import_entry(section: _Reader) -> tuple[str, str, int, int]:
    """Names, kind, and for a function the place of its type."""
    module, name, kind = section.text(), section.text(), section.byte()
    index = 0
    if kind in (TABLE, MEMORY):
        if kind == TABLE:
            section.byte()
        flags = section.byte()
        for _ in range(1 + (flags & 1)):
            section.number(64)
    elif kind == GLOBAL:
        section.skip(2)
    else:
        if kind == TAG:
            section.byte()
        index = section.number()
    return module, name, kind, index


def _import(entry: tuple[str, str, int, int], types: list[Signature]) -> Import:
    module, name, kind, index = entry
    return Import(module, name, KINDS[kind], *(types[index] if kind == FUNC else ((), ())))


def _export_entry(section: _Reader) -> tuple[str, int, int]:
    return section.text(), section.byte(), section.number()
