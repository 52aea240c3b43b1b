"""One configuration together with the bytes of its plugins: what a generation is built from.

Everything is read once, by one process: workers get a bundle over their line, so that all of them serve the same
configuration, and a worker that has to be replaced gets what its siblings run and not what the disk holds by then.
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from sidecar.config.load import examine, in_order, load
from sidecar.config.model import Config, Plugin
from sidecar.errors import ConfigError, Problem

MAX_MODULE: Final = 32 << 20
"""Bytes of one plugin; the engine's own limit is the same."""
CHUNK: Final = 16 << 20
"""Bytes of a module in one message."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """``modules`` holds the bytes by plugin path; what could not be read and need not be is missing there."""

    config: Config
    modules: Mapping[str, bytes]

    def is_same(self, other: Bundle) -> bool:
        """True when a generation built from ``other`` would behave as one built from this."""
        return self.config == other.config and self.modules == other.modules


def read_bundle(files: Sequence[str], environ: Mapping[str, str]) -> Bundle:
    """Load the configuration and read its plugins; raises ConfigError with every problem of either."""
    bundle, problems = _with_modules(load(files, environ))
    if problems:
        raise ConfigError(in_order(problems, files))
    return bundle


def examine_bundle(files: Sequence[str], environ: Mapping[str, str]) -> tuple[Bundle, list[Problem]]:
    """What there is, for a look at its plugins too, and all that is wrong; ConfigError when nothing can be read.

    A plugin that is wrong already has no path and is not looked at, nor are routes when anything is wrong.
    """
    config, problems = examine(files, environ)
    if problems:
        known = {problem.path.partition(".")[0] for problem in problems}
        plugins = [
            replace(plugin, path="") if f"plugins[{place}]" in known else plugin
            for place, plugin in enumerate(config.plugins)
        ]
        config = replace(config, plugins=tuple(plugins), routes=())
    bundle, missing = _with_modules(config)
    return bundle, problems + missing


def _with_modules(config: Config) -> tuple[Bundle, list[Problem]]:
    modules: dict[str, bytes] = {}
    problems: list[Problem] = []
    for plugin in with_path(config.plugins):
        try:
            modules[plugin.path] = modules.get(plugin.path) or read_module(plugin.path)
        except OSError as error:
            if is_needed(config, plugin):
                problems.append(problem_with(config, plugin, str(error)))
    return Bundle(config, modules), problems


def with_path(plugins: Sequence[Plugin]) -> list[Plugin]:
    """Those that can be looked at; every one of a configuration without problems."""
    return [plugin for plugin in plugins if plugin.path]


def is_needed(config: Config, plugin: Plugin) -> bool:
    """False when traffic may go on without the plugin, or when there is none: a fragment without listeners."""
    return bool(config.listeners) and plugin.on_failure.get("load") != "open"


def problem_of(config: Config, line: int, path: str, message: str) -> Problem:
    """A problem found after loading, in the file that its top block came from."""
    block = path.partition(".")[0].partition("[")[0]
    return Problem(config.origins.get(block) or (config.files or ("configuration",))[-1], line, path, message)


def problem_with(config: Config, plugin: Plugin, message: str) -> Problem:
    """A problem with one plugin, placed as the loader places its own."""
    place = config.plugins.index(plugin)
    return problem_of(config, plugin.line, f"plugins[{place}]", f"plugin '{plugin.name}': {message}")


def read_module(path: str) -> bytes:
    """The bytes at ``path``; raises OSError with a reason for anything but a regular file of sensible size."""
    try:
        # Non-blocking, so that a FIFO in a plugin's place is refused rather than waited for.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise OSError(f"{path} is not a regular file")
            if found.st_size > MAX_MODULE:
                raise OSError(f"{path} has {found.st_size} bytes; a plugin may have {MAX_MODULE}")
            return file.read(MAX_MODULE + 1)
    except OSError as error:
        raise OSError(f"cannot read {path}: {error.strerror}" if error.strerror else str(error)) from None


def watched_paths(bundle: Bundle | None, files: Sequence[str]) -> list[Path]:
    """The files whose change asks for a reload."""
    plugins = [plugin.path for plugin in bundle.config.plugins] if bundle is not None else []
    return [Path(name) for name in dict.fromkeys([*files, *plugins])]


# --- over the line to a worker ---------------------------------------------------------------------------------


def config_message(config: Config) -> Any:
    """The configuration as JSON can say it; :func:`config_from` is the way back."""
    return msgspec.to_builtins(replace(config, source={}))


def config_from(message: Any) -> Config:
    return msgspec.convert(message, Config)


def module_messages(bundle: Bundle) -> Iterator[dict[str, Any]]:
    """The modules in pieces that fit a line: ``path``, ``data``, ``is_first``."""
    for path, code in bundle.modules.items():
        for start in range(0, len(code), CHUNK) or (0,):
            data = base64.b64encode(code[start : start + CHUNK]).decode()
            yield {"path": path, "data": data, "is_first": start == 0}


class ModuleBasket:
    """The other end of :func:`module_messages`."""

    def __init__(self) -> None:
        self._parts: dict[str, bytearray] = {}

    def add(self, message: Mapping[str, Any]) -> None:
        path = str(message["path"])
        if message["is_first"]:
            self._parts[path] = bytearray()
        self._parts[path] += base64.b64decode(message["data"])

    def take(self) -> dict[str, bytes]:
        """Everything that came, by path; the basket is empty again."""
        modules = {path: bytes(part) for path, part in self._parts.items()}
        self._parts.clear()
        return modules
