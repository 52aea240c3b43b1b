"""What several processes have done to one state, in one order: a log in memory that they share.

Whoever changes the state takes the lock, reads what the others have written since, and writes what it does itself.
The lock is the kernel's (``fcntl``), so a process that dies lets go of it; an entry counts from the moment when the end
is moved behind it, so one that dies while writing has written nothing. When the log has grown far beyond the state, it
begins anew with the state as its first entry, in a new epoch.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from typing import Final

SIZE: Final = 1 << 30
"""Bytes of address space; memory is used only for what has been written."""
START: Final = 64
KEEP: Final = 4 << 20
"""Bytes below which a log is never begun anew."""
GROWTH: Final = 4
"""How many times the state's own size a log may have."""
_header = struct.Struct("<QQQ")
_length = struct.Struct("<I")


def make_journal() -> int:
    """The descriptor of an empty log, for :class:`Journal` in this process and in others."""
    descriptor = os.memfd_create("sidecar-shared", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, SIZE)
    os.pwrite(descriptor, _header.pack(0, START, 0), 0)
    return descriptor


class Journal:
    """One process's view; takes over the descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._map = mmap.mmap(descriptor, SIZE)
        self._epoch = 0
        self._at = START

    def is_behind(self) -> bool:
        """True when others have written since; may be asked without the lock."""
        epoch, end, _ = _header.unpack_from(self._map)
        return bool(epoch != self._epoch or end != self._at)

    def lock(self) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)

    def unlock(self) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def read(self) -> Iterator[tuple[bool, bytes]]:
        """What the others have written, under the lock; True with it when all that was before is void."""
        epoch, end, _ = _header.unpack_from(self._map)
        is_new = epoch != self._epoch
        if is_new:
            self._epoch, self._at = epoch, START
        while self._at < end:
            (size,) = _length.unpack_from(self._map, self._at)
            start = self._at + _length.size
            entry = self._map[start : start + size]
            self._at = start + size
            yield is_new, entry
            is_new = False

    def append(self, entry: bytes) -> None:
        """Write one entry, under the lock and after :meth:`read`."""
        epoch, end, base = _header.unpack_from(self._map)
        after = self._put(end, entry)
        _header.pack_into(self._map, 0, epoch, after, base)
        self._at = after

    @property
    def is_long(self) -> bool:
        """True when it is time for :meth:`begin_anew`."""
        _, end, base = _header.unpack_from(self._map)
        return bool(end > KEEP and end > GROWTH * base)

    def begin_anew(self, state: bytes) -> None:
        """Put the whole state in place of everything before, under the lock."""
        epoch, _, _ = _header.unpack_from(self._map)
        after = self._put(START, state)
        _header.pack_into(self._map, 0, epoch + 1, after, len(state))
        self._epoch, self._at = epoch + 1, after
        # Give the pages behind it back. Nobody reads there: that needs the lock.
        os.ftruncate(self._descriptor, after)
        os.ftruncate(self._descriptor, SIZE)

    def close(self) -> None:
        self._map.close()
        os.close(self._descriptor)

    def _put(self, at: int, entry: bytes) -> int:
        start = at + _length.size
        if start + len(entry) > SIZE:
            raise MemoryError("the data that plugins share do not fit")
        _length.pack_into(self._map, at, len(entry))
        self._map[start : start + len(entry)] = entry
        return start + len(entry)
