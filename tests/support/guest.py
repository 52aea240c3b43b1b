"""Guests written for one test: a few host calls in a callback, each result told in a log line.

``Guest().on("proxy_on_request_headers", call("proxy_get_header_map_value", 0, b"x-a", OUT, show="bytes"))`` makes a
module whose log says ``proxy_get_header_map_value -> 0 :value``. The same bytes run in any host of the ABI, so two
hosts can be held against each other line by line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import wasmtime

OUT: Final = object()
"""The two slots for a returned block: its address at 0, its size at 4."""
WORD: Final = object()
"""A slot for a returned u32, at 8."""
LONG: Final = object()
"""A slot for a returned u64, at 16."""
STREAM: Final = object()
"""The id of the stream context that was created last."""
SIZE: Final = object()
"""The second argument of the callback: the size of the body or configuration."""

Argument = int | bytes | float | object
LONGS: Final = {"proxy_increment_metric": (1,), "proxy_record_metric": (1,)}
"""Arguments that are i64, by position in the flat list."""

CALLBACKS: Final[dict[str, tuple[int, bool]]] = {
    "proxy_on_context_create": (2, False),
    "proxy_on_vm_start": (2, True),
    "proxy_on_configure": (2, True),
    "proxy_on_tick": (1, False),
    "proxy_on_queue_ready": (2, False),
    "proxy_on_request_headers": (3, True),
    "proxy_on_request_body": (3, True),
    "proxy_on_request_trailers": (2, True),
    "proxy_on_response_headers": (3, True),
    "proxy_on_response_body": (3, True),
    "proxy_on_response_trailers": (2, True),
    "proxy_on_http_call_response": (5, False),
    "proxy_on_done": (1, True),
    "proxy_on_log": (1, False),
    "proxy_on_delete": (1, False),
}
"""Name to (number of parameters, whether it has a result)."""

DEFAULT_RESULT: Final = {"proxy_on_vm_start": 1, "proxy_on_configure": 1, "proxy_on_done": 1}

_PRELUDE: Final = r"""
  (memory (export "memory") 32)
  (global $heap (mut i32) (i32.const 131072))
  (global $line (mut i32) (i32.const 65536))
  (global $stream (mut i32) (i32.const 0))
  (global $seen (mut i32) (i32.const 0))
  (func (export "proxy_abi_version_0_2_1"))
  (func $alloc (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (local $at i32)
    (if (i32.gt_u (i32.add (global.get $heap) (local.get $size)) (i32.const 2000000))
      (then (global.set $heap (i32.const 131072))))
    (local.set $at (global.get $heap))
    (global.set $heap (i32.and (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 15)) (i32.const -8)))
    (local.get $at))
  (func $put (param $at i32) (param $size i32)
    (memory.copy (global.get $line) (local.get $at) (local.get $size))
    (global.set $line (i32.add (global.get $line) (local.get $size))))
  (func $char (param $code i32)
    (i32.store8 (global.get $line) (local.get $code))
    (global.set $line (i32.add (global.get $line) (i32.const 1))))
  (func $number (param $value i64)
    (if (i64.ge_u (local.get $value) (i64.const 10))
      (then (call $number (i64.div_u (local.get $value) (i64.const 10)))))
    (call $char (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $value) (i64.const 10))))))
  (func $flush
    (drop (call $proxy_log (i32.const 2) (i32.const 65536) (i32.sub (global.get $line) (i32.const 65536))))
    (global.set $line (i32.const 65536)))
  (func $bytes
    (call $char (i32.const 32)) (call $char (i32.const 58))
    (call $put (i32.load (i32.const 0)) (i32.load (i32.const 4))))
  (func $map
    (local $count i32) (local $table i32) (local $at i32) (local $size i32)
    (if (i32.lt_u (i32.load (i32.const 4)) (i32.const 4)) (then (return)))
    (local.set $table (i32.load (i32.const 0)))
    (local.set $count (i32.load (local.get $table)))
    (local.set $table (i32.add (local.get $table) (i32.const 4)))
    (local.set $at (i32.add (local.get $table) (i32.shl (local.get $count) (i32.const 3))))
    (block $done (loop $next
      (br_if $done (i32.eqz (local.get $count)))
      (call $char (i32.const 32))
      (local.set $size (i32.load (local.get $table)))
      (call $put (local.get $at) (local.get $size))
      (local.set $at (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 1)))
      (call $char (i32.const 61))
      (local.set $size (i32.load (i32.add (local.get $table) (i32.const 4))))
      (call $put (local.get $at) (local.get $size))
      (local.set $at (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 1)))
      (local.set $table (i32.add (local.get $table) (i32.const 8)))
      (local.set $count (i32.sub (local.get $count) (i32.const 1)))
      (br $next))))
"""


class Call:
    """One host call; ``show``: nothing, ``bytes``, ``map``, ``size``, ``word``, ``long`` after the status."""

    def __init__(self, name: str, arguments: Sequence[Argument], show: str, label: str) -> None:
        self.name = name
        self.arguments = arguments
        self.show = show
        self.label = label or name


class Say:
    """A line of the log."""

    def __init__(self, text: str) -> None:
        self.text = text


class Trap:
    """``unreachable``."""


class Loop:
    """Never ends."""


class AtEnd:
    """Only when the third argument (end of stream) is 1; ``otherwise`` when it is 0."""

    def __init__(self, *steps: Step, otherwise: Sequence[Step] = ()) -> None:
        self.steps = steps
        self.otherwise = otherwise


class Return:
    """Leave the callback with this result."""

    def __init__(self, result: int) -> None:
        self.result = result


class Once:
    """Only the first time that this module comes by here."""

    def __init__(self, *steps: Step) -> None:
        self.steps = steps


Step = Call | Say | Trap | Loop | AtEnd | Return | Once


def call(name: str, *arguments: Argument, show: str = "", label: str = "") -> Call:
    """A host call whose status (and result) becomes a log line."""
    return Call(name, arguments, show, label)


def pairs(*items: tuple[bytes, bytes]) -> bytes:
    """A header map as it crosses the border."""
    sizes = b"".join(len(part).to_bytes(4, "little") for item in items for part in item)
    return len(items).to_bytes(4, "little") + sizes + b"".join(part + b"\0" for item in items for part in item)


class Guest:
    """A module in the making; ``on`` adds a callback."""

    def __init__(self) -> None:
        # Always there: it notes the id that STREAM stands for.
        self._callbacks: dict[str, tuple[tuple[Step, ...], int]] = {"proxy_on_context_create": ((), 0)}
        self._data: list[str] = []
        self._known: dict[bytes, int] = {}
        self._next = 1024
        self._imports: dict[str, str] = {"proxy_log": "(param i32 i32 i32) (result i32)"}
        self._flags = 0

    def on(self, callback: str, *steps: Step, result: int | None = None) -> Guest:
        """``result`` defaults to 0 (Continue), or 1 where that means "fine"."""
        self._callbacks[callback] = (steps, DEFAULT_RESULT.get(callback, 0) if result is None else result)
        return self

    def wat(self) -> str:
        bodies = [self._callback(name, steps, result) for name, (steps, result) in self._callbacks.items()]
        imports = [f'  (import "env" "{name}" (func ${name} {kind}))' for name, kind in self._imports.items()]
        return "(module\n" + "\n".join([*imports, _PRELUDE, *self._data, *bodies]) + "\n)"

    def binary(self) -> bytes:
        return bytes(wasmtime.wat2wasm(self.wat()))

    def _callback(self, name: str, steps: Sequence[Step], result: int) -> str:
        count, has_result = CALLBACKS[name]
        params = " ".join(f"(param $p{index} i32)" for index in range(count))
        lines = [f'  (func (export "{name}") {params}{" (result i32)" if has_result else ""}']
        if name == "proxy_on_context_create":
            lines.append("    (if (local.get $p1) (then (global.set $stream (local.get $p0))))")
        lines += [self._step(step, has_result) for step in steps]
        if has_result:
            lines.append(f"    (i32.const {result})")
        return "\n".join(lines) + ")"

    def _step(self, step: Step, has_result: bool) -> str:
        if isinstance(step, Call):
            return self._call(step)
        if isinstance(step, Say):
            return f"    (call $put {self._text(step.text.encode())}) (call $flush)"
        if isinstance(step, Trap):
            return "    unreachable"
        if isinstance(step, Loop):
            return "    (loop $for_ever (br $for_ever))"
        if isinstance(step, Return):
            return f"    (return (i32.const {step.result}))" if has_result else "    return"
        if isinstance(step, Once):
            self._flags += 1
            bit = 1 << self._flags
            body = "\n".join(self._step(inner, has_result) for inner in step.steps)
            return (
                f"    (if (i32.eqz (i32.and (global.get $seen) (i32.const {bit}))) (then"
                f" (global.set $seen (i32.or (global.get $seen) (i32.const {bit})))\n{body}))"
            )
        body = "\n".join(self._step(inner, has_result) for inner in step.steps)
        other = "\n".join(self._step(inner, has_result) for inner in step.otherwise)
        return f"    (if (local.get $p2) (then\n{body})\n (else {other}))"

    def _call(self, step: Call) -> str:
        values = [value for argument in step.arguments for value in self._values(argument)]
        longs = LONGS.get(step.name, ())
        rendered = [
            value.replace("i32.const", "i64.const") if index in longs else value for index, value in enumerate(values)
        ]
        kinds = " ".join("i64" if index in longs else "i32" for index in range(len(values)))
        self._imports[step.name] = f"{f'(param {kinds}) ' if kinds else ''}(result i32)"
        show = {
            "": "",
            "bytes": "(call $bytes)",
            "map": "(call $map)",
            "size": "(call $char (i32.const 32)) (call $number (i64.extend_i32_u (i32.load (i32.const 4))))",
            "word": "(call $char (i32.const 32)) (call $number (i64.extend_i32_u (i32.load (i32.const 8))))",
            "long": "(call $char (i32.const 32)) (call $number (i64.load (i32.const 16)))",
        }[step.show]
        return (
            "    (i64.store (i32.const 0) (i64.const 0))\n"
            f"    (call $put {self._text(step.label.encode() + b' -> ')})\n"
            f"    (call $number (i64.extend_i32_u (call ${step.name} {' '.join(rendered)})))\n    {show} (call $flush)"
        )

    def _values(self, argument: Argument) -> list[str]:
        if argument is OUT:
            return ["(i32.const 0)", "(i32.const 4)"]
        if argument is WORD:
            return ["(i32.const 8)"]
        if argument is LONG:
            return ["(i32.const 16)"]
        if argument is STREAM:
            return ["(global.get $stream)"]
        if argument is SIZE:
            return ["(local.get $p1)"]
        if isinstance(argument, bytes):
            return self._text(argument).replace(") (", ")|(").split("|")
        return [f"(i32.const {argument})"]

    def _text(self, text: bytes) -> str:
        """Address and size of a constant."""
        at = self._known.get(text)
        if at is None:
            at = self._known[text] = self._next
            self._next = (self._next + len(text) + 8) & ~7
            escaped = "".join(f"\\{byte:02x}" for byte in text)
            self._data.append(f'  (data (i32.const {at}) "{escaped}")')
        return f"(i32.const {at}) (i32.const {len(text)})"
