"""One route of the configuration, ready to be asked: conditions in canonical form, and the entry it leads to."""

from __future__ import annotations

from sidecar.config.model import HeaderEdit, Route
from sidecar.http.headers import HeaderMap
from sidecar.http.pattern import PathPattern
from sidecar.http.semantics import is_forged
from sidecar.route.entry import RouteEntry
from sidecar.route.headers_ops import HeaderOps
from sidecar.route.match import decoded_path, host_to_match


class Rule:
    """The conditions of one route. At most one of ``exact``, ``prefix`` and ``pattern`` is set.

    ``host`` is empty for any, ``.suffix`` for ``*.suffix``, else exact. ``prefix`` ends in ``/``.
    """

    __slots__ = ("entry", "exact", "headers", "host", "methods", "order", "pattern", "prefix")

    def __init__(
        self,
        entry: RouteEntry,
        order: int,
        *,
        host: bytes = b"",
        exact: bytes | None = None,
        prefix: bytes | None = None,
        pattern: PathPattern | None = None,
        methods: frozenset[bytes] = frozenset(),
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        self.entry = entry
        self.order = order
        self.host = host
        self.exact = exact
        self.prefix = prefix
        self.pattern = pattern
        self.methods = methods
        self.headers = headers

    @property
    def is_catch_all(self) -> bool:
        """``/*``, or no path at all."""
        return self.prefix == b"/" or (self.exact is None and self.prefix is None and self.pattern is None)

    def accepts(self, method: bytes, headers: HeaderMap) -> bool:
        """Do method and headers fit? CONNECT only fits a route that names it."""
        if self.methods:
            if method not in self.methods:
                return False
        elif method == b"CONNECT":
            return False
        for name, wanted in self.headers:
            values = headers.get_all(name)
            if not values or (values[0] if len(values) == 1 else b", ".join(values)) != wanted:
                return False
        return True


def compile_route(route: Route, order: int, default_timeout: float = 0.0) -> Rule:
    """Raises ValueError for a condition or a header edit that cannot be used. ``default_timeout`` 0 is none."""
    exact = prefix = None
    if route.path is not None:
        path = decoded_path(route.path.encode())
        if path.endswith(b"/*"):
            prefix = path[:-1]
        else:
            exact = path
    timeout = default_timeout if route.timeout is None else route.timeout
    entry = RouteEntry(
        route.id,
        route.split,
        plugins=route.plugins,
        timeout=timeout or None,
        retries=route.retries,
        prefix=prefix,
        rewrite_prefix=route.rewrite_prefix.encode() if route.rewrite_prefix is not None else None,
        request_headers=_edit(route.request_headers),
        response_headers=_edit(route.response_headers),
    )
    return Rule(
        entry,
        order,
        host=host_condition(route.host) if route.host else b"",
        exact=exact,
        prefix=prefix,
        pattern=PathPattern(route.path_regex) if route.path_regex is not None else None,
        methods=frozenset(method.encode() for method in route.methods),
        headers=tuple(_condition(name, value) for name, value in route.headers.items()),
    )


def host_condition(host: str) -> bytes:
    """``*.shop`` as ``.shop``, anything else in the form of :func:`~sidecar.route.match.host_to_match`."""
    if host.startswith("*."):
        return host[1:].lower().removesuffix(".").encode()
    return host_to_match(host.encode())


def _condition(name: str, value: str) -> tuple[bytes, bytes]:
    lowered = name.lower().encode()
    # Such a field is taken out before the app sees it: a stranger must not choose his route, and with it the plugins
    # that judge him, by a name that nobody else will ever read.
    if is_forged(lowered):
        raise ValueError(f"'{name}' never passes from outside, so no request can be told by it")
    return lowered, value.encode()


def _edit(edit: HeaderEdit) -> HeaderOps | None:
    return HeaderOps(set=edit.set, add=edit.add, remove=edit.remove)
