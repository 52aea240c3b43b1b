"""Shared data and queues of several worker processes: a table in memory that all of them map.

It answers as :class:`sidecar.wasm.shared.SharedState` does, with the same limits. One lock for all of it, held for
microseconds; the kernel takes it from a process that dies. Whoever dies in the middle of a change leaves a mark, and
the next one to take the lock empties the table: plugins then find what they find after a restart, never half a change.

Layout, little-endian: a header, buckets of offsets, then blocks of powers of two. A block that holds a record begins
with the next one's offset, sizes of key and value, CAS number, and its size class. All that a ``vm_id`` owns has keys
that begin with the kind of record and the ``vm_id``.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from sidecar.wasm.abi.status import CAS_MISMATCH, INTERNAL_FAILURE, OK
from sidecar.wasm.ports import TimerPort
from sidecar.wasm.shared import MAX_BYTES, MAX_KEYS, MAX_QUEUE, MAX_QUEUES, Notify

SIZE: Final = 64 << 20
BUCKETS: Final = 1 << 14
POLL: Final = 0.05
"""Seconds between looks for items that other processes put into queues registered here."""

_HEADER: Final = struct.Struct("<IIIIQ")
"""Dirty mark, last CAS number, last token, number of queues, end of the blocks in use."""
_FREE: Final = _HEADER.size
_CLASSES: Final = range(6, 26)
_FIRST_BUCKET: Final = 4096
_FIRST_BLOCK: Final = _FIRST_BUCKET + 8 * BUCKETS
_RECORD: Final = struct.Struct("<QIIII")
"""Next record, size of key, size of value, CAS number, size class."""
_OFFSET: Final = struct.Struct("<Q")
_SPACE: Final = struct.Struct("<QII")
"""Bytes, keys and users of a ``vm_id``."""
_QUEUE: Final = struct.Struct("<QQIQIQ")
"""First item, last item, items, bytes, items nobody was told of yet, process of the owner."""


def make_arena() -> int:
    """A descriptor to hand to worker processes; the memory is theirs together, and is gone with the last of them."""
    fd = os.memfd_create("sidecar-shared")
    os.ftruncate(fd, SIZE)
    return fd


class Enqueued:
    """An item was taken. ``owner`` is to be told of it, when it is one of this process."""

    __slots__ = ("owner",)

    def __init__(self, owner: Notify | None) -> None:
        self.owner = owner


class SharedArena:
    """One process's view of the table behind ``fd``; used by one thread."""

    def __init__(self, fd: int, timers: TimerPort) -> None:
        self._fd = fd
        self._map = mmap.mmap(fd, SIZE)
        self._timers = timers
        self._process = os.getpid()
        self._owners: dict[int, tuple[object, Notify]] = {}
        self._is_polling = False

    # --- spaces ----------------------------------------------------------------------------------------------

    def acquire(self, vm_id: str) -> None:
        """A plugin of ``vm_id`` starts in this process."""
        with self._changing():
            size, count, users = self._space(vm_id)
            self._put_space(vm_id, size, count, users + 1)

    def release(self, vm_id: str) -> None:
        """A plugin of ``vm_id`` is gone for good; with the last one of all processes its data and queues go."""
        with self._changing():
            size, count, users = self._space(vm_id)
            if users > 1:
                self._put_space(vm_id, size, count, users - 1)
                return
            for key in [key for key in self._keys() if key[1:].startswith(_name(vm_id))]:
                if key[:1] == b"N":
                    self._drop_queue(_token(self._value(self._find(key)[1])))
                self._remove(key)

    # --- data ------------------------------------------------------------------------------------------------

    def get(self, vm_id: str, key: bytes) -> tuple[bytes, int] | None:
        """Value and CAS number."""
        with self._locked():
            at = self._find(b"D" + _name(vm_id) + key)[1]
            return (self._value(at), _RECORD.unpack_from(self._map, at)[3]) if at else None

    def set(self, vm_id: str, key: bytes, value: bytes, cas: int) -> int:
        """Store unless ``cas`` is another number than the present one (0 matches all); returns an ABI status."""
        name = b"D" + _name(vm_id) + key
        with self._changing():
            at = self._find(name)[1]
            before = 0
            if at:
                _, _, before, present, _ = _RECORD.unpack_from(self._map, at)
                if cas and cas != present:
                    return CAS_MISMATCH
            size, count, users = self._space(vm_id)
            grown = len(value) - before if at else len(key) + len(value)
            if size + grown > MAX_BYTES or (not at and count >= MAX_KEYS):
                return INTERNAL_FAILURE
            dirty, last, token, queues, end = _HEADER.unpack_from(self._map)
            number = last % 0xFFFFFFFF + 1
            if not self._put(name, value, number):
                return INTERNAL_FAILURE
            end = _HEADER.unpack_from(self._map)[4]
            _HEADER.pack_into(self._map, 0, dirty, number, token, queues, end)
            self._put_space(vm_id, size + grown, count + (not at), users)
            return OK

    def delete(self, vm_id: str, key: bytes, cas: int) -> int:
        """Remove a key under the same CAS rule; absent is fine."""
        name = b"D" + _name(vm_id) + key
        with self._changing():
            at = self._find(name)[1]
            if not at:
                return OK
            _, _, before, present, _ = _RECORD.unpack_from(self._map, at)
            if cas and cas != present:
                return CAS_MISMATCH
            self._remove(name)
            size, count, users = self._space(vm_id)
            self._put_space(vm_id, size - before - len(key), count - 1, users)
            return OK

    # --- queues ----------------------------------------------------------------------------------------------

    def register_queue(self, vm_id: str, name: bytes, owner_key: object, owner: Notify) -> int | None:
        """Token of the queue, made when new; the last registrant is the one notified. None when there are too many."""
        key = b"N" + _name(vm_id) + name
        with self._changing():
            at = self._find(key)[1]
            if at:
                token = _token(self._value(at))
                first, last, count, size, untold, _ = self._queue(token)
            else:
                dirty, cas, newest, queues, end = _HEADER.unpack_from(self._map)
                if queues >= MAX_QUEUES:
                    return None
                token = newest + 1
                first = last = count = size = untold = 0
                if not self._put(key, token.to_bytes(4, "little"), 0):
                    return None
                end = _HEADER.unpack_from(self._map)[4]
                _HEADER.pack_into(self._map, 0, dirty, cas, token, queues + 1, end)
            self._put_queue(token, first, last, count, size, untold, self._process)
        self._owners[token] = (owner_key, owner)
        if not self._is_polling:
            self._is_polling = True
            self._timers.call_later(POLL, self._poll)
        return token

    def resolve_queue(self, vm_id: str, name: bytes) -> int | None:
        with self._locked():
            at = self._find(b"N" + _name(vm_id) + name)[1]
            return _token(self._value(at)) if at else None

    def enqueue(self, token: int, value: bytes) -> Enqueued | None:
        """Append; a full queue drops its oldest item. None when there is no such queue."""
        with self._changing():
            known = self._find_queue(token)
            if known is None:
                return None
            first, last, count, size, untold, process = known
            while count and (count >= MAX_QUEUE or size + len(value) > MAX_BYTES):
                first, size, count = self._take_first(first, size, count)
            at = self._allocate(_RECORD.size + len(value))
            if not at:
                return Enqueued(None)  # dropped: to a guest every error of an enqueue is fatal
            self._write_record(at, 0, b"", value, 0)
            if count:
                _OFFSET.pack_into(self._map, last, at)
            owner = self._owners.get(token) if process == self._process else None
            untold += owner is None
            self._put_queue(token, first if count else at, at, count + 1, size + len(value), untold, process)
            return Enqueued(owner[1] if owner is not None else None)

    def dequeue(self, token: int) -> bytes | bool | None:
        """The oldest item; None when the queue is empty, False when there is none of that token."""
        with self._changing():
            known = self._find_queue(token)
            if known is None:
                return False
            first, last, count, size, untold, process = known
            if not count:
                return None
            value = self._value(first)
            first, size, count = self._take_first(first, size, count)
            self._put_queue(token, first, last, count, size, untold, process)
            return value

    def disown(self, owner_key: object) -> None:
        """Notify this owner no more; its queues stay."""
        for token in [token for token, (key, _) in self._owners.items() if key is owner_key]:
            del self._owners[token]

    def _poll(self) -> None:
        """Tell owners here of items that came from elsewhere."""
        told: list[tuple[Callable[[int], None], int]] = []
        for token, (_, owner) in self._owners.items():
            with self._changing():
                known = self._find_queue(token)
                if known is not None and known[5] == self._process and known[4]:
                    first, last, count, size, untold, process = known
                    self._put_queue(token, first, last, count, size, 0, process)
                    told += [(owner, token)] * min(untold, MAX_QUEUE)
        self._is_polling = bool(self._owners)
        if self._is_polling:
            self._timers.call_later(POLL, self._poll)
        for owner, token in told:
            owner(token)

    # --- lock ------------------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        try:
            if self._map[0] or not _HEADER.unpack_from(self._map)[4]:
                self._empty()
            yield
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._locked():
            self._map[0] = 1
            yield
            self._map[0] = 0

    def _empty(self) -> None:
        """Nothing is in it, or somebody died in the middle of a change."""
        self._map[0:_FIRST_BLOCK] = bytes(_FIRST_BLOCK)
        _HEADER.pack_into(self._map, 0, 0, 0, 0, 0, _FIRST_BLOCK)

    # --- records ---------------------------------------------------------------------------------------------

    def _find(self, key: bytes) -> tuple[int, int]:
        """Where the offset of the record stands, and the offset; 0 when there is no such record."""
        link = _FIRST_BUCKET + 8 * (zlib.crc32(key) & (BUCKETS - 1))
        while at := _OFFSET.unpack_from(self._map, link)[0]:
            _, key_size, _, _, _ = _RECORD.unpack_from(self._map, at)
            start = at + _RECORD.size
            if key_size == len(key) and self._map[start : start + key_size] == key:
                return link, at
            link = at
        return link, 0

    def _value(self, at: int) -> bytes:
        _, key_size, value_size, _, _ = _RECORD.unpack_from(self._map, at)
        start = at + _RECORD.size + key_size
        return self._map[start : start + value_size]

    def _put(self, key: bytes, value: bytes, cas: int) -> bool:
        """Make or replace a record; False when there is no room."""
        link, at = self._find(key)
        need = _RECORD.size + len(key) + len(value)
        if at:
            following, _, _, _, size_class = _RECORD.unpack_from(self._map, at)
            if need <= 1 << size_class:
                self._write_record(at, following, key, value, cas)
                return True
            new = self._allocate(need)
            if new:
                self._write_record(new, following, key, value, cas)
                _OFFSET.pack_into(self._map, link, new)
                self._free(at)
            return bool(new)
        new = self._allocate(need)
        if new:
            self._write_record(new, 0, key, value, cas)
            _OFFSET.pack_into(self._map, link, new)
        return bool(new)

    def _write_record(self, at: int, following: int, key: bytes, value: bytes, cas: int) -> None:
        size_class = _RECORD.unpack_from(self._map, at)[4]
        _RECORD.pack_into(self._map, at, following, len(key), len(value), cas, size_class)
        start = at + _RECORD.size
        self._map[start : start + len(key) + len(value)] = key + value

    def _remove(self, key: bytes) -> None:
        link, at = self._find(key)
        if at:
            _OFFSET.pack_into(self._map, link, _OFFSET.unpack_from(self._map, at)[0])
            self._free(at)

    def _keys(self) -> Iterator[bytes]:
        for bucket in range(_FIRST_BUCKET, _FIRST_BLOCK, 8):
            at = _OFFSET.unpack_from(self._map, bucket)[0]
            while at:
                following, key_size, _, _, _ = _RECORD.unpack_from(self._map, at)
                yield self._map[at + _RECORD.size : at + _RECORD.size + key_size]
                at = following

    def _allocate(self, size: int) -> int:
        """A block of at least ``size`` bytes that knows its class; 0 when there is none."""
        size_class = max(_CLASSES.start, (size - 1).bit_length())
        if size_class not in _CLASSES:
            return 0
        free = _FREE + 8 * (size_class - _CLASSES.start)
        at = int(_OFFSET.unpack_from(self._map, free)[0])
        if at:
            _OFFSET.pack_into(self._map, free, _OFFSET.unpack_from(self._map, at)[0])
        else:
            dirty, cas, token, queues, at = _HEADER.unpack_from(self._map)
            if at + (1 << size_class) > SIZE:
                return 0
            _HEADER.pack_into(self._map, 0, dirty, cas, token, queues, at + (1 << size_class))
        _RECORD.pack_into(self._map, at, 0, 0, 0, 0, size_class)
        return at

    def _free(self, at: int) -> None:
        free = _FREE + 8 * (_RECORD.unpack_from(self._map, at)[4] - _CLASSES.start)
        _OFFSET.pack_into(self._map, at, _OFFSET.unpack_from(self._map, free)[0])
        _OFFSET.pack_into(self._map, free, at)

    def _space(self, vm_id: str) -> tuple[int, int, int]:
        at = self._find(b"S" + _name(vm_id))[1]
        return _SPACE.unpack(self._value(at)) if at else (0, 0, 0)

    def _put_space(self, vm_id: str, size: int, count: int, users: int) -> None:
        self._put(b"S" + _name(vm_id), _SPACE.pack(size, count, users), 0)

    def _find_queue(self, token: int) -> tuple[int, int, int, int, int, int] | None:
        at = self._find(b"Q" + token.to_bytes(4, "little"))[1]
        return _QUEUE.unpack(self._value(at)) if at else None

    def _queue(self, token: int) -> tuple[int, int, int, int, int, int]:
        return self._find_queue(token) or (0, 0, 0, 0, 0, 0)

    def _put_queue(self, token: int, *fields: int) -> None:
        self._put(b"Q" + token.to_bytes(4, "little"), _QUEUE.pack(*fields), 0)

    def _take_first(self, first: int, size: int, count: int) -> tuple[int, int, int]:
        following, _, value_size, _, _ = _RECORD.unpack_from(self._map, first)
        self._free(first)
        return following, size - value_size, count - 1

    def _drop_queue(self, token: int) -> None:
        first, _, count, size, _, _ = self._queue(token)
        while count:
            first, size, count = self._take_first(first, size, count)
        self._remove(b"Q" + token.to_bytes(4, "little"))
        dirty, cas, newest, queues, end = _HEADER.unpack_from(self._map)
        _HEADER.pack_into(self._map, 0, dirty, cas, newest, queues - 1, end)


def _name(vm_id: str) -> bytes:
    """A ``vm_id`` as the beginning of keys; its length in front, so that none begins with another one."""
    raw = vm_id.encode()
    return len(raw).to_bytes(4, "little") + raw


def _token(value: bytes) -> int:
    return int.from_bytes(value, "little")
