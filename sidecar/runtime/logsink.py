"""Log lines leave through a thread of their own: a reader that stopped, a full disk or a removed file never
holds up traffic. Lines that find the queue full are dropped and counted: ``loom_limit_hits_total{limit="log_queue"}``.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

LEVELS: Final = {"trace": 0, "debug": 1, "info": 2, "warn": 3, "warning": 3, "error": 4, "critical": 5}
MAX_LINES: Final = 8192
MAX_BYTES: Final = 8 << 20
MAX_LINE: Final = 64 << 10
CHUNK: Final = 64 << 10
CHECK_INTERVAL: Final = 1.0
"""Seconds between looks at whether the file at the path is still the one that is open."""
STANDARD: Final = {"/dev/stdout": 1, "/dev/stderr": 2, "-": 1}


class LimitCounter(Protocol):
    def limit_hit(self, limit: str) -> None: ...


class LogSink:
    """``path`` is a file, ``/dev/stdout`` or ``/dev/stderr``. ``write`` belongs to the event loop's thread."""

    def __init__(
        self, path: str, registry: LimitCounter | None = None, *, max_lines: int = MAX_LINES, max_bytes: int = MAX_BYTES
    ) -> None:
        self.path = path
        self.dropped = 0
        """Lines lost to a full queue or to an output that cannot be written."""
        self._lost = 0
        """Lines the thread could not write; the loop's thread counts them at its next line."""
        self._registry = registry
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._taken_bytes = 0
        self._wake = threading.Event()
        self._is_closing = False
        self._give_up_at = float("inf")
        self._thread: threading.Thread | None = None
        self._fd = -1
        self._is_owned = False
        self._identity: tuple[int, int] | None = None
        self._checked = 0.0

    def start(self) -> None:
        """Open the output and start the thread; an output that cannot be opened yet is tried again later."""
        self._open()
        self._thread = threading.Thread(target=self._run, name=f"log:{self.path}", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Queue one line (with its newline). Never blocks, never raises."""
        queue = self._queue
        if self._lost:
            self._count_lost()
        if len(queue) >= self._max_lines or self._queued_bytes - self._taken_bytes > self._max_bytes:
            self._drop()
            return
        queue.append(line)
        self._queued_bytes += len(line)
        if not self._wake.is_set():
            self._wake.set()

    def close(self, timeout: float = 1.0) -> None:
        """Write what is queued, for at most ``timeout`` seconds."""
        self._give_up_at = time.monotonic() + timeout
        self._is_closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout + 0.5)
            self._thread = None

    def _drop(self) -> None:
        self.dropped += 1
        if self._registry is not None:
            self._registry.limit_hit("log_queue")

    def _count_lost(self) -> None:
        lost = self._lost
        self._lost -= lost
        for _ in range(lost):
            self._drop()

    # -- the thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._queue:
                self._write_out(self._take())
                if time.monotonic() > self._give_up_at:
                    break
            if self._is_closing:
                break
        if self._is_owned and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _take(self) -> bytes:
        lines = []
        size = 0
        queue = self._queue
        while queue and size < CHUNK:
            line = queue.popleft()
            size += len(line)
            lines.append(line)
        self._taken_bytes += size
        return b"".join(lines)

    def _write_out(self, data: bytes) -> None:
        """One chunk; waits for a slow reader, gives the chunk up when the output is broken or time is over."""
        self._look_again()
        view = memoryview(data)
        while view:
            if self._fd < 0 or not self._is_ready():
                self._lost += bytes(view).count(b"\n")
                return
            try:
                # A blocking pipe that polls writable takes PIPE_BUF bytes at once without blocking.
                written = os.write(self._fd, view[:4096])
            except BlockingIOError:
                continue
            except OSError:
                self._lost += bytes(view).count(b"\n")
                self._forget()
                return
            view = view[written:]

    def _is_ready(self) -> bool:
        """Wait until the output takes bytes; False once close() has run out of patience."""
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        while not poll.poll(100):
            if time.monotonic() > self._give_up_at:
                return False
        return True

    def _look_again(self) -> None:
        """Reopen a file that was rotated or removed, or could not be opened before."""
        now = time.monotonic()
        if now - self._checked < CHECK_INTERVAL:
            return
        self._checked = now
        if self._fd < 0:
            self._open()
        elif self._identity is not None:
            try:
                found = os.stat(self.path)
            except OSError:
                found = None
            if found is None or (found.st_dev, found.st_ino) != self._identity:
                self._forget()
                self._open()

    def _forget(self) -> None:
        if self._is_owned and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        self._checked = time.monotonic()
        standard = STANDARD.get(self.path)
        if standard is not None:
            self._fd = standard
            return
        try:
            # Non-blocking, so that a pipe without a reader is refused now rather than waited for.
            self._fd = os.open(
                self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o640
            )
        except OSError as error:
            self._fd = -1
            _complain(f"cannot open the log file {self.path}: {error.strerror}")
            return
        self._is_owned = True
        found = os.fstat(self._fd)
        self._identity = (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def _complain(message: str) -> None:
    try:
        os.write(2, _line({"level": "error", "message": message}))
    except OSError:
        pass  # nobody is left to be told


_encoder = msgspec.json.Encoder(enc_hook=str)


def _line(fields: dict[str, object]) -> bytes:
    try:
        return _encoder.encode(fields) + b"\n"
    except UnicodeEncodeError:  # lone surrogates, from bytes that were never text
        clean = {key: value.encode("utf-8", "replace").decode() if isinstance(value, str) else str(value)
                 for key, value in fields.items()}  # fmt: skip
        return _encoder.encode({key: value.encode("utf-8", "replace").decode() for key, value in clean.items()}) + b"\n"


class LineWriter(Protocol):
    def write(self, line: bytes) -> None: ...


class Logger:
    """The process log. Every line is one JSON object (or one text line): time, level, message, fields.

    ``level`` is the least level that is written: trace, debug, info, warn, error or critical.
    """

    def __init__(
        self, sink: LineWriter, level: str = "info", *, format: str = "json", clock: Callable[[], float] = time.time
    ) -> None:
        self._sink = sink
        self._clock = clock
        self._is_text = format == "text"
        self.threshold = LEVELS[level]

    def log(self, level: str, message: str, **fields: object) -> None:
        """Write one line; ``message`` stays unchanged except that a line over 64 KiB is cut."""
        if LEVELS.get(level, 5) < self.threshold:
            return
        if len(message) > MAX_LINE:
            message = message[:MAX_LINE]
        stamp = self._stamp()
        if self._is_text:
            extra = "".join(f" {key}={_quoted(value)}" for key, value in fields.items())
            self._sink.write(f"{stamp} {level.upper()} {_plain(message)}{extra}\n".encode("utf-8", "replace"))
            return
        self._sink.write(_line({"time": stamp, "level": level, "message": message, **fields}))

    def plugin(self, plugin: str, level: str, message: str, **fields: object) -> None:
        """A line of or about a plugin. The plugin's own ``log_level`` has been applied already."""
        self._sink.write(_line({"time": self._stamp(), "plugin": plugin, "level": level,
                                "message": message[:MAX_LINE], **fields}))  # fmt: skip

    def _stamp(self) -> str:
        now = self._clock()
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z"


def _plain(text: str) -> str:
    """One line without control characters."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def _quoted(value: object) -> str:
    text = _plain(str(value))
    return text if text and " " not in text and '"' not in text else '"' + text.replace('"', '\\"') + '"'


def stderr_logger(level: str = "info") -> tuple[LogSink, Logger]:
    """The log a process starts with, before it has read any configuration."""
    sys.stderr.flush()
    sink = LogSink("/dev/stderr")
    return sink, Logger(sink, level)
