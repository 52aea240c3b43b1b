"""Who listens where, and the two configurations. Text only; nothing is started here."""

from __future__ import annotations

import socket
import string
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

PLUGINS = Path(__file__).resolve().parents[1] / "plugins" / "dist"
BURST = 5
"""What the shop's rate limit lets through at once; the window refuses the one after."""


class _Sheet(string.Template):
    """``%name`` is filled in here; ``${NAME}`` stays for the sidecar, which replaces it from its environment."""

    delimiter = "%"


STOREFRONT = _Sheet("""\
# The sidecar beside `storefront`: customers come in, calls to `orders` go out.
node: {service: storefront, namespace: shop}
workers: 1

listeners:
  - {name: inbound, direction: inbound, address: "127.0.0.1:%inbound", tls: {mode: disable}}
  - {name: outbound, direction: outbound, address: "127.0.0.1:%outbound"}

upstreams:
  - {name: app, endpoints: ["127.0.0.1:%app"]}
  - {name: orders, endpoints: ["127.0.0.1:%peer"], match: {hosts: [orders.shop]}}

plugins:
  - name: rate-limit
    path: %plugins/rate-limit.wasm
    direction: inbound
    priority: 100
    config: {requests_per_second: 1, burst: %burst}
  - name: security-headers
    path: %plugins/header-edit.wasm
    direction: inbound
    priority: 50
    config:
      request: {remove: [x-internal]}
      response:
        remove: [x-powered-by]
        set: {x-content-type-options: nosniff, x-frame-options: DENY}
  - name: credentials              # the same module with another configuration, on the way out
    path: %plugins/header-edit.wasm
    direction: outbound
    priority: 50
    config:
      request: {set: {authorization: "Bearer ${SHOP_TOKEN}"}}
      response: {remove: [x-powered-by]}
  - name: access-log
    path: %plugins/access-log.wasm

routes:
  - {id: window, direction: inbound, path: /, upstream: app}
  - {id: buy, direction: inbound, path: "/buy/*", methods: [POST], upstream: app}
  - {id: stock, direction: outbound, host: orders.shop, path: "/stock/*", upstream: orders, timeout: 5s}
  - {id: order, direction: outbound, host: orders.shop, path: /orders, methods: [POST], upstream: orders, timeout: 5s}

""")

ORDERS = _Sheet("""\
# The sidecar beside `orders`, which lets in only who has a token.
node: {service: orders, namespace: shop}
workers: 1

listeners:
  - {name: inbound, direction: inbound, address: "127.0.0.1:%inbound", tls: {mode: disable}}

upstreams:
  - {name: app, endpoints: ["127.0.0.1:%app"]}

plugins:
  - name: auth
    path: %plugins/auth.wasm
    priority: 100
    config: {tokens: ["Bearer ${SHOP_TOKEN}"]}
  - name: json-guard
    path: %plugins/json-guard.wasm
    priority: 50
  - name: access-log
    path: %plugins/access-log.wasm

routes:
  - {id: stock, path: "/stock/*", upstream: app, plugins: [auth, access-log]}     # no body, nothing to guard
  - {id: order, path: /orders, methods: [POST], upstream: app}                    # every plugin

""")

COMMON = _Sheet("""\
tracing: {endpoint: "http://127.0.0.1:%collector"}
metrics: {address: "127.0.0.1:%metrics"}
health: {address: "127.0.0.1:%health"}
admin: {address: "127.0.0.1:%admin", socket: %folder/%service.sock}
access_log: {path: %folder/%service.access.log}
drain: {delay: 0s, timeout: 5s}
""")

SHEETS = {"storefront": STOREFRONT, "orders": ORDERS}
PORTS = ("app", "inbound", "outbound", "metrics", "health", "admin")


@dataclass(frozen=True, slots=True)
class Place:
    """One service with its sidecar: ports of loopback, and files in the demo's own folder."""

    service: str
    folder: Path
    app: int
    inbound: int
    outbound: int
    metrics: int
    health: int
    admin: int

    @property
    def config(self) -> Path:
        return self.folder / f"{self.service}.yaml"

    @property
    def access_log(self) -> Path:
        return self.folder / f"{self.service}.access.log"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.service}.log"

    @property
    def socket(self) -> Path:
        return self.folder / f"{self.service}.sock"


def free_ports(count: int) -> list[int]:
    """So many different TCP ports of loopback that nobody holds at this moment."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


def places(folder: Path, ports: list[int]) -> dict[str, Place]:
    """storefront and orders, given :func:`free_ports` of ``2 * len(PORTS)``."""
    size = len(PORTS)
    return {
        service: Place(service, folder, **dict(zip(PORTS, ports[at * size : (at + 1) * size], strict=True)))
        for at, service in enumerate(SHEETS)
    }


def config_text(place: Place, peer: Place, collector: int) -> str:
    """The YAML of the sidecar at ``place``; ``peer`` is the one it may call."""
    values = {name: getattr(place, name) for name in ("service", "folder", *PORTS)}
    values |= {"peer": peer.inbound, "collector": collector, "plugins": PLUGINS, "burst": BURST}
    return SHEETS[place.service].substitute(values) + COMMON.substitute(values)
