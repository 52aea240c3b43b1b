from __future__ import annotations

import pytest

from sidecar.wasm.plugin import Patience
from tests.support.guest import Guest, Once, Say, Trap, call
from tests.support.plugins import House, Talk

ON_REQUEST, ON_LOG, DONE, DELETE = "proxy_on_request_headers", "proxy_on_log", "proxy_on_done", "proxy_on_delete"
TRAPS_SECOND = """(module (memory (export "memory") 2) (global $n (mut i32) (i32.const 0))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (global.set $n (i32.add (global.get $n) (i32.const 1)))
    (if (i32.eq (global.get $n) (i32.const 2)) (then unreachable)) (i32.const 0)))"""


def test_the_first_restart_is_at_once_and_then_it_takes_longer_and_longer() -> None:
    patience = Patience()
    delays = [patience.delay(1000.0, False) for _ in range(13)]
    assert delays[:3] == [0, 0, 0]
    assert delays[3:] == sorted(delays[3:]) and 0 < delays[3] < 1 and delays[-1] == 30


def test_an_instance_that_worked_is_replaced_at_once_unless_it_happens_all_the_time() -> None:
    patience = Patience()
    delays = [patience.delay(1000.0, True) for _ in range(40)]
    assert delays[:10] == [0] * 10
    assert delays[10] == pytest.approx(0.1) and delays[39] == 30
    assert patience.delay(2000.0, True) == 0


def test_a_failed_instance_is_replaced_and_the_next_request_is_served() -> None:
    house = House()
    plugin = house.plugin(TRAPS_SECOND)
    statuses = []
    for _ in range(4):
        talk = Talk(house, plugin)
        talk.request()
        talk.answer(end=True)
        statuses.append(talk.downstream.status)
        house.timers.advance(0)
    assert statuses == [200, 503, 200, 503]
    assert plugin.restarts == 2 and house.metrics.counts["restart", "probe"] == 2
    assert plugin.describe()["state"] == "running"
    assert "unreachable" in str(plugin.describe()["last_error"])


def test_a_restart_that_is_due_does_not_wait_for_the_loop() -> None:
    house = House()
    plugin = house.plugin(TRAPS_SECOND)
    for expected in (200, 503, 200):
        talk = Talk(house, plugin)
        talk.request()
        talk.answer(end=True)
        assert talk.downstream.status == expected


def test_an_instance_that_always_fails_is_given_pauses() -> None:
    house = House()
    plugin = house.plugin(Guest().on(ON_REQUEST, Trap()))
    for _ in range(4):
        assert Talk(house, plugin).get().downstream.status == 503
    assert plugin.describe()["state"] == "restarting"
    talk = Talk(house, plugin).get()
    assert talk.downstream.head.headers.get(b"x-sidecar-error") == b"plugin_failed"
    assert plugin.restarts == 3
    house.timers.advance(1)
    assert plugin.restarts == 4 and plugin.describe()["state"] == "running"


CONFIGURES_UNLESS_TOLD = """(module
  (import "env" "proxy_get_shared_data" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 16) "broken") (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (call $get (i32.const 16) (i32.const 6) (i32.const 64) (i32.const 68) (i32.const 72)))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) unreachable))"""
"""NotFound (1) is what it takes for yes: it fails once there is such a key."""


def test_a_restart_that_fails_is_tried_again_later() -> None:
    house = House()
    plugin = house.plugin(CONFIGURES_UNLESS_TOLD)
    house.shared.set("", b"broken", b"", 0)
    Talk(house, plugin).get()
    assert house.metrics.counts["error", "probe", "configure"] == 1
    assert plugin.cause == "load" and plugin.last_error == "proxy_on_configure: returned false"
    house.shared.delete("", b"broken", 0)
    house.timers.advance(5)
    assert plugin.describe()["state"] == "running"


def test_a_retired_plugin_ends_with_its_last_exchange() -> None:
    house = House()
    guest = Guest().on(ON_REQUEST, Say("request")).on(DONE, Say("done")).on(DELETE, Say("deleted"))
    plugin = house.plugin(guest, vm_id="v")
    house.shared.set("v", b"k", b"x", 0)
    talk, waiting = Talk(house, plugin).get(), Talk(house, plugin)
    plugin.retire()
    assert plugin.describe()["state"] == "retiring"
    talk.answer(end=True)
    waiting.get()  # began before the change, comes to the plugin after it
    assert house.said().count("request") == 2
    waiting.answer(end=True)
    assert house.said()[-2:] == ["done", "deleted"] and house.said().count("deleted") == 3
    assert plugin.describe()["state"] == "closed"
    assert house.shared.get("v", b"k") is None


def test_a_root_that_is_not_done_has_its_grace() -> None:
    house = House()
    plugin = house.plugin(Guest().on(DONE, result=0).on(DELETE, Say("deleted")))
    plugin.retire()
    assert house.said() == []
    house.timers.advance(5.1)
    assert house.said() == ["deleted"]


def test_closing_is_final_and_stops_the_timer() -> None:
    house = House()
    guest = (
        Guest().on("proxy_on_configure", call("proxy_set_tick_period_milliseconds", 10)).on("proxy_on_tick", Say("t"))
    )
    plugin = house.plugin(guest)
    plugin.close()
    plugin.close()
    house.timers.advance(1)
    assert "t" not in house.said()
    assert plugin.describe()["state"] == "closed"


def test_phases_are_what_the_module_has_and_the_configuration_allows() -> None:
    house = House()
    guest = Guest()
    for name in (
        ON_REQUEST,
        "proxy_on_request_body",
        "proxy_on_request_trailers",
        "proxy_on_response_headers",
        ON_LOG,
    ):
        guest.on(name)
    assert len(house.plugin(guest).phases) == 5
    chosen = house.plugin(guest, phases=frozenset({"on_request_body", "on_response_body"})).phases
    assert chosen == {"on_request_body", "on_request_trailers"}


def test_a_description_has_no_secrets() -> None:
    house = House()
    plugin = house.plugin(Guest().on(ON_REQUEST, Once(Say("x"))), config=b"secret", vm_config=b"secret")
    described = plugin.describe()
    assert described["abi"] == "0.2.1" and described["phases"] == ["on_request_headers"]
    assert described["memory_bytes"] == 32 * 65536 and "secret" not in repr(described)
    assert house.metrics.memory_bytes["probe"] == 32 * 65536


def test_two_configurations_of_one_plugin_do_not_meddle() -> None:
    house = House()
    guest = (
        Guest()
        .on("proxy_on_configure", call("proxy_define_metric", 0, b"c", 8))
        .on(ON_REQUEST, call("proxy_increment_metric", 4, 1))
    )
    first, second = house.plugin(guest, config=b"1"), house.plugin(guest, config=b"2")
    for plugin in (first, second, first):
        Talk(house, plugin).get()
    assert [metric.value for metric in house.custom_metrics.collect()] == [3]
