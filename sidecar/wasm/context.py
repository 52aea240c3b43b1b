"""The contexts of one instance: ids that the guest knows, and what the host keeps behind each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from sidecar.http.headers import HeaderMap
from sidecar.wasm.abi import status as abi
from sidecar.wasm.ports import REQUEST, RESPONSE, StreamBridge, StreamFacts, TimerHandle

if TYPE_CHECKING:
    from sidecar.wasm.instance import Instance

# What the guest asked for during a callback; done when the callback has returned.
RESUME_REQUEST: Final = 1
RESUME_RESPONSE: Final = 2
REPLY: Final = 4
CLOSE: Final = 8

FAILED: Final = -1
"""Result of a callback that did not return: the instance is gone."""

Reply = tuple[int, list[tuple[bytes, bytes]], bytes, "int | None", str]


class CallAnswer:
    """Result of a callout, readable while ``proxy_on_http_call_response`` runs."""

    __slots__ = ("body", "code", "headers", "message", "trailers")

    def __init__(
        self, headers: HeaderMap | None, body: bytes | None, trailers: HeaderMap | None, code: int, message: bytes
    ) -> None:
        self.headers = headers
        self.body = body
        self.trailers = trailers
        self.code = code
        self.message = message


class Context:
    """Base of all: the VM context (id 0) is one of these and nothing more."""

    __slots__ = ("done_pending", "facts", "id", "instance", "root")

    def __init__(
        self, instance: Instance, id: int, root: RootContext | None, facts: StreamFacts | None = None
    ) -> None:
        self.facts = facts
        """The exchange, when this is a stream."""
        self.instance = instance
        self.id = id
        self.root = root
        self.done_pending = False
        """``proxy_on_done`` said "not yet": ``proxy_done`` is awaited."""

    @property
    def stream(self) -> StreamContext | None:
        """Itself, when this is a stream."""
        return None

    def forget(self) -> None:
        """Drop what may refer back; the id is dead."""


class RootContext(Context):
    """The plugin itself: timers and callouts belong to it."""

    __slots__ = ("tick", "tick_period")

    def __init__(self, instance: Instance, id: int) -> None:
        super().__init__(instance, id, None)
        self.root = self
        self.tick: TimerHandle | None = None
        self.tick_period = 0.0
        """Seconds; 0 is off."""

    def forget(self) -> None:
        self.tick_period = 0.0
        if self.tick is not None:
            self.tick.cancel()
            self.tick = None


class StreamContext(Context):
    """One plugin's view of one exchange. One object per plugin and request."""

    __slots__ = (
        "body",
        "body_changed",
        "bridge",
        "calls_in_flight",
        "end_of_stream",
        "exchange",
        "held_in",
        "phase",
        "replied",
        "reply",
        "wanted",
    )

    def __init__(
        self, instance: Instance, id: int, root: RootContext, bridge: StreamBridge, facts: StreamFacts
    ) -> None:
        super().__init__(instance, id, root, facts)
        self.bridge = bridge
        self.exchange = facts
        self.phase = abi.IDLE
        self.held_in = abi.IDLE
        """The trailers phase in which it paused, if it did."""
        self.body = b""
        self.body_changed = False
        self.end_of_stream = False
        self.wanted = 0
        self.reply: Reply | None = None
        self.replied = False
        self.calls_in_flight = 0

    @property
    def stream(self) -> StreamContext | None:
        return self

    # --- the host calls into the guest -----------------------------------------------------------------------

    def on_request_headers(self, count: int, end_of_stream: bool) -> int:
        self.phase = abi.ON_REQUEST_HEADERS
        instance = self.instance
        return instance.run(instance.request_headers, self, (self.id, count, end_of_stream), abi.ON_REQUEST_HEADERS)

    def on_response_headers(self, count: int, end_of_stream: bool) -> int:
        self.phase = abi.ON_RESPONSE_HEADERS
        instance = self.instance
        return instance.run(instance.response_headers, self, (self.id, count, end_of_stream), abi.ON_RESPONSE_HEADERS)

    def on_request_body(self, data: bytes, end_of_stream: bool) -> int:
        """Afterwards ``body`` holds the bytes to go on with; ``body_changed`` says whether they are others."""
        return self._on_body(self.instance.request_body, abi.ON_REQUEST_BODY, data, end_of_stream)

    def on_response_body(self, data: bytes, end_of_stream: bool) -> int:
        """As :meth:`on_request_body`."""
        return self._on_body(self.instance.response_body, abi.ON_RESPONSE_BODY, data, end_of_stream)

    def _on_body(self, call: Callable[..., Any] | None, phase: int, data: bytes, end_of_stream: bool) -> int:
        self.phase = phase
        self.body = data
        self.body_changed = False
        self.end_of_stream = end_of_stream
        return self.instance.run(call, self, (self.id, len(data), end_of_stream), phase)

    def on_request_trailers(self, count: int) -> int:
        return self._on_trailers(self.instance.request_trailers, abi.ON_REQUEST_TRAILERS, count)

    def on_response_trailers(self, count: int) -> int:
        return self._on_trailers(self.instance.response_trailers, abi.ON_RESPONSE_TRAILERS, count)

    def _on_trailers(self, call: Callable[..., Any] | None, phase: int, count: int) -> int:
        self.phase = phase
        result = self.instance.run(call, self, (self.id, count), phase)
        self.held_in = phase if result > 0 else abi.IDLE
        return result

    def on_log(self) -> None:
        """The exchange is over: whatever is asked for now has no effect."""
        self.phase = abi.ON_LOG
        self.instance.run(self.instance.log, self, (self.id,), abi.ON_LOG)
        self.wanted = 0
        self.reply = None

    def on_end(self) -> None:
        """The exchange is gone: done, then delete, at once or when the guest says ``proxy_done``."""
        self.phase = abi.ON_DONE
        self.instance.end_stream(self)

    # --- what the guest may touch ----------------------------------------------------------------------------

    def header_map(self, map_id: int) -> HeaderMap | None:
        """The map as it stands, whatever the phase; None while there is none."""
        facts = self.exchange
        if map_id == abi.REQUEST_HEADERS:
            return facts.request_headers
        if map_id == abi.RESPONSE_HEADERS:
            return facts.response_headers
        if map_id == abi.REQUEST_TRAILERS:
            return facts.request_trailers
        return facts.response_trailers

    def writable_map(self, map_id: int) -> HeaderMap | None:
        """The map when a change to it can still have an effect; None otherwise."""
        phase = self.phase
        facts = self.exchange
        if phase >= abi.ON_LOG or facts.is_over:
            return None
        if map_id == abi.REQUEST_HEADERS:
            return facts.request_headers if self.bridge.is_headers_writable(REQUEST) else None
        if map_id == abi.RESPONSE_HEADERS:
            return facts.response_headers if self.bridge.is_headers_writable(RESPONSE) else None
        is_request = map_id == abi.REQUEST_TRAILERS
        is_running = self.instance.current is self
        own_phase = abi.ON_REQUEST_TRAILERS if is_request else abi.ON_RESPONSE_TRAILERS
        if own_phase == self.held_in or (is_running and own_phase == phase):
            return facts.request_trailers if is_request else facts.response_trailers
        if is_running and self.end_of_stream and phase == (abi.ON_REQUEST_BODY if is_request else abi.ON_RESPONSE_BODY):
            return self.bridge.create_trailers(REQUEST if is_request else RESPONSE)
        return None

    def is_in_body(self, direction: int) -> bool:
        """True while the callback that runs was given a piece of that body."""
        phase = abi.ON_RESPONSE_BODY if direction else abi.ON_REQUEST_BODY
        return self.phase == phase and self.instance.current is self

    def buffer(self, direction: int) -> bytes:
        """The body bytes this plugin can see now."""
        if self.is_in_body(direction):
            return self.body
        held = self.bridge.held_body(direction)
        return b"" if held is None else held

    def set_buffer(self, direction: int, data: bytes) -> bool:
        """False when there is no body to change now."""
        if self.is_in_body(direction):
            self.body = data
            self.body_changed = True
            return True
        return self.phase < abi.ON_LOG and self.bridge.set_held_body(direction, data)

    def want(self, what: int) -> None:
        """Note what the guest asked for; it happens once the guest has returned."""
        self.wanted |= what
        if self is not self.instance.current:
            self.want_soon()

    def want_soon(self) -> None:
        """Leave what is noted to the event loop."""
        if self not in self.instance.touched:
            self.instance.touched.append(self)

    def settle(self) -> None:
        """Do what was asked, from the event loop."""
        wanted, self.wanted = self.wanted, 0
        reply, self.reply = self.reply, None
        if not wanted or self.exchange.is_over or self.phase >= abi.ON_LOG:
            return
        if wanted & CLOSE:
            self.bridge.close()
        elif reply is not None:
            self.bridge.local_reply(*reply)
        else:
            if wanted & RESUME_REQUEST:
                self.bridge.resume(REQUEST)
            if wanted & RESUME_RESPONSE and not self.exchange.is_over:
                self.bridge.resume(RESPONSE)
