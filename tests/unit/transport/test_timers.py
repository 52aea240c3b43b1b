from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
import uvloop

from sidecar.transport.timers import TICK, TimerWheel


class FakeHandle:
    def __init__(self, due: float, callback: Any) -> None:
        self.due = due
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeLoop:
    """An event loop whose time a test moves; keeps at most the timers that were not cancelled."""

    def __init__(self) -> None:
        self.time = 100.0
        self.handles: list[FakeHandle] = []
        self.soon: list[Any] = []

    def call_later(self, delay: float, callback: Any) -> FakeHandle:
        self.handles.append(FakeHandle(self.time + delay, callback))
        return self.handles[-1]

    def call_soon(self, callback: Any) -> None:
        self.soon.append(callback)

    def run_until(self, end: float) -> list[BaseException]:
        """Run timers in order; what they raise is returned, as a loop would report it."""
        raised: list[BaseException] = []
        while True:
            self.handles = [handle for handle in self.handles if not handle.is_cancelled]
            due = min((handle for handle in self.handles if handle.due <= end), key=lambda h: h.due, default=None)
            if due is None:
                self.time = end
                return raised
            self.handles.remove(due)
            self.time = max(self.time, due.due)
            try:
                due.callback()
            except ArithmeticError as error:
                raised.append(error)


def wheel_of(loop: FakeLoop) -> TimerWheel:
    wheel = TimerWheel(loop)  # type: ignore[arg-type]
    wheel.now = lambda: loop.time
    return wheel


@pytest.mark.parametrize("delay", [0.0, 0.001, 0.02, 0.05, 1.0, 5.11, 5.13, 30.0, 300.0, 3600.0, 86400.0])
@pytest.mark.parametrize("offset", [0.0, 0.0199, 0.013])
def test_never_early_and_hardly_late(delay, offset):
    loop = FakeLoop()
    loop.time += offset
    wheel = wheel_of(loop)
    start = loop.time
    fired: list[float] = []
    wheel.call_later(delay, lambda: fired.append(loop.time))
    loop.run_until(start + delay - 1e-6)
    assert fired == []
    loop.run_until(start + delay + max(TICK, delay / 128) + TICK + 1e-6)
    assert len(fired) == 1 and fired[0] >= start + delay - 1e-9


def test_a_cancelled_alarm_does_not_fire_and_a_second_cancel_is_nothing():
    loop = FakeLoop()
    wheel = wheel_of(loop)
    fired: list[str] = []
    alarm = wheel.call_later(1.0, lambda: fired.append("cancelled"))
    wheel.call_later(1.0, lambda: fired.append("kept"))
    alarm.cancel()
    alarm.cancel()
    loop.run_until(102.0)
    alarm.cancel()
    assert fired == ["kept"]


def test_an_alarm_that_cancels_its_neighbour_is_obeyed():
    loop = FakeLoop()
    wheel = wheel_of(loop)
    fired: list[int] = []
    alarms: list[Any] = []

    def fire(number: int) -> None:
        fired.append(number)
        alarms[1 - number].cancel()

    alarms += [wheel.call_later(1.0, lambda number=number: fire(number)) for number in (0, 1)]
    loop.run_until(102.0)
    assert len(fired) == 1


def test_setting_one_far_away_while_firing_does_not_delay_those_between():
    loop = FakeLoop()
    wheel = wheel_of(loop)
    fired: list[float] = []
    wheel.call_later(2.0, lambda: fired.append(loop.time))

    def again() -> None:
        wheel.call_later(300.0, lambda: None)

    wheel.call_later(1.0, again)
    loop.run_until(103.0)
    assert len(fired) == 1


def test_one_that_raises_takes_none_with_it():
    loop = FakeLoop()
    wheel = wheel_of(loop)
    fired: list[int] = []
    for number in range(5):
        wheel.call_later(1.0, lambda number=number: fired.append(10 // (number - 2)))
    raised = loop.run_until(103.0)
    assert len(fired) == 4 and len(raised) == 1


def test_one_loop_timer_serves_all():
    loop = FakeLoop()
    wheel = wheel_of(loop)
    for number in range(1000):
        wheel.call_later(1.0 + number / 100, lambda: None)
    wheel.call_later(0.5, lambda: None)
    assert sum(not handle.is_cancelled for handle in loop.handles) == 1


def test_what_is_cancelled_is_not_kept_alive():
    class Exchange:
        def on_timeout(self) -> None: ...

    wheel = wheel_of(FakeLoop())
    exchange = Exchange()
    alarm = wheel.call_later(300.0, exchange.on_timeout)
    seen = weakref.ref(exchange)
    alarm.cancel()
    del exchange, alarm
    gc.collect()
    assert seen() is None


def test_a_hundred_thousand_set_and_cancelled_over_five_minutes_leave_little():
    loop = FakeLoop()
    wheel = wheel_of(loop)
    for _ in range(100_000):
        loop.time += 0.003
        wheel.call_later(300.0, lambda: None).cancel()
    assert len(wheel._buckets) < 260 and not any(wheel._buckets.values())
    loop.run_until(loop.time + 310.0)
    assert not wheel._buckets


def test_close_forgets_everything():
    loop = FakeLoop()
    wheel = wheel_of(loop)
    fired: list[int] = []
    wheel.call_later(1.0, wheel.close)
    wheel.call_later(2.0, lambda: fired.append(1))
    loop.run_until(200.0)
    assert fired == [] and loop.handles == []


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_on_a_real_loop(new_loop):
    async def run() -> tuple[float, list[str]]:
        loop = asyncio.get_running_loop()
        wheel = TimerWheel(loop)
        order: list[str] = []
        done = loop.create_future()
        start = wheel.now()
        wheel.call_later(0.05, lambda: done.set_result(wheel.now() - start))
        wheel.call_soon(lambda: order.append("soon"))
        order.append("now")
        return await asyncio.wait_for(done, 30), order

    loop = new_loop()
    try:
        waited, order = loop.run_until_complete(run())
    finally:
        loop.close()
    assert waited >= 0.05 and order == ["now", "soon"]
