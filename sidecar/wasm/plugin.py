"""One plugin of one configuration: its instance, and the next one when that has failed.

The first restart comes at once; an instance that fails again and again is given more and more time (:class:`Patience`),
in which its streams get what ``on_failure`` says. A restart happens on the event loop between requests, or right when
a stream asks for an instance that is due.
"""

from __future__ import annotations

from typing import Final

from sidecar.wasm.context import StreamContext
from sidecar.wasm.instance import Failure, Instance
from sidecar.wasm.loading import Shape, inspect
from sidecar.wasm.module import Module
from sidecar.wasm.pluginlog import PluginLog
from sidecar.wasm.ports import StreamBridge, StreamFacts
from sidecar.wasm.settings import PluginLoadError, PluginSettings, Services

FREE_STRIKES: Final = 10.0
"""Strikes up to which a restart comes at once."""
UNPROVEN: Final = 3.0
"""Strikes for an instance that failed before it had served one stream whole; one that had gets a single strike."""
FORGIVEN_PER_SECOND: Final = 1.0
FIRST_DELAY: Final = 0.1
DOUBLES_EVERY: Final = 3.0
"""Strikes after which the delay is twice as long."""
MAX_DELAY: Final = 30.0


class Patience:
    """How long to wait before the next restart; times are monotonic seconds."""

    __slots__ = ("_last", "_strikes")

    def __init__(self) -> None:
        self._strikes = 0.0
        self._last = 0.0

    def delay(self, now: float, is_proven: bool) -> float:
        """Seconds to wait after a failure at ``now``."""
        self._strikes = max(0.0, self._strikes - (now - self._last) * FORGIVEN_PER_SECOND)
        self._last = now
        self._strikes += 1.0 if is_proven else UNPROVEN
        over = self._strikes - FREE_STRIKES
        return 0.0 if over <= 0 else min(MAX_DELAY, FIRST_DELAY * 2 ** ((over - 1) / DOUBLES_EVERY))


class Plugin:
    """``phases`` is what the module has and the configuration allows, by the names of the configuration."""

    def __init__(self, settings: PluginSettings, module: Module, services: Services) -> None:
        self.settings = settings
        self.services = services
        self.module = module
        self.phases: frozenset[str] = frozenset()
        self.restarts = 0
        self.cause = "load"
        """Why there is no instance, as a key of ``on_failure``."""
        self.last_error = ""
        self._shape: Shape | None = None
        self._instance: Instance | None = None
        self._log = PluginLog(settings.name, settings.log_level, services.log, services.timers)
        self._patience = Patience()
        self._due = 0.0
        self._users = 0
        self._is_retired = False
        self._is_closed = False
        self._holds_shared = False

    def start(self) -> None:
        """Make and configure the first instance.

        :raises PluginLoadError: the module cannot be loaded, started or configured
        """
        shape = self._shape = inspect(self.module)
        allowed = self.settings.phases
        phases = shape.phases
        if allowed is not None:
            # Trailers are the end of a body: who is given one is given the other.
            bodies = {name: name.replace("trailers", "body") for name in phases}
            phases = frozenset(name for name in phases if name in allowed or bodies[name] in allowed)
        self.phases = phases
        self.services.shared.acquire(self.settings.vm_id)
        self._holds_shared = True
        self._instance = self._make(shape)

    def _make(self, shape: Shape) -> Instance:
        return Instance.start(self.module, shape, self.settings, self.services, self._log, self._on_failure)

    def open_stream(self, bridge: StreamBridge, facts: StreamFacts) -> StreamContext | None:
        """A context for one more exchange; None while there is no instance (``cause`` says why)."""
        instance = self._instance
        if instance is None:
            instance = self._restart_if_due()
            if instance is None:
                return None
        return instance.open(bridge, facts)

    def take(self) -> None:
        """One more exchange may use this plugin."""
        self._users += 1

    def release(self) -> None:
        """That exchange is gone."""
        self._users -= 1
        if self._is_retired and not self._users:
            self._end()

    def retire(self) -> None:
        """Another configuration took over: end once the last exchange of this one is gone."""
        self._is_retired = True
        if not self._users:
            self._end()

    def close(self) -> None:
        """Free everything at once."""
        self._is_closed = True
        instance, self._instance = self._instance, None
        if instance is not None:
            instance.close()
        if self._holds_shared:
            self._holds_shared = False
            self.services.shared.release(self.settings.vm_id)

    def note_failure(self, error: str, message: str, callback: str) -> None:
        """A failure that did not end the instance: counted and logged."""
        self.services.metrics.error(self.settings.name, error)
        self._log.about("error", message, error=error, callback=callback)

    def describe(self) -> dict[str, object]:
        """For the admin page."""
        instance = self._instance
        return {
            "name": self.settings.name,
            "state": self._state(),
            "abi": self._shape.abi if self._shape is not None else "",
            "sha256": self.module.digest,
            "phases": sorted(self.phases),
            "memory_bytes": instance.vm.memory_size if instance is not None else 0,
            "memory_limit": self.settings.memory_limit,
            "timeout_seconds": self.settings.timeout,
            "streams": max(0, len(instance.contexts) - 1) if instance is not None else 0,
            "restarts": self.restarts,
            "log_lines_dropped": self._log.dropped_total,
            "last_error": self.last_error,
        }

    def _state(self) -> str:
        if self._is_closed:
            return "closed"
        if self._is_retired:
            return "retiring"
        if self._instance is not None:
            return "running"
        return "restarting" if self._shape is not None else "not started"

    def _end(self) -> None:
        instance = self._instance
        if instance is not None and not self._is_closed:
            # The guest may put its end off; nobody waits for it.
            instance.end()
            self._instance = None
            if not instance.ended:
                self._is_closed = True
                if self._holds_shared:
                    self._holds_shared = False
                    self.services.shared.release(self.settings.vm_id)
                return
        self.close()

    def _on_failure(self, instance: Instance, failure: Failure) -> None:
        if instance is not self._instance:
            return
        self._instance = None
        self.cause = failure.cause
        self.last_error = str(failure)
        self.services.metrics.memory(self.settings.name, 0)
        self._schedule(instance.has_served)

    def _schedule(self, is_proven: bool) -> None:
        """The next restart: as soon as the loop turns, or after a pause."""
        timers = self.services.timers
        now = timers.now()
        delay = self._patience.delay(now, is_proven)
        self._due = now + delay
        if delay:
            self._log.about("warn", f"restarts in {delay:.1f} s", error=self.cause)
            timers.call_later(delay, self._restart)
        else:
            timers.call_soon(self._restart)

    def _restart(self) -> None:
        self._restart_if_due()

    def _restart_if_due(self) -> Instance | None:
        shape = self._shape
        if self._instance is not None or self._is_closed or shape is None:
            return self._instance
        if self.services.timers.now() < self._due:
            return None
        self.restarts += 1
        self.services.metrics.restart(self.settings.name)
        try:
            self._instance = self._make(shape)
        except PluginLoadError as error:
            self.cause = "load"
            self.last_error = str(error)
            self.note_failure(error.error, str(error), "restart")
            self._schedule(False)
        return self._instance
