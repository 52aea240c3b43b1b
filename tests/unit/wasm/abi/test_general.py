from __future__ import annotations

import pytest

from tests.support.guest import LONG, OUT, WORD, Guest, Say, call
from tests.support.plugins import House, Talk

ON_REQUEST = "proxy_on_request_headers"


def test_levels_are_filtered_and_told() -> None:
    house = House()
    logs = [call("proxy_log", level, b"line", label=f"log {level}") for level in range(7)]
    Talk(house, house.plugin(Guest().on(ON_REQUEST, *logs), log_level=2)).get()
    lines = [(level, text) for _, level, text, _ in house.lines]
    assert [level for level, text in lines if text == "line"] == ["info", "warn", "error", "critical"]
    assert ("info", "log 6 -> 2") in lines
    assert ("info", "log 0 -> 0") in lines


@pytest.mark.parametrize(("level", "told"), [(0, 0), (3, 3), (6, 5)])
def test_the_level_can_be_asked_for(level: int, told: int) -> None:
    house = House()
    guest = Guest().on(ON_REQUEST, call("proxy_get_log_level", WORD, show="word"), call("proxy_log", 5, b"x"))
    plugin = house.plugin(guest, log_level=level)
    Talk(house, plugin).get()
    assert house.said() == (
        [f"proxy_get_log_level -> 0 {told}", "x", "proxy_log -> 0"] if level < 3 else ["x"] if level < 6 else []
    )


def test_a_line_of_the_guest_carries_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    talk = Talk(house, house.plugin(Guest().on(ON_REQUEST, Say("hello"))))
    talk.record.span = type("Span", (), {"trace_id": bytes(range(16))})()
    talk.get()
    assert house.lines == [("probe", "info", "hello", {"trace_id": bytes(range(16)).hex()})]


def test_time_is_unix_nanoseconds() -> None:
    house = House()
    Talk(
        house, house.plugin(Guest().on(ON_REQUEST, call("proxy_get_current_time_nanoseconds", LONG, show="long")))
    ).get()
    assert house.said() == [f"proxy_get_current_time_nanoseconds -> 0 {house.timers.unix_nanos()}"]


def test_abi_101_ticks_are_set_replaced_and_stopped() -> None:
    house = House()
    period = "proxy_set_tick_period_milliseconds"
    house.plugin(Guest().on("proxy_on_configure", call(period, 100)).on("proxy_on_tick", Say("tick")))
    house.timers.advance(0.05)
    assert "tick" not in house.said()
    for _ in range(3):
        house.timers.advance(0.1)
    assert house.said().count("tick") == 3
    house = House()
    house.plugin(Guest().on("proxy_on_configure", call(period, 20)).on("proxy_on_tick", Say("tick"), call(period, 0)))
    for _ in range(3):
        house.timers.advance(0.1)
    assert house.said().count("tick") == 1


def test_W24_a_tick_is_never_more_often_than_every_10_ms() -> None:
    house = House()
    house.plugin(
        Guest().on("proxy_on_configure", call("proxy_set_tick_period_milliseconds", 1)).on("proxy_on_tick", Say("t"))
    )
    assert [round(alarm.due - house.timers.now(), 6) for alarm in house.timers.alarms] == [0.01]


def test_W24_a_tick_pauses_as_long_as_it_took() -> None:
    house = House()
    now = house.timers.now
    plugin = house.plugin(
        Guest().on("proxy_on_configure", call("proxy_set_tick_period_milliseconds", 10)).on("proxy_on_tick", Say("t"))
    )
    instance = plugin._instance
    assert instance is not None
    step = iter([0.0] * 2 + [0.4] * 20)  # the clock jumps while the tick runs
    instance._now = lambda: now() + next(step)
    house.timers.advance(0.02)
    assert [round(alarm.due - now(), 6) for alarm in house.timers.alarms] == [0.4]


def test_configuration_of_abi_0_1_0() -> None:
    house = House()
    get = call("proxy_get_configuration", OUT, show="bytes")
    house.plugin(
        Guest().on("proxy_on_vm_start", get).on("proxy_on_configure", get), config=b"plugin", vm_config=b"vm"
    )
    assert house.said() == ["proxy_get_configuration -> 0 :vm", "proxy_get_configuration -> 0 :plugin"]


def test_status_is_fine_when_no_call_failed() -> None:
    house = House()
    Talk(house, house.plugin(Guest().on(ON_REQUEST, call("proxy_get_status", WORD, OUT, show="word")))).get()
    assert house.said() == ["proxy_get_status -> 0 0"]
