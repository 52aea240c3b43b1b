"""Compiling: what is refused, what is shared, and that nobody waits for it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest
import wasmtime

from sidecar.wasm.module import MAX_MODULE_SIZE, REFUSED_PROPOSALS, Export, Import, ModuleError, compile_module, engine
from tests.support.wat import assemble, guest

PLUGIN = Path(__file__).parents[3] / "plugins" / "dist" / "bench-headers.wasm"

PROPOSALS = {
    "memory64": '(module (memory i64 1))',
    "threads": "(module (memory 1 1 shared))",
    "atomics": "(module (memory 1) (func (drop (i32.atomic.load (i32.const 0)))))",
    "multi-memory": "(module (memory 1) (memory 1))",
    "gc": "(module (type (struct)))",
    "exceptions": "(module (tag))",
    "function references": "(module (type $f (func)) (func (param (ref $f))))",
    "tail calls": "(module (func $f (return_call $f)))",
    "relaxed simd": "(module (func (param v128 v128) (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 1)))))",
    "wide arithmetic": "(module (func (param i64 i64) (result i64 i64) (i64.mul_wide_s (local.get 0) (local.get 1))))",
    "custom page sizes": "(module (memory 1 (pagesize 1)))",
    "stack switching": "(module (type $f (func)) (type $c (cont $f)))",
}


def test_a_module_says_what_it_imports_and_exports() -> None:
    module = guest('(module (import "a" "b" (func (param i32))) (memory (export "memory") 1))')
    assert module.imports == (Import("a", "b", "func", ("i32",)),)
    assert module.exports == (Export("memory", "memory"),)
    assert len(module.digest) == 64 and module.size > 8


def test_the_same_bytes_are_compiled_once_while_anybody_uses_them() -> None:
    code = assemble('(module (func (export "same")))')
    first = compile_module(code)
    assert compile_module(bytes(bytearray(code))) is first
    watched = weakref.ref(first)
    del first
    gc.collect()
    assert watched() is None


def test_the_engine_is_one_and_the_same() -> None:
    assert engine() is engine()


@pytest.mark.parametrize("name", ["py", "c"])
def test_threads_that_race_for_the_first_instance_get_one_engine(name: str) -> None:
    # A second engine would end the process at the first import that both link.
    command = (
        "import sys, threading, time\n"
        "from sidecar.wasm import memory\n"
        "real = memory.use_for\n"
        "memory.use_for = lambda config: (time.sleep(0.05), real(config))\n"  # let all of them in at once
        "from tests.support.wat import assemble, twins\n"
        "from sidecar.wasm.module import compile_module\n"
        "twin = twins().get(sys.argv[1], twins()['py'])\n"
        "code = assemble('(module (import \"a\" \"f\" (func (param i32))))')\n"
        "ready = threading.Barrier(8)\n"
        "def make():\n"
        "    ready.wait()\n"
        "    vm = twin.Vm(compile_module(code), {('a', 'f'): print}, memory_limit=0)\n"
        "    vm.instantiate(60.0)\n"
        "threads = [threading.Thread(target=make) for _ in range(8)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
    )
    run = [sys.executable, "-c", command, name]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", PROPOSALS)
def test_W4_a_proposal_that_no_plugin_needs_is_refused(name: str) -> None:
    with pytest.raises(ModuleError):
        compile_module(assemble(PROPOSALS[name]))


def test_W4_every_switch_that_we_name_is_one_that_the_engine_has() -> None:
    for proposal in REFUSED_PROPOSALS:
        assert isinstance(getattr(wasmtime.Config, proposal), property), proposal


@pytest.mark.parametrize("name", ["bulk memory", "simd", "sign extension", "multi value", "reference types"])
def test_what_compilers_of_today_emit_is_taken(name: str) -> None:
    guest(
        {
            "bulk memory": "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 9))))",
            "simd": '(module (func (export "v") (param v128) (drop (i8x16.neg (local.get 0)))))',
            "sign extension": "(module (func (param i32) (drop (i32.extend8_s (local.get 0)))))",
            "multi value": "(module (func (result i32 i32) (i32.const 1) (i32.const 2)))",
            "reference types": "(module (table 1 externref) (func (param externref)))",
        }[name]
    )


def test_W6_text_and_components_are_not_taken() -> None:
    for code in (b"(module)", assemble("(component)"), b""):
        with pytest.raises(ModuleError):
            compile_module(code)


def test_W6_the_size_is_capped_before_anything_is_read() -> None:
    with pytest.raises(ModuleError, match="over the limit"):
        compile_module(b"\0asm\1\0\0\0" + bytes(MAX_MODULE_SIZE))


def test_W6_deep_nesting_is_an_error_or_a_module_and_never_the_end() -> None:
    deep = b"\x02\x40" * 200_000 + b"\x0b" * 200_001
    body = b"\0" + deep
    code = b"\0asm\1\0\0\0\1\4\1\x60\0\0\3\2\1\0" + section(10, b"\1" + uleb(len(body)) + body)
    command = (
        "import sys; from sidecar.wasm.module import *\n"
        "try: compile_module(sys.stdin.buffer.read()); print('compiled')\n"
        "except ModuleError: print('refused')"
    )
    done = subprocess.run([sys.executable, "-c", command], input=code, capture_output=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() in (b"compiled", b"refused")


def test_W6_a_branch_table_with_a_million_targets_is_an_error_or_a_module() -> None:
    body = b"\0\x02\x40\x41\0\x0e" + uleb(1_000_000) + bytes(1_000_001) + b"\x0b\x0b"
    code = b"\0asm\1\0\0\0\1\4\1\x60\0\0\3\2\1\0" + section(10, b"\1" + uleb(len(body)) + body)
    try:
        compile_module(code)
    except ModuleError as refused:
        assert str(refused)


def test_W6_an_invalid_body_is_refused_in_one_line() -> None:
    with pytest.raises(ModuleError) as caught:
        compile_module(b"\0asm\1\0\0\0\1\4\1\x60\0\0\3\2\1\0\x0a\4\1\2\0\x6a")
    assert "\n" not in str(caught.value)


def test_other_threads_run_while_a_module_is_compiled() -> None:
    turns = 0
    over = threading.Event()
    code = PLUGIN.read_bytes() + b"\0\4\1xyz"  # a section of its own: never compiled before

    def turn() -> None:
        nonlocal turns
        while not over.is_set():
            over.wait(0.001)
            turns += 1

    thread = threading.Thread(target=turn)
    thread.start()
    compile_module(code)
    over.set()
    thread.join()
    assert turns > 5


def test_the_child_of_a_fork_is_refused_the_engine() -> None:
    command = (
        "import os; from sidecar.wasm.module import engine\n"
        "engine()\n"
        "pid = os.fork()\n"
        "if pid: os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
        "try: engine()\n"
        "except RuntimeError as error: os._exit(7 if 'fork' in str(error) else 8)"
    )
    assert subprocess.run([sys.executable, "-c", command], timeout=60, check=False).returncode == 7
    assert os.getpid() and engine()


def uleb(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def section(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + uleb(len(body)) + body
