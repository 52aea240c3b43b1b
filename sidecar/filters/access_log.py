"""One line per exchange, made from its record when it is over.

Query values, header values other than the user agent, and bodies never appear: they are where secrets travel. A
line is always one line: JSON escapes what is not printable, and so does the text form.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from sidecar.exchange.filter import ExchangeView, Filter, Phase
from sidecar.http.headers import HeaderMap
from sidecar.telemetry.access_line import AccessLogLine
from sidecar.telemetry.redact import path_without_query, text_of

if TYPE_CHECKING:
    from sidecar.config import model as config

MAX_VALUE: Final = 2048
"""Bytes kept of a path, an authority or a user agent."""


class LineSink(Protocol):
    def write(self, line: bytes) -> None: ...


TEXT_FIELDS: Final = AccessLogLine.__struct_fields__

_encode = msgspec.json.Encoder().encode


class AccessLogFilter(Filter):
    __slots__ = ("_factory", "_view")

    def __init__(self, factory: AccessLogFilterFactory, view: ExchangeView) -> None:
        self._factory = factory
        self._view = view

    def on_log(self) -> None:
        self._factory.write(self._view)


class AccessLogFilterFactory:
    """``settings.format`` is ``json`` or ``text``."""

    def __init__(self, sink: LineSink, settings: config.AccessLog) -> None:
        self.phases = frozenset({Phase.LOG}) if settings.enabled else frozenset()
        self._sink = sink
        self._is_text = settings.format == "text"
        self._second = -1
        self._second_text = ""

    def create(self, view: ExchangeView) -> Filter:
        return AccessLogFilter(self, view)

    def write(self, view: ExchangeView) -> None:
        record = view.record
        connection = record.connection
        authority, agent = _authority_and_agent(view.request_headers)
        span = record.span
        error = record.error
        source = connection.source
        line = AccessLogLine(
            self._stamp(record.start_unix_nanos),
            connection.direction,
            connection.listener,
            text_of(record.method, MAX_VALUE),
            path_without_query(record.path, MAX_VALUE),
            authority,
            record.http_version,
            record.status,
            error.value if error is not None else "",
            record.error_detail,
            round((record.end - record.start) * 1e3, 3),
            record.request_body_bytes,
            record.response_body_bytes,
            record.route_id,
            record.upstream,
            record.upstream_address,
            record.attempts,
            record.request_id,
            span.trace_id.hex() if span is not None else "",
            f"{source[0]}:{source[1]}" if ":" not in source[0] else str(source),
            connection.peer_id,
            agent,
            record.details,
        )
        if self._is_text:
            self._sink.write(text_line(line))
            return
        try:
            self._sink.write(_encode(line) + b"\n")
        except UnicodeEncodeError:  # lone surrogates, from bytes that were never text
            self._sink.write(_encode(_cleaned(line)) + b"\n")

    def _stamp(self, unix_nanos: int) -> str:
        """RFC 3339, UTC, milliseconds; the part before them is made once a second."""
        milliseconds = unix_nanos // 1_000_000
        second = milliseconds // 1000
        if second != self._second:
            self._second = second
            self._second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        return f"{self._second_text}{milliseconds % 1000:03d}Z"


def text_line(line: AccessLogLine) -> bytes:
    """``time direction "METHOD path protocol" status duration``, then ``key=value`` for the rest that is there."""
    head = (
        f'{line.time} {line.direction} "{line.method} {line.path} {line.protocol}" {line.status} {line.duration_ms}ms'
    )
    rest = [
        f"{name}={_word(value)}"
        for name in TEXT_FIELDS
        if name not in {"time", "direction", "method", "path", "protocol", "status", "duration_ms"}
        and (value := getattr(line, name)) not in ("", -1)
    ]
    return (" ".join([_printable(head), *rest]) + "\n").encode("utf-8", "replace")


def _word(value: object) -> str:
    text = _printable(str(value))
    return text if " " not in text and '"' not in text else '"' + text.replace('"', '\\"') + '"'


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _cleaned(line: AccessLogLine) -> AccessLogLine:
    for name in TEXT_FIELDS:
        value = getattr(line, name)
        if isinstance(value, str):
            setattr(line, name, value.encode("utf-8", "replace").decode())
    return line


def _authority_and_agent(headers: HeaderMap) -> tuple[str, str]:
    authority = agent = ""
    for name, value, _ in headers.fields:
        if name == b":authority":
            authority = text_of(value, MAX_VALUE)
        elif name == b"user-agent":
            agent = text_of(value, MAX_VALUE)
            break
    return authority, agent
