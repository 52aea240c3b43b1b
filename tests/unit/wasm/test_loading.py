from __future__ import annotations

import pytest

from sidecar.wasm.loading import inspect
from sidecar.wasm.settings import PluginLoadError
from tests.support.wat import guest

MEMORY = '(memory (export "memory") 1)'
MARKER = '(func (export "proxy_abi_version_0_2_1"))'
ALLOC = '(func (export "malloc") (param i32) (result i32) (i32.const 1024))'
HEADERS = '(func (export "proxy_on_request_headers") (param i32 i32{extra}) (result i32) (i32.const 0))'


def refusal(*parts: str) -> str:
    with pytest.raises(PluginLoadError) as caught:
        inspect(guest("(module " + " ".join(parts) + ")"))
    return str(caught.value)


@pytest.mark.parametrize("version", ["0_1_0", "0_2_0", "0_2_1"])
def test_abi_2_every_version_is_recognised(version: str) -> None:
    shape = inspect(guest(f'(module {MEMORY} {ALLOC} (func (export "proxy_abi_version_{version}")))'))
    assert shape.abi == version.replace("_", ".")
    assert shape.phases == frozenset()


def test_abi_1_3_a_module_without_a_marker_function_is_refused() -> None:
    assert "missing or unknown ABI version" in refusal(MEMORY, ALLOC)
    assert "ABI version" in refusal(MEMORY, ALLOC, '(func (export "proxy_abi_version_0_3_0"))')
    assert "ABI version" in refusal(MEMORY, ALLOC, '(global (export "proxy_abi_version_0_2_1") i32 (i32.const 1))')


def test_abi_4_the_first_of_two_markers_decides() -> None:
    old = '(func (export "proxy_abi_version_0_1_0"))'
    headers = HEADERS.format(extra="")
    assert inspect(guest(f"(module {MEMORY} {ALLOC} {old} {MARKER} {headers})")).abi == "0.1.0"
    assert "wants (i32, i32, i32)->i32" in refusal(MEMORY, ALLOC, MARKER, old, headers)


def test_abi_5_all_unknown_imports_are_named_at_once() -> None:
    text = refusal(
        '(import "env" "proxy_future" (func)) (import "env" "other" (func)) (import "host" "proxy_log" (func))',
        '(import "env" "g" (global i32))',
        MEMORY,
        ALLOC,
        MARKER,
    )
    assert "unknown imports: env.proxy_future, env.other, host.proxy_log, env.g (a global)" in text


def test_abi_6_7_8_every_reason_is_told_at_once() -> None:
    text = refusal(
        '(import "env" "proxy_log" (func (param i32) (result i32)))',
        '(func (export "proxy_on_request_headers") (param i32) (result i32) (i32.const 0))',
        '(func (export "proxy_on_log") (param i64))',
        MARKER,
    )
    assert "exports no memory" in text
    assert "exports no allocator" in text
    assert "import env.proxy_log is (i32)->i32, the host has (i32, i32, i32)->i32" in text
    assert "export proxy_on_request_headers is (i32)->i32, ABI 0.2.1 wants (i32, i32, i32)->i32" in text
    assert "export proxy_on_log is (i64)->()" in text


def test_abi_9_the_newer_allocator_is_preferred() -> None:
    new = '(func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))'
    assert inspect(guest(f"(module {MEMORY} {MARKER} {ALLOC} {new})")).allocator == "proxy_on_memory_allocate"
    assert inspect(guest(f"(module {MEMORY} {MARKER} {ALLOC})")).allocator == "malloc"


@pytest.mark.parametrize("result", ["", "(result i32)"])
def test_abi_26_continue_links_with_and_without_a_result(result: str) -> None:
    shape = inspect(
        guest(f'(module (import "env" "proxy_continue_request" (func {result})) {MEMORY} {MARKER} {ALLOC})')
    )
    assert len(shape.imports) == 1


def test_phases_are_what_the_module_exports() -> None:
    log = '(func (export "proxy_on_log") (param i32))'
    shape = inspect(guest(f"(module {MEMORY} {MARKER} {ALLOC} {log} {HEADERS.format(extra=' i32')})"))
    assert shape.phases == {"on_log", "on_request_headers"}
