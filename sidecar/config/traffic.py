"""The blocks that say where traffic comes in and where it goes: ``listeners:`` and ``upstreams:``."""

from __future__ import annotations

from typing import Final

from sidecar.address import Address
from sidecar.config import model
from sidecar.config.block import Block
from sidecar.config.document import Mapping, Scalar, Sequence

BALANCERS: Final = ("round_robin", "random", "least_request", "p2c_ewma")


def read_listener(block: Block) -> model.Listener:
    _tls(block, ("strict", "permissive"))
    listener = model.Listener(
        name=block.required("name"),
        direction=_direction(block),
        addresses=_addresses(block),
        protocol=block.choice("protocol", "auto", ("auto", "http"), ("http2", "http3", "tcp")),
        upstream=block.text("upstream") or None,
        line=block.node.line,
    )
    block.choice("original_dst", "none", ("none",), ("redirect", "tproxy"))
    block.finish()
    return listener


def _direction(block: Block) -> str:
    if not block.has("direction"):
        block.complain("direction", "is required: 'inbound' or 'outbound'")
    return block.choice("direction", "inbound", ("inbound", "outbound"))


def _addresses(block: Block) -> tuple[Address, ...]:
    node = block.get("address")
    if node is None:
        block.complain("address", "is required")
        return ()
    items = node.items if isinstance(node, Sequence) else [node]
    found: list[Address] = []
    for item in items:
        if isinstance(item, Scalar):
            address = block.as_address("address", item)
            if address is not None:
                if not is_ip(address):
                    block.complain("address", f"'{item.text}': a listener needs an IP address, not a name", item)
                found.append(address)
        else:
            block.complain("address", "must be HOST:PORT or a list of them", item)
    if not items:
        block.complain("address", "names no address")
    if len(set(found)) < len(found):
        block.complain("address", "names an address twice")
    return tuple(found)


def is_ip(address: Address) -> bool:
    host = address.host
    return ":" in host or (all(part.isdigit() and int(part) < 256 for part in host.split(".")) and host.count(".") == 3)


def _tls(block: Block, later: tuple[str, ...]) -> None:
    tls = block.block("tls")
    if tls is not None:
        tls.choice("mode", "disable", ("disable",), later)
        tls.later("expect", "ca_file", "server_name")
        tls.finish()


def read_upstream(block: Block) -> model.Upstream:
    _tls(block, ("mesh", "simple"))
    block.later("health_check", "outlier")
    circuit = block.block("circuit_breaker") or Block(Mapping(block.node.file, block.node.line), "", [])
    upstream = model.Upstream(
        name=block.required("name"),
        endpoints=_endpoints(block),
        protocol=block.choice("protocol", "auto", ("auto", "http1"), ("http2", "http3", "tcp")),
        match=_match(block),
        load_balancer=block.choice("load_balancer", "p2c_ewma", BALANCERS, ("ring_hash",)),
        connect_timeout=block.duration("connect_timeout", 5.0, 0.01),
        idle_timeout=block.duration("idle_timeout", 60.0, 0.1),
        max_connections=_count(block, circuit, "max_connections", 1024),
        max_pending=_count(block, circuit, "max_pending", 1024),
        max_requests=_count(block, circuit, "max_requests", 4096),
        retry_budget=block.number("retry_budget", 0.2, 0.0, 1.0),
        line=block.node.line,
    )
    circuit.finish()
    block.finish()
    return upstream


def _count(block: Block, circuit: Block, key: str, default: int) -> int:
    """``key`` beside the endpoints, or inside ``circuit_breaker``."""
    if circuit.has(key):
        if block.has(key):
            block.complain(key, "stands in 'circuit_breaker' too: one of the two")
        return circuit.integer(key, default, 1, 1_000_000)
    return block.integer(key, default, 1, 1_000_000)


def _endpoints(block: Block) -> tuple[model.Endpoint, ...]:
    found: list[model.Endpoint] = []
    for index, node in enumerate(block.items("endpoints")):
        key = f"endpoints[{index}]"
        if isinstance(node, Scalar):
            address = block.as_address(key, node)
            if address is not None:
                found.append(model.Endpoint(address))
        elif isinstance(node, Mapping):
            inner = Block(node, block.where(key), block.problems)
            host, port = inner.required("host"), inner.integer("port", 0, 1, 65535)
            if not inner.has("port"):
                inner.complain("port", "is required")
            found.append(model.Endpoint(Address(host.strip("[]"), port), inner.integer("weight", 1, 1, 1_000_000)))
            inner.finish()
        else:
            block.complain(key, "must be HOST:PORT or {host, port, weight}", node)
    if not block.has("endpoints"):
        block.complain("endpoints", "is required")
    elif not block.items("endpoints"):
        block.complain("endpoints", "names no endpoint")
    return tuple(found)


def _match(block: Block) -> model.Match | None:
    inner = block.block("match")
    if inner is None:
        return None
    inner.later("cidrs", "ports")
    hosts = inner.texts("hosts")
    for host in hosts:
        if not host or "*" in host.removeprefix("*.") or "/" in host or host != host.strip():
            inner.complain("hosts", f"'{host}' is not a host name or *.suffix")
    inner.finish()
    return model.Match(hosts)
