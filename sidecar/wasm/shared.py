"""Data and queues that plugins share by ``vm_id``, also across instances and reloads.

Everything is bounded: a ``vm_id`` may keep :data:`MAX_BYTES` in :data:`MAX_KEYS` keys, and a queue
:data:`MAX_QUEUE` items; a full queue drops its oldest item, since guests treat any error of an enqueue as fatal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from sidecar.wasm.abi.status import CAS_MISMATCH, INTERNAL_FAILURE, OK

MAX_BYTES: Final = 16 << 20
MAX_KEYS: Final = 10_000
MAX_QUEUE: Final = 1000
MAX_QUEUES: Final = 1000

Notify = Callable[[int], None]


class _Space:
    """The keys of one ``vm_id``: key to (value, CAS number)."""

    __slots__ = ("size", "users", "values")

    def __init__(self) -> None:
        self.values: dict[bytes, tuple[bytes, int]] = {}
        self.size = 0
        self.users = 0


class Queue:
    """One shared queue; ``token`` is what plugins call it by."""

    __slots__ = ("dropped", "items", "owner", "owner_key", "size", "token")

    def __init__(self, token: int) -> None:
        self.token = token
        self.items: deque[bytes] = deque()
        self.size = 0
        self.dropped = 0
        self.owner: Notify | None = None
        self.owner_key: object = None


class SharedState:
    """One per process. CAS numbers come from one counter that starts at 1, as in Envoy."""

    def __init__(self) -> None:
        self._spaces: dict[str, _Space] = {}
        self._cas = 0
        self._queues: dict[int, Queue] = {}
        self._names: dict[tuple[str, bytes], Queue] = {}
        self._next_token = 1

    def acquire(self, vm_id: str) -> None:
        """A plugin of ``vm_id`` starts."""
        self._spaces.setdefault(vm_id, _Space()).users += 1

    def release(self, vm_id: str) -> None:
        """A plugin of ``vm_id`` is gone for good; with the last one its data and queues go."""
        space = self._spaces.get(vm_id)
        if space is None:
            return
        space.users -= 1
        if space.users <= 0:
            del self._spaces[vm_id]
            for key in [key for key in self._names if key[0] == vm_id]:
                del self._queues[self._names.pop(key).token]

    # --- data ------------------------------------------------------------------------------------------------

    def get(self, vm_id: str, key: bytes) -> tuple[bytes, int] | None:
        """Value and CAS number."""
        space = self._spaces.get(vm_id)
        return space.values.get(key) if space is not None else None

    def set(self, vm_id: str, key: bytes, value: bytes, cas: int) -> int:
        """Store unless ``cas`` is another number than the present one (0 matches all); returns an ABI status."""
        space = self._spaces.setdefault(vm_id, _Space())
        present = space.values.get(key)
        if cas and present is not None and present[1] != cas:
            return CAS_MISMATCH
        grown = len(value) - len(present[0]) if present is not None else len(key) + len(value)
        if space.size + grown > MAX_BYTES or (present is None and len(space.values) >= MAX_KEYS):
            return INTERNAL_FAILURE
        self._cas = self._cas % 0xFFFFFFFF + 1
        space.values[key] = (value, self._cas)
        space.size += grown
        return OK

    def delete(self, vm_id: str, key: bytes, cas: int) -> int:
        """Remove a key under the same CAS rule; absent is fine."""
        space = self._spaces.get(vm_id)
        present = space.values.get(key) if space is not None else None
        if space is None or present is None:
            return OK
        if cas and present[1] != cas:
            return CAS_MISMATCH
        del space.values[key]
        space.size -= len(key) + len(present[0])
        return OK

    # --- queues ----------------------------------------------------------------------------------------------

    def register_queue(self, vm_id: str, name: bytes, owner_key: object, owner: Notify) -> int | None:
        """Token of the queue, made when new; the last registrant is the one notified. None when there are too many."""
        queue = self._names.get((vm_id, name))
        if queue is None:
            if len(self._queues) >= MAX_QUEUES:
                return None
            queue = Queue(self._next_token)
            self._next_token += 1
            self._names[vm_id, name] = queue
            self._queues[queue.token] = queue
        queue.owner = owner
        queue.owner_key = owner_key
        return queue.token

    def resolve_queue(self, vm_id: str, name: bytes) -> int | None:
        queue = self._names.get((vm_id, name))
        return queue.token if queue is not None else None

    def enqueue(self, token: int, value: bytes) -> Queue | None:
        """Append; the caller notifies ``owner`` later. None when there is no such queue."""
        queue = self._queues.get(token)
        if queue is None:
            return None
        queue.items.append(value)
        queue.size += len(value)
        while len(queue.items) > MAX_QUEUE or queue.size > MAX_BYTES:
            queue.size -= len(queue.items.popleft())
            queue.dropped += 1
        return queue

    def dequeue(self, token: int) -> bytes | bool | None:
        """The oldest item; None when the queue is empty, False when there is none of that token."""
        queue = self._queues.get(token)
        if queue is None:
            return False
        if not queue.items:
            return None
        value = queue.items.popleft()
        queue.size -= len(value)
        return value

    def disown(self, owner_key: object) -> None:
        """Notify this owner no more; its queues stay."""
        for queue in self._queues.values():
            if queue.owner_key is owner_key:
                queue.owner = queue.owner_key = None
