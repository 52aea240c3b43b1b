"""An OTLP receiver for traces over gRPC, from the published service definition: what the demo shows, tests use too.

``python -m demo.collector ADDRESS`` prints a line for each span it gets: a collector for those who have none.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    TraceServiceStub,
    add_TraceServiceServicer_to_server,
)

from demo.trace import spans_of

WELL_KNOWN = 4317
"""Where a collector usually listens on this machine."""
RELAY_SECONDS = 5.0

Export = Callable[[ExportTraceServiceRequest, Any], ExportTraceServiceResponse]
"""Takes a request and the call's context (metadata, abort), gives the answer; called from several threads."""


class _Service(TraceServiceServicer):
    def __init__(self, export: Export) -> None:
        self._export = export

    def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:
        return self._export(request, context)


@contextmanager
def trace_service(export: Export, port: int = 0, *, host: str = "127.0.0.1") -> Iterator[int]:
    """A TraceService for as long as the block runs; gives its port."""
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    add_TraceServiceServicer_to_server(_Service(export), server)
    bound = server.add_insecure_port(f"{host}:{port}")
    server.start()
    try:
        yield bound
    finally:
        server.stop(0).wait(5)


class Collector:
    """Keeps every request it gets; ``relay`` passes each on to another collector as well."""

    def __init__(self, relay: Relay | None = None) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self._relay = relay
        self._arrived = threading.Condition()

    def export(self, request: ExportTraceServiceRequest, _context: Any) -> ExportTraceServiceResponse:
        with self._arrived:
            self.requests.append(request)
            self._arrived.notify_all()
        if self._relay is not None:
            self._relay.send(request)
        return ExportTraceServiceResponse()

    def wait(self, is_enough: Callable[[list[ExportTraceServiceRequest]], bool], seconds: float) -> bool:
        """Until ``is_enough(requests)``; False when that did not come true in time."""
        end = time.monotonic() + seconds
        with self._arrived:
            while not is_enough(self.requests):
                if not self._arrived.wait(end - time.monotonic()) and time.monotonic() >= end:
                    return False
        return True


class Relay:
    """Passes requests on to the collector at ``port``; traffic never waits for it."""

    def __init__(self, port: int = WELL_KNOWN) -> None:
        self.address = f"127.0.0.1:{port}"
        self._channel = grpc.insecure_channel(self.address, options=[("grpc.enable_http_proxy", 0)])
        self._export = TraceServiceStub(self._channel).Export
        self._sent: list[Any] = []

    def send(self, request: ExportTraceServiceRequest) -> None:
        self._sent.append(self._export.future(request, timeout=RELAY_SECONDS))

    def failure(self) -> str:
        """Waits until everything sent so far is answered; what went wrong with it, or empty."""
        errors = [error for call in list(self._sent) if (error := call.exception()) is not None]
        return f"{errors[-1].code().name.lower()}: {errors[-1].details()}" if errors else ""

    def close(self) -> None:
        self._channel.close()


def listens(port: int = WELL_KNOWN) -> bool:
    """Whether somebody takes connections at this port of loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def main() -> None:
    """Receive and print until the process is ended."""

    def export(request: ExportTraceServiceRequest, _context: Any) -> ExportTraceServiceResponse:
        for span in spans_of([request]):
            words = (f"{span.service} {span.kind} {span.name}", f"{span.milliseconds:.1f} ms", f"trace {span.trace_id}")
            print(*words, f"span {span.span_id}", f"parent {span.parent_id or 'none'}", sep="  ", flush=True)
        return ExportTraceServiceResponse()

    host, _, port = sys.argv[1].rpartition(":")
    with trace_service(export, int(port), host=host):
        threading.Event().wait()


if __name__ == "__main__":
    main()
