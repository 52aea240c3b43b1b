"""The only door: files in, a :class:`~sidecar.config.model.Config` out, or a ConfigError with every mistake at once.

Later files win: mappings join key by key, lists and single values are replaced whole, and ``null`` is as if the key
were not there. Variables are replaced in the joined document. What another floor must judge (a pattern, a header edit,
a plugin's code) is judged when the configuration is built, and reported in the same form.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sidecar.config import model
from sidecar.config.block import Block, plain
from sidecar.config.checks import check, warnings_of
from sidecar.config.document import Mapping as Document
from sidecar.config.document import Unreadable, merge, parse, read_file
from sidecar.config.observe import read_access_log, read_admin, read_health, read_limits, read_metrics, read_tracing
from sidecar.config.plugins import read_plugin, read_route
from sidecar.config.quota import cpu_quota
from sidecar.config.traffic import read_listener, read_upstream
from sidecar.config.variables import replace
from sidecar.errors import ConfigError, Problem

LATER_BLOCKS: Final = ("identity", "authorization", "redirect")
MAX_PROBLEMS: Final = 500
MAX_WORDS: Final = 2000
"""Characters of one path or message; longer ones quote a file that is not meant to be read."""


def load(
    files: Sequence[str],
    environ: Mapping[str, str],
    *,
    exists: Callable[[str], bool] = os.path.isfile,
    quota: Callable[[], int] = cpu_quota,
) -> model.Config:
    """Read ``files`` in order; raises ConfigError. ``environ`` is what ``${NAME}`` looks at."""
    config, problems = examine(files, environ, exists=exists, quota=quota)
    if problems:
        raise ConfigError(problems)
    return config


def examine(
    files: Sequence[str],
    environ: Mapping[str, str],
    *,
    exists: Callable[[str], bool] = os.path.isfile,
    quota: Callable[[], int] = cpu_quota,
) -> tuple[model.Config, list[Problem]]:
    """What is written as far as it can be read, and all that is wrong with it; ConfigError when it cannot be at all."""
    document, problems = _document(files)
    problems += replace(document, environ)
    config = _config(Block(document, "", problems), exists, quota, files)
    problems += check(config, document, exists)
    warnings = [str(warning) for warning in in_order(warnings_of(config, document, exists), files)]
    config = dataclasses.replace(config, warnings=tuple(warnings), origins=_origins(document, files))
    return config, in_order(problems, files)


def _origins(document: Document, files: Sequence[str]) -> dict[str, str]:
    named = {os.path.abspath(name): name for name in files}
    return {block: named.get(node.file, node.file) for block, node in document.entries.items()}


def in_order(problems: Sequence[Problem], files: Sequence[str]) -> list[Problem]:
    """Each once, in the order of the files and their lines, under the names that the user gave the files.

    At most :data:`MAX_PROBLEMS`, and what stood in a file cannot write lines of its own into a log.
    """
    named = {os.path.abspath(name): name for name in files}
    order = {name: place for place, name in enumerate(named.values())}
    shown = [
        Problem(named.get(file, file), line, _printable(path), _printable(message))
        for file, line, path, message in dict.fromkeys(problems)
    ]
    shown.sort(key=lambda problem: (order.get(problem.file, 0), problem.line))
    more = len(shown) - MAX_PROBLEMS
    return shown if more <= 0 else [*shown[:MAX_PROBLEMS], Problem(shown[-1].file, 0, "", f"and {more} more problems")]


def _printable(text: str) -> str:
    if len(text) > MAX_WORDS:
        text = text[:MAX_WORDS] + "..."
    return text if text.isprintable() else "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in text
    )


def _document(files: Sequence[str]) -> tuple[Document, list[Problem]]:
    problems: list[Problem] = []
    whole: Document | None = None
    is_readable = True
    for name in files:
        path = os.path.abspath(name)
        try:
            document, wrong = parse(read_file(path), path)
        except Unreadable as refused:
            problems.append(refused.problem)
            is_readable = False
            continue
        problems += wrong
        whole = document if whole is None else merge(whole, document)
    if whole is None or not is_readable:
        # What the others say cannot be judged without it.
        raise ConfigError(in_order(problems, files) or [Problem("", 0, "", "no configuration file is given")])
    return whole, problems


def _config(
    top: Block, exists: Callable[[str], bool], quota: Callable[[], int], files: Sequence[str]
) -> model.Config:
    top.later(*LATER_BLOCKS)
    node = _node(top)
    listeners = tuple(read_listener(block) for block in top.blocks("listeners"))
    upstreams = tuple(read_upstream(block) for block in top.blocks("upstreams"))
    plugins = tuple(read_plugin(block, exists) for block in top.blocks("plugins"))
    routes = tuple(read_route(block) for block in top.blocks("routes"))
    _outbound(top)
    source: Any = plain(top.node)
    config = model.Config(
        node=node,
        workers=top.integer("workers", 1, 1, 256) if top.has("workers") else quota(),
        listeners=listeners,
        upstreams=upstreams,
        plugins=plugins,
        routes=routes,
        drain=_drain(top),
        tracing=read_tracing(top),
        metrics=read_metrics(top),
        health=read_health(top),
        admin=read_admin(top),
        access_log=read_access_log(top),
        limits=read_limits(top),
        files=tuple(os.path.abspath(name) for name in files),
        source=source,
    )
    top.finish()
    return config


def _node(top: Block) -> model.Node:
    block = top.block("node")
    if block is None:
        return model.Node()
    node = model.Node(block.text("service"), block.text("namespace"), block.text("trust_domain"))
    block.finish()
    return node


def _drain(top: Block) -> model.Drain:
    block = top.block("drain")
    if block is None:
        return model.Drain()
    drain = model.Drain(block.duration("delay", 5.0, 0.0, 3600.0), block.duration("timeout", 25.0, 0.0, 3600.0))
    block.finish()
    return drain


def _outbound(top: Block) -> None:
    block = top.block("outbound")
    if block is not None:
        block.choice("unmatched", "deny", ("deny",), ("passthrough",))
        block.finish()
