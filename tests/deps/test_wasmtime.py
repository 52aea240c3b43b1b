"""What the engine does that we lean on, and what it does wrong that we keep away from. Pinned to one version.

Where a thing takes the process down it is done in a child. A test that fails here after a change of version says
which comment in ``sidecar/wasm`` is no longer true.
"""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import time
from importlib.metadata import version

import pytest
import wasmtime
from wasmtime import _bindings as c

from tests.support.wat import assemble

ABORTED = -6


def child(code: str) -> subprocess.CompletedProcess[str]:
    """Runs ``code`` with ``wasmtime`` and ``wat`` at hand."""
    prelude = "import wasmtime\nfrom tests.support.wat import assemble as wat\n"
    command = [sys.executable, "-c", prelude + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_it_is_the_version_that_the_seam_was_written_for() -> None:
    assert version("wasmtime") == "50.0.1"


def test_the_structures_have_the_sizes_that_the_seam_declares() -> None:
    sizes = [c.wasmtime_val_raw_t, c.wasmtime_func_t, c.wasmtime_instance_t]
    assert [ctypes.sizeof(each) for each in sizes] == [16, 16, 16]


def test_a_function_type_used_with_a_second_engine_aborts() -> None:
    done = child(
        "kind = wasmtime.FuncType([wasmtime.ValType.i32()], [])\n"
        "for _ in range(2):\n"
        "    store = wasmtime.Store(wasmtime.Engine())\n"
        "    wasmtime.Func(store, kind, lambda value: None)\n"
        "print('survived')"
    )
    assert done.returncode == ABORTED and "survived" not in done.stdout, done.stderr[-500:]


def test_the_kind_of_a_vector_type_aborts() -> None:
    done = child(
        "code = wat('(module (func (export \"v\") (param v128)))')\n"
        "module = wasmtime.Module(wasmtime.Engine(), code)\n"
        "[str(each) for each in module.exports[0].type.params]\n"
        "print('survived')"
    )
    assert done.returncode == ABORTED and "survived" not in done.stdout, done.stderr[-500:]


def test_a_memory_of_ours_with_initial_images_aborts() -> None:
    done = child(
        "from sidecar.wasm import memory\n"
        "config = wasmtime.Config()\n"
        "memory.use_for(config)\n"
        "config.memory_init_cow = True\n"
        "engine = wasmtime.Engine(config)\n"
        "memory.making.memory = memory.GuestMemory(1 << 20)\n"
        "code = wat('(module (memory 1) (data (i32.const 0) \"x\"))')\n"
        "wasmtime.Instance(wasmtime.Store(engine), wasmtime.Module(engine, code), [])\n"
        "print('survived')"
    )
    assert done.returncode == ABORTED and "survived" not in done.stdout, done.stderr[-500:]


def test_compiling_in_the_child_of_a_fork_never_ends() -> None:
    done = child(
        "import os, signal\n"
        "engine = wasmtime.Engine()\n"
        "code = wat('(module (func) (func) (func))')\n"
        "wasmtime.Module(engine, code)\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    signal.alarm(2)\n"
        "    wasmtime.Module(engine, code)\n"
        "    os._exit(0)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    assert done.stdout.strip() == "-14", "it ends now: workers may be forked"


@pytest.mark.parametrize(("before", "returncode"), [(True, 0), (False, -11)])
def test_a_handler_of_faults_must_be_there_before_the_engine(before: bool, returncode: int) -> None:
    """Who enables ``faulthandler`` later takes the engine's signal away, and any guest may end the process."""
    done = child(
        "import faulthandler\n"
        f"if {before}: faulthandler.enable()\n"
        "engine = wasmtime.Engine()\n"
        "store = wasmtime.Store(engine)\n"
        "code = wat('(module (memory 1) (func (export \"f\") (drop (i32.load (i32.const -1)))))')\n"
        "call = wasmtime.Instance(store, wasmtime.Module(engine, code), []).exports(store)['f']\n"
        f"if not {before}: faulthandler.enable()\n"
        "try: call(store)\n"
        "except wasmtime.Trap: print('trapped')"
    )
    assert done.returncode == returncode, done.stderr[-500:]
    assert (done.stdout == "trapped\n") is before


@pytest.mark.parametrize(
    "text", ["(module (memory i64 1))", "(module (memory 1) (memory 1))", "(module (memory 1 1 shared))"]
)
def test_proposals_that_break_the_abi_are_on_by_default(text: str) -> None:
    wasmtime.Module(wasmtime.Engine(), assemble(text))


def test_memory_of_the_engines_own_may_move_when_it_grows() -> None:
    config = wasmtime.Config()
    config.memory_reservation = 0
    config.memory_reservation_for_growth = 0
    engine = wasmtime.Engine(config)
    store = wasmtime.Store(engine)
    module = wasmtime.Module(engine, assemble('(module (memory (export "memory") 1))'))
    memory = wasmtime.Instance(store, module, []).exports(store)["memory"]
    assert isinstance(memory, wasmtime.Memory)
    bases = set()
    for _ in range(20):
        bases.add(ctypes.addressof(memory.data_ptr(store).contents))
        memory.grow(store, 10)
    assert len(bases) > 1


def test_epochs_stop_a_guest_and_do_not_reach_into_host_code() -> None:
    config = wasmtime.Config()
    config.epoch_interruption = True
    engine = wasmtime.Engine(config)
    store = wasmtime.Store(engine)
    store.set_epoch_deadline(1)
    module = wasmtime.Module(
        engine, assemble('(module (import "" "h" (func $h)) (func (export "f") (call $h) (loop $a (br $a))))')
    )
    went_on = []

    def host() -> None:
        engine.increment_epoch()
        time.sleep(0)  # lets the other threads run; waits for nothing
        went_on.append(True)

    function = wasmtime.Func(store, wasmtime.FuncType([], []), host)
    spin = wasmtime.Instance(store, module, [function]).exports(store)["f"]
    assert isinstance(spin, wasmtime.Func)
    with pytest.raises(wasmtime.Trap, match="interrupt"):
        spin(store)
    assert went_on == [True]


def test_a_python_error_in_a_host_function_passes_through_the_guest() -> None:
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    module = wasmtime.Module(engine, assemble('(module (import "" "h" (func $h)) (func (export "f") (call $h)))'))
    ours = ValueError("ours")

    def host() -> None:
        raise ours

    function = wasmtime.Func(store, wasmtime.FuncType([], []), host)
    call = wasmtime.Instance(store, module, [function]).exports(store)["f"]
    assert isinstance(call, wasmtime.Func)
    with pytest.raises(ValueError) as caught:
        call(store)
    assert caught.value is ours


def test_an_instance_is_freed_with_its_store_only() -> None:
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    module = wasmtime.Module(engine, assemble('(module (memory (export "memory") 160))'))

    def mapped() -> int:
        with open("/proc/self/maps", encoding="ascii") as file:
            return sum(1 for _ in file)

    before = mapped()
    for _ in range(20):
        wasmtime.Instance(store, module, [])
    gc.collect()
    held = mapped()
    store.close()
    assert held >= before + 20
    assert mapped() <= before + 5


def test_the_limiter_refuses_growth_without_telling_anybody() -> None:
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    store.set_limits(memory_size=65536)
    text = '(module (memory 1) (func (export "g") (result i32) (memory.grow (i32.const 1))))'
    grow = wasmtime.Instance(store, wasmtime.Module(engine, assemble(text)), []).exports(store)["g"]
    assert isinstance(grow, wasmtime.Func)
    assert grow(store) == -1
