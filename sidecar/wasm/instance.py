# long-module: one instance is one state machine; its halves would share every slot
"""One running module: start, callbacks under limits, deferred actions, and the end by whatever cause.

While a callback runs, nothing else enters the guest but its allocator; what the guest asks for (answer, resume, call)
is done after the callback returned. Stream callbacks leave the actions of *their* stream to the caller, all others to
the event loop. A callback that does not return ends the instance: its streams are told, its calls cancelled.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any, Final

from sidecar.http.headers import HeaderMap
from sidecar.wasm.abi import status
from sidecar.wasm.abi.function import BudgetExceeded
from sidecar.wasm.context import FAILED, CallAnswer, Context, RootContext, StreamContext
from sidecar.wasm.loading import Shape
from sidecar.wasm.metrics import CustomMetric
from sidecar.wasm.module import Module, ModuleError
from sidecar.wasm.pluginlog import MAX_LINE, PluginLog
from sidecar.wasm.ports import CallHandle, CallResult, StreamBridge, StreamFacts
from sidecar.wasm.settings import PluginLoadError, PluginSettings, Services
from sidecar.wasm.trap import MemoryRangeError, ProcExit, Trap, TrapKind
from sidecar.wasm.vm import GuestFunction, Vm

BUDGET: Final = 4 << 20
"""What the host calls of one callback may cost: 10,000 calls (``CALL_COST`` each), or that many bytes."""
SLOW: Final = 0.001
"""Seconds from which a call is an event of the span."""
MIN_TICK: Final = 0.01
DONE_GRACE: Final = 5.0
"""Seconds that a context may put its end off for ``proxy_done``."""
BROKEN_CONNECTION: Final = 11
"""``proxy_get_status`` after a call that was cut off."""
ROOT_ID: Final = 1
MAX_ID: Final = 0xFFFFFFFF


class Failure(Exception):
    """Why an instance ended. ``cause`` is a key of ``on_failure``, ``error`` a label of the metric."""

    def __init__(self, cause: str, error: str, text: str, callback: str) -> None:
        super().__init__(f"{callback}: {text}")
        self.cause = cause
        self.error = error
        self.text = text
        self.callback = callback


class Instance:
    """See the module. ``on_failure`` hears once, after everything of this instance has been put away."""

    __slots__ = (
        "_create",
        "_delete",
        "_done",
        "_next_call",
        "_next_id",
        "_now",
        "_observers",
        "_on_failure",
        "_said",
        "_timers",
        "abi",
        "allocate",
        "answer",
        "budget",
        "calls",
        "contexts",
        "current",
        "custom_metrics",
        "effective",
        "ended",
        "failure",
        "finished",
        "fuel",
        "has_served",
        "idle",
        "is_vm_starting",
        "log",
        "memory_size",
        "names",
        "plugin_log",
        "request_body",
        "request_headers",
        "request_trailers",
        "response_body",
        "response_headers",
        "response_trailers",
        "root",
        "services",
        "settings",
        "shape",
        "touched",
        "vm",
    )

    def __init__(
        self,
        module: Module,
        shape: Shape,
        settings: PluginSettings,
        services: Services,
        log: PluginLog,
        on_failure: Callable[[Instance, Failure], None],
    ) -> None:
        self.settings = settings
        self.services = services
        self.shape = shape
        self.abi = shape.abi
        self.plugin_log = log
        self.budget = max(BUDGET, 4 * settings.max_body)
        self.fuel = self.budget
        self.idle = Context(self, 0, None)
        """Current and effective while no callback runs."""
        self.current: Context = self.idle
        self.effective: Context = self.idle
        self.root = RootContext(self, ROOT_ID)
        self.contexts: dict[int, Context] = {}
        self.calls: dict[int, tuple[CallHandle, StreamContext | None]] = {}
        self.answer: CallAnswer | None = None
        self.custom_metrics: dict[int, CustomMetric] = {}
        self.names: dict[bytes, bytes] = {}
        """Field names this guest has written, as given, to lower case; only those that need no second look."""
        self.touched: list[StreamContext] = []
        """Streams other than the current one for which something was asked."""
        self.finished: list[Context] = []
        """Contexts whose ``proxy_done`` was called."""
        self.ended = False
        self.has_served = False
        """A stream was served whole: the instance works in principle."""
        self.failure: Failure | None = None
        self.is_vm_starting = False
        self.memory_size = 0
        self._said: set[str] = set()
        self._on_failure = on_failure
        self._timers = services.timers
        self._now = services.timers.now
        self._next_id = ROOT_ID + 1
        self._next_call = 1
        observer = services.metrics.call_observer
        self._observers = [
            observer(settings.name, name) if name in shape.phases else _ignore for name in status.PHASE_NAMES
        ]
        imports = {(item.module, item.name): functools.partial(row.handler, self) for item, row in shape.imports}
        self.vm = Vm(module, imports, memory_limit=settings.memory_limit)
        self.vm.timeout = settings.timeout

    # --- start -----------------------------------------------------------------------------------------------

    @classmethod
    def start(
        cls,
        module: Module,
        shape: Shape,
        settings: PluginSettings,
        services: Services,
        log: PluginLog,
        on_failure: Callable[[Instance, Failure], None],
    ) -> Instance:
        """A running instance, its root context configured.

        :raises PluginLoadError: it cannot be instantiated, started or configured; nothing of it is left
        """
        try:
            instance = cls(module, shape, settings, services, log, on_failure)
        except ModuleError as error:
            raise PluginLoadError(str(error)) from None
        try:
            instance._start()
        except Failure as failure:
            instance.close()
            label = "configure" if failure.callback == "proxy_on_configure" else "load"
            raise PluginLoadError(str(failure), label) from None
        return instance

    def _start(self) -> None:
        settings = self.settings
        vm = self.vm
        self._starting("instantiate", vm.instantiate, settings.timeout)
        allocate = vm.function(self.shape.allocator)
        assert allocate is not None
        self.allocate = allocate
        self._bind()
        self._run_start_functions()
        root = self.root
        self.contexts[root.id] = root
        self.current = self.effective = root
        self._call_export("proxy_on_context_create", root.id, 0)
        self.is_vm_starting = True
        self._must_agree("proxy_on_vm_start", root.id, len(settings.vm_config))
        self.is_vm_starting = False
        self._must_agree("proxy_on_configure", root.id, len(settings.config))
        self.current = self.effective = self.idle
        self.memory_size = vm.memory_size
        self.services.metrics.memory(settings.name, self.memory_size)
        if self.touched or self.finished:
            self.settle()

    def _bind(self) -> None:
        exports = self.shape.exports

        def find(name: str) -> Callable[..., Any] | None:
            return self.vm.function(name) if name in exports else None

        self._create = find("proxy_on_context_create")
        self._done = find("proxy_on_done")
        self._delete = find("proxy_on_delete")
        self.log = find("proxy_on_log")
        self.request_headers = self._with_end(find("proxy_on_request_headers"))
        self.response_headers = self._with_end(find("proxy_on_response_headers"))
        self.request_body = find("proxy_on_request_body")
        self.response_body = find("proxy_on_response_body")
        self.request_trailers = find("proxy_on_request_trailers")
        self.response_trailers = find("proxy_on_response_trailers")

    def _with_end(self, call: Callable[..., Any] | None) -> Callable[..., Any] | None:
        """ABI 0.1.0 is not told of the end of the stream."""
        if call is None or self.abi != "0.1.0":
            return call
        return lambda context_id, count, end_of_stream: call(context_id, count)

    def _run_start_functions(self) -> None:
        """``_initialize`` and then ``main``; without it ``_start`` alone, which may end by ``proc_exit(0)``."""
        functions = {item.name: item for item in self.vm.module.exports if item.kind == "func"}
        if "_initialize" in functions:
            self._call_export("_initialize")
            main = functions.get("main")
            if main is not None and (main.params, main.results) == (("i32", "i32"), ("i32",)):
                self._call_export("main", 0, 0)
            elif (main := functions.get("__main_void")) is not None and (main.params, main.results) == ((), ("i32",)):
                self._call_export("__main_void")
        elif "_start" in functions:
            self._call_export("_start")

    def _call_export(self, name: str, *args: int) -> int:
        """Call an export by name during start; 1 when there is none.

        :raises Failure: it did not return
        """
        call = self.vm.function(name) if name in self.shape.exports or name in _MAINS else None
        if call is None:
            return 1
        return self._starting(name, call, *args)

    def _must_agree(self, name: str, *args: int) -> None:
        if not self._call_export(name, *args):
            raise Failure("load", "load", "returned false", name)

    def _starting(self, name: str, call: Callable[..., Any], *args: Any) -> int:
        self.fuel = self.budget
        try:
            result = call(*args)
            return 1 if result is None else int(result)
        except ProcExit as ending:
            if name == "_start" and ending.code == 0:
                return 1
            raise Failure("load", "load", str(ending), name) from None
        except Exception as error:  # firewall: a plugin call
            raise self._judge(error, name) from None

    # --- callbacks -------------------------------------------------------------------------------------------

    def run(self, call: Callable[..., Any] | None, context: StreamContext, args: tuple[int, ...], phase: int) -> int:
        """One callback of a stream in a phase that is measured. What ``context`` itself asked for is its caller's."""
        if self.ended or call is None:
            return FAILED if self.ended else 0
        self.current = self.effective = context
        self.fuel = self.budget
        now = self._now
        begin = now()
        try:
            result = call(*args)
        except Exception as error:  # firewall: a plugin call
            return self._break(error, context, status.PHASE_NAMES[phase], now() - begin)
        seconds = now() - begin
        self.current = self.effective = self.idle
        self._observers[phase](seconds)
        if seconds > SLOW:
            self._note_call(context, status.PHASE_NAMES[phase], seconds, "")
        if self.touched or self.finished:
            self._timers.call_soon(self.settle)
        return result or 0

    def _quick(self, call: Callable[..., Any], context: Context, args: tuple[int, ...], name: str) -> int:
        """A callback that is no phase and not measured."""
        if self.ended:
            return FAILED
        self.current = self.effective = context
        self.fuel = self.budget
        try:
            result = call(*args)
        except Exception as error:  # firewall: a plugin call
            return self._break(error, context, name, 0.0)
        self.current = self.effective = self.idle
        if self.touched or self.finished:
            self._timers.call_soon(self.settle)
        return result or 0

    def _run_root(self, name: str, *args: int) -> None:
        """A callback of the root context, from the event loop."""
        call = self.vm.function(name) if name in self.shape.exports and not self.ended else None
        if call is None:
            return
        begin = self._now()
        self.current = self.effective = self.root
        self.fuel = self.budget
        try:
            call(*args)
        except Exception as error:  # firewall: a plugin call
            self._break(error, self.effective, name.removeprefix("proxy_"), self._now() - begin)
            return
        seconds = self._now() - begin
        if seconds > SLOW:
            self._note_call(self.effective, name.removeprefix("proxy_"), seconds, "")
        self.current = self.effective = self.idle
        self.settle()

    def settle(self) -> None:
        """Do what was asked for streams other than the one that was current, from the event loop."""
        while (self.touched or self.finished) and not self.ended:
            touched, self.touched = self.touched, []
            finished, self.finished = self.finished, []
            for stream in touched:
                stream.settle()
            for context in finished:
                self._finish(context)

    # --- streams ---------------------------------------------------------------------------------------------

    def open(self, bridge: StreamBridge, facts: StreamFacts) -> StreamContext | None:
        """A context for one more stream; None when its creation ended the instance."""
        context_id = self._next_id
        contexts = self.contexts
        if context_id in contexts or context_id > MAX_ID:
            context_id = self._free_id()
        self._next_id = context_id + 1
        context = StreamContext(self, context_id, self.root, bridge, facts)
        contexts[context_id] = context
        if self._create is not None:
            if self._quick(self._create, context, (context_id, ROOT_ID), "on_context_create") == FAILED:
                return None
        return context

    def _free_id(self) -> int:
        candidate = ROOT_ID + 1
        while candidate in self.contexts:
            candidate += 1
        return candidate

    def end_stream(self, context: StreamContext) -> None:
        """``proxy_on_done``, then ``proxy_on_delete`` at once or after ``proxy_done``."""
        if self.ended:
            return
        if self._done is not None:
            agreed = self._quick(self._done, context, (context.id,), "on_done")
            if agreed == FAILED:
                return
            if not agreed:
                self._wait_for_done(context)
                return
        self._finish(context)

    def end(self) -> None:
        """The plugin goes: done and delete of the root context, then :meth:`close`."""
        if self.ended:
            return
        self.root.forget()
        if self._done is not None:
            agreed = self._quick(self._done, self.root, (ROOT_ID,), "on_done")
            if agreed == FAILED:
                return
            if not agreed:
                self._wait_for_done(self.root)
                return
        self._finish(self.root)

    def _wait_for_done(self, context: Context) -> None:
        context.done_pending = True

        def give_up() -> None:
            if context.done_pending:
                context.done_pending = False
                self._finish(context)

        self._timers.call_later(DONE_GRACE, give_up)

    def _finish(self, context: Context) -> None:
        """The last callback of a context; its id is free afterwards."""
        if self.ended or context.id not in self.contexts:
            return
        if self._delete is not None:
            if self._quick(self._delete, context, (context.id,), "on_delete") == FAILED:
                return
        del self.contexts[context.id]
        if context is self.root:
            self.close()
            return
        self.has_served = True
        size = self.vm.memory_size
        if size != self.memory_size:
            self.memory_size = size
            self.services.metrics.memory(self.settings.name, size)

    # --- what host functions need ----------------------------------------------------------------------------

    def spend(self, cost: int) -> None:
        """Charge the callback.

        :raises BudgetExceeded: it had more than it may have
        """
        self.fuel -= cost
        if self.fuel < 0:
            raise BudgetExceeded

    def read(self, ptr: int, size: int) -> bytes:
        """Guest memory, charged; raises MemoryRangeError for a range that leaves it."""
        self.fuel -= size
        if self.fuel < 0:
            raise BudgetExceeded
        return self.vm.read(ptr, size)

    def return_bytes(self, data: bytes, data_slot: int, size_slot: int) -> int:
        """Hand ``data`` to the guest; the allocator, which is guest code, cannot change the effective context."""
        self.spend(len(data))
        effective = self.effective
        result = self.vm.return_bytes(data, data_slot, size_slot, self._allocator())
        self.effective = effective
        return result

    def _allocator(self) -> GuestFunction:
        """The allocator, also while the start section runs and no instance is known."""
        try:
            return self.allocate
        except AttributeError:
            raise Trap(TrapKind.OTHER, "the start section may not ask for data") from None

    def log_guest(self, level: int, ptr: int, size: int) -> None:
        """A line of the guest's at ``ptr``; read only when its level passes."""
        if not self.vm.has_range(ptr, size):
            raise MemoryRangeError(f"{size} bytes at {ptr}")
        if level >= self.settings.log_level:
            # A character is at most four bytes: more than that would be cut off anyway, and need not be copied.
            self.say(level, self.read(ptr, min(size, 4 * MAX_LINE)).decode("utf-8", "replace"))

    def say(self, level: int, message: str) -> None:
        """A line of the guest's."""
        if level >= self.settings.log_level:
            stream = self.effective.stream
            self.plugin_log.guest(level, message, stream.bridge.trace_id() if stream is not None else "")

    def refuse(self, reason: str) -> int:
        """Say why a call of the guest's has no effect; BadArgument."""
        self.plugin_log.about("warn", f"refused: {reason}", error="refused")
        return status.BAD_ARGUMENT

    def note(self, what: str) -> None:
        """Say once what the guest does and should not."""
        if what not in self._said and len(self._said) < 100:
            self._said.add(what)
            self.plugin_log.about("warn", what, error="ignored")

    def set_tick(self, seconds: float) -> None:
        """``proxy_on_tick`` every ``seconds`` from now on; 0 is never."""
        root = self.root
        root.forget()
        if seconds > 0 and not self.ended:
            root.tick_period = max(seconds, MIN_TICK)
            root.tick = self._timers.call_later(root.tick_period, self._on_tick)

    def _on_tick(self) -> None:
        root = self.root
        fired = root.tick
        if self.ended or not root.tick_period:
            return
        begin = self._now()
        self._run_root("proxy_on_tick", ROOT_ID)
        if root.tick is fired and root.tick_period and not self.ended:
            # At least as long a pause as the tick took: never more than half of the processor.
            pause = max(root.tick_period, self._now() - begin)
            root.tick = self._timers.call_later(pause, self._on_tick)

    def on_queue_ready(self, token: int) -> None:
        """An item came into a queue this instance registered."""
        self._run_root("proxy_on_queue_ready", ROOT_ID, token)

    def start_call(
        self, upstream: str, headers: HeaderMap, body: bytes, trailers: HeaderMap | None, timeout: float
    ) -> int:
        """Call another service for the effective context; the id of the call. Raises ProxyError when refused."""
        call_id = self._next_call
        self._next_call = call_id % 0x7FFFFFFF + 1
        stream = self.effective.stream
        handle = self.services.calls.http_call(
            upstream, headers, body, trailers, timeout, lambda result: self._on_call_done(call_id, result)
        )
        self.calls[call_id] = (handle, stream)
        if stream is not None:
            stream.calls_in_flight += 1
        return call_id

    def _on_call_done(self, call_id: int, result: CallResult) -> None:
        known = self.calls.pop(call_id, None)
        if known is None or self.ended:
            return
        if known[1] is not None:
            known[1].calls_in_flight -= 1
        if result.failure and not result.headers.fields:
            self.answer = CallAnswer(None, None, None, BROKEN_CONNECTION, result.failure.encode())
            sizes = (0, 0, 0)
        else:
            trailers = result.trailers
            self.answer = CallAnswer(result.headers, result.body, trailers, 0, b"")
            sizes = (len(result.headers), len(result.body), len(trailers) if trailers is not None else 0)
        self._run_root("proxy_on_http_call_response", ROOT_ID, call_id, *sizes)
        self.answer = None

    # --- the end ---------------------------------------------------------------------------------------------

    def _judge(self, error: Exception, name: str) -> Failure:
        """What kind of end an exception is."""
        if isinstance(error, BudgetExceeded):
            return Failure("limit", "overflow", "too many host calls, or too many bytes moved by them", name)
        if isinstance(error, Trap):
            if error.kind is TrapKind.INTERRUPT:
                return Failure("timeout", "timeout", f"did not return within {self.settings.timeout * 1000:g} ms", name)
            if error.kind is TrapKind.MEMORY or self.vm.memory_limit_hit:
                return Failure("limit", "memory", f"memory limit reached; {error.message}", name)
            where = f" in {error.backtrace[0]}" if error.backtrace else ""
            return Failure("trap", "trap", f"{error.message}{where}", name)
        if isinstance(error, ProcExit):
            return Failure("trap", "trap", str(error), name)
        frames = traceback.extract_tb(error.__traceback__)
        place = f" at {frames[-1].name}:{frames[-1].lineno}" if frames else ""
        return Failure("trap", "hostcall", f"host function failed: {type(error).__name__}: {error}{place}", name)

    def _break(self, error: Exception, context: Context, name: str, seconds: float) -> int:
        """The guest did not return: nothing of it is called again."""
        failure = self._judge(error, name)
        stream = context.stream
        trace_id = stream.bridge.trace_id() if stream is not None else ""
        fields: dict[str, object] = {"callback": name, "error": failure.error}
        if trace_id:
            fields["trace_id"] = trace_id
        self.plugin_log.about("error", failure.text, **fields)
        self._note_call(context, name, seconds, failure.error)
        self.services.metrics.error(self.settings.name, failure.error)
        self.failure = failure
        others = [other for other in self.contexts.values() if isinstance(other, StreamContext) and other is not stream]
        if stream is not None and self.current is not stream:
            others.append(stream)  # nobody up the stack answers for it
        self.close()
        if others:
            self._timers.call_soon(lambda: _fail(others, failure.cause))
        self._on_failure(self, failure)
        return FAILED

    def close(self) -> None:
        """Free everything; without another word to the guest."""
        if self.ended:
            return
        self.ended = True
        self.root.forget()
        self.services.shared.disown(self)
        for handle, _ in self.calls.values():
            handle.cancel()
        self.calls.clear()
        self.contexts = {}
        self.touched = []
        self.finished = []
        self.current = self.effective = self.idle
        self.vm.close()

    def _note_call(self, context: Context, name: str, seconds: float, error: str) -> None:
        """An event of the span for a call that was slow or failed."""
        facts = context.facts
        if facts is None:
            return
        attributes: dict[str, str | int | float] = {
            "loom.plugin": self.settings.name,
            "loom.phase": name,
            "loom.duration_ms": round(seconds * 1000, 3),
        }
        if error:
            attributes["loom.error"] = error
        facts.record.events.append((self._now(), "plugin", attributes))


_MAINS: Final = frozenset({"main", "__main_void"})


def _ignore(seconds: float) -> None:
    """Of a phase that the module does not have."""


def _fail(streams: list[StreamContext], cause: str) -> None:
    for stream in streams:
        stream.bridge.plugin_failed(cause)
