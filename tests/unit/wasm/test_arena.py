"""The table of several processes answers as the one of a single process: the same tests for both, and its own."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from sidecar.wasm.arena import POLL, SharedArena, make_arena
from sidecar.wasm.shared import MAX_BYTES, MAX_KEYS, MAX_QUEUE, SharedState
from tests.support.exchanges import FakeTimers


@pytest.fixture
def fd() -> Any:
    descriptor = make_arena()
    yield descriptor
    os.close(descriptor)


@pytest.fixture(params=["single", "arena"])
def shared(request: pytest.FixtureRequest, fd: int) -> Any:
    return SharedState() if request.param == "single" else SharedArena(fd, FakeTimers())


def test_data_and_cas(shared: Any) -> None:
    assert shared.get("v", b"a") is None
    assert [shared.set("v", b"a", b"1", 0), shared.set("v", b"b", b"", 0), shared.set("w", b"a", b"3", 0)] == [0, 0, 0]
    assert [shared.get("v", b"a"), shared.get("v", b"b"), shared.get("w", b"a")] == [(b"1", 1), (b"", 2), (b"3", 3)]
    assert [shared.set("v", b"a", b"x", 2), shared.set("v", b"a", b"long" * 100, 1)] == [8, 0]
    assert shared.get("v", b"a") == (b"long" * 100, 4)
    assert shared.set("v", b"new", b"x", 77) == 0
    assert [shared.delete("v", b"a", 1), shared.delete("v", b"a", 0), shared.delete("v", b"a", 0)] == [8, 0, 0]
    assert shared.get("v", b"a") is None and shared.get("w", b"a") == (b"3", 3)


def test_W18_limits(shared: Any) -> None:
    assert shared.set("v", b"k", b"x" * (MAX_BYTES - 1), 0) == 0
    assert shared.set("v", b"l", b"", 0) == 10
    assert shared.set("w", b"l", b"", 0) == 0
    assert shared.set("v", b"k", b"", 0) == 0
    for number in range(MAX_KEYS - 1):
        assert shared.set("v", b"%d" % number, b"", 0) == 0
    assert shared.set("v", b"more", b"", 0) == 10
    shared.delete("v", b"0", 0)
    assert shared.set("v", b"more", b"", 0) == 0


def test_data_goes_with_the_last_user(shared: Any) -> None:
    shared.acquire("v")
    shared.acquire("v")
    shared.acquire("vv")
    shared.set("v", b"k", b"x", 0)
    shared.set("vv", b"k", b"y", 0)
    token = shared.register_queue("v", b"q", object(), print)
    shared.enqueue(token, b"item")
    shared.release("v")
    assert shared.get("v", b"k") == (b"x", 1) and shared.resolve_queue("v", b"q") == token
    shared.release("v")
    assert shared.get("v", b"k") is None and shared.resolve_queue("v", b"q") is None
    assert shared.enqueue(token, b"x") is None and shared.dequeue(token) is False
    assert shared.get("vv", b"k") == (b"y", 2)


def test_queues(shared: Any) -> None:
    key = object()
    token = shared.register_queue("v", b"q", key, print)
    assert shared.register_queue("v", b"q", key, print) == token and shared.resolve_queue("v", b"none") is None
    assert shared.dequeue(token) is None
    assert shared.enqueue(token, b"").owner is print
    for number in range(MAX_QUEUE + 4):
        shared.enqueue(token, b"%d" % number)
    assert [shared.dequeue(token) for _ in range(2)] == [b"4", b"5"]
    shared.disown(key)
    assert shared.enqueue(token, b"x").owner is None
    assert shared.enqueue(9, b"x") is None and shared.dequeue(9) is False


def test_random_work_is_the_same_work(fd: int) -> None:
    arena, single = SharedArena(fd, FakeTimers()), SharedState()
    dice = random.Random(7)
    for _ in range(5000):
        vm, key, cas = dice.choice("vw"), b"k%d" % dice.randrange(40), dice.choice((0, 0, 0, dice.randrange(5000)))
        value = bytes(dice.randrange(2000))
        steps: list[Callable[[Any], Any]] = [
            lambda shared, v=vm, k=key, c=cas, x=value: shared.set(v, k, x, c),
            lambda shared, v=vm, k=key: shared.get(v, k),
            lambda shared, v=vm, k=key, c=cas: shared.delete(v, k, c),
        ]
        step = dice.choice(steps)
        assert step(arena) == step(single)


def test_two_views_see_one_table_and_owners_elsewhere_are_told(fd: int) -> None:
    timers = FakeTimers()
    here, there = SharedArena(fd, timers), SharedArena(fd, timers)
    there._process = here._process + 1  # another process, as far as it can tell
    here.set("v", b"k", b"x", 0)
    assert there.get("v", b"k") == (b"x", 1)
    told: list[int] = []
    token = here.register_queue("v", b"q", here, told.append)
    assert token is not None and there.resolve_queue("v", b"q") == token
    enqueued = there.enqueue(token, b"item")
    assert enqueued is not None and enqueued.owner is None and told == []
    timers.advance(POLL)
    assert told == [token] and here.dequeue(token) == b"item"
    timers.advance(POLL)
    assert told == [token]
    here.disown(here)
    there.enqueue(token, b"item")
    timers.advance(POLL)
    timers.advance(POLL)
    assert told == [token] and timers.alarms == []


def test_who_dies_in_the_middle_leaves_an_empty_table(fd: int) -> None:
    here = SharedArena(fd, FakeTimers())
    here.set("v", b"k", b"x", 0)
    here._map[0] = 1  # what a process that was killed leaves behind
    assert here.get("v", b"k") is None
    assert here.set("v", b"k", b"y", 0) == 0 and here.get("v", b"k") == (b"y", 1)


def test_a_full_arena_says_so(fd: int) -> None:
    here = SharedArena(fd, FakeTimers())
    answers = [here.set(f"v{number}", b"k", b"x" * (9 << 20), 0) for number in range(6)]
    assert answers[0] == 0 and answers[-1] == 10
    assert here.delete("v0", b"k", 0) == 0
    assert here.set("other", b"k", b"x" * (9 << 20), 0) == 0


COUNT = """
import sys
from sidecar.wasm.arena import SharedArena
from tests.support.exchanges import FakeTimers
shared = SharedArena(int(sys.argv[1]), FakeTimers())
done = 0
while done < 300:
    value, cas = shared.get("v", b"n") or (b"0", 0)
    done += shared.set("v", b"n", b"%d" % (int(value) + 1), cas) == 0
"""


def test_W18_counting_from_several_processes_loses_nothing(fd: int) -> None:
    here = SharedArena(fd, FakeTimers())
    here.set("v", b"n", b"0", 0)
    workers = [subprocess.Popen([sys.executable, "-c", COUNT, str(fd)], pass_fds=(fd,)) for _ in range(3)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    assert here.get("v", b"n") == (b"900", 901)
