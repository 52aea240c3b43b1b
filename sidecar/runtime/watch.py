"""Notices that the configuration or a plugin has changed on disk, whatever the way: written in place, renamed over,
or by the swap of a symbolic link in the path (``..data`` of a mounted ConfigMap).

A few ``stat`` calls a second see all of these alike; inotify would watch the wrong inode after the first swap.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final

Signature = tuple[tuple[int, ...] | None, ...]

INTERVAL: Final = 0.25
"""Seconds between two looks."""
SETTLE: Final = 0.2
"""Seconds without a further change before the files are read: a writer may be half way."""
PATIENCE: Final = 2.0
"""Seconds after which they are read although they still change."""


def signature(paths: Iterable[Path]) -> Signature:
    """What is at each path now, links followed; None where nothing is."""
    return tuple(_look(path) for path in paths)


def _look(path: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class Debounce:
    """Decides when a change is worth acting on; ``now`` is monotonic seconds."""

    def __init__(self) -> None:
        self._known: Signature | None = None
        self._latest: Signature | None = None
        self._first = 0.0
        self._last = 0.0

    def accept(self, seen: Signature) -> None:
        """This is what has been read."""
        self._known = self._latest = seen

    @property
    def is_pending(self) -> bool:
        """True while a change waits to settle."""
        return self._latest != self._known

    def look(self, seen: Signature, now: float) -> bool:
        """True when the files should be read anew now."""
        if seen != self._latest:
            if not self.is_pending:
                self._first = now
            self._latest = seen
            self._last = now
        if not self.is_pending or (now - self._last < SETTLE and now - self._first < PATIENCE):
            return False
        self._known = self._latest
        return True


class Watcher:
    """``paths`` is asked anew at each look, since a reload changes it; ``changed`` is awaited for each change."""

    def __init__(self, paths: Callable[[], list[Path]], changed: Callable[[], Awaitable[object]]) -> None:
        self._paths = paths
        self._changed = changed
        self._debounce = Debounce()
        self._watched = paths()
        self._debounce.accept(signature(self._watched))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(SETTLE / 2 if self._debounce.is_pending else INTERVAL)
            if self.look(time.monotonic()):
                await self._changed()

    def look(self, now: float) -> bool:
        """One look; True when something has changed and has settled."""
        paths = self._paths()
        if paths != self._watched:
            self._watched = paths
            self._debounce.accept(signature(paths))
        return self._debounce.look(signature(paths), now)
