"""The Python twin's watchdog, with an engine that only counts and without waiting for its thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sidecar.wasm._watchdog_py import RETRY, Watch, Watchdog
from tests.support.wait import eventually


class Engine:
    def __init__(self) -> None:
        self.ticks = 0

    def increment_epoch(self) -> None:
        self.ticks += 1


class Still(Watchdog):
    """One whose thread is not started, so that a test can take its steps."""

    def _rouse(self, quantum: float) -> None:
        self.roused = quantum


def still() -> tuple[Any, Engine]:
    engine: Any = Engine()
    return Still(engine), engine


def test_without_calls_it_sleeps_for_the_quantum_and_leaves_the_engine_alone() -> None:
    dog, engine = still()
    dog.add(Watch())
    assert dog._pause() == dog._quantum
    assert engine.ticks == 0


def test_a_call_in_time_is_slept_for_to_its_very_deadline() -> None:
    dog, engine = still()
    watch = Watch()
    dog.add(watch)
    dog.arm(watch, 5.0)
    assert 4.0 < dog._pause() <= 5.0
    assert engine.ticks == 0 and not watch.expired()


def test_a_call_over_its_time_moves_the_epoch_and_is_looked_at_again_soon() -> None:
    dog, engine = still()
    watch = Watch()
    dog.add(watch)
    dog.arm(watch, 0.0)
    assert watch.expired()
    assert dog._pause() == RETRY
    assert dog._pause() == RETRY
    assert engine.ticks == 2


def test_a_watch_without_a_call_is_never_expired() -> None:
    assert not Watch().expired()


def test_the_shortest_timeout_is_the_quantum_but_never_none() -> None:
    dog, _ = still()
    watch = Watch()
    dog.arm(watch, 0.25)
    assert dog.roused == 0.25
    dog.arm(watch, 0.0)
    assert dog.roused == watch.quantum == RETRY


def test_the_quantum_of_one_that_left_is_forgotten() -> None:
    dog, _ = still()
    short, long = Watch(), Watch()
    for watch, timeout in [(short, 0.1), (long, 2.0)]:
        dog.add(watch)
        dog.arm(watch, timeout)
    dog.remove(short)
    assert dog._quantum == 2.0


def test_the_thread_parks_when_nothing_is_called_and_not_while_a_call_runs() -> None:
    engine: Any = Engine()
    dog = Watchdog(engine)
    watch = Watch()
    dog.add(watch)
    dog.arm(watch, 0.001)
    eventually(lambda: engine.ticks > 20)
    watch.deadline = 0.0
    eventually(lambda: dog._parked)
    seen = engine.ticks
    dog.arm(watch, 0.001)
    eventually(lambda: engine.ticks > seen)
    watch.deadline = 0.0


class Unheard(Still):
    """As if each call began just after the thread had looked whether there were any."""

    _active = property(lambda self: False, lambda self, value: None)  # type: ignore[assignment]


class Wake:
    """A condition that counts the rounds and the times the thread parks, and ends the thread after some."""

    def __init__(self) -> None:
        self.rounds = 0
        self.parked = 0

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: object) -> None:
        return None

    def wait(self, pause: float) -> None:
        self.rounds += 1
        if self.rounds > 50:
            raise InterruptedError

    def wait_for(self, condition: Callable[[], bool]) -> None:
        self.parked += 1


@pytest.mark.parametrize(("deadline", "parks"), [(0.0, True), (1e12, False)])
def test_a_call_that_began_while_the_thread_was_about_to_park_keeps_it_awake(deadline: float, parks: bool) -> None:
    engine: Any = Engine()
    dog = Unheard(engine)
    wake: Any = Wake()
    dog._wake = wake
    watch = Watch()
    dog.add(watch)
    watch.deadline = deadline
    with pytest.raises(InterruptedError):
        dog._run()
    assert bool(wake.parked) is parks
