"""Which headers a rule of a route may edit (``request_headers``, ``response_headers``).

An edit never touches what frames a message or belongs to one hop (RFC 9110 section 7.6.1, RFC 9112 section 6), nor
what routing has judged (``host``, pseudo-headers): a rule of a route must not be able to make two readers of one
message disagree about it. Nor does it touch ``x-sidecar-*``, in which the sidecars speak to each other.
"""

from __future__ import annotations

from typing import Final

PROTECTED: Final = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

_TOKEN: Final = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


def reason_against(name: str) -> str | None:
    """Why a route may not edit the header ``name`` (any case); None when it may."""
    lowered = name.lower()
    if lowered in PROTECTED or lowered.startswith(":"):
        return f"'{name}' belongs to framing or routing and cannot be edited"
    if lowered.startswith("x-sidecar-"):
        return f"'{name}' is what sidecars tell each other and cannot be edited"
    if not lowered or not _TOKEN.issuperset(lowered):
        return f"'{name}' is not a header name"
    return None


def value_problem(value: str) -> str:
    """Empty when ``value`` may stand in a header line, else what is wrong with it."""
    return "holds a line break or NUL" if any(character in value for character in "\r\n\0") else ""
