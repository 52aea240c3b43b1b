"""What the engine seam promises, held against both twins by one class."""

from __future__ import annotations

import gc
import math
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.wasm.linking import MAX_DEPTH
from sidecar.wasm.module import ModuleError
from sidecar.wasm.trap import MemoryRangeError, ProcExit, Trap, TrapKind
from sidecar.wasm.vm import COMPILED
from tests.support.wat import guest, twins

LIMIT = 1_000_000
PAGE = 65536
LONG = 60.0
"""A timeout that no test waits for."""

GUEST = """(module
  (import "env" "host" (func $host (param i32 i32 i32) (result i32)))
  (import "env" "note" (func $note (param i32)))
  (import "env" "mixed" (func $mixed (param f32 f64 i64 i32) (result i64)))
  (import "env" "half" (func $half (param f64) (result f64)))
  (memory (export "memory") 1)
  (global $next (mut i32) (i32.const 1024))
  (data (i32.const 16) "hello")
  (func (export "nothing"))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "three") (param i32 i32 i32) (result i32) (i32.sub (local.get 0) (local.get 2)))
  (func (export "wide") (param i64) (result i64) (i64.add (local.get 0) (i64.const 1)))
  (func (export "real") (param f32 f64) (result f64) (f64.add (f64.promote_f32 (local.get 0)) (local.get 1)))
  (func (export "single") (param f32) (result f32) (local.get 0))
  (func (export "ask") (param i32 i32 i32) (result i32)
    (call $host (local.get 0) (local.get 1) (local.get 2)))
  (func (export "tell") (param i32) (call $note (local.get 0)))
  (func (export "ask_mixed") (result i64)
    (call $mixed (f32.const 1.5) (f64.const -2.5) (i64.const -1) (i32.const -1)))
  (func (export "ask_half") (param f64) (result f64) (call $half (local.get 0)))
  (func (export "spin") (loop $again (br $again)))
  (func (export "spin_asking") (loop $again (drop (call $host (i32.const 1) (i32.const 2) (i32.const 3))) (br $again)))
  (func (export "fill") (loop $again (memory.fill (i32.const 0) (i32.const 7) (i32.const 65536)) (br $again)))
  (func (export "give_up") unreachable)
  (func $deeper (export "recurse") (param i32) (result i32)
    (i32.add (i32.const 1) (call $deeper (local.get 0))))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "grow_or_die") (param i32)
    (if (i32.eq (memory.grow (local.get 0)) (i32.const -1)) (then unreachable)))
  (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "alloc") (param i32) (result i32)
    (global.get $next)
    (global.set $next (i32.add (global.get $next) (local.get 0))))
  (func (export "alloc_growing") (param i32) (result i32)
    (i32.mul (memory.grow (i32.const 1)) (i32.const 65536)))
  (func (export "alloc_nothing") (param i32) (result i32) (i32.const 0))
  (func (export "alloc_beyond") (param i32) (result i32) (i32.const -8))
  (func (export "alloc_same") (param i32) (result i32) (local.get 0))
  (func (export "alloc_dying") (param i32) (result i32) unreachable)
  (func (export "alloc_asking") (param i32) (result i32) (call $host (local.get 0) (i32.const 0) (i32.const 0)))
  (func (export "alloc_void") (param i32))
  (func (export "wide_result") (result i32 i32) (i32.const 1) (i32.const 2))
  (func (export "vector") (param v128))
  (table (export "table") 1 funcref)
)"""

START = """(module
  (import "env" "host" (func $host (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "hello")
  (func $run (drop (call $host (i32.const 16) (i32.const 5) (i32.const 0))))
  (start $run))"""

IDLE = """
import glob, importlib, os, sys
from sidecar.wasm.trap import Trap
from tests.support.wait import eventually
from tests.support.wat import guest

twin = importlib.import_module("sidecar.wasm._vm_" + sys.argv[1])
spinning = guest('(module (func (export "spin") (loop $again (br $again))))')

def spin():
    vm = twin.Vm(spinning, {}, memory_limit=0)
    vm.instantiate(60.0)
    try:
        vm.call(vm.function("spin"), (), 0.02)
    except Trap as trap:
        print(trap.kind.value)
    return vm

def wakings():
    names = set(glob.glob("/proc/self/task/*/status")) - {f"/proc/self/task/{os.getpid()}/status"}
    return [open(name).read().partition("nonvoluntary")[0].split()[-1] for name in sorted(names)]

seen = []

def still():
    seen.append(wakings())
    return len(seen) > 30 and all(each == seen[-1] for each in seen[-30:])

kept = spin()  # an instance that lives on must not keep the thread awake
eventually(still)
print("still")
spin()
"""

Host = Callable[..., Any]


class Guest:
    """One instance, and host functions that a test may replace."""

    def __init__(self, twin: ModuleType, text: str = GUEST, *, memory_limit: int = LIMIT) -> None:
        self.host: Host = lambda *args: 0
        self.note: Host = lambda *args: None
        self.mixed: Host = lambda *args: 0
        self.half: Host = lambda value: value / 2
        imports: Mapping[tuple[str, str], Host] = {
            ("env", "host"): lambda *args: self.host(*args),
            ("env", "note"): lambda *args: self.note(*args),
            ("env", "mixed"): lambda *args: self.mixed(*args),
            ("env", "half"): lambda *args: self.half(*args),
        }
        self.vm = twin.Vm(guest(text), imports, memory_limit=memory_limit)
        self.vm.timeout = LONG

    def made(self) -> Guest:
        self.vm.instantiate(LONG)
        return self

    def fn(self, name: str) -> Any:
        found = self.vm.function(name)
        assert found is not None, name
        return found


@pytest.fixture(params=list(twins().items()), ids=lambda pair: pair[0])
def twin(request: pytest.FixtureRequest) -> ModuleType:
    module: ModuleType = request.param[1]
    return module


@pytest.fixture
def one(twin: ModuleType) -> Iterator[Guest]:
    made = Guest(twin).made()
    yield made
    made.vm.close()


def stopped(kind: TrapKind, call: Callable[..., Any], *args: Any) -> Trap:
    with pytest.raises(Trap) as caught:
        call(*args)
    assert caught.value.kind is kind
    return caught.value


class TestCallsIn:
    def test_numbers_cross_unsigned_both_ways(self, one: Guest) -> None:
        assert one.fn("add")(2, 3) == 5
        assert one.fn("add")(0, -1) == 0xFFFFFFFF
        assert one.fn("add")(0xFFFFFFFF, 2) == 1
        assert one.fn("wide")(-2) == 0xFFFFFFFFFFFFFFFF
        assert one.fn("wide")(1 << 64) == 1
        assert one.fn("nothing")() is None

    def test_floats_cross(self, one: Guest) -> None:
        assert one.fn("real")(1.5, 2) == 3.5
        assert math.isnan(one.fn("single")(math.nan))
        assert one.fn("single")(1e300) == math.inf

    def test_every_way_to_call_is_the_same_call(self, one: Guest) -> None:
        assert one.fn("nothing").call0() is None
        assert one.fn("alloc").call1(8) == 1024
        assert one.fn("add").call2(True, 2) == 3
        assert one.fn("three").call3(7, 0, 2) == 5
        assert one.vm.call(one.fn("three"), (7, 0, 2), LONG) == 5

    def test_a_function_says_what_it_is(self, one: Guest) -> None:
        real = one.fn("real")
        assert (real.name, real.params, real.results, real.vm) == ("real", ("f32", "f64"), ("f64",), one.vm)
        assert one.vm.function("real") is real

    @pytest.mark.parametrize("name", ["absent", "memory", "table", "wide_result", "vector"])
    def test_what_cannot_be_called_is_no_function(self, one: Guest, name: str) -> None:
        assert one.vm.function(name) is None

    def test_wrong_arguments_are_the_callers_fault_and_hurt_nothing(self, one: Guest) -> None:
        for args in [(), (1,), (1, 2, 3), ("1", 2), (1.5, 2), (None, 2)]:
            with pytest.raises(TypeError):
                one.fn("add")(*args)
        with pytest.raises(TypeError):
            one.fn("real")("x", 2.0)
        assert one.fn("add")(1, 2) == 3
        assert not one.vm.failed

    def test_nothing_is_called_before_the_instance_is_made(self, twin: ModuleType) -> None:
        early = Guest(twin)
        stopped(TrapKind.OTHER, early.vm.function, "add")
        assert early.vm.memory_size == 0
        early.vm.close()
        stopped(TrapKind.OTHER, early.vm.instantiate, LONG)

    def test_it_is_made_once(self, one: Guest) -> None:
        stopped(TrapKind.OTHER, one.vm.instantiate, LONG)
        assert one.fn("add")(1, 2) == 3

    def test_a_function_of_another_instance_is_refused(self, twin: ModuleType, one: Guest) -> None:
        other = Guest(twin).made()
        stopped(TrapKind.OTHER, one.vm.call, other.fn("add"), (1, 2), LONG)
        assert other.fn("add")(1, 2) == 3
        other.vm.close()


class TestCallsOut:
    def test_arguments_arrive_unsigned_and_results_are_masked(self, one: Guest) -> None:
        seen: list[Any] = []
        for answer, arrives in [(7, 7), (-1, 0xFFFFFFFF), (1 << 32, 0), (True, 1), (None, 0)]:
            one.host = lambda *args, answer=answer: (seen.append(args), answer)[1]
            assert one.fn("ask")(-1, 2, 3) == arrives
        assert seen == [(0xFFFFFFFF, 2, 3)] * 5

    def test_all_kinds_of_numbers_cross(self, one: Guest) -> None:
        seen: list[Any] = []
        one.mixed = lambda *args: seen.append(args) or -2
        assert one.fn("ask_mixed")() == 0xFFFFFFFFFFFFFFFE
        assert seen == [(1.5, -2.5, 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFF)]
        assert one.fn("ask_half")(5.0) == 2.5

    def test_a_function_without_result_may_return_anything(self, one: Guest) -> None:
        one.note = lambda value: "ignored"
        assert one.fn("tell")(1) is None

    @pytest.mark.parametrize(
        "error", [ValueError("ours"), KeyboardInterrupt(), ProcExit(3), MemoryRangeError("x"), Trap(TrapKind.EXIT, "x")]
    )
    def test_W22_an_exception_unwinds_the_guest_and_comes_out_unchanged(self, one: Guest, error: BaseException) -> None:
        one.host = thrower(error)
        with pytest.raises(type(error)) as caught:
            one.fn("ask")(1, 2, 3)
        assert caught.value is error
        assert one.vm.failed
        stopped(TrapKind.OTHER, one.fn("add"), 1, 2)

    @pytest.mark.parametrize("answer", ["text", 1.5, object()])
    def test_W22_a_result_that_is_no_number_is_an_error_and_never_a_status(self, one: Guest, answer: Any) -> None:
        one.host = lambda *args: answer
        with pytest.raises(TypeError):
            one.fn("ask")(1, 2, 3)
        assert one.vm.failed

    def test_an_exit_with_zero_leaves_the_guest_usable(self, one: Guest) -> None:
        one.host = thrower(ProcExit(0))
        with pytest.raises(ProcExit):
            one.fn("ask")(1, 2, 3)
        assert not one.vm.failed
        assert one.fn("add")(1, 2) == 3

    def test_one_failure_is_not_seen_by_another_instance(self, twin: ModuleType, one: Guest) -> None:
        other = Guest(twin).made()
        one.host = thrower(ValueError("ours"))

        def ask_the_failing(*args: int) -> int:
            with pytest.raises(ValueError):
                one.fn("ask")(1, 2, 3)
            return 9

        other.host = ask_the_failing
        assert other.fn("ask")(1, 2, 3) == 9
        assert not other.vm.failed
        other.vm.close()

    def test_imports_are_checked_before_anything_is_made(self, twin: ModuleType) -> None:
        with pytest.raises(ModuleError, match=r"unknown import env\.host"):
            twin.Vm(guest(START), {}, memory_limit=LIMIT)


class TestNesting:
    def test_the_host_calls_back_into_the_guest(self, one: Guest) -> None:
        one.host = lambda a, b, c: one.fn("add")(a, b) + c
        assert one.fn("ask")(1, 2, 3) == 6

    def test_a_trap_below_reaches_the_outermost_call(self, one: Guest) -> None:
        one.host = lambda *args: one.fn("give_up")()
        stopped(TrapKind.UNREACHABLE, one.fn("ask"), 1, 2, 3)
        assert one.vm.failed

    def test_an_error_below_is_the_same_object_above(self, one: Guest) -> None:
        ours = ValueError("ours")
        one.note = thrower(ours)
        one.host = lambda *args: one.fn("tell")(1)
        with pytest.raises(ValueError) as caught:
            one.fn("ask")(1, 2, 3)
        assert caught.value is ours

    def test_a_guest_that_caught_fire_is_not_entered_again_by_a_host_that_goes_on(self, one: Guest) -> None:
        def swallowing(*args: int) -> int:
            stopped(TrapKind.UNREACHABLE, one.fn("give_up"))
            stopped(TrapKind.OTHER, one.fn("add"), 1, 2)
            return 4

        one.host = swallowing
        assert one.fn("ask")(1, 2, 3) == 4

    def test_W7_a_guest_that_calls_itself_through_the_host_is_stopped(self, one: Guest) -> None:
        depth = 0

        def again(*args: int) -> int:
            nonlocal depth
            depth += 1
            result: int = one.fn("ask")(1, 2, 3)
            return result

        one.host = again
        stopped(TrapKind.STACK_OVERFLOW, one.fn("ask"), 1, 2, 3)
        assert depth == MAX_DEPTH
        assert one.vm.failed

    def test_another_thread_is_refused_while_one_is_inside(self, one: Guest) -> None:
        refused: list[Trap] = []

        def from_elsewhere(*args: int) -> int:
            thread = threading.Thread(target=lambda: refused.append(stopped(TrapKind.OTHER, one.fn("add"), 1, 2)))
            thread.start()
            thread.join()
            return 1

        one.host = from_elsewhere
        assert one.fn("ask")(1, 2, 3) == 1
        assert "another thread" in refused[0].message
        assert one.fn("add")(1, 2) == 3


class TestTraps:
    def test_each_kind_is_told_apart(self, twin: ModuleType) -> None:
        for name, args, kind in [
            ("give_up", (), TrapKind.UNREACHABLE),
            ("recurse", (1,), TrapKind.STACK_OVERFLOW),
            ("load", (-1,), TrapKind.OUT_OF_BOUNDS),
        ]:
            one = Guest(twin).made()
            trap = stopped(kind, one.fn(name), *args)
            assert trap.message and trap.backtrace
            assert one.vm.failed and not one.vm.memory_limit_hit
            one.vm.close()

    def test_W5_recursion_is_stopped_on_a_thread_with_a_small_stack(self, twin: ModuleType) -> None:
        kinds: list[TrapKind] = []

        def run() -> None:
            one = Guest(twin).made()
            kinds.append(stopped(TrapKind.STACK_OVERFLOW, one.fn("recurse"), 1).kind)
            one.vm.close()

        before = threading.stack_size(1024 * 1024)
        try:
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
        finally:
            threading.stack_size(before)
        assert kinds == [TrapKind.STACK_OVERFLOW]


class TestDeadlines:
    @pytest.mark.parametrize("name", ["spin", "spin_asking", "fill"])
    def test_W1_a_loop_is_stopped(self, one: Guest, name: str) -> None:
        one.vm.timeout = 0.02
        trap = stopped(TrapKind.INTERRUPT, one.fn(name))
        assert trap.message == "deadline exceeded"
        assert one.vm.failed

    def test_W1_a_loop_in_the_start_section_is_stopped(self, twin: ModuleType) -> None:
        spinning = Guest(twin, "(module (func $f (loop $again (br $again))) (start $f))")
        stopped(TrapKind.INTERRUPT, spinning.vm.instantiate, 0.02)
        assert spinning.vm.failed
        spinning.vm.close()

    def test_W1_a_loop_in_the_allocator_dies_by_the_outer_deadline(self, one: Guest) -> None:
        one.vm.timeout = LONG
        one.host = lambda *args: one.fn("spin")()
        stopped(TrapKind.INTERRUPT, one.vm.call, one.fn("ask"), (1, 2, 3), 0.02)

    def test_a_host_function_that_overran_ends_the_call_when_it_returns(self, one: Guest) -> None:
        def slow(*args: int) -> int:
            until = time.monotonic() + 0.03
            while time.monotonic() < until:
                pass
            one.host = lambda *args: 0
            return 0

        one.host = slow
        one.vm.timeout = 0.01
        stopped(TrapKind.INTERRUPT, one.fn("spin_asking"))

    @pytest.mark.parametrize("name", list(twins()))
    def test_an_idle_process_has_no_ticking_thread_and_wakes_again(self, name: str) -> None:
        command = [sys.executable, "-c", IDLE, name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.split() == ["interrupt", "still", "interrupt"]

    def test_no_time_at_all_is_still_a_deadline(self, one: Guest) -> None:
        for timeout in (0.0, -1.0):
            fresh = Guest(sys.modules[type(one.vm).__module__]).made()
            stopped(TrapKind.INTERRUPT, fresh.vm.call, fresh.fn("spin"), (), timeout)
            fresh.vm.close()

    def test_other_threads_run_while_the_guest_loops(self, one: Guest) -> None:
        turns = 0
        over = threading.Event()

        def turn() -> None:
            nonlocal turns
            while not over.wait(0.001):
                turns += 1

        thread = threading.Thread(target=turn)
        thread.start()
        before = turns
        stopped(TrapKind.INTERRUPT, one.vm.call, one.fn("spin"), (), 0.2)
        during = turns - before
        over.set()
        thread.join()
        assert during > 5

    def test_a_call_within_its_time_is_not_disturbed_by_the_end_of_another(self, twin: ModuleType) -> None:
        patient, hasty = Guest(twin).made(), Guest(twin).made()
        patient.host = lambda *args: stopped(TrapKind.INTERRUPT, hasty.vm.call, hasty.fn("spin"), (), 0.01) and 5
        assert patient.fn("ask")(1, 2, 3) == 5
        assert patient.fn("add")(1, 2) == 3
        patient.vm.close()
        hasty.vm.close()

    def test_many_threads_each_have_their_own_deadline(self, twin: ModuleType) -> None:
        ended: list[TrapKind] = []

        def run(timeout: float) -> None:
            one = Guest(twin).made()
            ended.append(stopped(TrapKind.INTERRUPT, one.vm.call, one.fn("spin"), (), timeout).kind)
            one.vm.close()

        threads = [threading.Thread(target=run, args=(0.01 * place,)) for place in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ended) == 8


class TestMemory:
    def test_bytes_and_numbers(self, one: Guest) -> None:
        vm = one.vm
        assert vm.memory_size == PAGE
        assert vm.read(16, 5) == b"hello"
        vm.write(100, b"\x01\x02\x03\x04\x05")
        assert vm.read_u32(100) == 0x04030201
        assert one.fn("load")(101) == 0x05040302
        vm.write_u32(200, -1)
        vm.write_u32(204, (1 << 32) + 5)
        assert vm.read(200, 8) == b"\xff\xff\xff\xff\x05\0\0\0"
        vm.write_u64(201, -2)
        assert vm.read(201, 8) == b"\xfe" + b"\xff" * 7
        vm.write(300, bytearray(b"ab"))
        vm.write(302, memoryview(b"cd"))
        assert vm.read(300, 4) == b"abcd"

    @given(st.integers(), st.integers(), st.binary(max_size=64))
    @pytest.mark.parametrize("name", list(twins()))
    def test_W7_ranges_are_exact_for_any_number(self, name: str, ptr: int, size: int, data: bytes) -> None:
        one = shared(name)
        fits = ptr >= 0 and size >= 0 and ptr + size <= PAGE
        assert one.vm.has_range(ptr, size) is fits
        if not fits:
            with pytest.raises(MemoryRangeError):
                one.vm.read(ptr, size)
        if ptr < 0 or ptr + len(data) > PAGE:
            with pytest.raises(MemoryRangeError):
                one.vm.write(ptr, data)

    @given(st.integers(-20, 20), st.binary(max_size=40))
    @pytest.mark.parametrize("name", list(twins()))
    def test_W7_the_edge_of_memory(self, name: str, over: int, data: bytes) -> None:
        one = shared(name)
        ptr = PAGE - len(data) + over
        before = one.vm.read(PAGE - 64, 64)
        if over <= 0:
            one.vm.write(ptr, data)
            assert one.vm.read(ptr, len(data)) == data
        else:
            with pytest.raises(MemoryRangeError):
                one.vm.write(ptr, data)
            assert one.vm.read(PAGE - 64, 64) == before

    def test_W7_numbers_at_the_edge(self, one: Guest) -> None:
        one.vm.write_u32(PAGE - 4, 7)
        assert one.vm.read_u32(PAGE - 4) == 7
        for call in (
            lambda: one.vm.read_u32(PAGE - 3),
            lambda: one.vm.read_u32(-1),
            lambda: one.vm.write_u32(PAGE - 3, 1),
            lambda: one.vm.write_u64(PAGE - 7, 1),
            lambda: one.vm.write_u32(1 << 70, 1),
            lambda: one.vm.read(0, 1 << 70),
            lambda: one.vm.read(0xFFFFFFFF, 0xFFFFFFFF),
        ):
            with pytest.raises(MemoryRangeError):
                call()
        assert one.vm.has_range(PAGE, 0) and one.vm.read(PAGE, 0) == b""
        assert not one.vm.has_range(PAGE + 1, 0)

    def test_growth_is_seen_at_once(self, one: Guest) -> None:
        assert one.fn("grow")(2) == 1
        assert one.vm.memory_size == 3 * PAGE
        one.vm.write(3 * PAGE - 2, b"ab")
        assert one.vm.read(3 * PAGE - 2, 2) == b"ab"
        assert one.vm.read(16, 5) == b"hello"

    def test_growth_inside_a_host_call_is_seen_at_once(self, one: Guest) -> None:
        def growing(*args: int) -> int:
            one.fn("grow")(1)
            one.vm.write(2 * PAGE - 1, b"z")
            return int(one.vm.memory_size)

        one.host = growing
        assert one.fn("ask")(1, 2, 3) == 2 * PAGE
        assert one.fn("load")(2 * PAGE - 4) == ord("z") << 24

    def test_W4_growth_beyond_the_limit_fails_inside_the_guest(self, one: Guest) -> None:
        assert one.fn("grow")(1000) == 0xFFFFFFFF
        assert one.vm.memory_limit_hit and not one.vm.failed
        assert one.vm.memory_size == PAGE
        assert one.fn("add")(1, 2) == 3
        assert not one.vm.memory_limit_hit, "it is about the last call"

    def test_W4_a_guest_that_dies_of_it_is_told_from_one_that_dies(self, twin: ModuleType) -> None:
        for pages, hit in [(1000, True), (1, False)]:
            one = Guest(twin).made()
            one.host = lambda a, b, c, one=one: one.fn("grow_or_die")(a)
            if hit:
                stopped(TrapKind.UNREACHABLE, one.fn("ask"), pages, 0, 0)
            else:
                one.fn("ask")(pages, 0, 0)
                stopped(TrapKind.UNREACHABLE, one.fn("give_up"))
            assert one.vm.memory_limit_hit is hit
            one.vm.close()

    def test_W4_a_first_size_beyond_the_limit_is_refused(self, twin: ModuleType) -> None:
        big = Guest(twin, '(module (memory (export "memory") 100))')
        stopped(TrapKind.MEMORY, big.vm.instantiate, LONG)
        assert big.vm.failed and big.vm.memory_limit_hit and big.vm.memory_size == 0
        big.vm.close()

    def test_W4_a_table_beyond_the_limit_is_refused(self, twin: ModuleType) -> None:
        big = Guest(twin, "(module (table 1000000 funcref))")
        stopped(TrapKind.MEMORY, big.vm.instantiate, LONG)
        assert not big.vm.memory_limit_hit
        big.vm.close()

    def test_a_limit_that_is_no_whole_page_grants_the_whole_pages_below(self, twin: ModuleType) -> None:
        one = Guest(twin, memory_limit=2 * PAGE + 1).made()
        assert one.fn("grow")(1) == 1
        assert one.fn("grow")(1) == 0xFFFFFFFF
        one.vm.close()

    def test_memory_of_a_fresh_instance_is_zero(self, twin: ModuleType) -> None:
        for _ in range(3):
            one = Guest(twin).made()
            assert one.vm.read(4096, PAGE - 4096) == bytes(PAGE - 4096)
            one.vm.write(4096, b"secret" * 1000)
            one.vm.close()

    @pytest.mark.parametrize("text", ["(module)", "(module (memory 1))", '(module (memory (export "m") 1))'])
    def test_without_memory_under_its_name_there_is_none(self, twin: ModuleType, text: str) -> None:
        one = Guest(twin, text).made()
        assert one.vm.memory_size == 0
        assert one.vm.read(0, 0) == b"" and not one.vm.has_range(0, 1)
        with pytest.raises(MemoryRangeError):
            one.vm.write(0, b"x")
        one.vm.close()

    def test_after_close_there_is_none(self, one: Guest) -> None:
        one.vm.close()
        with pytest.raises(MemoryRangeError):
            one.vm.read(16, 5)
        assert one.vm.memory_size == 0


class TestReturnBytes:
    def test_the_guest_finds_pointer_and_size(self, one: Guest) -> None:
        assert one.vm.return_bytes(b"some bytes", 0, 4, one.fn("alloc")) == 0
        assert one.vm.read_u32(0) == 1024 and one.vm.read_u32(4) == 10
        assert one.vm.read(1024, 10) == b"some bytes"

    def test_nothing_is_returned_without_asking_for_room(self, one: Guest) -> None:
        one.vm.write(0, b"\xff" * 8)
        assert one.vm.return_bytes(b"", 0, 4, one.fn("alloc_dying")) == 0
        assert one.vm.read(0, 8) == bytes(8)

    def test_W7_memory_that_moved_or_grew_is_asked_for_again(self, one: Guest) -> None:
        assert one.vm.return_bytes(b"x" * 100, PAGE - 8, PAGE - 4, one.fn("alloc_growing")) == 0
        assert one.vm.read_u32(PAGE - 8) == PAGE
        assert one.vm.read(PAGE, 100) == b"x" * 100

    @pytest.mark.parametrize("name", ["alloc_nothing", "alloc_beyond", "alloc_void"])
    def test_W7_an_allocator_that_answers_nonsense_is_a_status(self, one: Guest, name: str) -> None:
        one.vm.write(0, b"\xaa" * 8)
        assert one.vm.return_bytes(b"data", 0, 4, one.fn(name)) == 6
        assert one.vm.read(0, 8) == b"\xaa" * 8

    @pytest.mark.parametrize("slots", [(PAGE - 3, 0), (0, PAGE - 3), (0xFFFFFFFF, 0), (0, 0xFFFFFFFC), (-4, 0)])
    def test_W7_bad_slots_are_a_status_and_the_allocator_is_not_asked(
        self, one: Guest, slots: tuple[int, int]
    ) -> None:
        assert one.vm.return_bytes(b"data", *slots, one.fn("alloc_dying")) == 6
        assert not one.vm.failed

    def test_W7_overlapping_odd_slots_inside_the_block_itself(self, one: Guest) -> None:
        # The block is given out over its own slots: pointer and size are written last.
        assert one.vm.return_bytes(b"d" * 9, 9, 11, one.fn("alloc_same")) == 0
        assert one.vm.read(9, 6) == b"\x09\0\x09\0\0\0"

    def test_W7_an_allocator_that_traps_ends_the_call(self, one: Guest) -> None:
        one.host = lambda *args: one.vm.return_bytes(b"data", 0, 4, one.fn("alloc_dying"))
        stopped(TrapKind.UNREACHABLE, one.fn("ask"), 1, 2, 3)

    def test_W7_an_allocator_that_asks_for_more_never_ends_anything_but_itself(self, one: Guest) -> None:
        one.host = lambda *args: one.vm.return_bytes(b"data", 0, 4, one.fn("alloc_asking"))
        stopped(TrapKind.STACK_OVERFLOW, one.fn("ask"), 1, 2, 3)

    @given(st.integers(-8, PAGE + 8), st.integers(-8, PAGE + 8), st.binary(min_size=1, max_size=80))
    @pytest.mark.parametrize("name", list(twins()))
    def test_W7_any_slots_and_data_give_a_status(self, name: str, ptr: int, size: int, data: bytes) -> None:
        one = shared(name)
        fits = 0 <= ptr <= PAGE - 4 and 0 <= size <= PAGE - 4
        assert one.vm.return_bytes(data, ptr, size, one.fn("alloc_same")) == (0 if fits else 6)


class TestStart:
    def test_host_functions_use_the_memory_while_the_start_section_runs(self, twin: ModuleType) -> None:
        one = Guest(twin, START)
        seen: list[bytes] = []
        one.host = lambda ptr, size, _: seen.append(one.vm.read(ptr, size))
        one.made()
        assert seen == [b"hello"]
        one.vm.close()

    def test_an_error_in_it_comes_out_unchanged(self, twin: ModuleType) -> None:
        one = Guest(twin, START)
        ours = ValueError("ours")
        one.host = thrower(ours)
        with pytest.raises(ValueError) as caught:
            one.vm.instantiate(LONG)
        assert caught.value is ours and one.vm.failed
        one.vm.close()

    def test_an_instance_made_inside_another_ones_start_has_a_memory_of_its_own(self, twin: ModuleType) -> None:
        outer, inner = Guest(twin, START), Guest(twin)
        outer.host = lambda *args: inner.made().vm.write(0, b"in")
        outer.made()
        assert (outer.vm.read(0, 2), inner.vm.read(0, 2)) == (b"\0\0", b"in")
        outer.vm.close()
        inner.vm.close()

    def test_closing_in_it_waits_for_its_end(self, twin: ModuleType) -> None:
        one = Guest(twin, START)
        one.host = lambda *args: one.vm.close()
        one.vm.instantiate(LONG)
        stopped(TrapKind.OTHER, one.vm.function, "add")


class TestClose:
    def test_a_closed_instance_refuses_and_closes_twice(self, one: Guest) -> None:
        add = one.fn("add")
        one.vm.close()
        one.vm.close()
        assert one.vm.failed and add.vm is None
        stopped(TrapKind.OTHER, add, 1, 2)
        stopped(TrapKind.OTHER, one.vm.call, add, (1, 2), LONG)
        stopped(TrapKind.OTHER, one.vm.function, "add")

    def test_closing_inside_a_host_call_waits_for_the_guest(self, one: Guest) -> None:
        def closing(*args: int) -> int:
            one.vm.close()
            assert one.vm.read(16, 5) == b"hello"
            return 8

        one.host = closing
        assert one.fn("ask")(1, 2, 3) == 8
        assert one.vm.memory_size == 0

    def test_host_functions_are_let_go(self, twin: ModuleType) -> None:
        one = Guest(twin).made()
        watched = weakref.ref(one)
        one.vm.close()
        del one
        gc.collect()
        assert watched() is None

    def test_a_forgotten_instance_in_a_cycle_is_freed(self, twin: ModuleType) -> None:
        one = Guest(twin).made()
        one.fn("add")
        watched = [weakref.ref(one), weakref.ref(one.vm)]
        del one  # never closed: instance, functions and host functions refer to each other
        gc.collect()
        assert [ref() for ref in watched] == [None, None]

    def test_W25_ten_thousand_instances_leave_nothing(self, twin: ModuleType) -> None:
        module = guest(START)
        imports = {("env", "host"): lambda *args: 0}

        def churn(times: int) -> None:
            for _ in range(times):
                vm = twin.Vm(module, imports, memory_limit=LIMIT)
                vm.instantiate(LONG)
                vm.close()

        churn(500)
        before = resident(), mappings()
        churn(10_000)
        gc.collect()
        assert resident() - before[0] < 2 << 20
        assert mappings() <= before[1] + 5


def test_the_twins_have_the_same_surface() -> None:
    both = twins()
    for name in ("Vm", "GuestFunction"):
        surfaces = [{each for each in dir(getattr(twin, name)) if not each.startswith("_")} for twin in both.values()]
        surfaces = [surface - {"raw"} for surface in surfaces]
        assert all(surface == surfaces[0] for surface in surfaces)


@pytest.mark.parametrize("pure", ["0", "1"])
def test_the_door_takes_the_compiled_twin_unless_told_otherwise(pure: str) -> None:
    command = "from sidecar.wasm.vm import Vm; print(Vm.__module__)"
    environment = {"SIDECAR_PURE": pure, "PATH": ""}
    done = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=True)
    built = "c" in twins()
    assert done.stdout.strip() == ("sidecar.wasm._vm_c" if built and pure == "0" else "sidecar.wasm._vm_py")
    assert isinstance(COMPILED, bool)


_shared: dict[str, Guest] = {}


def shared(name: str) -> Guest:
    """One instance for all the examples of a property."""
    if name not in _shared:
        _shared[name] = Guest(twins()[name]).made()
    return _shared[name]


def thrower(error: BaseException) -> Host:
    def throw(*args: int) -> int:
        raise error

    return throw


def resident() -> int:
    """Bytes."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


def mappings() -> int:
    with open("/proc/self/maps", encoding="ascii") as file:
        return sum(1 for _ in file)
