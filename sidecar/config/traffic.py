"""The blocks that say where traffic comes in and where it goes: ``listeners:`` and ``upstreams:``."""

from __future__ import annotations

from typing import Final

from sidecar.address import Address
from sidecar.config import model
from sidecar.config.block import Block, host_problem
from sidecar.config.document import Mapping, Scalar, Sequence
from sidecar.http.validate import check_authority

BALANCERS: Final = ("round_robin", "random", "least_request", "p2c_ewma")


def read_listener(block: Block) -> model.Listener:
    _tls(block, ("strict", "permissive"))
    listener = model.Listener(
        name=block.name(),
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
    block.require("direction", "is required: 'inbound' or 'outbound'")
    return block.choice("direction", "inbound", ("inbound", "outbound"))


def _addresses(block: Block) -> tuple[Address, ...]:
    if not block.require("address"):
        return ()
    node = block.get("address")
    items = node.items if isinstance(node, Sequence) else [node]
    found: list[Address] = []
    for index, item in enumerate(items):
        key = f"address[{index}]" if isinstance(node, Sequence) else "address"
        if isinstance(item, Scalar):
            address = block.as_address(key, item)
            if address is not None and block.check_ip(key, address, item):
                if address in found:
                    block.complain(key, f"{address} stands here twice", item)
                found.append(address)
        else:
            block.complain(key, "must be IP:PORT or a list of them", item)
    if not items:
        block.complain("address", "names no address")
    return tuple(found)


def _tls(block: Block, later: tuple[str, ...], *later_keys: str) -> None:
    tls = block.block("tls")
    if tls is not None:
        tls.require("mode")
        tls.choice("mode", "disable", ("disable",), later)
        tls.later(*later_keys)
        tls.finish()


def read_upstream(block: Block) -> model.Upstream:
    _tls(block, ("mesh", "simple"), "expect", "ca_file", "server_name")
    block.later("health_check", "outlier")
    circuit = block.block("circuit_breaker") or Block(Mapping(block.node.file, block.node.line), "", [])
    upstream = model.Upstream(
        name=block.name(),
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
    seen: set[Address] = set()
    if not block.require("endpoints"):
        return ()
    nodes = block.items("endpoints")
    for index, node in enumerate(nodes):
        key = f"endpoints[{index}]"
        endpoint: model.Endpoint | None = None
        if isinstance(node, Scalar):
            address = block.as_address(key, node)
            endpoint = model.Endpoint(address) if address is not None else None
        elif isinstance(node, Mapping):
            endpoint = _endpoint(Block(node, block.where(key), block.problems))
        else:
            block.complain(key, "must be HOST:PORT or {host, port, weight}", node)
        if endpoint is not None:
            if endpoint.address in seen:
                block.complain(key, f"{endpoint.address} stands here twice: give one a weight instead", node)
            seen.add(endpoint.address)
            found.append(endpoint)
    if not nodes and isinstance(block.get("endpoints"), Sequence):
        block.complain("endpoints", "names no endpoint")
    return tuple(found)


def _endpoint(block: Block) -> model.Endpoint | None:
    host, port = block.required("host").removeprefix("[").removesuffix("]"), block.integer("port", 0, 1, 65535)
    block.require("port")
    weight = block.integer("weight", 1, 1, 1_000_000)
    block.finish()
    reason = host_problem(host) if host else ""
    if reason:
        block.complain("host", reason)
    return model.Endpoint(Address(host, port), weight) if host and port and not reason else None


def _match(block: Block) -> model.Match | None:
    inner = block.block("match")
    if inner is None:
        return None
    inner.later("cidrs", "ports")
    hosts = inner.texts("hosts", empty="is empty, and so matches nothing")
    for host in hosts:
        if not is_host_condition(host):
            inner.complain("hosts", f"'{host[:60]}' is not a host name or *.suffix")
    inner.finish()
    return model.Match(hosts)


def is_host_condition(host: str) -> bool:
    """A host as a request names it, with or without a port, or ``*.suffix``."""
    bare = host.removeprefix("*.")
    return bool(bare) and bare.isascii() and not check_authority(bare.encode())
