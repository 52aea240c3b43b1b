"""Plugins that mean harm, sans-io (reliability rows W): beside each, another exchange that must not feel anything.

Rows that belong to one function of the host are tested there: tests/unit/wasm and tests/unit/filters/test_wasm.py.
"""

from __future__ import annotations

import pytest

from tests.support.guest import Guest, Loop, Say, Trap, call, pairs
from tests.support.plugins import House, Talk

ON_REQUEST = "proxy_on_request_headers"
TICK, QUEUE, CALL = "proxy_on_tick", "proxy_on_queue_ready", "proxy_on_http_call_response"
HEAD = pairs((b":method", b"GET"), (b":path", b"/"), (b":authority", b"a"))


@pytest.mark.parametrize("step", [Loop(), Trap()])
@pytest.mark.parametrize("callback", ["proxy_on_log", "proxy_on_done", "proxy_on_delete"])
def test_W1_W9_an_end_that_does_not_end_leaves_the_answer_alone(callback: str, step: Loop | Trap) -> None:
    house = House()
    plugin = house.plugin(Guest().on(ON_REQUEST).on(callback, step), timeout=0.02)
    talk = Talk(house, plugin).get()
    talk.answer()
    talk.answer_data(b"whole", True)
    assert (talk.downstream.status, talk.downstream.body, talk.downstream.resets) == (200, b"whole", [])
    house.timers.advance(0)
    assert plugin.restarts == 1 and plugin.describe()["state"] == "running"


@pytest.mark.parametrize("step", [Loop(), Trap()])
@pytest.mark.parametrize("callback", [TICK, QUEUE, CALL])
def test_W1_W9_a_callback_of_the_root_ends_the_instance_and_answers_its_streams(
    callback: str, step: Loop | Trap
) -> None:
    house = House("a")
    guest = (
        Guest()
        .on(callback, step)
        .on(
            "proxy_on_configure",
            call("proxy_set_tick_period_milliseconds", 50),
            call("proxy_register_shared_queue", b"q", 8),
        )
    )
    guest.on(ON_REQUEST, call("proxy_http_call", b"a", HEAD, b"", pairs(), 1000, 8), result=1)
    bystander = house.plugin(Guest().on(ON_REQUEST, Say("fine")), name="bystander")
    plugin = house.plugin(guest, timeout=0.02)
    talk = Talk(house, plugin).get()
    if callback == TICK:
        house.timers.advance(0.06)
    elif callback == QUEUE:
        house.shared.enqueue(1, b"x").owner(1)  # type: ignore[union-attr,misc]
    else:
        house.calls.made[0].answer((b":status", b"200"))
    house.timers.advance(0)
    code = b"plugin_timeout" if isinstance(step, Loop) else b"plugin_failed"
    assert talk.downstream.status == 503 and talk.downstream.head.headers.get(b"x-sidecar-error") == code
    assert plugin.describe()["state"] == "running"
    assert Talk(house, bystander).get().upstream is not None


def test_W1_a_loop_where_a_stream_begins_is_a_timeout() -> None:
    house = House()
    code = """(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
      (func (export "malloc") (param i32) (result i32) (i32.const 1024))
      (func (export "proxy_on_context_create") (param i32 i32) (if (local.get 1) (then (loop $l (br $l)))))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0)))"""
    plugin = house.plugin(code, timeout=0.02)
    codes = [Talk(house, plugin).get().downstream.head.headers.get(b"x-sidecar-error") for _ in range(6)]
    assert codes == [b"plugin_timeout"] * 6  # the last ones find no instance, and hear why


ALLOCATOR = """(module
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (memory (export "memory") 1 4) (data (i32.const 16) ":path0123456789")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param $size i32) (result i32) {body})
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $log (i32.const 2) (i32.add (i32.const 21)
      (call $get (i32.const 0) (i32.const 16) (i32.const 5) (i32.const 256) (i32.const 260))) (i32.const 1)))
    (drop (call $log (i32.const 2) (i32.load (i32.const 256)) (i32.load (i32.const 260))))
    (i32.const 0)))"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("(i32.const 0)", ["6", ""]),
        ("(i32.const -1)", ["6", ""]),
        ("(i32.const 65536)", ["6", ""]),
        ("(i32.const 65535)", ["0", "/"]),
        ("(i32.mul (memory.grow (i32.const 1)) (i32.const 65536))", ["0", "/"]),
        ("(drop (call $log (i32.const 2) (i32.const 21) (i32.const 3))) (i32.const 1024)", ["012", "0", "/"]),
        ("(drop (call $effective (i32.const 1))) (i32.const 1024)", ["0", "/"]),
    ],
)
def test_W7_an_allocator_may_answer_what_it_likes(body: str, said: list[str]) -> None:
    house = House()
    talk = Talk(house, house.plugin(ALLOCATOR.replace("{body}", body))).get()
    assert house.said() == said
    assert talk.upstream is not None and talk.bugs == []


@pytest.mark.parametrize(
    ("body", "code"), [("(loop $l (br $l)) (i32.const 0)", b"plugin_timeout"), ("unreachable", b"plugin_failed")]
)
def test_W1_W7_an_allocator_that_does_not_return(body: str, code: bytes) -> None:
    house = House()
    talk = Talk(house, house.plugin(ALLOCATOR.replace("{body}", body), timeout=0.02)).get()
    assert talk.downstream.head.headers.get(b"x-sidecar-error") == code


def test_W7_an_allocator_that_calls_the_host_without_end() -> None:
    house = House()
    again = "(call $get (i32.const 0) (i32.const 16) (i32.const 5) (i32.const 256) (i32.const 260))"
    body = f"(drop {again}) (i32.const 1024)"
    talk = Talk(house, house.plugin(ALLOCATOR.replace("{body}", body))).get()
    assert talk.downstream.status == 503 and talk.bugs == []


def test_W4_more_memory_than_the_limit_is_refused_and_counts_as_limit() -> None:
    house = House()
    grows = """(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
      (func (export "malloc") (param i32) (result i32) (i32.const 1024))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable))"""
    plugin = house.plugin(grows, memory_limit=1 << 20, on_failure={"limit": "open"})
    assert Talk(house, plugin).get().upstream is not None
    assert house.metrics.counts["error", "probe", "memory"] == 1
    assert house.metrics.counts["passed", "probe", "limit"] == 1


def test_W10_continue_and_answer_in_every_odd_order() -> None:
    house = House()
    tick = (
        call("proxy_set_effective_context", 2),
        call("proxy_continue_stream", 0),
        call("proxy_continue_stream", 0),
        call("proxy_send_local_response", 403, b"", b"", b"", -1),
        call("proxy_set_effective_context", 9),
    )
    guest = Guest().on("proxy_on_configure", call("proxy_set_tick_period_milliseconds", 50)).on(ON_REQUEST, result=1)
    talk = Talk(house, house.plugin(guest.on(TICK, *tick))).get()
    for _ in range(3):
        house.timers.advance(0.06)
    assert talk.downstream.status == 403 and talk.downstream.finishes == 1 and talk.bugs == []
    assert [line[-1] for line in house.said()[-5:]] == ["2", "0", "0", "0", "2"]  # the stream is gone by then


def test_W23_a_thousand_interleaved_exchanges_through_three_plugins() -> None:
    house = House()
    read = call("proxy_get_header_map_value", 0, b"x-id", 0, 4, show="bytes", label="id")
    plugins = [
        house.plugin(Guest().on(ON_REQUEST, read, result=0).on("proxy_on_response_headers", read), name=name)
        for name in "abc"
    ]
    talks = [Talk(house, *plugins) for _ in range(1000)]
    for number, talk in enumerate(talks):
        talk.request((b"x-id", b"%d" % number))
    for talk in reversed(talks):
        talk.answer(end=True)
    for name in "abc":
        asked = [f"id -> 0 :{number}" for number in range(1000)]
        assert house.said(name) == [*asked, *reversed(asked)][: len(house.said(name))]
        assert len(house.said(name)) == 1000  # the burst of the log
    assert all(talk.downstream.status == 200 and talk.bugs == [] for talk in talks)
