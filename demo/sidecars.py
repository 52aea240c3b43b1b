"""The sidecars' processes: started together, ready before anything is asked of them, ended in every case."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from demo.plan import Place
from demo.shop import ask

ROOT = Path(__file__).resolve().parents[1]
READY_SECONDS = 30.0
STOP_SECONDS = 10.0
TAIL_LINES = 15


class DemoError(Exception):
    """The demo cannot go on; the text says why, and is meant to be read."""


class Sidecar:
    """One ``sidecar run``, its output in the place's log file."""

    def __init__(self, place: Place, environ: Mapping[str, str]) -> None:
        self.place = place
        self.started = time.monotonic()
        self.ready_after = 0.0
        """Seconds from the start."""
        command = [sys.executable, "-m", "demo.leash"]
        command += [sys.executable, "-m", "sidecar", "run", "-c", str(place.config)]
        with place.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the demo alone, which ends it in order
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_ready(self) -> bool:
        """Raises :class:`DemoError` when it has ended instead."""
        if (status := self._process.poll()) is not None:
            raise DemoError(f"the sidecar of {self.place.service} ended with {status}, never ready:\n{self.tail()}")
        try:
            answer = ask(self.place.health, "GET", "/healthz/ready")
        except (OSError, http.client.HTTPException):
            return False
        self.ready_after = time.monotonic() - self.started
        return answer.status == 200

    def terminate(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()

    def wait(self) -> int:
        """The exit code; one that does not drain in time is killed (-9)."""
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def tail(self) -> str:
        lines = self.place.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
        return "\n".join(f"    {line}" for line in lines)


def stop(sidecars: Sequence[Sidecar]) -> dict[str, int]:
    """Ends all of them, at once; the exit code of each by its service. A second call finds them ended."""
    for sidecar in sidecars:
        sidecar.terminate()
    return {sidecar.place.service: sidecar.wait() for sidecar in sidecars}


@contextmanager
def running(places: Sequence[Place], secrets: Mapping[str, str]) -> Iterator[list[Sidecar]]:
    """A ready sidecar at each place. What OpenTelemetry's variables say elsewhere is not meant for the demo."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environ.update(secrets)
    sidecars: list[Sidecar] = []
    try:
        for place in places:
            sidecars.append(Sidecar(place, environ))
        for sidecar in sidecars:
            while not sidecar.is_ready():
                if time.monotonic() - sidecar.started > READY_SECONDS:
                    raise DemoError(f"the sidecar of {sidecar.place.service} is not ready:\n{sidecar.tail()}")
                time.sleep(0.02)
        yield sidecars
    finally:
        stop(sidecars)
