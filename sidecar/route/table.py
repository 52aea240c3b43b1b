"""The route table of one listener, built once per configuration generation.

Which route wins, in this order (the Gateway API's, with its open points settled):

1. host: exact, then the longest ``*.suffix``, then routes without a host. ``*.shop`` matches ``a.shop`` and
   ``a.b.shop``, never ``shop``. Hosts compare without case, trailing dot and default port; a host named without a
   port matches every port;
2. path: exact, then the longest prefix, then a pattern, then ``/*`` and routes without a path (a catch-all would
   otherwise hide every pattern);
3. routes that name methods before those that do not;
4. more header conditions before fewer;
5. order in the file.

A prefix ends at a segment: ``/admin/*`` matches ``/admin/x`` and, by choice, ``/admin``, never ``/administrator``
nor ``/admin;x``. Some apps cut ``;x`` off before they look: a request that would go elsewhere without its path
parameters is refused, since route and app would judge it differently.

Paths compare with case, without the query, percent-decoded once as the app will read them. A
header condition compares the whole value; several lines of one name count as one, joined by ``", "`` (RFC 9110
section 5.3). A route that fails on any condition leaves the request to the next one in this order.

When no route matches, an outbound request goes to the upstream whose ``match.hosts`` holds its host, then to the
listener's ``upstream``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from sidecar.config.model import Route, Upstream
from sidecar.errors import ErrorKind, ProxyError, Source
from sidecar.http.headers import HeaderMap
from sidecar.route.compile import Rule, compile_route, host_condition
from sidecar.route.entry import RouteEntry
from sidecar.route.match import decoded_path, host_to_match, without_parameters, without_port


class RouteTable:
    """All routes of one direction; :meth:`match` is the whole of routing."""

    __slots__ = ("_default", "_everywhere", "_exact_hosts", "_has_hosts", "_named", "_suffixes", "entries")

    def __init__(
        self,
        routes: Iterable[Route],
        direction: str,
        default_upstream: str | None = None,
        upstreams: Iterable[Upstream] = (),
        timeout: float = 0.0,
    ) -> None:
        """``direction`` is ``inbound`` or ``outbound``; ``default_upstream`` is the listener's ``upstream``, and
        ``timeout`` the seconds of a route that names none (0: no limit).

        Raises ValueError for a route that cannot work; a configuration that was validated has none.
        """
        rules = [
            compile_route(route, order, timeout) for order, route in enumerate(routes) if _serves(route, direction)
        ]
        self.entries = tuple(rule.entry for rule in rules)
        hosts = {rule.host for rule in rules}
        groups = {host: _PathIndex([rule for rule in rules if rule.host == host]) for host in hosts}
        self._everywhere = groups.get(b"")
        self._exact_hosts = {host: index for host, index in groups.items() if host and host[:1] != b"."}
        self._suffixes = _longest_first((host, index) for host, index in groups.items() if host[:1] == b".")
        self._default = RouteEntry("", [(default_upstream, 1)], timeout=timeout or None) if default_upstream else None
        self._named = _HostIndex(upstreams if direction == "outbound" else (), timeout)
        self._has_hosts = bool(self._exact_hosts or self._suffixes or self._named.is_used)

    def match(self, headers: HeaderMap) -> RouteEntry | None:
        """Where a request that the validator accepted goes; None: nowhere (``no_route``).

        CONNECT goes only where a route names that method. Raises ProxyError 400 for a path of two readings.
        """
        method = authority = target = b""
        for name, value, _ in headers.fields:
            if name == b":path":
                target = value
            elif name == b":method":
                method = value
            elif name == b":authority":
                authority = value
            elif name != b":scheme":
                break
        path = decoded_path(target) if b"%" in target or b"?" in target else target
        host = bare = b""
        if self._has_hosts:
            host = host_to_match(authority)
            bare = without_port(host)
        found = self._find(host, bare, path, method, headers)
        if b";" in path and self._find(host, bare, without_parameters(path), method, headers) is not found:
            raise ProxyError(ErrorKind.BAD_REQUEST, "another route without path parameters", source=Source.DOWNSTREAM)
        return found

    def _find(
        self, host: bytes, bare: bytes, path: bytes, method: bytes, headers: HeaderMap
    ) -> RouteEntry | None:
        if host:
            entry = self._by_host(host, bare, path, method, headers)
            if entry is not None:
                return entry
        if self._everywhere is not None:
            entry = self._everywhere.find(path, method, headers)
            if entry is not None:
                return entry
        if method == b"CONNECT":
            return None
        return (self._named.find(host, bare) if host else None) or self._default

    def _by_host(
        self, host: bytes, bare: bytes, path: bytes, method: bytes, headers: HeaderMap
    ) -> RouteEntry | None:
        for name in (host, bare) if host != bare else (host,):
            index = self._exact_hosts.get(name)
            if index is not None:
                entry = index.find(path, method, headers)
                if entry is not None:
                    return entry
        for suffix, index in self._suffixes:
            if bare.endswith(suffix) and len(bare) > len(suffix):
                entry = index.find(path, method, headers)
                if entry is not None:
                    return entry
        return None


class _PathIndex:
    """The routes of one host, found by path. Inside one path, routes stand in order of precedence."""

    __slots__ = ("_catch_all", "_exact", "_patterns", "_prefixes", "_sizes")

    def __init__(self, rules: Sequence[Rule]) -> None:
        rules = sorted(rules, key=lambda rule: (not rule.methods, -len(rule.headers), rule.order))
        self._exact = _grouped(rules, lambda rule: rule.exact)
        self._prefixes = _grouped(rules, lambda rule: rule.prefix if rule.prefix != b"/" else None)
        self._sizes = sorted({len(prefix) for prefix in self._prefixes}, reverse=True)
        self._patterns = tuple(rule for rule in rules if rule.pattern is not None)
        self._catch_all = tuple(rule for rule in rules if rule.is_catch_all)

    def find(self, path: bytes, method: bytes, headers: HeaderMap) -> RouteEntry | None:
        if self._exact:
            rules = self._exact.get(path)
            if rules is not None:
                for rule in rules:
                    if rule.accepts(method, headers):
                        return rule.entry
        if self._prefixes:
            closed = path + b"/"
            for size in self._sizes:
                # One byte more than the path: `/admin` itself, asked for as `/admin/`.
                rules = self._prefixes.get(closed[:size])
                if rules is not None:
                    for rule in rules:
                        if rule.accepts(method, headers):
                            return rule.entry
        for rule in self._patterns:
            if rule.pattern.fullmatch(path) and rule.accepts(method, headers):  # type: ignore[union-attr]
                return rule.entry
        for rule in self._catch_all:
            if (rule.prefix is None or path[:1] == b"/") and rule.accepts(method, headers):
                return rule.entry
        return None


class _HostIndex:
    """``match.hosts`` of the upstreams: exact names, then the longest suffix, then order in the file."""

    __slots__ = ("_exact", "_suffixes", "is_used")

    def __init__(self, upstreams: Iterable[Upstream], timeout: float) -> None:
        self._exact: dict[bytes, RouteEntry] = {}
        suffixes: dict[bytes, RouteEntry] = {}
        for upstream in upstreams:
            for host in upstream.match.hosts if upstream.match is not None else ():
                wanted = host_condition(host)
                entry = RouteEntry("", [(upstream.name, 1)], timeout=timeout or None)
                (suffixes if wanted[:1] == b"." else self._exact).setdefault(wanted, entry)
        self._suffixes = _longest_first(suffixes.items())
        self.is_used = bool(self._exact or self._suffixes)

    def find(self, host: bytes, bare: bytes) -> RouteEntry | None:
        entry = self._exact.get(host) or self._exact.get(bare)
        if entry is not None:
            return entry
        for suffix, entry in self._suffixes:
            if bare.endswith(suffix) and len(bare) > len(suffix):
                return entry
        return None


def _serves(route: Route, direction: str) -> bool:
    return route.direction in ("both", direction)


def _grouped(rules: Iterable[Rule], key: Callable[[Rule], bytes | None]) -> dict[bytes, tuple[Rule, ...]]:
    """Rules by ``key``, their order kept; those without one are left out."""
    groups: dict[bytes, list[Rule]] = {}
    for rule in rules:
        found = key(rule)
        if found is not None:
            groups.setdefault(found, []).append(rule)
    return {found: tuple(group) for found, group in groups.items()}


Target = TypeVar("Target")


def _longest_first(items: Iterable[tuple[bytes, Target]]) -> tuple[tuple[bytes, Target], ...]:
    return tuple(sorted(items, key=lambda item: -len(item[0])))
