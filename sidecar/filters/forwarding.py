"""What a request tells the next hop about the last one: ``x-forwarded-*``, ``x-request-id``; forgeries removed.

Runs first, so that plugins see the request as the app will. Names that only the mesh may set
(``x-forwarded-client-cert``, ``x-sidecar-*``) never pass from outside, nor do their underscore look-alikes, which
some application servers fold into the same variable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sidecar.exchange.filter import CONTINUE, ExchangeView, Filter, Phase, Status
from sidecar.http.events import RequestHeaders
from sidecar.http.semantics import is_forged

MAX_ID: Final = 256
"""Bytes of a caller's request id that are kept for log and plugins; the header itself goes on as it came."""


_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""The two bits of the variant, whatever the digit was."""


def request_id(bits: int) -> bytes:
    """A version 4 UUID in text (RFC 9562 section 5.4) made from 128 random bits."""
    text = bits.to_bytes(16, "big").hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:]}".encode()


class ForwardingFilter(Filter):
    """Inbound appends the peer's address to ``x-forwarded-for``; outbound the peer is our own app, known to nobody."""

    __slots__ = ("_appends_peer", "_random_bits", "_view")

    def __init__(self, view: ExchangeView, random_bits: Callable[[int], int], appends_peer: bool) -> None:
        self._view = view
        self._random_bits = random_bits
        self._appends_peer = appends_peer

    def on_request_headers(self, event: RequestHeaders) -> Status:
        headers = event.headers
        record = self._view.record
        known_id = b""
        has_proto = False
        forwarded_for: int | None = None
        dropped: list[int] = []
        for index, field in enumerate(headers.fields):
            name = field[0]
            if name[:2] == b"x-":
                if name == b"x-request-id":
                    if known_id or not field[1]:
                        # One id for the app, the plugins and the log, whichever of several the reader takes.
                        dropped.append(index)
                    else:
                        known_id = field[1]
                elif name == b"x-forwarded-proto":
                    has_proto = True
                elif name == b"x-forwarded-for":
                    forwarded_for = index
                elif is_forged(name):
                    if name == b"x-sidecar-attempt" and field[1] != b"1":
                        record.is_retry = True
                    dropped.append(index)
            elif b"_" in name and is_forged(name):
                dropped.append(index)
        fields = headers.fields
        if self._appends_peer:
            peer = record.connection.source.host.encode()
            if forwarded_for is None:
                fields.append((b"x-forwarded-for", peer, b"x-forwarded-for"))
            else:
                name, value, spelling = fields[forwarded_for]
                fields[forwarded_for] = (name, value + b"," + peer if value else peer, spelling)
        if not has_proto:
            fields.append((b"x-forwarded-proto", headers.get(b":scheme") or b"http", b"x-forwarded-proto"))
        if not known_id:
            known_id = request_id(self._random_bits(128))
            fields.append((b"x-request-id", known_id, b"x-request-id"))
        for index in reversed(dropped):
            del fields[index]
        record.request_id = known_id[:MAX_ID].decode("latin-1")
        # Plugins come next. What they change counts from here: it is judged and routed again.
        headers.revision = 0
        return CONTINUE


class ForwardingFilterFactory:
    phases = frozenset({Phase.REQUEST_HEADERS})

    def __init__(self, random_bits: Callable[[int], int], appends_peer: bool) -> None:
        self._random_bits = random_bits
        self._appends_peer = appends_peer

    def create(self, view: ExchangeView) -> Filter:
        return ForwardingFilter(view, self._random_bits, self._appends_peer)
