"""From one configuration to the next: read, compare, prepare, commit; or refuse, and say why.

Whatever asks for it (a changed file, SIGHUP, ``sidecar reload``) comes through here, one at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from sidecar.config.model import Config
from sidecar.errors import ConfigError, Problem
from sidecar.runtime.bundle import Bundle, read_bundle, watched_paths
from sidecar.runtime.logsink import Logger
from sidecar.telemetry.metrics import MetricsRegistry

FIXED: Final[dict[str, Callable[[Config], object]]] = {
    "workers": lambda config: config.workers,
    "metrics.address": lambda config: config.metrics.address,
    "metrics.max_series": lambda config: config.metrics.max_series,
    "health.address": lambda config: config.health.address,
    "admin.address": lambda config: config.admin.address,
    "admin.socket": lambda config: config.admin.socket or "none",
}
"""What is decided once, at the start of the process."""


class Target(Protocol):
    """What serves: a worker, or all of them as one."""

    async def prepare(self, bundle: Bundle, number: int) -> None:
        """Build the next generation beside the present one; raises ConfigError."""

    async def commit(self) -> None:
        """Serve by it."""


class Refusal:
    """Why the last attempt was not taken."""

    def __init__(self, number: int, problems: Sequence[Problem], unix_time: float) -> None:
        self.number = number
        self.problems = [str(problem) for problem in problems]
        self.unix_time = unix_time


class Reloader:
    """Attempts are numbered from 1, the start; a number is that of a generation when the attempt was taken."""

    def __init__(
        self,
        files: Sequence[str],
        environ: Mapping[str, str],
        target: Target,
        registry: MetricsRegistry,
        log: Logger,
        *,
        read: Callable[[Sequence[str], Mapping[str, str]], Bundle] = read_bundle,
    ) -> None:
        self.active: Bundle | None = None
        self.number = 0
        """Of the active generation."""
        self.refusal: Refusal | None = None
        """Of the last attempt, if it was refused."""
        self.is_closed = False
        self._files = files
        self._environ = environ
        self._target = target
        self._registry = registry
        self._log = log
        self._read = read
        self._attempts = 0
        self._turn = asyncio.Lock()
        registry.config_generation("active", 0)
        registry.config_generation("refused", 0)

    async def start(self, bundle: Bundle) -> None:
        """The first generation; raises ConfigError."""
        self._attempts = 1
        await self._target.prepare(bundle, 1)
        await self._target.commit()
        self._take(bundle, 1)

    async def reload(self, cause: str, *, only_changed: bool = False) -> tuple[bool, str]:
        """Whether the configuration on disk is served now, and what to tell the user.

        ``only_changed``: do nothing when it is the one that is served already.
        """
        async with self._turn:
            if self.is_closed or self.active is None:
                return False, "the sidecar is draining: no configuration is taken any more"
            self._attempts += 1
            number = self._attempts
            began = time.monotonic()
            try:
                # On a thread: a large file takes a while to read, and traffic goes on.
                bundle = await asyncio.to_thread(self._read, self._files, self._environ)
                if only_changed and bundle.is_same(self.active):
                    self._attempts -= 1
                    self.refusal = None
                    return True, f"generation {self.number} is active; nothing has changed"
                problems = fixed_problems(self.active.config, bundle.config)
                if problems:
                    raise ConfigError(problems)
                await self._target.prepare(bundle, number)
            except ConfigError as error:
                return False, self._refuse(number, error, cause)
            await self._target.commit()
            self._take(bundle, number)
            for warning in bundle.config.warnings:
                self._log.log("warn", warning)
            self._log.log("info", "a new configuration is active", generation=number, cause=cause,
                          duration_ms=round((time.monotonic() - began) * 1e3, 1))  # fmt: skip
            return True, f"generation {number} is active"

    async def close(self) -> None:
        """Take no more; a change under way is finished first."""
        self.is_closed = True
        async with self._turn:
            pass

    def watched(self) -> list[Path]:
        return watched_paths(self.active, self._files)

    def _take(self, bundle: Bundle, number: int) -> None:
        self.active, self.number, self.refusal = bundle, number, None
        self._registry.config_generation("active", number)

    def _refuse(self, number: int, error: ConfigError, cause: str) -> str:
        self.refusal = Refusal(number, error.problems, time.time())
        self._registry.config_generation("refused", number)
        self._log.log("error", "the new configuration is refused; the old one goes on serving", generation=number,
                      active=self.number, cause=cause, problems=self.refusal.problems)  # fmt: skip
        return "\n".join([*self.refusal.problems, f"refused: generation {self.number} goes on serving"])


def fixed_problems(active: Config, wanted: Config) -> list[Problem]:
    """What a running process cannot change, by name."""
    where = wanted.files[-1] if wanted.files else "configuration"
    return [
        Problem(where, 0, name, f"cannot change while running (now {value(active)}, wanted {value(wanted)}): restart")
        for name, value in FIXED.items()
        if value(active) != value(wanted)
    ]
