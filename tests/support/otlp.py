"""OTLP receivers that behave, or misbehave in the way asked: a gRPC service and an HTTP server, on loopback.

Both use the classes published in opentelemetry-proto, so that what they accept is what any collector accepts.
"""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from demo.collector import trace_service
from tests.support.wait import DEADLINE, eventually


class Received:
    """What has arrived; safe to read while more arrives. ``behave`` is the status (or code) of the next answers."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.endpoint = ""
        self.calls = 0
        self.fail_next = 0
        """How many answers say "unavailable" before the next good one."""
        self.fail_forever: Any = None
        """A status or code that every answer has."""
        self.rejected = 0
        """Spans a partial success claims to have rejected, in every answer."""

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def services(self) -> set[str]:
        """``service.name`` of every resource seen."""
        return {
            attribute.value.string_value
            for request in list(self.requests)
            for resource in request.resource_spans
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        }

    def wait_for(self, count: int, deadline: float = DEADLINE) -> list[Span]:
        """At least ``count`` spans, or AssertionError."""
        eventually(lambda: len(self.spans) >= count, deadline)
        return self.spans

    def answer(self) -> ExportTraceServiceResponse:
        partial = ExportTracePartialSuccess(rejected_spans=self.rejected) if self.rejected else None
        return ExportTraceServiceResponse(partial_success=partial)

    def should_fail(self) -> bool:
        self.calls += 1
        if self.fail_next:
            self.fail_next -= 1
            return True
        return False


def attributes_of(span: Span) -> dict[str, Any]:
    """A span's attributes as plain values."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


@contextmanager
def grpc_receiver(port: int = 0) -> Iterator[Received]:
    """A TraceService; ``endpoint`` is what ``tracing.endpoint`` should say."""
    received = Received()

    def export(request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:
        if received.should_fail():
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        if received.fail_forever is not None:
            context.abort(received.fail_forever, "never")
        received.headers.append({key: value for key, value in context.invocation_metadata() if isinstance(value, str)})
        received.requests.append(request)
        return received.answer()

    with trace_service(export, port) as bound:
        received.endpoint = f"http://127.0.0.1:{bound}"
        yield received


@contextmanager
def http_receiver(answer: Callable[[BaseHTTPRequestHandler], bool] | None = None) -> Iterator[Received]:
    """An OTLP/HTTP server. ``answer`` may answer a request itself; it returns True when it did."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if answer is not None and answer(self):
                received.calls += 1
                return
            if self.path != "/v1/traces" or self.headers["content-type"] != "application/x-protobuf":
                self.send_error(404)
                return
            if received.should_fail():
                self.send_error(503)
                return
            if received.fail_forever is not None:
                self.send_error(received.fail_forever)
                return
            if self.headers["content-encoding"] == "gzip":
                body = gzip.decompress(body)
            received.headers.append({name.lower(): value for name, value in self.headers.items()})
            received.requests.append(ExportTraceServiceRequest.FromString(body))
            payload = received.answer().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_args: None  # type: ignore[method-assign]  # clients that give up are the point
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    received.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def black_hole() -> Iterator[str]:
    """An endpoint that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as sock:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@contextmanager
def dripping() -> Iterator[str]:
    """An endpoint that answers one byte every tenth of a second, without end."""
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        try:
            for byte in b"HTTP/1.1 200 OK\r\nx-a: " + b"y" * 100_000:
                if stop.is_set():
                    break
                connection.sendall(bytes((byte,)))
                time.sleep(0.1)
        except OSError:
            pass
        finally:
            connection.close()

    def serve(sock: socket.socket) -> None:
        while True:
            try:
                connection, _ = sock.accept()
            except OSError:
                return
            threading.Thread(target=drip, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as sock:
        threading.Thread(target=serve, args=(sock,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            stop.set()


def closed_port() -> str:
    """An endpoint where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return f"http://127.0.0.1:{sock.getsockname()[1]}"
