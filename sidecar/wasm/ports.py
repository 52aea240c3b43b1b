"""What the plugin host asks of the house, as protocols: this floor knows neither exchange nor transport.

The exchange's own ports and views fit these as they are; ``filters/wasm.py`` is the bridge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sidecar.address import Address
from sidecar.errors import ErrorKind
from sidecar.http.headers import HeaderMap

REQUEST = 0
RESPONSE = 1


class TimerHandle(Protocol):
    def cancel(self) -> None: ...


class TimerPort(Protocol):
    """The clock and its alarms; never calls back in the same stack."""

    def now(self) -> float:
        """Monotonic seconds."""

    def unix_nanos(self) -> int: ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> TimerHandle: ...

    def call_soon(self, callback: Callable[[], None]) -> None:
        """In a fresh stack, as soon as the loop turns."""


class CallResult(Protocol):
    """How a callout ended; ``failure`` is empty, ``timeout``, ``connect`` or ``reset``."""

    @property
    def headers(self) -> HeaderMap: ...
    @property
    def body(self) -> bytes: ...
    @property
    def trailers(self) -> HeaderMap | None: ...
    @property
    def failure(self) -> str: ...


class CallHandle(Protocol):
    def cancel(self) -> None: ...


class CallPort(Protocol):
    """HTTP calls to named upstreams."""

    def has_upstream(self, name: str) -> bool: ...

    def http_call(
        self,
        upstream: str,
        headers: HeaderMap,
        body: bytes,
        trailers: HeaderMap | None,
        timeout: float,
        done: Callable[[CallResult], None],
    ) -> CallHandle:
        """``done`` comes later, exactly once unless cancelled; may raise ProxyError when refused at once."""


class LogSink(Protocol):
    """One line of our log about a plugin; ``fields`` are extra keys of the line."""

    def __call__(self, plugin: str, level: str, message: str, **fields: object) -> None: ...


class MetricsSink(Protocol):
    """The series of the contract that speak about plugins."""

    def call_observer(self, plugin: str, phase: str) -> Callable[[float], None]:
        """Takes the seconds of each call; looked up once per instance, so that a call costs no look-up."""

    def error(self, plugin: str, error: str) -> None:
        """``error``: timeout, trap, memory, load, configure, hostcall or overflow."""

    def restart(self, plugin: str) -> None: ...

    def memory(self, plugin: str, size: int) -> None: ...

    def passed_by_policy(self, plugin: str, cause: str) -> None: ...

    def limit_hit(self, limit: str) -> None: ...


class ConnectionView(Protocol):
    """The downstream connection, as far as properties show it."""

    @property
    def connection_id(self) -> int: ...
    @property
    def direction(self) -> str: ...
    @property
    def source(self) -> Address: ...
    @property
    def destination(self) -> Address: ...
    @property
    def peer_id(self) -> str: ...


class RecordView(Protocol):
    """The record of the exchange, as far as properties show it; times are monotonic seconds, 0.0 is never."""

    @property
    def connection(self) -> ConnectionView: ...
    @property
    def start(self) -> float: ...
    @property
    def start_unix_nanos(self) -> int: ...
    @property
    def upstream_start(self) -> float: ...
    @property
    def response_start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def http_version(self) -> str: ...
    @property
    def request_id(self) -> str: ...
    @property
    def route_id(self) -> str: ...
    @property
    def upstream(self) -> str: ...
    @property
    def upstream_address(self) -> str: ...
    @property
    def upstream_local_address(self) -> str: ...
    @property
    def attempts(self) -> int: ...
    @property
    def status(self) -> int: ...
    @property
    def error(self) -> ErrorKind | None: ...
    @property
    def details(self) -> str: ...
    @property
    def request_body_bytes(self) -> int: ...
    @property
    def response_body_bytes(self) -> int: ...
    plugin_properties: dict[tuple[str, bytes], bytes] | None
    """What plugins have set for this stream, by ``vm_id`` and path."""

    @property
    def events(self) -> list[tuple[float, str, dict[str, str | int | float]]]: ...


class StreamFacts(Protocol):
    """The exchange as a plugin may read it, for its whole life."""

    @property
    def record(self) -> RecordView: ...
    @property
    def request_headers(self) -> HeaderMap: ...
    @property
    def request_trailers(self) -> HeaderMap | None: ...
    @property
    def response_headers(self) -> HeaderMap | None: ...
    @property
    def response_trailers(self) -> HeaderMap | None: ...
    @property
    def is_over(self) -> bool: ...
    @property
    def timers(self) -> TimerPort: ...


class StreamHost(Protocol):
    """What a plugin may do to its exchange. Never called while the guest runs."""

    def resume(self, direction: int) -> None:
        """Let what this plugin holds flow on; from the event loop only."""

    def local_reply(
        self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, grpc_status: int | None, details: str
    ) -> None: ...

    def close(self) -> None:
        """Cut the client's stream without an answer."""

    def plugin_failed(self, cause: str) -> None:
        """The instance is gone; ``cause`` is ``trap``, ``timeout``, ``limit`` or ``load``. From the event loop."""


class StreamAccess(Protocol):
    """What a plugin may look up in its exchange while the guest runs."""

    def held_body(self, direction: int) -> bytes | None: ...

    def set_held_body(self, direction: int, data: bytes) -> bool: ...

    def is_headers_writable(self, direction: int) -> bool: ...

    def create_trailers(self, direction: int) -> HeaderMap | None: ...

    def trace_id(self) -> str: ...


class StreamBridge(StreamHost, StreamAccess, Protocol):
    """Both sides of one stream."""
