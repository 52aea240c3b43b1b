"""Plugins written for one behaviour, as module files: the least that a host of the ABI 0.2.1 takes."""

from __future__ import annotations

from pathlib import Path

import wasmtime

COMMON = """
  (memory (export "memory") 2)
  (global $seen (mut i32) (i32.const 0))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 65536))
  (func (export "proxy_on_context_create") (param i32 i32))
"""
LOOP = "(loop $again (br $again)) (i32.const 0)"
TRAP = "unreachable"
TRAP_SECOND = """
  (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
  (if (i32.eq (global.get $seen) (i32.const 2)) (then unreachable))
  (i32.const 0)"""
"""Each instance serves one request and traps at its second."""


def build(folder: Path, name: str, headers: str, *, imports: str = "", data: str = "", phase: str = "request") -> Path:
    """``NAME.wasm`` whose only callback is that of the ``phase``'s headers."""
    text = f"""(module {imports} {COMMON} {data}
  (func (export "proxy_on_{phase}_headers") (param i32 i32 i32) (result i32) {headers}))"""
    path = folder / f"{name}.wasm"
    path.write_bytes(bytes(wasmtime.wat2wasm(text)))
    return path


def replying(folder: Path, name: str, status: int, pairs: list[tuple[bytes, bytes]], body: bytes) -> Path:
    """A plugin that answers every request itself."""
    block = serialized(pairs)
    imports = """(import "env" "proxy_send_local_response"
      (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))"""
    data = f'(data (i32.const 1024) "{_escaped(block)}") (data (i32.const 8192) "{_escaped(body)}")'
    reply = f"""(drop (call $reply (i32.const {status}) (i32.const 0) (i32.const 0) (i32.const 8192)
      (i32.const {len(body)}) (i32.const 1024) (i32.const {len(block)}) (i32.const -1))) (i32.const 1)"""
    return build(folder, name, reply, imports=imports, data=data)


def serialized(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """A header map as the ABI hands it over: count, sizes, then every name and value with a NUL behind it."""
    head = len(pairs).to_bytes(4, "little")
    for name, value in pairs:
        head += len(name).to_bytes(4, "little") + len(value).to_bytes(4, "little")
    return head + b"".join(name + b"\0" + value + b"\0" for name, value in pairs)


def _escaped(data: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in data)
