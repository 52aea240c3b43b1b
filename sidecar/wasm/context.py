"""The contexts of one instance: ids that the guest knows, and what the host keeps behind each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

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

    __slots__ = ("done_pending", "id", "instance", "root")

    def __init__(self, instance: Instance, id: int, root: RootContext | None) -> None:
        self.instance = instance
        self.id = id
        self.root = root
        self.done_pending = False
        """``proxy_on_done`` said "not yet": ``proxy_done`` is awaited."""

    @property
    def stream(self) -> StreamContext | None:
        """Itself when it is a stream."""
        return None

    def forget(self) -> None:
        """Drop what may refer back; the id is dead."""


class RootContext(Context):
    """The plugin itself: timers and callouts belong to it."""

    __slots__ = ("calls", "tick", "tick_period")

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
        "facts",
        "held_in",
        "phase",
        "properties",
        "replies",
        "reply",
        "wanted",
    )

    def __init__(self, instance: Instance, id: int, root: RootContext, bridge: StreamBridge, facts: StreamFacts) -> None:
        self.instance = instance
        self.id = id
        self.root = root
        self.done_pending = False
        self.bridge = bridge
        self.facts = facts
        self.phase = abi.IDLE
        self.held_in = abi.IDLE
        """The trailers phase in which it paused, if it did."""
        self.body = b""
        self.body_changed = False
        self.end_of_stream = False
        self.wanted = 0
        self.reply: Reply | None = None
        self.replies = 0
        self.calls_in_flight = 0
        self.properties: dict[bytes, bytes] | None = None

    @property
    def stream(self) -> StreamContext | None:
        return self

    # --- the host calls into the guest -----------------------------------------------------------------------

    def on_request_headers(self, count: int, end_of_stream: bool) -> int:
        instance = self.instance
        self.phase = abi.ON_REQUEST_HEADERS
        call = instance.request_headers
        return instance.run(call, self, (self.id, count, end_of_stream), "on_request_headers") if call else 0

    def on_response_headers(self, count: int, end_of_stream: bool) -> int:
        instance = self.instance
        self.phase = abi.ON_RESPONSE_HEADERS
        call = instance.response_headers
        return instance.run(call, self, (self.id, count, end_of_stream), "on_response_headers") if call else 0

    def on_request_body(self, data: bytes, end_of_stream: bool) -> int:
        """Afterwards ``body`` holds the bytes to go on with; ``body_changed`` says whether they are others."""
        return self._on_body(self.instance.request_body, abi.ON_REQUEST_BODY, "on_request_body", data, end_of_stream)

    def on_response_body(self, data: bytes, end_of_stream: bool) -> int:
        return self._on_body(self.instance.response_body, abi.ON_RESPONSE_BODY, "on_response_body", data, end_of_stream)

    def _on_body(
        self, call: Callable[..., int] | None, phase: int, name: str, data: bytes, end_of_stream: bool
    ) -> int:
        if call is None:
            return 0
        self.phase = phase
        self.body = data
        self.body_changed = False
        self.end_of_stream = end_of_stream
        return self.instance.run(call, self, (self.id, len(data), end_of_stream), name)

    def on_request_trailers(self, count: int) -> int:
        self.phase = abi.ON_REQUEST_TRAILERS
        call = self.instance.request_trailers
        return self.instance.run(call, self, (self.id, count), "on_request_trailers") if call else 0

    def on_response_trailers(self, count: int) -> int:
        self.phase = abi.ON_RESPONSE_TRAILERS
        call = self.instance.response_trailers
        return self.instance.run(call, self, (self.id, count), "on_response_trailers") if call else 0

    def on_log(self) -> None:
        self.phase = abi.ON_LOG
        call = self.instance.log
        if call:
            self.instance.run(call, self, (self.id,), "on_log")
        self.wanted = 0
        self.reply = None

    def on_end(self) -> None:
        """The exchange is gone: done, then delete, at once or when the guest says ``proxy_done``."""
        self.phase = abi.ON_DONE
        self.instance.end_stream(self)

    # --- what the guest may touch ----------------------------------------------------------------------------

    def header_map(self, map_id: int) -> HeaderMap | None:
        """The map as it stands, whatever the phase; None while there is none."""
        facts = self.facts
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
        if phase >= abi.ON_LOG:
            return None
        facts = self.facts
        if map_id == abi.REQUEST_HEADERS:
            if phase == abi.ON_REQUEST_HEADERS or self.bridge.is_headers_writable(REQUEST):
                return facts.request_headers
            return None
        if map_id == abi.RESPONSE_HEADERS:
            if phase == abi.ON_RESPONSE_HEADERS or self.bridge.is_headers_writable(RESPONSE):
                return facts.response_headers
            return None
        is_request = map_id == abi.REQUEST_TRAILERS
        own_phase = abi.ON_REQUEST_TRAILERS if is_request else abi.ON_RESPONSE_TRAILERS
        if own_phase in (phase, self.held_in):
            return facts.request_trailers if is_request else facts.response_trailers
        if self.end_of_stream and phase == (abi.ON_REQUEST_BODY if is_request else abi.ON_RESPONSE_BODY):
            return self.bridge.create_trailers(REQUEST if is_request else RESPONSE)
        return None

    def buffer(self, direction: int) -> bytes:
        """The body bytes this plugin can see now."""
        if self.phase == (abi.ON_RESPONSE_BODY if direction else abi.ON_REQUEST_BODY):
            return self.body
        held = self.bridge.held_body(direction)
        return b"" if held is None else held

    def set_buffer(self, direction: int, data: bytes) -> bool:
        """False when there is no body to change now."""
        if self.phase == (abi.ON_RESPONSE_BODY if direction else abi.ON_REQUEST_BODY):
            self.body = data
            self.body_changed = True
            return True
        return self.phase < abi.ON_LOG and self.bridge.set_held_body(direction, data)

    def want(self, what: int) -> None:
        """Note what the guest asked for; it happens once the guest has returned."""
        self.wanted |= what
        instance = self.instance
        if self is not instance.current and self not in instance.touched:
            instance.touched.append(self)

    def settle(self) -> None:
        """Do what was asked, from the event loop."""
        wanted, self.wanted = self.wanted, 0
        reply, self.reply = self.reply, None
        if not wanted or self.facts.is_over or self.phase >= abi.ON_LOG:
            return
        if wanted & CLOSE:
            self.bridge.close()
        elif wanted & REPLY and reply is not None:
            self.bridge.local_reply(*reply)
        else:
            if wanted & RESUME_REQUEST:
                self.bridge.resume(REQUEST)
            if wanted & RESUME_RESPONSE and not self.facts.is_over:
                self.bridge.resume(RESPONSE)
