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

LOG_LEVELS: Final = ("trace", "debug", "info", "warn", "error", "critical")
RETRY_WORDS: Final = ("connect-failure", "refused-stream", "reset", "gateway-error", "5xx")
SEARCHED: Final = ("plugins", "", "/etc/sidecar/plugins", "/etc/loom/plugins")
"""Where ``NAME.wasm`` is looked for when a plugin names no path; the first two are beside the configuration."""
DIRECTIONS: Final = ("inbound", "outbound", "both")

_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HOST: Final = re.compile(r"(?:\*\.)?(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9_.\-]{0,252}))(?::[0-9]{1,5})?")
_PATH: Final = re.compile(r"/[!-\x22\x24-\x3e\x40-\x5b\x5d-~]*")

Exists = Callable[[str], bool]


def read_plugin(block: Block, exists: Exists) -> model.Plugin:
    phases = _phases(block)
    plugin = model.Plugin(
        name=block.required("name"),
        path=_path(block, exists),
        sha256=_digest(block),
        phases=phases,
        priority=block.integer("priority", 0, -(1 << 31)),
        config=as_bytes(block.get("config")),
        vm_config=as_bytes(block.get("vm_config")),
        root_id=block.text("root_id"),
        vm_id=block.text("vm_id"),
        memory_limit=block.size("memory_limit", 16_000_000, 65536, 4 << 30),
        timeout=block.duration("timeout", 0.05, 0.001, 60.0),
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
    found = block.texts("phase")
    for phase in found:
        if phase not in model.PHASES:
            block.complain("phase", f"'{phase}' is not a phase: {one_of(model.PHASES)}{nearest(phase, model.PHASES)}")
    return found


def _path(block: Block, exists: Exists) -> str:
    folder = os.path.dirname(block.node.file)
    if block.has("path"):
        node = block.scalar("path")
        return os.path.abspath(os.path.join(os.path.dirname(node.file), node.text)) if node is not None else ""
    name = block.text("name")
    places = [os.path.abspath(os.path.join(folder, place, f"{name}.wasm")) for place in SEARCHED]
    return next((place for place in places if exists(place)), places[0])


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
    methods = block.texts("methods")
    for method in methods:
        if not _TOKEN.fullmatch(method) or method != method.upper():
            block.complain("methods", f"'{method}' is not a method in upper case")
    host = block.text("host") or None
    if host is not None and not _HOST.fullmatch(host):
        block.complain("host", f"'{host}' is not a host name or *.suffix")
    route = model.Route(
        id=block.required("id"),
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
        rewrite_prefix=_rewrite(block, regex),
        request_headers=_edit(block, "request_headers"),
        response_headers=_edit(block, "response_headers"),
        line=block.node.line,
    )
    block.finish()
    return route


def _route_path(block: Block) -> tuple[str | None, str | None]:
    node = block.get("path")
    if isinstance(node, Mapping):
        inner = block.block("path")
        assert inner is not None
        regex = inner.required("regex")
        inner.finish()
        return None, regex or None
    path = block.text("path") or None
    if path is None:
        return None, None
    if path != "*" and not _PATH.fullmatch(path):
        block.complain("path", f"'{path}' is not a path: it begins with '/' and has no '?', '#', space or backslash")
    elif "*" in path[:-1] or (path.endswith("*") and path != "*" and not path.endswith("/*")):
        block.complain("path", f"'{path}': a '*' stands only as the last segment, like /x/*; else use {{regex: ...}}")
    elif "//" in path or "/./" in f"{path}/" or "/../" in f"{path}/":
        block.complain("path", f"'{path}' can match no request: empty and dot segments are refused")
    return path, None


def _conditions(block: Block) -> dict[str, str]:
    found = block.text_map("headers")
    for name in found:
        if not _TOKEN.fullmatch(name):
            block.complain("headers", f"'{name}' is not a header name")
    return {name.lower(): value for name, value in found.items()}


def _split(block: Block) -> tuple[tuple[str, int], ...]:
    if block.has("upstream") and block.has("split"):
        block.complain("split", "stands beside 'upstream': one of the two")
    if block.has("split"):
        found = []
        for part in block.blocks("split"):
            found.append((part.required("upstream"), part.integer("weight", 1, 0, 1_000_000)))
            part.finish()
        if not found or not any(weight for _, weight in found):
            block.complain("split", "sends nothing anywhere: give at least one upstream a weight above 0")
        return tuple(found)
    name = block.text("upstream")
    if not name:
        block.complain("upstream", "is required (or 'split')")
    return ((name, 1),)


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
    words = inner.texts("on") if inner.has("on") else model.DEFAULT_RETRY_ON
    for word in words:
        if word not in RETRY_WORDS and not (word.isascii() and word.isdigit() and 400 <= int(word) <= 599):
            known = f"{one_of(RETRY_WORDS)} or a status from 400 to 599{nearest(word, RETRY_WORDS)}"
            inner.complain("on", f"'{word}' is not {known}")
    retries = model.Retries(
        attempts=inner.integer("attempts", 1, 0, 10),
        on=words,
        per_try_timeout=inner.duration("per_try_timeout", 0.0, 0.001) if inner.has("per_try_timeout") else None,
    )
    inner.finish()
    return retries


def _rewrite(block: Block, regex: str | None) -> str | None:
    inner = block.block("rewrite")
    if inner is None:
        return None
    prefix = inner.required("prefix")
    if prefix and not (_PATH.fullmatch(prefix) and "*" not in prefix):
        inner.complain("prefix", f"'{prefix}' is not a path")
    if regex is not None:
        inner.complain("prefix", "goes with an exact path or a prefix, not with a regex")
    inner.finish()
    return prefix or None


def _edit(block: Block, key: str) -> model.HeaderEdit:
    inner = block.block(key)
    if inner is None:
        return model.HeaderEdit()
    edit = model.HeaderEdit(inner.text_map("set"), inner.text_map("add"), inner.texts("remove"))
    inner.finish()
    return edit
