"""The engine's ways to end a guest, as ours."""

from __future__ import annotations

from typing import Any

import pytest
import wasmtime
from wasmtime import _bindings as c

from sidecar.wasm.linking import address
from sidecar.wasm.trap import DEADLINE_MESSAGE, KINDS, ProcExit, TrapKind, frames, reason, take_error, take_trap


def error(message: bytes) -> int:
    return address(c.wasmtime_error_new(message))


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (DEADLINE_MESSAGE, TrapKind.INTERRUPT),
        (b"memory minimum size of 9 pages exceeds memory limits", TrapKind.MEMORY),
        (b"table minimum size of 9 elements exceeds table limits", TrapKind.MEMORY),
        (b"anything else", TrapKind.OTHER),
    ],
)
def test_an_error_is_sorted_by_its_text(message: bytes, kind: TrapKind) -> None:
    trap = take_error(error(message))
    assert (trap.kind, trap.message, trap.backtrace) == (kind, message.decode(), ())


@pytest.mark.parametrize("code", list(wasmtime.TrapCode))
def test_every_code_of_the_engine_has_a_kind(code: Any) -> None:
    trap = take_trap(address(c.wasmtime_trap_new_code(code.value)))
    assert trap.kind is KINDS.get(code, TrapKind.OTHER)
    assert trap.message


def test_a_trap_made_by_a_host_function_has_no_code() -> None:
    assert take_trap(address(c.wasmtime_trap_new(b"ours", 4))).kind is TrapKind.HOST


def test_only_the_cause_is_kept_of_a_long_message() -> None:
    long = "error while executing at wasm backtrace:\n    0: 0x1 - f\n\nCaused by:\n    0: wasm trap: unreachable"
    assert reason(long) == "unreachable"
    assert reason("  plain  ") == "plain"


def test_frames_are_named_by_function_or_number() -> None:
    class Frame:
        def __init__(self, name: str | None) -> None:
            self.func_name = name
            self.func_index = 3
            self.module_offset = 255

    made: list[Any] = [Frame("inner"), Frame(None)]
    assert frames(made) == ("inner at 0xff", "3 at 0xff")


def test_an_exit_says_its_code() -> None:
    assert ProcExit(7).code == 7 and "7" in str(ProcExit(7))
