"""Processes of the bench: started on one core, asked for CPU time and memory through /proc, always ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class BenchError(Exception):
    """Something that the bench needs is missing or did not start; the text says what to do."""


def free_port() -> int:
    """A TCP port of loopback that nobody holds at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def parse_stat(text: str) -> tuple[int, int, int]:
    """(parent pid, CPU ticks of the process itself, resident pages) out of /proc/<pid>/stat (proc(5)).

    The command name in parentheses may hold anything, so fields are counted from the last parenthesis.
    """
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[1]), int(fields[11]) + int(fields[12]), int(fields[21])


class Process:
    """One program, its children included, pinned to a core by taskset."""

    def __init__(self, command: Sequence[str], *, core: int, log: Path, env: dict[str, str] | None = None) -> None:
        self.log = log
        self.started = time.monotonic()
        with log.open("wb") as out:
            self._popen = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(env or {})},
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def _family(self) -> Iterator[tuple[int, int]]:
        """(CPU ticks, resident pages) of the process and all its descendants that live."""
        parents: dict[int, tuple[int, int, int]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError):
                    parents[int(entry)] = parse_stat(Path("/proc", entry, "stat").read_text(encoding="utf-8"))
        wanted = {self.pid}
        grown = True
        while grown:
            more = {pid for pid, (parent, _, _) in parents.items() if parent in wanted} - wanted
            grown = bool(more)
            wanted |= more
        for pid in wanted & parents.keys():
            yield parents[pid][1:]

    def cpu_seconds(self) -> float:
        """CPU time used so far, user and system; in steps of a clock tick (10 ms)."""
        return sum(ticks for ticks, _ in self._family()) / TICKS

    def rss_bytes(self) -> int:
        """Resident memory now; pages that processes share are counted in each."""
        return sum(pages for _, pages in self._family()) * PAGE

    def wait_ready(self, url: str, deadline: float = 30.0) -> float:
        """Seconds from the start until ``url`` answers 200.

        Raises BenchError when the process ends or the deadline (seconds) passes first; it shows the log's end.
        """
        while time.monotonic() - self.started < deadline:
            if self._popen.poll() is not None:
                raise BenchError(f"ended with status {self._popen.returncode} before it was ready:\n{self.tail()}")
            with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(url, timeout=1) as answer:
                if answer.status == 200:
                    return time.monotonic() - self.started
            time.sleep(0.005)
        raise BenchError(f"not ready after {deadline:.0f} s ({url}):\n{self.tail()}")

    def tail(self) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])

    def stop(self) -> None:
        """Ends the process and its children: politely for 3 s, then not."""
        for ending in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, ending)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(3)
                break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
