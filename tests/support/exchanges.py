"""Fakes around an exchange: a downstream that remembers, a terminal that is scripted, filters that do as told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.address import Address
from sidecar.errors import ProxyError
from sidecar.exchange.chain import FilterChain
from sidecar.exchange.exchange import Exchange
from sidecar.exchange.filter import CONTINUE, ExchangeView, Filter, Phase
from sidecar.exchange.flow import HoldBudget
from sidecar.http.events import (
    RequestData,
    RequestHeaders,
    RequestTrailers,
    ResponseData,
    ResponseHeaders,
    ResponseTrailers,
)
from sidecar.http.headers import HeaderMap
from sidecar.telemetry.record import ConnectionInfo, ExchangeRecord

EVERY_PHASE = frozenset(Phase)


class FakeAlarm:
    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeTimers:
    """A clock that only moves when a test moves it."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.alarms: list[FakeAlarm] = []

    def now(self) -> float:
        return self.time

    def unix_nanos(self) -> int:
        return int(self.time * 1e9)

    def call_later(self, delay: float, callback: Callable[[], None]) -> FakeAlarm:
        alarm = FakeAlarm(self.time + delay, callback)
        self.alarms.append(alarm)
        return alarm

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.call_later(0, callback)

    def advance(self, seconds: float) -> None:
        """Move on, and run what is due; ``advance(0)`` runs what was asked for soon."""
        self.time += seconds
        due = [alarm for alarm in self.alarms if alarm.due <= self.time]
        self.alarms = [alarm for alarm in self.alarms if alarm.due > self.time]
        for alarm in due:
            if alarm.callback is not None:
                alarm.callback()


class FakeDownstream:
    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.credited = 0
        self.resets: list[Any] = []
        self.finishes = 0
        self.is_writable = True

    def send(self, event: Any) -> bool:
        self.sent.append(event)
        return self.is_writable

    def consumed(self, size: int) -> None:
        self.credited += size

    def reset(self, reason: Any) -> None:
        self.resets.append(reason)

    def flush(self) -> None: ...

    def finished(self) -> None:
        self.finishes += 1

    @property
    def status(self) -> int:
        return int(self.head.headers.get(b":status"))

    @property
    def head(self) -> Any:
        return next(event for event in self.sent if type(event) is ResponseHeaders)

    @property
    def body(self) -> bytes:
        return b"".join(event.data for event in self.sent if type(event) is ResponseData)


class FakeTerminal:
    def __init__(self) -> None:
        self.events: list[Any] = []
        self.credited = 0
        self.aborts = 0

    def on_request(self, event: Any) -> None:
        self.events.append(event)

    def flush(self) -> None: ...

    def response_consumed(self, size: int) -> None:
        self.credited += size

    def abort(self, reason: Any) -> None:
        self.aborts += 1

    @property
    def body(self) -> bytes:
        return b"".join(event.data for event in self.events if type(event) is RequestData)


class Scripted(Filter):
    """Calls ``script[phase](filter, event)`` where there is one, and notes every phase it sees."""

    def __init__(self, name: str, script: dict[str, Callable[[Any, Any], int | None]], seen: list[str]) -> None:
        self.name = name
        self.script = script
        self.seen = seen
        self.view: Any = None

    def _run(self, phase: str, event: Any) -> int:
        size = f"({event.data.decode('latin-1')},{int(event.end_stream)})" if hasattr(event, "data") else ""
        self.seen.append(f"{self.name}.{phase}{size}")
        action = self.script.get(phase)
        return (action(self, event) or CONTINUE) if action else CONTINUE

    def on_request_headers(self, event: RequestHeaders) -> int:
        return self._run("request_headers", event)

    def on_request_data(self, event: RequestData) -> int:
        return self._run("request_data", event)

    def on_request_trailers(self, event: RequestTrailers) -> int:
        return self._run("request_trailers", event)

    def on_response_headers(self, event: ResponseHeaders) -> int:
        return self._run("response_headers", event)

    def on_response_data(self, event: ResponseData) -> int:
        return self._run("response_data", event)

    def on_response_trailers(self, event: ResponseTrailers) -> int:
        return self._run("response_trailers", event)

    def on_log(self) -> None:
        self.seen.append(f"{self.name}.log")

    def on_destroy(self) -> None:
        self.seen.append(f"{self.name}.destroy")


class ScriptedFactory:
    def __init__(
        self, name: str, script: dict[str, Any], seen: list[str], phases: frozenset[Phase] = EVERY_PHASE
    ) -> None:
        self.filter = Scripted(name, script, seen)
        self.phases = phases

    def create(self, view: ExchangeView) -> Filter:
        self.filter.view = view
        return self.filter


class Stage:
    """An exchange on its stage: ``Stage({"a": {...}, "b": {...}})`` makes filters a and b, in that order."""

    def __init__(
        self, scripts: dict[str, dict[str, Any]], *, budget: int = 1 << 30, phases: frozenset[Phase] = EVERY_PHASE
    ) -> None:
        self.seen: list[str] = []
        self.downstream = FakeDownstream()
        self.terminal = FakeTerminal()
        self.timers = FakeTimers()
        self.bugs: list[tuple[str, BaseException]] = []
        factories = [ScriptedFactory(name, script, self.seen, phases) for name, script in scripts.items()]
        self.filters = {factory.filter.name: factory.filter for factory in factories}
        stage = self

        class Terminals:
            def create(self, view: Any) -> Any:
                return stage.terminal

        info = ConnectionInfo(1, "inbound", "inbound", Address("10.0.0.1", 4), Address("10.0.0.2", 15006), "h1")
        self.record = ExchangeRecord(info, self.timers.now(), self.timers.unix_nanos())
        self.budget = HoldBudget(budget)
        self.exchange = Exchange(
            FilterChain(factories, Terminals()),
            None,
            1,
            self.downstream,
            self.timers,
            self.record,
            self.budget,
            lambda where, bug: self.bugs.append((where, bug)),
        )

    def request(self, *pairs: tuple[bytes, bytes], end: bool = True) -> None:
        head = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]
        self.exchange.on_request(RequestHeaders(1, HeaderMap.of([*head, *pairs]), end))

    def data(self, data: bytes, end: bool = False) -> None:
        self.exchange.on_request(RequestData(1, data, end))

    def answer(self, *pairs: tuple[bytes, bytes], status: bytes = b"200", end: bool = False) -> None:
        self.exchange.on_response(ResponseHeaders(9, HeaderMap.of([(b":status", status), *pairs]), end))

    def answer_data(self, data: bytes, end: bool = False) -> None:
        self.exchange.on_response(ResponseData(9, data, end))


def fails(error: ProxyError) -> Callable[[Any, Any], int]:
    def act(by: Any, event: Any) -> int:
        raise error

    return act
