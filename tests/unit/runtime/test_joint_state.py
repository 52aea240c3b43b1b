from __future__ import annotations

import os
import random
import subprocess
import sys
from typing import Any

import pytest

from sidecar.runtime import journal as journal_module
from sidecar.runtime.joint_state import JointState
from sidecar.runtime.journal import Journal, make_journal
from sidecar.wasm.abi.status import CAS_MISMATCH, OK
from sidecar.wasm.shared import SharedState
from tests.support.connections import SoonTimers


class Workers:
    """Workers on one log; each has its own mapping of it, as another process would."""

    def __init__(self, count: int = 2) -> None:
        self.descriptor = make_journal()
        self.timers = SoonTimers()
        self.states = [self.join(number) for number in range(1, count + 1)]

    def join(self, number: int) -> JointState:
        return JointState(Journal(os.dup(self.descriptor)), number, self.timers)  # type: ignore[arg-type]


@pytest.fixture
def workers():
    return Workers()


def test_what_one_sets_the_other_gets(workers):
    one, two = workers.states
    assert one.set("vm", b"k", b"1", 0) == OK
    assert two.get("vm", b"k") == (b"1", 1)
    assert two.set("vm", b"k", b"2", 1) == OK
    assert one.set("vm", b"k", b"3", 1) == CAS_MISMATCH
    assert one.get("vm", b"k") == two.get("vm", b"k") == (b"2", 2)
    assert two.delete("vm", b"k", 0) == OK
    assert one.get("vm", b"k") is None


def test_a_late_worker_knows_everything(workers):
    one, _ = workers.states
    one.set("vm", b"k", b"1", 0)
    assert workers.join(3).get("vm", b"k") == (b"1", 1)


def test_a_queue_goes_from_one_to_the_other_who_is_told(workers):
    one, two = workers.states
    told: list[int] = []
    token = two.register_queue("vm", b"q", "owner", told.append)
    assert one.resolve_queue("vm", b"q") == token
    queue = one.enqueue(token, b"item")
    assert queue is not None and queue.owner is None  # not ours to tell
    workers.timers.advance(0.1)
    workers.timers.turn()
    assert told == [token]
    assert two.dequeue(token) == b"item"
    assert one.dequeue(token) is None
    assert one.dequeue(999) is False


def test_the_last_who_registers_is_told(workers):
    one, two = workers.states
    told: list[str] = []
    token = one.register_queue("vm", b"q", "a", lambda token: told.append("one"))
    assert two.register_queue("vm", b"q", "b", lambda token: told.append("two")) == token
    one.enqueue(token, b"x")
    workers.timers.advance(0.1)
    workers.timers.turn()
    assert told == ["two"]
    two.disown("b")
    one.enqueue(token, b"y")
    workers.timers.advance(0.1)
    workers.timers.turn()
    assert told == ["two"]


def test_data_go_with_the_last_plugin_of_all_workers(workers):
    one, two = workers.states
    for state in (one, one, two):
        state.acquire("vm")
    one.set("vm", b"k", b"1", 0)
    one.release("vm")
    one.release("vm")
    assert two.get("vm", b"k") is not None
    two.release("vm")
    assert one.get("vm", b"k") is None


def test_a_worker_that_died_holds_nothing_once_its_successor_is_there(workers):
    one, two = workers.states
    one.acquire("vm")
    two.acquire("vm")
    one.set("vm", b"k", b"1", 0)
    successor = workers.join(1)  # the first one died without a word
    assert successor.get("vm", b"k") == (b"1", 1)
    two.release("vm")
    assert successor.get("vm", b"k") is None


def play(states: list[Any], steps: int, seed: int) -> list[Any]:
    """Random operations on randomly chosen states; every answer."""
    chance = random.Random(seed)
    answers: list[Any] = []
    for state in states:
        state.acquire("vm")
    token = states[0].register_queue("vm", b"q", "x", lambda token: None)
    for number in range(steps):
        state = chance.choice(states)
        key = b"k%d" % chance.randrange(5)
        action = chance.randrange(5)
        if action == 0:
            answers.append(state.get("vm", key))
        elif action == 1:
            answers.append(state.set("vm", key, b"v" * chance.randrange(50), chance.randrange(4)))
        elif action == 2:
            answers.append(state.delete("vm", key, chance.randrange(4)))
        elif action == 3:
            answers.append(state.enqueue(token, b"%d" % number) is not None)
        else:
            answers.append(state.dequeue(token))
    return answers


@pytest.mark.parametrize("keep", [200, 1 << 20])
def test_many_workers_answer_as_one_would(monkeypatch, keep):
    monkeypatch.setattr(journal_module, "KEEP", keep)  # a small one begins anew all the time
    for seed in range(5):
        assert play(Workers(3).states, 400, seed) == play([SharedState()] * 3, 400, seed)


def test_real_processes_lose_no_count():
    descriptor = make_journal()
    os.set_inheritable(descriptor, True)
    program = (
        "import sys\n"
        "from sidecar.runtime.joint_state import JointState\n"
        "from sidecar.runtime.journal import Journal\n"
        "from tests.support.connections import SoonTimers\n"
        f"state = JointState(Journal({descriptor}), int(sys.argv[1]), SoonTimers())\n"
        "for _ in range(500):\n"
        "    while True:\n"
        "        value, cas = state.get('vm', b'n') or (b'0', 0)\n"
        "        if state.set('vm', b'n', b'%d' % (int(value) + 1), cas) == 0:\n"
        "            break\n"
    )
    state = JointState(Journal(os.dup(descriptor)), 9, SoonTimers())  # type: ignore[arg-type]
    state.set("vm", b"n", b"0", 0)
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(number)], pass_fds=[descriptor]) for number in (1, 2, 3)
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    found = state.get("vm", b"n")
    assert found is not None and found[0] == b"1500"
    os.close(descriptor)
