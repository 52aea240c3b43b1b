"""The errors of the whole house: what went wrong, who is to blame, and whether trying again may help.

One request can fail in a handful of ways that a peer is allowed to know (:class:`ErrorKind`, the codes of the
``x-sidecar-error`` header). Everything else about a failure stays in the log.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple


class ErrorKind(enum.Enum):
    """The code of ``x-sidecar-error``; :mod:`sidecar.exchange.local_reply` maps each to a status."""

    NO_ROUTE = "no_route"
    DENIED = "denied"
    PLUGIN_FAILED = "plugin_failed"
    PLUGIN_TIMEOUT = "plugin_timeout"
    BODY_TOO_LARGE = "body_too_large"
    HEADERS_TOO_LARGE = "headers_too_large"
    BAD_REQUEST = "bad_request"
    OVERLOADED = "overloaded"
    UPSTREAM_CONNECT = "upstream_connect"
    UPSTREAM_RESET = "upstream_reset"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_TLS = "upstream_tls"
    DRAINING = "draining"
    REQUEST_TIMEOUT = "request_timeout"
    INTERNAL = "internal"  # a fault of ours; never on purpose


class Source(enum.Enum):
    """Whose fault it was."""

    DOWNSTREAM = "downstream"
    UPSTREAM = "upstream"
    INTERNAL = "internal"


class Retry(enum.Enum):
    """What is known about the request when it failed."""

    NEVER = "never"
    UNPROCESSED = "unprocessed"  # proof that the upstream saw nothing of it: always safe
    REUSED = "reused"  # a kept-alive connection died before any answer: safe when the request may be repeated


class ProxyError(Exception):
    """A request that cannot go on.

    ``status`` overrides the kind's usual HTTP status (405, 414, 417, 501 and 505 all carry ``bad_request``).
    ``limit`` names the limit that was hit, for ``loom_limit_hits_total``. ``detail`` is for the log only.
    """

    def __init__(
        self,
        kind: ErrorKind,
        detail: str = "",
        *,
        source: Source = Source.INTERNAL,
        retry: Retry = Retry.NEVER,
        status: int | None = None,
        limit: str | None = None,
    ) -> None:
        super().__init__(f"{kind.value}: {detail}" if detail else kind.value)
        self.kind = kind
        self.detail = detail
        self.source = source
        self.retry = retry
        self.status = status
        self.limit = limit


class LocalProtocolError(Exception):
    """We asked a codec for something its state does not allow: a bug of ours."""


class Problem(NamedTuple):
    """One thing wrong with a configuration; ``line`` is 1-based, 0 when there is none."""

    file: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


class ConfigError(Exception):
    """A configuration that is refused; holds every problem found, in file order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
