"""Spans leave through a thread of their own; traffic never waits for a collector.

The queue is bounded and drops the newest. Every span submitted ends up in exactly one of exported, dropped (the queue
was full, or time was over at the end) and failed (the collector refused it, or every try was in vain), so that
``loom_otlp_spans_total`` plus what is queued is what was made. Built and started after any fork; never shared.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import sidecar
from sidecar.runtime.otlp_client import OtlpClient, OtlpSettings, make_client, settings_from
from sidecar.telemetry.otlp import Encoder
from sidecar.telemetry.span import Span

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

    from sidecar.config import model as config
    from sidecar.telemetry.metrics import MetricsRegistry

MAX_QUEUE: Final = 2048
MAX_BATCH: Final = 512
DELAY: Final = 0.5
"""Seconds a span may wait for others to travel with."""
FIRST_BACKOFF: Final = 0.5
MAX_BACKOFF: Final = 8.0
MAX_RETRY_AFTER: Final = 30.0
MAX_TRIES: Final = 5


class Log(Protocol):
    def __call__(self, level: str, message: str, **fields: object) -> None: ...


class Exporter:
    """The exporter of one process. ``submit`` belongs to the event loop's thread."""

    def __init__(
        self,
        settings: config.Tracing,
        resource: Resource,
        registry: MetricsRegistry,
        *,
        environ: Mapping[str, str] = os.environ,
        client_of: Callable[[OtlpSettings, str], OtlpClient] = make_client,
        log: Log | None = None,
        delay: float = DELAY,
    ) -> None:
        self._settings = settings_from(settings.endpoint, settings.protocol, environ)
        self._resource: Mapping[str, Any] = dict(resource.attributes)
        self._client_of = client_of
        self._log = log
        self._delay = delay
        self._exported = registry.counter("loom_otlp_spans_total", "exported")
        self._dropped = registry.counter("loom_otlp_spans_total", "dropped")
        self._failed = registry.counter("loom_otlp_spans_total", "failed")
        self._queue: deque[Span] = deque()
        self._counting = threading.Lock()
        """Held for a counter's change outside the loop's thread; the queue itself needs none."""
        self._in_flight = 0
        self._wake = threading.Event()
        self._full = threading.Event()
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._thread: threading.Thread | None = None
        self._was_failing = False
        self._client: OtlpClient | None = None

    @property
    def queued(self) -> int:
        """Spans neither exported nor given up yet."""
        return len(self._queue) + self._in_flight

    def start(self) -> None:
        """Start the thread; the collector is first spoken to when there is a span."""
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    def submit(self, span: Span) -> None:
        """Queue one finished span; never blocks."""
        queue = self._queue
        size = len(queue)
        if size >= MAX_QUEUE or self._closing.is_set():
            with self._counting:
                self._dropped.value += 1
            return
        queue.append(span)
        if not size:
            self._wake.set()
        elif size == MAX_BATCH:
            self._full.set()

    def close(self, timeout: float = 2.0) -> None:
        """Send what is queued within ``timeout`` seconds, then count what is left as dropped or failed."""
        self._deadline = time.monotonic() + timeout
        self._closing.set()
        self._wake.set()
        self._full.set()
        if self._thread is not None:
            self._thread.join(timeout)
        with self._counting:
            self._failed.value += self._in_flight
            self._in_flight = 0
            self._dropped.value += len(self._queue)
            self._queue.clear()
        if self._thread is not None and self._thread.is_alive() and self._client is not None:
            self._client.close()  # a call under way ends with it

    # -- the thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        encoder = Encoder(self._resource, version=sidecar.__version__)
        while True:
            self._wake.wait()
            self._full.wait(self._delay)
            self._full.clear()
            self._wake.clear()
            while batch := self._take():
                try:
                    if self._client is None:
                        self._client = self._client_of(self._settings, f"loom-sidecar/{sidecar.__version__}")
                    self._deliver(self._client, encoder.request(batch), len(batch))
                except (OSError, ValueError, ImportError) as error:
                    self._settle(len(batch), 0, f"the OTLP exporter cannot work: {error}")
            if self._closing.is_set():
                break
        if self._client is not None:
            self._client.close()

    def _take(self) -> list[Span]:
        queue = self._queue
        with self._counting:
            batch = [queue.popleft() for _ in range(min(len(queue), MAX_BATCH))]
            self._in_flight = len(batch)
        return batch

    def _deliver(self, client: OtlpClient, body: bytes, count: int) -> None:
        """Try until it is taken, refused for good, or tried often enough."""
        backoff = FIRST_BACKOFF
        for tries in range(1, MAX_TRIES + 1):
            timeout = min(self._settings.timeout, self._deadline - time.monotonic())
            if timeout <= 0:
                return self._settle(count, 0, "no time left")
            answer = client.send(body, timeout)
            if not answer.error:
                return self._settle(count, max(0, count - max(0, answer.rejected)), "")
            if not answer.may_retry or tries == MAX_TRIES:
                return self._settle(count, 0, answer.error)
            pause = min(MAX_RETRY_AFTER, max(answer.retry_after, backoff * random.uniform(0.8, 1.2)))
            backoff = min(MAX_BACKOFF, backoff * 2)
            if self._closing.is_set():
                # The last try has been made: there is no time for patience.
                return self._settle(count, 0, answer.error)
            self._closing.wait(pause)
        return None

    def _settle(self, count: int, exported: int, error: str) -> None:
        """Count a batch once: not at all when close() has given it up already."""
        with self._counting:
            if not self._in_flight:
                return
            self._in_flight = 0
            self._exported.value += exported
            self._failed.value += count - exported
        if self._log is not None and bool(error) != self._was_failing:
            self._was_failing = bool(error)
            if error:
                self._log("warn", "spans cannot be exported", error=error, endpoint=self._settings.endpoint)
            else:
                self._log("info", "spans are exported again", endpoint=self._settings.endpoint)
