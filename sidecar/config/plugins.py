"""The blocks ``plugins:`` and ``routes:``, whose shape is that of the plugin documentation."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Final

from sidecar.config import model
from sidecar.config.block import Block, kind_of, nearest, one_of, plain
from sidecar.config.document import Mapping, Node, Scalar
from sidecar.config.traffic import is_host_condition
from sidecar.http.edits import reason_against, value_problem
from sidecar.http.pattern import PathPattern
from sidecar.http.validate import check_path

LOG_LEVELS: Final = ("trace", "debug", "info", "warn", "error", "critical", "off")
RETRY_WORDS: Final = ("connect-failure", "refused-stream", "reset", "gateway-error", "5xx")
SEARCHED: Final = ("plugins", "", "/etc/sidecar/plugins", "/etc/loom/plugins")
"""Where ``NAME.wasm`` is looked for when a plugin names no path; the first two are beside the configuration."""
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
EDITS: Final = ("request_headers", "response_headers")
DIRECTIONS: Final = ("inbound", "outbound", "both")

_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

Exists = Callable[[str], bool]


def read_plugin(block: Block, exists: Exists) -> model.Plugin:
    phases = _phases(block)
    plugin = model.Plugin(
        name=block.name(),
        path=_path(block, exists),
        sha256=_digest(block),
        phases=phases,
        priority=block.integer("priority", 0, -(1 << 31)),
        config=as_bytes(block.get("config")),
        vm_config=as_bytes(block.get("vm_config")),
        root_id=block.text("root_id"),
        vm_id=block.text("vm_id"),
        memory_limit=block.size("memory_limit", 16_000_000, 65536, 4 << 30),
        timeout=block.duration("timeout", 0.05, 0.001, 3600.0),
        log_level=block.choice("log_level", "info", LOG_LEVELS),
        direction=block.choice("direction", "both", DIRECTIONS),
        on_failure=_on_failure(block),
        max_body=block.size("max_body", 1 << 20, 0, 1 << 30),
        overflow_streams=block.choice("on_overflow", "reject", ("reject", "stream")) == "stream",
        allow_upstreams=block.texts("allow_upstreams") if block.has("allow_upstreams") else None,
        line=block.node.line,
    )
    block.finish()
    return plugin


def as_bytes(node: Node | None) -> bytes:
    """What a plugin is handed: text as it is, anything else as JSON."""
    if node is None:
        return b""
    if isinstance(node, Scalar):
        return node.text.encode()
    return json.dumps(plain(node), separators=(",", ":"), ensure_ascii=False).encode()


def _phases(block: Block) -> tuple[str, ...] | None:
    if not block.has("phase"):
        return None
    found = block.texts("phase", empty="is empty, and so the plugin would never run; leave it out for every phase")
    for phase in found:
        if phase not in model.PHASES:
            hint = nearest(phase, model.PHASES) or f" (known: {', '.join(model.PHASES)})"
            block.complain("phase", f"'{phase[:60]}' is not a phase{hint}")
    return found


def _path(block: Block, exists: Exists) -> str:
    if block.has("path"):
        return block.file_path("path")
    name = block.text("name")
    if "/" in name:
        block.complain("path", f"is required, since '{name[:60]}' cannot be the name of a file")
        return ""
    folder = os.path.dirname(block.node.file)
    places = [os.path.abspath(os.path.join(folder, place, f"{name}.wasm")) for place in SEARCHED]
    return next((place for place in places if exists(place)), places[0])


def searched(first: str) -> list[str]:
    """The folders that were searched for a module that is in none of them; ``first`` is the path it got."""
    folder = os.path.dirname(os.path.dirname(first))
    return [os.path.abspath(os.path.join(folder, place)) for place in SEARCHED]


def _digest(block: Block) -> str:
    digest = block.text("sha256")
    if digest and not _SHA256.fullmatch(digest):
        block.complain("sha256", "must be 64 hexadecimal digits")
    return digest.lower()


def _on_failure(block: Block) -> dict[str, str]:
    if isinstance(block.get("on_failure"), Mapping):
        inner = block.block("on_failure")
        assert inner is not None
        chosen = {cause: inner.choice(cause, "closed", ("closed", "open")) for cause in model.CAUSES}
        inner.finish()
        return chosen
    return dict.fromkeys(model.CAUSES, block.choice("on_failure", "closed", ("closed", "open")))


def read_route(block: Block) -> model.Route:
    path, regex = _route_path(block)
    methods = block.texts("methods", empty="is empty, and so matches nothing; leave it out for any method")
    for method in methods:
        if not _TOKEN.fullmatch(method) or method != method.upper():
            hint = nearest(method.upper(), METHODS)
            block.complain("methods", f"'{method[:60]}' is not a method in upper case{hint}")
    host = block.text("host") if block.has("host") else None
    if host is not None and not is_host_condition(host):
        hint = "; leave it out for any host" if host == "*" else ""
        block.complain("host", f"'{host[:60]}' is not a host name or *.suffix{hint}")
    route = model.Route(
        id=block.name("id"),
        direction=block.choice("direction", "both", DIRECTIONS),
        host=host,
        path=path,
        path_regex=regex,
        methods=methods,
        headers=_conditions(block),
        split=_split(block),
        plugins=_uses(block),
        timeout=block.duration("timeout", 0.0) if block.has("timeout") else None,
        retries=_retries(block),
        rewrite_prefix=_rewrite(block),
        request_headers=_edit(block, "request_headers"),
        response_headers=_edit(block, "response_headers"),
        line=block.node.line,
    )
    block.finish({"match": "conditions stand in the route itself: path, host, methods, headers"})
    return route


def _route_path(block: Block) -> tuple[str | None, str | None]:
    node = block.get("path")
    if isinstance(node, Mapping):
        inner = block.block("path")
        assert inner is not None
        regex = inner.required("regex")
        inner.finish()
        try:
            PathPattern(regex)
        except ValueError as error:
            inner.complain("regex", str(error))
        return None, regex or None
    if not block.has("path"):
        return None, None
    path = block.text("path")
    if isinstance(node, Scalar) and path != "*":
        reason = _path_problem(path)
        if reason:
            block.complain("path", f"'{path[:60]}': {reason}")
    return path, None


def _path_problem(path: str) -> str:
    """Empty for an exact path or a prefix ``/x/*`` that a request can have, else the reason."""
    if not path.isascii() or "?" in path or "#" in path:
        return "a path is ASCII, other bytes as %xx, and has no '?' and no '#'"
    fixed = path.removesuffix("*") if path.endswith("/*") else path
    if "*" in fixed:
        return "a '*' stands only as the last segment, like /x/*; else use {regex: ...}"
    reason = check_path(fixed.encode())
    return f"no request can have it: {reason}" if reason else ""


def _conditions(block: Block) -> dict[str, str]:
    found = block.text_map("headers")
    conditions: dict[str, str] = {}
    for name, value in found.items():
        if not _TOKEN.fullmatch(name):
            block.complain("headers", f"'{name[:60]}' is not a header name")
        elif name.lower() in conditions:
            block.complain("headers", f"'{name}' stands here twice: case makes no difference")
        elif value_problem(value) or value != value.strip(" \t"):
            block.complain("headers", f"the value of '{name}' matches no request: it holds a line break or outer space")
        conditions[name.lower()] = value
    return conditions


def _split(block: Block) -> tuple[tuple[str, int], ...]:
    if block.has("upstream") and block.has("split"):
        block.complain("split", "stands beside 'upstream': one of the two")
    if block.has("split"):
        found: list[tuple[str, int]] = []
        for part in block.blocks("split"):
            name = part.required("upstream")
            if name and any(name == other for other, _ in found):
                part.complain("upstream", f"'{name}' stands in this split twice")
            found.append((name, part.integer("weight", 1, 0, 1_000_000)))
            part.finish()
        if not found or not any(weight for _, weight in found):
            block.complain("split", "sends nothing anywhere: give at least one upstream a weight above 0")
        return tuple(found)
    block.require("upstream", "is required (or 'split')")
    return ((block.required("upstream") if block.has("upstream") else "", 1),)


def _uses(block: Block) -> tuple[model.PluginUse, ...] | None:
    if not block.has("plugins"):
        return None
    found: list[model.PluginUse] = []
    for index, node in enumerate(block.items("plugins")):
        if isinstance(node, Scalar):
            found.append(model.PluginUse(node.text))
        elif isinstance(node, Mapping):
            inner = Block(node, f"{block.where('plugins')}[{index}]", block.problems)
            config = as_bytes(inner.get("config")) if inner.has("config") else None
            found.append(model.PluginUse(inner.required("name"), config))
            inner.finish()
        else:
            block.complain(f"plugins[{index}]", f"must be a name or {{name, config}}, not a {kind_of(node)}", node)
    if len({use.name for use in found}) < len(found):
        block.complain("plugins", "names a plugin twice")
    return tuple(found)


def _retries(block: Block) -> model.Retries | None:
    inner = block.block("retries")
    if inner is None:
        return None
    empty = "is empty, and so nothing is retried; leave the block out"
    words = inner.texts("on", empty=empty) if inner.has("on") else model.DEFAULT_RETRY_ON
    for word in words:
        if word not in RETRY_WORDS and not (word.isascii() and word.isdigit() and 400 <= int(word) <= 599):
            known = f"{one_of(RETRY_WORDS)} or a status from 400 to 599{nearest(word, RETRY_WORDS)}"
            inner.complain("on", f"'{word[:60]}' is not {known}")
    retries = model.Retries(
        attempts=inner.integer("attempts", 1, 0, 10),
        on=words,
        per_try_timeout=inner.duration("per_try_timeout", 0.0, 0.001) if inner.has("per_try_timeout") else None,
    )
    inner.finish()
    return retries


def _rewrite(block: Block) -> str | None:
    inner = block.block("rewrite")
    if inner is None:
        return None
    prefix = inner.required("prefix")
    reason = _path_problem(prefix) if prefix else ""
    if reason or prefix.endswith("*"):
        inner.complain("prefix", f"'{prefix[:60]}': {reason or 'a replacement has no wildcard'}")
    if isinstance(block.get("path"), Mapping):
        inner.complain("prefix", "goes with an exact path or a prefix, not with a regex")
    inner.finish({key: f"'{key}' stands beside 'rewrite', in the route" for key in EDITS})
    return prefix or None


def _edit(block: Block, key: str) -> model.HeaderEdit:
    inner = block.block(key)
    if inner is None:
        return model.HeaderEdit()
    edit = model.HeaderEdit(inner.text_map("set"), inner.text_map("add"), inner.texts("remove"))
    for kind, values in (("set", edit.set), ("add", edit.add), ("remove", dict.fromkeys(edit.remove, ""))):
        names: set[str] = set()
        for name, value in values.items():
            if reason := reason_against(name) or value_problem(value):
                inner.complain(kind, reason if reason.startswith("'") else f"the value of '{name}' {reason}")
            elif name.lower() in names:
                inner.complain(kind, f"'{name}' stands here twice: case makes no difference")
            names.add(name.lower())
    inner.finish()
    return edit
