"""Shared data and queues of plugins when there are several workers: every worker keeps a copy, all change alike.

Each operation is done by the same code on the same state in the same order, so the copies never differ, CAS numbers and
tokens included. What belongs to one worker alone is who is to be told of a queue's items.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import msgspec

from sidecar.runtime.journal import Journal
from sidecar.transport.timers import TimerWheel
from sidecar.wasm.shared import Notify, Queue, SharedState

LOOK: Final = 0.05
"""Seconds within which a worker hears of items that another has put into its queue."""


class JointState(SharedState):
    """``worker`` is this worker's number among its siblings; a successor has the number of the one it replaces."""

    def __init__(self, journal: Journal, worker: int, timers: TimerWheel) -> None:
        super().__init__()
        self._journal = journal
        self._worker = worker
        self._timers = timers
        self._uses: dict[str, int] = {}
        """How many plugins of this worker use a ``vm_id``."""
        self._holders: dict[str, set[int]] = {}
        """Which workers do."""
        self._owners: dict[int, int] = {}
        """Which worker is told of a queue's items."""
        # Whoever had our number before us holds nothing any more.
        self._do("leave", worker)
        timers.call_later(LOOK, self._look)

    # --- data ------------------------------------------------------------------------------------------------

    def get(self, vm_id: str, key: bytes) -> tuple[bytes, int] | None:
        self._catch_up()
        return super().get(vm_id, key)

    def set(self, vm_id: str, key: bytes, value: bytes, cas: int) -> int:
        status: int = self._do("set", vm_id, key, value, cas)
        return status

    def delete(self, vm_id: str, key: bytes, cas: int) -> int:
        status: int = self._do("delete", vm_id, key, cas)
        return status

    # --- queues ----------------------------------------------------------------------------------------------

    def register_queue(self, vm_id: str, name: bytes, owner_key: object, owner: Notify) -> int | None:
        token: int | None = self._do("register", vm_id, name, self._worker)
        queue = self._queues.get(token) if token is not None else None
        if queue is not None:
            queue.owner, queue.owner_key = owner, owner_key
        return token

    def resolve_queue(self, vm_id: str, name: bytes) -> int | None:
        self._catch_up()
        return super().resolve_queue(vm_id, name)

    def enqueue(self, token: int, value: bytes) -> Queue | None:
        queue: Queue | None = self._do("enqueue", token, value)
        return queue

    def dequeue(self, token: int) -> bytes | bool | None:
        value: bytes | bool | None = self._do("dequeue", token)
        return value

    # --- who uses what ---------------------------------------------------------------------------------------

    def acquire(self, vm_id: str) -> None:
        self._uses[vm_id] = self._uses.get(vm_id, 0) + 1
        if self._uses[vm_id] == 1:
            self._do("hold", vm_id, self._worker)

    def release(self, vm_id: str) -> None:
        left = self._uses.get(vm_id, 0) - 1
        if left > 0:
            self._uses[vm_id] = left
        elif self._uses.pop(vm_id, 0):
            self._do("drop", vm_id, self._worker)

    # --- operations, the same in every worker ------------------------------------------------------------------

    def _do(self, name: str, *arguments: Any) -> Any:
        """Do it here, after what the others did, and have them do it too."""
        journal = self._journal
        journal.lock()
        try:
            self._replay()
            journal.append(msgspec.msgpack.encode((name, *arguments)))
            answer = self._apply(name, arguments)
            if journal.is_long:
                journal.begin_anew(self._state())
            return answer
        finally:
            journal.unlock()

    def _catch_up(self) -> None:
        if self._journal.is_behind():
            self._journal.lock()
            try:
                self._replay()
            finally:
                self._journal.unlock()

    def _replay(self) -> None:
        for is_new, entry in self._journal.read():
            name, *arguments = msgspec.msgpack.decode(entry)
            if is_new:
                self._load(arguments)
            else:
                self._apply(name, arguments)
                if name == "enqueue":
                    self._tell(arguments[0])

    def _apply(self, name: str, arguments: Any) -> Any:
        if name == "set":
            return super().set(*arguments)
        if name == "delete":
            return super().delete(*arguments)
        if name == "enqueue":
            return super().enqueue(*arguments)
        if name == "dequeue":
            return super().dequeue(*arguments)
        if name == "register":
            return self._register(*arguments)
        if name == "leave":
            for vm_id in list(self._holders):
                self._drop(vm_id, *arguments)
        elif name == "hold":
            self._hold(*arguments)
        elif name == "drop":
            self._drop(*arguments)
        return None

    def _register(self, vm_id: str, name: bytes, worker: int) -> int | None:
        # The owner is set by whoever asked; everywhere else it is somebody else's queue now.
        token = super().register_queue(vm_id, name, None, _nobody)
        if token is not None:
            self._queues[token].owner = None
            self._owners[token] = worker
        return token

    def _hold(self, vm_id: str, worker: int) -> None:
        holders = self._holders.setdefault(vm_id, set())
        if worker not in holders:
            holders.add(worker)
            super().acquire(vm_id)

    def _drop(self, vm_id: str, worker: int) -> None:
        holders = self._holders.get(vm_id)
        if holders is None or worker not in holders:
            return
        holders.discard(worker)
        super().release(vm_id)
        if not holders:
            del self._holders[vm_id]
            self._owners = {token: owner for token, owner in self._owners.items() if token in self._queues}

    # --- the whole state ---------------------------------------------------------------------------------------

    def _state(self) -> bytes:
        spaces = [
            (vm_id, [(key, *kept) for key, kept in space.values.items()]) for vm_id, space in self._spaces.items()
        ]
        queues = [
            (vm_id, name, queue.token, list(queue.items), queue.dropped, self._owners.get(queue.token, 0))
            for (vm_id, name), queue in self._names.items()
        ]
        holders = [(vm_id, sorted(workers)) for vm_id, workers in self._holders.items()]
        return msgspec.msgpack.encode(("state", spaces, queues, holders, self._cas, self._next_token))

    def _load(self, state: Any) -> None:
        spaces, queues, holders, cas_number, next_token = state
        told = {token: (queue.owner, queue.owner_key) for token, queue in self._queues.items()}
        self._spaces.clear()
        self._queues.clear()
        self._names.clear()
        self._holders = {vm_id: set(workers) for vm_id, workers in holders}
        self._owners = {token: owner for _, _, token, _, _, owner in queues}
        for vm_id, workers in self._holders.items():
            for _ in workers:
                super().acquire(vm_id)
        for vm_id, values in spaces:
            for key, value, cas in values:
                super().set(vm_id, key, value, 0)
                self._spaces[vm_id].values[key] = (value, cas)
        for vm_id, name, token, items, dropped, owner in queues:
            queue = self._names[vm_id, name] = self._queues[token] = Queue(token)
            queue.items = deque(items)
            queue.size = sum(len(item) for item in items)
            queue.dropped = dropped
            if owner == self._worker:
                queue.owner, queue.owner_key = told.get(token, (None, None))
        self._cas, self._next_token = cas_number, next_token

    # --- being told ----------------------------------------------------------------------------------------------

    def _tell(self, token: int) -> None:
        queue = self._queues.get(token)
        owner = queue.owner if queue is not None else None
        if owner is not None:
            self._timers.call_soon(lambda: owner(token))

    def _look(self) -> None:
        self._catch_up()
        self._timers.call_later(LOOK, self._look)


def _nobody(_token: int) -> None:
    """Takes the place of an owner in another worker."""
