"""The bridge between an exchange and a plugin: phases go in as callbacks, what the guest decided comes back.

A filter opens its stream context in the first phase that the chain brings. What the guest asked for its own stream
(answer, close, go on) happens right after the callback returned, what it asked for others later, from the event loop.

When the plugin fails, ``on_failure`` decides: closed ends the exchange with ``plugin_failed`` or ``plugin_timeout``,
open lets it go on as if the plugin were not there; the other plugins run in both cases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from sidecar.errors import ErrorKind, ProxyError
from sidecar.exchange.filter import (
    CONTINUE,
    DISCARD,
    PAUSE,
    PAUSE_WATERMARK,
    Direction,
    ExchangeView,
    Filter,
    LocalReply,
    Phase,
    Status,
)
from sidecar.http.events import (
    RequestData,
    RequestHeaders,
    RequestTrailers,
    ResponseData,
    ResponseHeaders,
    ResponseTrailers,
)
from sidecar.http.headers import HeaderMap
from sidecar.wasm.context import CLOSE, FAILED, REPLY, RESUME_REQUEST, RESUME_RESPONSE, StreamContext

if TYPE_CHECKING:
    from sidecar.exchange.ports import TimerHandle
    from sidecar.wasm.plugin import Plugin

_REQUEST: Final = Direction.REQUEST
_RESPONSE: Final = Direction.RESPONSE
_OWN: Final = {_REQUEST: RESUME_REQUEST, _RESPONSE: RESUME_RESPONSE}

# What a guest may return (C++ and AssemblyScript know more actions than the specification).
_HEADS: Final = {1: PAUSE, 2: CONTINUE, 3: PAUSE, 4: PAUSE}
_BODIES: Final = {1: PAUSE, 2: PAUSE_WATERMARK, 3: DISCARD}
_TRAILERS: Final = {1: PAUSE}

_HEAD_HELD, _BODY_HELD, _TRAILERS_HELD = 1, 2, 3
_TIMEOUT: Final = "timeout"


class WasmFilter(Filter):
    """One plugin in one exchange; implements :class:`sidecar.wasm.ports.StreamBridge`."""

    __slots__ = ("_alarm", "_context", "_held", "_passes", "_plugin", "_since", "_view", "max_body", "overflow_streams")

    def __init__(self, plugin: Plugin, view: ExchangeView) -> None:
        settings = plugin.settings
        self._plugin = plugin
        self._view = view
        self._context: StreamContext | None = None
        self._passes = False
        """The plugin failed and its policy is open: this exchange goes on without it."""
        self._held = [0, 0]
        self._alarm: TimerHandle | None = None
        self._since = 0.0
        self.max_body = settings.max_body
        self.overflow_streams = settings.overflow_streams

    # --- phases ----------------------------------------------------------------------------------------------

    def on_request_headers(self, event: RequestHeaders) -> Status:
        context = self._context or self._open()
        if context is None:
            return CONTINUE
        headers = event.headers
        kept = headers.fields.copy() if self._plugin.settings.on_failure else None
        result = context.on_request_headers(len(headers.fields), event.end_stream)
        if result == 0 and not context.wanted:
            return CONTINUE
        return self._after_head(context, result, _REQUEST, headers, kept)

    def on_response_headers(self, event: ResponseHeaders) -> Status:
        context = self._context or self._open()
        if context is None:
            return CONTINUE
        headers = event.headers
        kept = headers.fields.copy() if self._plugin.settings.on_failure else None
        result = context.on_response_headers(len(headers.fields), event.end_stream)
        if result == 0 and not context.wanted:
            return CONTINUE
        return self._after_head(context, result, _RESPONSE, headers, kept)

    def on_request_data(self, event: RequestData) -> Status:
        context = self._context or self._open()
        if context is None:
            return CONTINUE
        return self._after_body(context, context.on_request_body(event.data, event.end_stream), _REQUEST, event)

    def on_response_data(self, event: ResponseData) -> Status:
        context = self._context or self._open()
        if context is None:
            return CONTINUE
        return self._after_body(context, context.on_response_body(event.data, event.end_stream), _RESPONSE, event)

    def on_request_trailers(self, event: RequestTrailers) -> Status:
        context = self._context or self._open()
        if context is None:
            return CONTINUE
        result = context.on_request_trailers(len(event.headers))
        return self._after(context, result, _REQUEST, _TRAILERS, _TRAILERS_HELD)

    def on_response_trailers(self, event: ResponseTrailers) -> Status:
        context = self._context or self._open()
        if context is None:
            return CONTINUE
        result = context.on_response_trailers(len(event.headers))
        return self._after(context, result, _RESPONSE, _TRAILERS, _TRAILERS_HELD)

    def on_log(self) -> None:
        self._disarm()
        if "on_log" not in self._plugin.phases or self._passes:
            return
        # As in Envoy, a plugin logs also what another one has answered before it.
        context = self._context or self._plugin.open_stream(self, self._view)
        if context is not None:
            self._context = context
            context.on_log()

    def on_destroy(self) -> None:
        context, self._context = self._context, None
        if context is not None:
            context.on_end()
        self._plugin.release()

    # --- after a callback ------------------------------------------------------------------------------------

    def _open(self) -> StreamContext | None:
        """The context of this exchange; None when the plugin is not there and need not be."""
        if self._passes:
            return None
        plugin = self._plugin
        context = self._context = plugin.open_stream(self, self._view)
        if context is None:
            # Whoever comes while there is no instance hears what ended the last one.
            self._fail(plugin.cause)
        return context

    def _fail(self, cause: str) -> None:
        """The plugin did not do its work: note that this exchange passes, or raise what ends it."""
        plugin = self._plugin
        self._context = None
        self._disarm()
        name = plugin.settings.name
        if plugin.settings.passes(cause):
            self._passes = True
            plugin.services.metrics.passed_by_policy(name, cause)
            return
        kind = ErrorKind.PLUGIN_TIMEOUT if cause == _TIMEOUT else ErrorKind.PLUGIN_FAILED
        raise ProxyError(kind, f"plugin {name}: {plugin.last_error or cause}")

    def _after_head(
        self, context: StreamContext, result: int, direction: Direction, headers: HeaderMap,
        kept: list[tuple[bytes, bytes, bytes]] | None,
    ) -> Status:  # fmt: skip
        if result == FAILED:
            self._fail(self._cause(context))
            if kept is not None:  # what the guest had done to the head half-way
                headers.fields = kept
                headers.revision += 1
            return CONTINUE
        return self._after(context, result, direction, _HEADS, _HEAD_HELD)

    def _after_body(
        self, context: StreamContext, result: int, direction: Direction, event: RequestData | ResponseData
    ) -> Status:
        if result == FAILED:
            self._fail(self._cause(context))
            return CONTINUE
        if context.body_changed:
            event.data = context.body
        context.body = b""
        if result == 0 and not context.wanted:
            self._held[direction] = 0
            return CONTINUE
        return self._after(context, result, direction, _BODIES, _BODY_HELD)

    def _after(
        self, context: StreamContext, result: int, direction: Direction, actions: dict[int, Status], held: int
    ) -> Status:
        """What the guest wants: an end of the exchange, its own pause, or that a pause be over."""
        if result == FAILED:
            self._fail(self._cause(context))
            return CONTINUE
        wanted, context.wanted = context.wanted, 0
        if wanted & CLOSE:
            self.close()
            return PAUSE
        if wanted & REPLY and context.reply is not None:
            reply, context.reply = context.reply, None
            self.local_reply(*reply)
            return PAUSE
        own = _OWN[direction]
        if wanted & ~own:
            context.wanted = wanted & ~own
            context.want_soon()
            context.instance.services.timers.call_soon(context.instance.settle)
        if result == 0 or wanted & own:
            self._held[direction] = 0
            return CONTINUE
        action = actions.get(result)
        if action is None:
            context.instance.note(f"action {result} is none of the ABI: taken as Pause")
            action = PAUSE
        if action == CONTINUE:
            return CONTINUE
        self._held[direction] = held
        self._arm()
        return action

    @staticmethod
    def _cause(context: StreamContext) -> str:
        failure = context.instance.failure
        return failure.cause if failure is not None else "trap"

    # --- a pause must end ------------------------------------------------------------------------------------

    def _arm(self) -> None:
        timers = self._view.timers
        self._since = timers.now()
        if self._alarm is None:
            self._alarm = timers.call_later(self._plugin.settings.pause_timeout, self._on_alarm)

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _is_held(self, direction: Direction) -> bool:
        """True while this filter's own pause stops something; a body that overflowed flows on without it."""
        held = self._held[direction]
        view = self._view
        if held == _HEAD_HELD:
            return view.is_headers_writable(self, direction)
        if held == _BODY_HELD:
            return view.held_body(self, direction) is not None
        return held == _TRAILERS_HELD

    def _on_alarm(self) -> None:
        self._alarm = None
        view = self._view
        if view.is_over or self._context is None or not (self._is_held(_REQUEST) or self._is_held(_RESPONSE)):
            return
        settings = self._plugin.settings
        left = self._since + settings.pause_timeout - view.timers.now()
        if left > 0:
            self._alarm = view.timers.call_later(left, self._on_alarm)
            return
        words = f"paused the exchange for {settings.pause_timeout:g} s without any progress"
        self._plugin.note_failure(_TIMEOUT, words, "pause")
        context = self._context
        self._give_up(_TIMEOUT, f"plugin {settings.name}: {words}")
        context.on_end()

    # --- what the plugin host may do (StreamBridge) ----------------------------------------------------------

    def resume(self, direction: int) -> None:
        self._held[direction] = 0
        self._view.resume(self, _RESPONSE if direction else _REQUEST)

    def local_reply(
        self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, grpc_status: int | None, details: str
    ) -> None:
        details = details or f"plugin_{self._plugin.settings.name}"
        self._held = [0, 0]
        self._view.local_reply(self, LocalReply(status, headers, body, grpc_status=grpc_status, details=details))

    def close(self) -> None:
        self._view.reset(f"closed by plugin {self._plugin.settings.name}")

    def plugin_failed(self, cause: str) -> None:
        if self._view.is_over or self._context is None:
            self._context = None
            return
        phases = self._plugin.phases
        if not (self._is_held(_REQUEST) or self._is_held(_RESPONSE)) and phases <= _HEAD_ONLY:
            self._context = None  # it had done all of its work for this exchange
            self._passes = True
            return
        self._give_up(cause, f"plugin {self._plugin.settings.name}: {self._plugin.last_error or cause}")

    def _give_up(self, cause: str, detail: str) -> None:
        """From the event loop: go on without the plugin, or end the exchange."""
        try:
            self._fail(cause)
        except ProxyError as error:
            error.detail = detail
            self._view.fail(self, error)
            return
        self.resume(_REQUEST)
        if not self._view.is_over:
            self.resume(_RESPONSE)

    def held_body(self, direction: int) -> bytes | None:
        return self._view.held_body(self, _RESPONSE if direction else _REQUEST)

    def set_held_body(self, direction: int, data: bytes) -> bool:
        return self._view.set_held_body(self, _RESPONSE if direction else _REQUEST, data)

    def is_headers_writable(self, direction: int) -> bool:
        return self._view.is_headers_writable(self, _RESPONSE if direction else _REQUEST)

    def create_trailers(self, direction: int) -> HeaderMap | None:
        return self._view.create_trailers(self, _RESPONSE if direction else _REQUEST)

    def trace_id(self) -> str:
        span = self._view.record.span
        return span.trace_id.hex() if span is not None else ""


_HEAD_ONLY: Final = frozenset({"on_request_headers", "on_log"})


class RunningPlugin(Protocol):
    """What the factory needs to know of a plugin to decide where the chain calls it."""

    @property
    def phases(self) -> frozenset[str]: ...


class WasmFilterFactory:
    """Makes one plugin's filters; the chain visits only phases that the module has and the configuration allows."""

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin
        self.phases = phases_of(plugin)

    def create(self, view: ExchangeView) -> Filter:
        plugin = self._plugin
        plugin.take()
        return WasmFilter(plugin, view)


def phases_of(plugin: RunningPlugin) -> frozenset[Phase]:
    """The log phase is among them always: the stream's context is given back there."""
    return frozenset(phase for phase in Phase if phase.value in plugin.phases) | {Phase.LOG}
