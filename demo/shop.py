"""The two services. They know HTTP and their own business; tokens, limits, traces and logs are the sidecars' work."""

from __future__ import annotations

import http.client
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PASSED_ON = ("traceparent", "tracestate", "baggage", "x-request-id")
"""All that a service has to do for one trace across services: send on what it was sent."""
PATIENCE = 10.0


@dataclass
class Answer:
    """What came back; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: str


@dataclass
class Diary:
    """The requests that a service got: (method, path, headers with names in lower case)."""

    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def of(self, method: str, path: str) -> list[dict[str, str]]:
        return [headers for *what, headers in list(self.seen) if what == [method, path]]


def ask(
    port: int,
    method: str,
    path: str,
    *,
    host: str = "",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """One request to 127.0.0.1 on a connection of its own; raises OSError or http.client.HTTPException."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    sent = dict(headers or {})
    if host:
        sent["host"] = host
    if body is not None:
        sent["content-type"] = "application/json"
    try:
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, text)
    finally:
        connection.close()


class _Service(BaseHTTPRequestHandler):
    """What both services share; a subclass answers in :meth:`work`."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: else the second waits for the first one's acknowledgement
    diary: Diary

    def work(self, body: bytes) -> tuple[int, Any]:
        """Status and JSON content."""
        raise NotImplementedError

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.diary.seen.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
        status, content = self.work(body)
        answer = json.dumps(content).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("X-Powered-By", "the demo's shop")
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """The sidecars log."""


class Orders(_Service):
    """Knows what is left, and takes orders."""

    stock = {"tea": 41, "coffee": 7}

    def work(self, body: bytes) -> tuple[int, Any]:
        if self.command == "POST":
            order = json.loads(body)
            return 201, {"order": 1001, "item": order["item"], "quantity": order["quantity"]}
        item = self.path.removeprefix("/stock/")
        return 200, {"item": item, "left": self.stock.get(item, 0)}


class Storefront(_Service):
    """Sells: asks `orders` for the stock, then places the order. All it knows of `orders` is a port of its own host."""

    outbound = 0

    def work(self, body: bytes) -> tuple[int, Any]:
        if self.command == "GET":
            return 200, {"shop": "open"}
        item = self.path.removeprefix("/buy/")
        context = {name: value for name in PASSED_ON if (value := self.headers.get(name))}
        stock = ask(self.outbound, "GET", f"/stock/{item}", host="orders.shop", headers=context)
        if stock.status != 200 or json.loads(stock.body)["left"] < 1:
            return 409, {"sorry": f"no {item} today"}
        # The customer's words go on as they are: whether they are JSON is judged on the other side.
        placed = ask(self.outbound, "POST", "/orders", host="orders.shop", body=body, headers=context)
        if placed.status != 201:
            return placed.status, {"sorry": f"orders said: {placed.body.strip()}"}
        return 201, json.loads(placed.body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away is nothing to talk about; anything else is."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


@contextmanager
def open_shop(storefront: int, orders: int, outbound: int) -> Iterator[dict[str, Diary]]:
    """Both services on their ports; ``outbound`` is where the storefront finds `orders`."""
    diaries = {"storefront": Diary(), "orders": Diary()}
    handlers = {
        "storefront": type("Storefront", (Storefront,), {"diary": diaries["storefront"], "outbound": outbound}),
        "orders": type("Orders", (Orders,), {"diary": diaries["orders"]}),
    }
    servers: list[_Server] = []
    try:
        for service, port in (("storefront", storefront), ("orders", orders)):
            server = _Server(("127.0.0.1", port), handlers[service])
            servers.append(server)
            threading.Thread(target=server.serve_forever, args=(0.05,), name=service, daemon=True).start()
        yield diaries
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
