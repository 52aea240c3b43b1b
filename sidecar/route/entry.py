"""Where one matching request goes, and what happens to its head on the way."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

from sidecar.config.model import PluginUse, Retries
from sidecar.http.headers import HeaderMap
from sidecar.route.headers_ops import HeaderOps
from sidecar.route.match import decoded_path, raw_length


class RouteEntry:
    """The answer of a :class:`~sidecar.route.table.RouteTable`.

    ``id`` is empty for traffic that no route names. ``split`` holds (upstream, weight) pairs; one of weight 0 gets
    nothing. ``plugins`` are those that the route selects, None for all. ``timeout`` is in seconds, None for
    none. ``prefix`` is the canonical prefix of a prefix route, ending in ``/``, else None.
    """

    __slots__ = (
        "_upstream",
        "_names",
        "_sums",
        "edits_request",
        "id",
        "plugins",
        "prefix",
        "request_headers",
        "response_headers",
        "retries",
        "rewrite_prefix",
        "split",
        "timeout",
    )

    def __init__(
        self,
        id: str,
        split: Sequence[tuple[str, int]],
        *,
        plugins: tuple[PluginUse, ...] | None = None,
        timeout: float | None = None,
        retries: Retries | None = None,
        prefix: bytes | None = None,
        rewrite_prefix: bytes | None = None,
        request_headers: HeaderOps | None = None,
        response_headers: HeaderOps | None = None,
    ) -> None:
        self.id = id
        self.split = tuple((name, weight) for name, weight in split if weight > 0)
        if not self.split:
            raise ValueError(f"route '{id}' sends nothing anywhere: every weight is 0")
        self._upstream = self.split[0][0] if len(self.split) == 1 else ""
        self._names = [name for name, _ in self.split]
        self._sums = list(accumulate(weight for _, weight in self.split))
        self.plugins = plugins
        self.timeout = timeout
        self.retries = retries
        self.prefix = prefix
        self.rewrite_prefix = rewrite_prefix
        self.request_headers = request_headers if request_headers and not request_headers.is_empty else None
        self.response_headers = response_headers if response_headers and not response_headers.is_empty else None
        self.edits_request = rewrite_prefix is not None or self.request_headers is not None

    def pick(self, random: Callable[[], float]) -> str:
        """The upstream of this request; ``random`` gives floats in [0, 1)."""
        if self._upstream:
            return self._upstream
        sums = self._sums
        return self._names[min(bisect_right(sums, random() * sums[-1]), len(sums) - 1)]

    def edit_request(self, headers: HeaderMap) -> None:
        """Rewrite the path and edit the headers, in place."""
        if self.rewrite_prefix is not None:
            target = headers.get(b":path")
            if target is not None:
                rewritten = rewrite(target, self.prefix, self.rewrite_prefix)
                if rewritten != target:
                    headers.set(b":path", rewritten)
        if self.request_headers is not None:
            self.request_headers.apply(headers)

    def __repr__(self) -> str:
        return f"RouteEntry({self.id!r}, {self.split!r})"


def rewrite(target: bytes, prefix: bytes | None, replacement: bytes) -> bytes:
    """``target`` with the matched ``prefix`` replaced, the rest and the query untouched.

    As the Gateway API's ReplacePrefixMatch: ``/foo/*`` with ``/bar`` makes ``/foo/x`` ``/bar/x`` and ``/foo``
    ``/bar``; with ``/`` they become ``/x`` and ``/``. ``prefix`` ends in ``/``; None (no prefix route) replaces the
    whole path. The joint never makes a double slash, so a canonical target stays canonical. ``*`` stays ``*``.
    """
    if target[:1] != b"/":
        return target
    path, question, query = target.partition(b"?")
    if prefix is None:
        return replacement + question + query
    if b"%" in path:
        is_longer = len(decoded_path(path)) >= len(prefix)
        rest = path[raw_length(path, len(prefix)) :] if is_longer else b""
    else:
        is_longer = len(path) >= len(prefix)
        rest = path[len(prefix) :]
    if rest:
        joined = replacement.rstrip(b"/") + b"/" + rest
    elif is_longer:
        # `/foo/` keeps its slash: the app tells it from `/foo`.
        joined = replacement.rstrip(b"/") + b"/"
    else:
        joined = replacement.rstrip(b"/") or b"/"
    return joined + question + query
