"""What is found under which path, and on which door. Text in, bytes out; no sockets."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec

from sidecar.admin.mask import masked
from sidecar.admin.request import Refusal, Request, check_browser
from sidecar.admin.state import AdminState
from sidecar.telemetry.exposition import CONTENT_TYPE

SECURITY_HEADERS: Final = (
    "X-Content-Type-Options: nosniff\r\n"
    "X-Frame-Options: DENY\r\n"
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
    "Cache-Control: no-store\r\n"
)
JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
HTML: Final = "text/html; charset=utf-8"
READ_ONLY: Final = "GET, HEAD"


class Answer(NamedTuple):
    """``allow`` is the Allow header of a 405."""

    status: int
    content_type: str
    body: bytes
    allow: str = ""


Page = Callable[[AdminState], Answer]


def _json(content: object) -> Answer:
    return Answer(200, JSON, msgspec.json.format(msgspec.json.encode(masked(content)), indent=2) + b"\n")


def _health(is_well: bool) -> Answer:
    return Answer(200, TEXT, b"ok\n") if is_well else Answer(503, TEXT, b"not now\n")


def _reload(state: AdminState) -> Answer:
    is_taken, text = state.reload()
    return Answer(200 if is_taken else 409, TEXT, text.encode("utf-8", "replace").rstrip() + b"\n")


def _drain(state: AdminState) -> Answer:
    state.drain()
    return Answer(202, TEXT, b"draining\n")


METRICS_PAGES: Final[Mapping[str, Page]] = {"/metrics": lambda state: Answer(200, CONTENT_TYPE, state.metrics())}
HEALTH_PAGES: Final[Mapping[str, Page]] = {
    "/healthz/live": lambda state: _health(state.live()),
    "/healthz/ready": lambda state: _health(state.ready()),
    "/healthz/started": lambda state: _health(state.started()),
}
ADMIN_PAGES: Final[Mapping[str, Page]] = {
    "/": lambda state: dashboard(state),
    "/config": lambda state: _json(state.config()),
    "/routes": lambda state: _json(state.routes()),
    "/upstreams": lambda state: _json(state.upstreams()),
    "/plugins": lambda state: _json(state.plugins()),
    "/stats": lambda state: _json(state.stats()),
    "/certs": lambda state: _json([]),
    **HEALTH_PAGES,
}
CHANGES: Final[Mapping[str, Page]] = {"/reload": _reload, "/drain": _drain}


class Door:
    """One address (or the Unix socket) with what may be had there."""

    __slots__ = ("changes", "is_guarded", "pages")

    def __init__(
        self, pages: Mapping[str, Page], *, is_guarded: bool = False, changes: Mapping[str, Page] | None = None
    ) -> None:
        self.pages = pages
        self.is_guarded = is_guarded
        """Browsers may reach it: Host and Origin are checked."""
        self.changes = changes or {}

    def find(self, request: Request) -> Page | Answer:
        """The page asked for, or why there is none; raises :class:`Refusal`."""
        if self.is_guarded:
            check_browser(request)
        method, path = request.method, request.path
        change = self.changes.get(path)
        if change is not None:
            return change if method == "POST" else _not_allowed("POST", "this is changed by POST")
        if path in CHANGES or method not in {"GET", "HEAD"}:
            return _not_allowed(READ_ONLY, "changes are made over the Unix socket only")
        page = self.pages.get(path)
        if page is None:
            raise Refusal(404, "no such page; there are " + " ".join(self.pages))
        return page


def _not_allowed(allow: str, reason: str) -> Answer:
    return Answer(405, TEXT, reason.encode() + b"\n", allow)


def refused(refusal: Refusal) -> Answer:
    return Answer(refusal.status, TEXT, refusal.reason.encode("utf-8", "replace") + b"\n")


def render(answer: Answer, method: str) -> bytes:
    """The answer on the wire; HEAD gets the head alone."""
    allow = f"Allow: {answer.allow}\r\n" if answer.allow else ""
    head = (
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n"
        f"Content-Type: {answer.content_type}\r\nContent-Length: {len(answer.body)}\r\n{allow}"
        f"{SECURITY_HEADERS}Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (b"" if method == "HEAD" else answer.body)


def dashboard(state: AdminState) -> Answer:
    """One page without scripts; everything that comes from elsewhere is escaped."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>sidecar</title>"
        "<style>body{font:14px/1.5 system-ui,sans-serif;margin:2em;max-width:70em}"
        "pre{background:#f4f4f4;padding:1em;overflow:auto}</style>"
        f"<h1>sidecar</h1><p>{'ready' if state.ready() else 'not ready'}</p><p>"
        + " ".join(f'<a href="{path}">{path}</a>' for path in ADMIN_PAGES)
        + "</p>"
    ]
    contents: tuple[tuple[str, Any], ...] = (
        ("Stats", state.stats()),
        ("Routes", state.routes()),
        ("Upstreams", state.upstreams()),
        ("Plugins", state.plugins()),
    )
    for title, content in contents:
        text = msgspec.json.format(msgspec.json.encode(masked(content)), indent=2).decode()
        parts.append(f"<h2>{title}</h2><pre>{html.escape(text)}</pre>")
    return Answer(200, HTML, "".join(parts).encode("utf-8", "replace"))
