"""A normal client beside every attack: twenty requests a second through the same listener, and not one may fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.raw_app import FastApp, RawApp, fast_app, raw_app
from tests.support.raw_client import Client, Gone, get
from tests.support.sidecar_process import BYSTANDER_HOST, Sidecar, sidecar, sidecar_config
from tests.support.wait import eventually

PAUSE = 0.05


class Bystander(threading.Thread):
    """Asks its own app through ``port`` on one kept connection; ``errors`` stays empty when all is well."""

    def __init__(self, port: int) -> None:
        super().__init__(name=f"bystander-{port}", daemon=True)
        self.port = port
        self.answers = 0
        self.errors: list[str] = []
        self.slowest = 0.0
        """Seconds of the slowest answer since it was last set to 0."""
        self._stop_event = threading.Event()

    def run(self) -> None:
        number = 0
        client: Client | None = None
        while not self._stop_event.wait(PAUSE):
            number += 1
            began = time.monotonic()
            try:
                if client is None:
                    client = Client(self.port)
                client.send(get(f"/quiet/{number}", f"x-id: quiet-{number}", host=BYSTANDER_HOST))
                answer = client.read_answer()
                problem = self._judge(number, answer.status, answer.body)
                if answer.get("connection") == "close":
                    problem = problem or "its connection was closed"
            except (OSError, AssertionError, ValueError, Gone) as error:
                problem = f"request {number}: {type(error).__name__}: {error}"
            if problem:
                self.errors.append(problem)
                if client is not None:
                    client.sock.close()
                client = None
            else:
                self.answers += 1
                self.slowest = max(self.slowest, time.monotonic() - began)
        if client is not None:
            client.sock.close()

    def _judge(self, number: int, status: int, body: bytes) -> str:
        if status != 200:
            return f"request {number} got {status}"
        expected = f"/quiet/{number} id=quiet-{number}\n".encode()
        return "" if body == expected else f"request {number} got another's answer: {body!r}"

    def check(self) -> None:
        """Another whole request succeeds, and none has failed."""
        seen = self.answers
        eventually(lambda: self.answers > seen or self.errors, 20)
        assert not self.errors, self.errors[:5]

    def stop(self) -> None:
        self._stop_event.set()
        self.join(10)


@dataclass
class Stage:
    """An app that records, a sidecar in front of it, and a bystander on each of its listeners."""

    app: RawApp
    quiet: FastApp
    sidecar: Sidecar
    bystanders: list[Bystander]
    logged: int = 0

    def check(self) -> None:
        """What holds after every attack: it lives, nobody else was hurt, no fault of ours was logged."""
        assert self.sidecar.is_alive, self.sidecar.log_text[-4000:]
        for bystander in self.bystanders:
            bystander.check()
        text = self.sidecar.log_text
        faults = [line for line in text[self.logged :].splitlines() if "Traceback" in line or "internal error" in line]
        self.logged = len(text)
        assert not faults, faults[:5]


@contextmanager
def stage(folder: Path, **settings: Any) -> Iterator[Stage]:
    """A stage of its own; ``settings`` are those of :func:`tests.support.sidecar_process.sidecar_config`."""
    with raw_app() as app, fast_app() as quiet:
        config = sidecar_config(app.port, quiet=quiet.port, **settings)
        with sidecar(folder, config) as running:
            bystanders = [Bystander(running.inbound), Bystander(running.outbound)]
            for each in bystanders:
                each.start()
            for each in bystanders:
                each.check()
            try:
                yield Stage(app, quiet, running, bystanders)
            finally:
                for each in bystanders:
                    each.stop()
