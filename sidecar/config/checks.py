"""What must hold between blocks: names that are unique and known, and inbound traffic that stays on loopback.

A configuration without listeners is a fragment, a piece for several ``-c``: it serves nothing, so names that another
piece may bring are no mistakes there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from sidecar.config import model
from sidecar.config.block import nearest
from sidecar.config.document import Mapping, Node
from sidecar.config.document import Sequence as SequenceNode
from sidecar.errors import Problem


def check(config: model.Config, document: Mapping, exists: Callable[[str], bool]) -> list[Problem]:
    """All problems between blocks, in no order."""
    places = Places(document)
    problems = [
        *_unique(places, "listeners", [listener.name for listener in config.listeners]),
        *_unique(places, "upstreams", [upstream.name for upstream in config.upstreams]),
        *_unique(places, "plugins", [plugin.name for plugin in config.plugins]),
        *_unique(places, "routes", [route.id for route in config.routes], "id"),
        *_same_conditions(places, config.routes),
        *_plugin_names(places, config),
        *_addresses(places, config),
    ]
    if config.listeners:
        problems += _upstream_names(places, config)
        problems += _inbound(places, config)
        problems += [
            places.problem("plugins", index, "path", f"{plugin.path}: no such file")
            for index, plugin in enumerate(config.plugins)
            if plugin.path and not exists(plugin.path)
        ]
    return problems


class Places:
    """Where a value stood: file and line of list items and their keys."""

    def __init__(self, document: Mapping) -> None:
        self._document = document

    def problem(self, block: str, index: int, key: str, message: str) -> Problem:
        items = self._document.entries.get(block)
        item: Node | None = items
        if isinstance(items, SequenceNode) and index < len(items.items):
            item = items.items[index]
        if isinstance(item, Mapping) and key in item.entries:
            item = item.entries[key]
        at = item or self._document
        return Problem(at.file, at.line, f"{block}[{index}].{key}", message)


def _unique(places: Places, block: str, names: Sequence[str], key: str = "name") -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if name and first.setdefault(name, index) != index:
            yield places.problem(block, index, key, f"'{name}' is taken by {block}[{first[name]}]")


def _same_conditions(places: Places, routes: Sequence[model.Route]) -> Iterator[Problem]:
    """A route that can never be reached, because one before it asks for exactly the same."""
    seen: dict[object, str] = {}
    for index, route in enumerate(routes):
        key = (
            (route.host or "").lower(),
            route.path,
            route.path_regex,
            frozenset(route.methods),
            frozenset(route.headers.items()),
        )
        for direction in ("inbound", "outbound") if route.direction == "both" else (route.direction,):
            other = seen.setdefault((direction, key), route.id)
            if other != route.id:
                message = f"'{route.id}' matches exactly what '{other}' does before it"
                yield places.problem("routes", index, "id", message)
                break


def _plugin_names(places: Places, config: model.Config) -> Iterator[Problem]:
    known = {plugin.name for plugin in config.plugins}
    for index, route in enumerate(config.routes):
        for use in route.plugins or ():
            if use.name not in known and (known or config.listeners):
                yield places.problem("routes", index, "plugins", f"no plugin '{use.name}'{nearest(use.name, known)}")


def _upstream_names(places: Places, config: model.Config) -> Iterator[Problem]:
    known = {upstream.name for upstream in config.upstreams}

    def unknown(name: str) -> str:
        return f"no upstream '{name}'{nearest(name, known)}"

    for index, listener in enumerate(config.listeners):
        if listener.upstream is not None and listener.upstream not in known:
            yield places.problem("listeners", index, "upstream", unknown(listener.upstream))
    for index, route in enumerate(config.routes):
        for name, _ in route.split:
            if name and name not in known:
                yield places.problem("routes", index, "upstream", unknown(name))
    for index, plugin in enumerate(config.plugins):
        for name in plugin.allow_upstreams or ():
            if name not in known:
                yield places.problem("plugins", index, "allow_upstreams", unknown(name))


def _inbound(places: Places, config: model.Config) -> Iterator[Problem]:
    """Whatever inbound traffic can reach is our own app: a loopback address, written as a literal (row Y9)."""
    inbound = [listener for listener in config.listeners if listener.direction == "inbound"]
    if not inbound:
        return
    reached = {listener.upstream: f"listener '{listener.name}'" for listener in inbound if listener.upstream}
    for route in config.routes:
        if route.direction != "outbound":
            for name, _ in route.split:
                reached.setdefault(name, f"route '{route.id}' (direction: {route.direction})")
    for index, upstream in enumerate(config.upstreams):
        by = reached.get(upstream.name)
        strange = next((each.address for each in upstream.endpoints if not each.address.is_loopback), None)
        if by is not None and strange is not None:
            advice = "use a loopback address" + (", or direction: outbound" if by.startswith("route") else "")
            message = f"{strange} is not a loopback address, and inbound traffic of {by} would go there: {advice}"
            yield places.problem("upstreams", index, "endpoints", message)


def _addresses(places: Places, config: model.Config) -> Iterator[Problem]:
    taken: dict[object, str] = {
        config.metrics.address: "metrics",
        config.health.address: "health",
        config.admin.address: "admin",
    }
    for index, listener in enumerate(config.listeners):
        for address in listener.addresses:
            owner = taken.setdefault(address, f"listener '{listener.name}'")
            if owner != f"listener '{listener.name}'":
                yield places.problem("listeners", index, "address", f"{address} is the address of {owner}")


def warnings_of(
    listeners: Sequence[model.Listener],
    routes: Sequence[model.Route],
    upstreams: Iterable[model.Upstream],
    document: Mapping,
    exists: Callable[[str], bool],
    plugins: Sequence[model.Plugin],
) -> Iterator[str]:
    """What is allowed but probably not meant."""
    if not listeners:
        yield "no listeners: a fragment that serves nothing; names of upstreams and files of plugins are not checked"
        known = {upstream.name for upstream in upstreams}
        for name in dict.fromkeys(name for route in routes for name, _ in route.split if name and name not in known):
            yield f"no upstream '{name}' here"
        for plugin in plugins:
            if not exists(plugin.path):
                yield f"plugin '{plugin.name}': {plugin.path} is not there"
    items = document.entries.get("listeners")
    nodes = items.items if isinstance(items, SequenceNode) else []
    for listener, node in zip(listeners, nodes, strict=False):
        open_to_all = any(not address.is_loopback for address in listener.addresses)
        if listener.direction == "inbound" and open_to_all and isinstance(node, Mapping) and "tls" not in node.entries:
            yield f"listener '{listener.name}' serves plain text to the network: no identity is there to be strict with"
