"""One attempt to hand a batch to a collector, over gRPC or HTTP, within a deadline that holds to the second.

Configured as the stock OTLP exporters are: ``tracing`` first, then OTEL_EXPORTER_OTLP_TRACES_* and
OTEL_EXPORTER_OTLP_* (ENDPOINT, PROTOCOL, HEADERS, TIMEOUT, COMPRESSION, CERTIFICATE, CLIENT_KEY, CLIENT_CERTIFICATE,
INSECURE). Redirects are never followed and at most 64 KiB of an answer are read.
"""

from __future__ import annotations

import gzip
import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from sidecar.telemetry.otlp import rejected_spans

TRACES_PATH: Final = "/v1/traces"
EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
DEFAULT_ENDPOINTS: Final = {"grpc": "http://localhost:4317", "http/protobuf": "http://localhost:4318"}
DEFAULT_TIMEOUT: Final = 10.0
MAX_ANSWER: Final = 64 << 10
RETRIABLE_STATUS: Final = frozenset({429, 502, 503, 504})
RETRIABLE_CODES: Final = frozenset(
    {"CANCELLED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}
)
"""OTLP specification, "Failures"."""


class Answer(NamedTuple):
    """``error`` empty: taken, except for ``rejected`` spans. ``retry_after`` is seconds, 0.0 when not told."""

    error: str = ""
    rejected: int = 0
    may_retry: bool = False
    retry_after: float = 0.0


class OtlpClient(Protocol):
    def send(self, body: bytes, timeout: float) -> Answer:
        """Try once, for at most ``timeout`` seconds; never raises for what a network or a collector can do."""

    def close(self) -> None: ...


class OtlpSettings(NamedTuple):
    """Where and how; made by :func:`settings_from`."""

    endpoint: str
    protocol: str
    headers: dict[str, str]
    timeout: float
    is_compressed: bool
    ca_file: str
    key_file: str
    cert_file: str
    is_insecure: bool


def settings_from(endpoint: str | None, protocol: str | None, environ: Mapping[str, str]) -> OtlpSettings:
    """The configuration's own words first, then the environment, then the defaults of the specification."""

    def lookup(name: str) -> str:
        return environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or environ.get(f"OTEL_EXPORTER_OTLP_{name}") or ""

    chosen = protocol or lookup("PROTOCOL") or "grpc"
    if chosen not in DEFAULT_ENDPOINTS:
        raise ValueError(f"OTLP protocol '{chosen}' is not available; use grpc or http/protobuf")
    is_exact = not endpoint and bool(environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
    url = endpoint or lookup("ENDPOINT") or DEFAULT_ENDPOINTS[chosen]
    if "://" not in url:
        url = "http://" + url
    if chosen == "http/protobuf" and not is_exact and not url.rstrip("/").endswith(TRACES_PATH):
        url = url.rstrip("/") + TRACES_PATH
    try:
        timeout = float(lookup("TIMEOUT") or DEFAULT_TIMEOUT)
    except ValueError:
        timeout = DEFAULT_TIMEOUT
    return OtlpSettings(
        url,
        chosen,
        parse_headers(lookup("HEADERS")),
        timeout,
        lookup("COMPRESSION").lower() == "gzip",
        lookup("CERTIFICATE"),
        lookup("CLIENT_KEY"),
        lookup("CLIENT_CERTIFICATE"),
        lookup("INSECURE").lower() == "true",
    )


def parse_headers(text: str) -> dict[str, str]:
    """``a=b,c=d`` with percent-encoded values, as in W3C Baggage; anything else in the list is passed over."""
    pairs = (part.split("=", 1) for part in text.split(",") if "=" in part)
    return {name.strip().lower(): unquote(value.strip()) for name, value in pairs if name.strip()}


def make_client(settings: OtlpSettings, agent: str) -> OtlpClient:
    """Build the client; call it on the exporter's thread, gRPC brings threads of its own."""
    return GrpcClient(settings, agent) if settings.protocol == "grpc" else HttpClient(settings, agent)


class GrpcClient:
    """A generic unary call on bytes: no message classes are loaded."""

    def __init__(self, settings: OtlpSettings, agent: str) -> None:
        import grpc  # type: ignore[import-untyped]  # grpcio ships no types

        self._grpc: Any = grpc
        url = urlsplit(settings.endpoint)
        target = url.netloc or url.path
        if url.port is None and ":" not in target.rpartition("]")[2]:
            target += ":4317"
        compression = grpc.Compression.Gzip if settings.is_compressed else grpc.Compression.NoCompression
        options = [
            ("grpc.primary_user_agent", agent),
            ("grpc.max_receive_message_length", MAX_ANSWER),
            ("grpc.enable_retries", 0),
            ("grpc.enable_http_proxy", 0),
            ("grpc.initial_reconnect_backoff_ms", 500),
            ("grpc.max_reconnect_backoff_ms", 5000),
        ]
        if url.scheme == "https" and not settings.is_insecure:
            credentials = grpc.ssl_channel_credentials(
                _read(settings.ca_file), _read(settings.key_file), _read(settings.cert_file)
            )
            self._channel = grpc.secure_channel(target, credentials, options, compression)
        else:
            self._channel = grpc.insecure_channel(target, options, compression)
        self._export = self._channel.unary_unary(EXPORT)
        self._metadata = tuple(settings.headers.items())

    def send(self, body: bytes, timeout: float) -> Answer:
        try:
            return Answer(rejected=rejected_spans(self._export(body, timeout=timeout, metadata=self._metadata)))
        except self._grpc.RpcError as error:
            code = error.code().name
            return Answer(f"grpc {code}", may_retry=code in RETRIABLE_CODES, retry_after=_pushback(error))

    def close(self) -> None:
        self._channel.close()


def _pushback(error: Any) -> float:
    """RetryInfo is a binary trailer; its Duration's seconds are enough."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-retry-pushback-ms" and value.isdigit():
            return int(value) / 1000
    return 0.0


def _read(path: str) -> bytes | None:
    return Path(path).read_bytes() if path else None


class HttpClient:
    """``POST`` of one protobuf body on a connection of its own."""

    def __init__(self, settings: OtlpSettings, agent: str) -> None:
        url = urlsplit(settings.endpoint)
        if url.scheme not in {"http", "https"} or not url.hostname:
            raise ValueError(f"'{settings.endpoint}' is no URL of a collector")
        self._host = url.hostname
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._is_compressed = settings.is_compressed
        self._tls: ssl.SSLContext | None = None
        if url.scheme == "https":
            self._tls = ssl.create_default_context(cafile=settings.ca_file or None)
            if settings.cert_file:
                self._tls.load_cert_chain(settings.cert_file, settings.key_file or None)
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        fields = {
            "host": url.netloc.rpartition("@")[2],
            "user-agent": agent,
            "content-type": "application/x-protobuf",
            "connection": "close",
            **settings.headers,
        }
        if self._is_compressed:
            fields["content-encoding"] = "gzip"
        lines = "".join(f"{name}: {_one_line(value)}\r\n" for name, value in fields.items())
        self._head = f"POST {target} HTTP/1.1\r\n{lines}".encode("latin-1", "replace")

    def send(self, body: bytes, timeout: float) -> Answer:
        deadline = time.monotonic() + timeout
        if self._is_compressed:
            body = gzip.compress(body, 1)
        try:
            return self._exchange(body, deadline)
        except ssl.SSLError as error:
            return Answer(f"tls: {error.reason or error}")
        except (OSError, http.client.HTTPException) as error:
            return Answer(f"{type(error).__name__}: {error}", may_retry=True)

    def close(self) -> None:
        """Connections end with their answer."""

    def _exchange(self, body: bytes, deadline: float) -> Answer:
        with socket.create_connection((self._host, self._port), timeout=_left(deadline)) as plain:
            sock = plain
            if self._tls is not None:
                plain.settimeout(_left(deadline))
                sock = self._tls.wrap_socket(plain, server_hostname=self._host)
            with sock:
                sock.settimeout(_left(deadline))
                sock.sendall(b"%scontent-length: %d\r\n\r\n%s" % (self._head, len(body), body))
                response = http.client.HTTPResponse(_Deadlined(sock, deadline))  # type: ignore[arg-type]  # makefile only
                response.begin()
                answer = response.read(MAX_ANSWER)
        if response.status == 200:
            return Answer(rejected=rejected_spans(answer))
        return Answer(
            f"http {response.status}",
            may_retry=response.status in RETRIABLE_STATUS,
            retry_after=_retry_after(response.getheader("retry-after")),
        )


class _DeadlinedFile(io.RawIOBase):
    """Reads that all share one deadline: a collector that drips bytes cannot hold the thread."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_left(self._deadline))
        return self._sock.recv_into(buffer)


class _Deadlined:
    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._file = _DeadlinedFile(sock, deadline)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._file)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the collector is too slow")
    return left


def _one_line(value: str) -> str:
    return value.replace("\r", " ").replace("\n", " ")


def _retry_after(value: str | None) -> float:
    """RFC 9110 section 10.2.3: seconds or a date."""
    if not value:
        return 0.0
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0
