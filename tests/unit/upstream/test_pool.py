from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sidecar.errors import ErrorKind
from sidecar.upstream.pool import DIAL, QUEUE, Failed, PoolState, Refuse, Reuse, Serve


def pool(connections=2, pending=2, idle=10.0) -> Any:
    return PoolState(connections, pending, idle)


def with_idle(*names, **limits):
    state = pool(connections=limits.pop("connections", 8), **limits)
    for now, name in enumerate(names):
        assert state.acquire(f"for {name}", fresh=True) is DIAL
        assert state.on_dialed(name, float(now)) == [Serve(f"for {name}", name)]
    for now, name in enumerate(names):
        assert state.release(name, float(now)) is None
    return state


def test_the_first_dials_the_next_reuses():
    state = pool()
    assert state.acquire("a") is DIAL
    assert state.on_dialed("c1", 0.0) == [Serve("a", "c1")]
    assert state.release("c1", 1.0) is None
    assert state.acquire("b") == Reuse("c1")
    assert (state.connection_count, state.idle_count, state.waiting_count) == (1, 0, 0)


def test_last_in_first_out():
    state = with_idle("c1", "c2", "c3")
    assert [state.acquire(name) for name in "ab"] == [Reuse("c3"), Reuse("c2")]


def test_a_full_pool_queues_in_order_and_then_refuses():
    state = pool(connections=1, pending=2)
    assert state.acquire("a") is DIAL
    assert state.acquire("b") is QUEUE and state.acquire("c") is QUEUE
    refusal = state.acquire("d")
    assert isinstance(refusal, Refuse)
    assert (refusal.error.kind, refusal.error.limit) == (ErrorKind.OVERLOADED, "upstream_pending")
    assert state.on_dialed("c1", 0.0) == [Serve("a", "c1")]
    assert state.release("c1", 0.0) == Serve("b", "c1")
    assert state.release("c1", 0.0) == Serve("c", "c1")
    assert state.release("c1", 0.0) is None


def test_fresh_goes_past_idle_connections_while_there_is_room():
    state = with_idle("c1", connections=2)
    assert state.acquire("retry", fresh=True) is DIAL
    assert state.acquire("another", fresh=True) == Reuse("c1"), "no room for a new one: better than none"
    assert state.on_dialed("c2", 0.0) == [Serve("retry", "c2")]


def test_a_dial_whose_request_gave_up_serves_the_next():
    state = pool(connections=1)
    assert state.acquire("a") is DIAL
    assert state.cancel("a") and not state.cancel("a")
    assert state.acquire("b") is QUEUE
    assert state.on_dialed("c1", 0.0) == [Serve("b", "c1")]


def test_a_dial_that_nobody_waits_for_leaves_an_idle_connection():
    state = pool()
    state.acquire("a")
    state.cancel("a")
    assert state.on_dialed("c1", 5.0) == []
    assert state.idle_count == 1 and state.acquire("b") == Reuse("c1")


def test_a_dead_endpoint_is_told_to_all_who_wait_for_it():
    state = pool(connections=1, pending=9)
    state.acquire("a")
    state.acquire("b")
    state.acquire("c")
    assert state.on_dial_failed() == Failed(("a", "b", "c"), False)
    assert (state.waiting_count, state.dialing_count) == (0, 0)
    assert state.acquire("d") is DIAL


def test_each_dial_under_way_keeps_one_waiter():
    state = pool(connections=2)
    state.acquire("a")
    state.acquire("b")
    assert state.on_dial_failed() == Failed(("a",), False)
    assert state.on_dialed("c1", 0.0) == [Serve("b", "c1")]


def test_while_a_connection_lives_one_request_pays_for_a_failed_dial():
    state = pool(connections=2, pending=9)
    state.acquire("a")
    state.on_dialed("c1", 0.0)
    state.acquire("b")
    state.acquire("c")
    assert state.on_dial_failed() == Failed(("b",), True)
    assert state.release("c1", 0.0) == Serve("c", "c1")


def test_a_connection_that_dies_is_replaced_when_somebody_waits():
    state = pool(connections=1)
    state.acquire("a")
    state.on_dialed("c1", 0.0)
    state.acquire("b")
    assert state.release("c1", 0.0, is_reusable=False) is DIAL
    assert state.on_closed("c1") is None, "told twice, counted once"
    assert state.release("c1", 0.0) is None
    assert state.on_dialed("c2", 0.0) == [Serve("b", "c2")]


def test_idle_connections_expire_oldest_first():
    state = with_idle("c1", "c2", "c3", idle=10.0)
    assert state.expire(9.9) == []
    assert state.expire(11.0) == ["c1", "c2"]
    assert (state.connection_count, state.idle_count) == (1, 1)


def test_a_drained_pool_keeps_nothing_idle_and_serves_who_is_there():
    state = with_idle("c1", "c2")
    assert state.acquire("a") == Reuse("c2")
    assert state.drain() == ["c1"]
    assert state.release("c2", 0.0) is None and state.is_finished("c2")
    assert state.on_closed("c2") is None
    assert state.acquire("b") is DIAL


def test_a_retired_connection_takes_nothing_new():
    state = with_idle("c1", "c2")
    assert state.retire("c1") is True and state.retire("nobody") is False
    assert state.acquire("a") == Reuse("c2")
    assert state.retire("c2") is False
    assert not state.is_finished("c2")
    assert state.release("c2", 0.0) is None and state.is_finished("c2")


def test_a_multiplexed_connection_is_shared_up_to_its_limit():
    state = pool(connections=1, pending=9)
    state.acquire("a")
    for name in "bcd":
        assert state.acquire(name) is QUEUE
    assert state.on_dialed("c1", 0.0, max_streams=3) == [Serve(name, "c1") for name in "abc"]
    assert state.release("c1", 0.0) == Serve("d", "c1")
    assert state.release("c1", 0.0) is None
    assert state.acquire("e") == Reuse("c1")
    for _ in range(3):
        state.release("c1", 1.0)
    assert state.idle_count == 1


def test_abandon_takes_out_everybody_who_waits():
    state = pool(connections=1)
    state.acquire("a")
    state.acquire("b")
    assert state.abandon() == ["a", "b"] and state.waiting_count == 0
    assert state.on_dial_failed() == Failed((), False)


class Pool(RuleBasedStateMachine):
    """Whatever happens: nobody is lost or served twice, limits hold, and whoever waits has a reason to hope."""

    @initialize(connections=st.integers(1, 3), pending=st.integers(0, 3), streams=st.integers(1, 2))
    def begin(self, connections: int, pending: int, streams: int) -> None:
        self.state: Any = PoolState(connections, pending, 5.0)
        self.streams = streams
        self.now = 0.0
        self.number = 0
        self.waiting: list[str] = []
        self.leases: dict[str, int] = {}
        self.dials = 0

    def _lease(self, connection: str) -> None:
        self.leases[connection] += 1
        assert self.leases[connection] <= self.streams

    def _outcome(self, outcome: Any) -> None:
        if outcome is DIAL:
            self.dials += 1
        elif isinstance(outcome, Serve):
            assert outcome.waiter == self.waiting.pop(0), "first come, first served"
            self._lease(outcome.connection)

    @rule(fresh=st.booleans())
    def acquire(self, fresh: bool) -> None:
        self.number += 1
        name = f"w{self.number}"
        outcome = self.state.acquire(name, fresh=fresh)
        if isinstance(outcome, Reuse):
            self._lease(outcome.connection)
        elif isinstance(outcome, Refuse):
            assert not self.state.can_dial
        else:
            self.waiting.append(name)
            self._outcome(outcome)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        name = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(name)
        assert self.state.cancel(name)

    @precondition(lambda self: self.dials)
    @rule()
    def dialed(self) -> None:
        self.dials -= 1
        self.number += 1
        name = f"c{self.number}"
        self.leases[name] = 0
        for serve in self.state.on_dialed(name, self.now, max_streams=self.streams):
            assert serve.connection == name
            self._outcome(serve)

    @precondition(lambda self: self.dials)
    @rule()
    def dial_failed(self) -> None:
        self.dials -= 1
        failed = self.state.on_dial_failed()
        for name in failed.waiters:
            assert self.waiting.pop(0) == name
        if failed.redial:
            self.dials += 1

    @precondition(lambda self: any(self.leases.values()))
    @rule(data=st.data(), is_reusable=st.booleans())
    def release(self, data: Any, is_reusable: bool) -> None:
        name = data.draw(st.sampled_from(sorted(name for name, count in self.leases.items() if count)))
        if is_reusable:
            self.leases[name] -= 1
        else:
            del self.leases[name]
        self._outcome(self.state.release(name, self.now, is_reusable=is_reusable))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def closed(self, data: Any) -> None:
        name = data.draw(st.sampled_from(sorted(self.leases)))
        del self.leases[name]
        self._outcome(self.state.on_closed(name))

    @rule(seconds=st.floats(0.0, 4.0))
    def expire(self, seconds: float) -> None:
        self.now += seconds
        for name in self.state.expire(self.now):
            assert self.leases.pop(name) == 0

    @invariant()
    def counts_agree(self) -> None:
        if not hasattr(self, "state"):
            return
        state = self.state
        assert state.connection_count == len(self.leases) and state.dialing_count == self.dials
        assert state.waiting_count == len(self.waiting)
        assert state.idle_count == sum(not count for count in self.leases.values())
        assert state.connection_count + state.dialing_count <= state.max_connections
        if self.waiting:
            assert self.dials or any(self.leases.values()), "somebody waits for nothing"


TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("state", [pool()])
def test_its_repr_says_how_it_stands(state):
    state.acquire("a")
    assert repr(state) == "PoolState(0 connections, 0 idle, 1 dialing, 1 waiting)"
