"""What must hold between blocks: names that are unique and known, and inbound traffic that stays on loopback.

A configuration without listeners is a fragment, a piece for several ``-c``: it serves nothing, so names that another
piece may bring are no mistakes there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sidecar.address import Address
from sidecar.config import model
from sidecar.config.block import nearest
from sidecar.config.document import Mapping, Node, Scalar
from sidecar.config.document import Sequence as SequenceNode
from sidecar.config.plugins import searched
from sidecar.errors import Problem


def check(config: model.Config, document: Mapping, exists: Callable[[str], bool]) -> list[Problem]:
    """All problems between blocks, in no order."""
    places = Places(document)
    problems = [
        *_unique(places, "listeners", [listener.name for listener in config.listeners]),
        *_unique(places, "upstreams", [upstream.name for upstream in config.upstreams]),
        *_unique(places, "plugins", [plugin.name for plugin in config.plugins]),
        *_unique(places, "routes", [route.id for route in config.routes], "id"),
        *_plugin_names(places, config),
        *_addresses(places, config),
    ]
    if config.listeners:
        problems += _upstream_names(places, config)
        problems += _inbound(places, config)
        problems += [
            problem
            for problem, plugin in _missing_modules(places, config, exists)
            if plugin.on_failure.get("load") != "open"
        ]
    return problems


def warnings_of(config: model.Config, document: Mapping, exists: Callable[[str], bool]) -> list[Problem]:
    """What is allowed but probably not meant."""
    places = Places(document)
    found = [*_same_conditions(places, config.routes), *_no_traffic(places, config), *_open_plain_text(places, config)]
    missing = list(_missing_modules(places, config, exists))
    if not config.listeners:
        message = "no listeners: a fragment that serves nothing; upstreams it names may come with another file"
        found.append(Problem(document.file, 0, "", message))
        found += _upstream_names(places, config)
        found += [problem for problem, _ in missing]
    else:
        found += [problem for problem, plugin in missing if plugin.on_failure.get("load") == "open"]
    return found


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

    def of(self, block: str, message: str) -> Problem:
        """A problem of ``block.address``."""
        node = self._document.entries.get(block)
        at = node.entries.get("address", node) if isinstance(node, Mapping) else self._document
        return Problem(at.file, at.line, f"{block}.address", message)

    def has(self, block: str, index: int, key: str) -> bool:
        return self._value(block, index, key) is not None

    def text(self, block: str, index: int, key: str) -> str:
        node = self._value(block, index, key)
        return node.text if isinstance(node, Scalar) else ""

    def _value(self, block: str, index: int, key: str) -> Node | None:
        items = self._document.entries.get(block)
        item = items.items[index] if isinstance(items, SequenceNode) and index < len(items.items) else None
        return item.entries.get(key) if isinstance(item, Mapping) else None


def _unique(places: Places, block: str, names: Sequence[str], key: str = "name") -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if name and first.setdefault(name, index) != index:
            yield places.problem(block, index, key, f"'{name}' is taken by {block}[{first[name]}]")


def _same_conditions(places: Places, routes: Sequence[model.Route]) -> Iterator[Problem]:
    """Routes that can never be reached, because one before them asks for exactly the same."""
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
                message = f"'{route.id}' matches exactly what '{other}' does before it, and so gets no request"
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
            message = f"{strange} is not a loopback IP address, and inbound traffic of {by} would go there: {advice}"
            yield places.problem("upstreams", index, "endpoints", message)


def _addresses(places: Places, config: model.Config) -> Iterator[Problem]:
    """Two owners of one port, as the kernel will see it."""
    own = (("metrics", config.metrics.address), ("health", config.health.address), ("admin", config.admin.address))
    taken: dict[int, list[tuple[Address, str]]] = {}
    wanted = [("", -1, owner, address) for owner, address in own]
    wanted += [
        ("listeners", index, f"listener '{listener.name}'", address)
        for index, listener in enumerate(config.listeners)
        for address in listener.addresses
        if places.text("listeners", index, "protocol") != "http3"  # refused elsewhere, and not on TCP
    ]
    for block, index, owner, address in wanted:
        others = taken.setdefault(address.port, [])
        for other, holder in others:
            if holder != owner and _overlap(address, other):
                message = f"{address} is taken by {holder} ({other})"
                yield places.problem(block, index, "address", message) if block else places.of(owner, message)
                break
        others.append((address, owner))


def _overlap(one: Address, other: Address) -> bool:
    """Cannot both be bound: the same, or one the wildcard of its family."""
    hosts = {one.host, other.host}
    return len(hosts) == 1 or ("0.0.0.0" in hosts and not any(":" in host for host in hosts)) or (
        "::" in hosts and all(":" in host for host in hosts)
    )


def _missing_modules(
    places: Places, config: model.Config, exists: Callable[[str], bool]
) -> Iterator[tuple[Problem, model.Plugin]]:
    for index, plugin in enumerate(config.plugins):
        if plugin.path and not exists(plugin.path):
            is_named = places.has("plugins", index, "path")
            where = plugin.path if is_named else f"'{plugin.name}.wasm' in {', '.join(searched(plugin.path))}"
            yield places.problem("plugins", index, "path", f"there is no file {where}"), plugin


def _no_traffic(places: Places, config: model.Config) -> Iterator[Problem]:
    """A listener whose requests all get ``no_route``, and routes that no listener serves."""
    directions = {listener.direction for listener in config.listeners}
    for index, listener in enumerate(config.listeners):
        leads_somewhere = any(route.direction in ("both", listener.direction) for route in config.routes) or (
            listener.direction == "outbound" and any(upstream.match for upstream in config.upstreams)
        )
        if listener.upstream is None and not leads_somewhere:
            yield places.problem("listeners", index, "upstream", "nothing says where its requests go: all get 404")
    if directions:
        for index, route in enumerate(config.routes):
            if route.direction != "both" and route.direction not in directions:
                yield places.problem("routes", index, "direction", f"there is no {route.direction} listener")


def _open_plain_text(places: Places, config: model.Config) -> Iterator[Problem]:
    for index, listener in enumerate(config.listeners):
        is_open = any(not address.is_loopback for address in listener.addresses)
        if listener.direction == "inbound" and is_open and not places.has("listeners", index, "tls"):
            message = f"'{listener.name}' serves plain text to the network; 'tls: {{mode: disable}}' says it is meant"
            yield places.problem("listeners", index, "tls", message)
