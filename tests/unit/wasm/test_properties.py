from __future__ import annotations

import pytest

from sidecar.errors import ErrorKind
from sidecar.http.headers import HeaderMap
from sidecar.wasm import properties
from sidecar.wasm.abi import pairs
from sidecar.wasm.settings import NodeInfo
from tests.support.guest import Guest, Say
from tests.support.plugins import House, Talk


def talking(**settings: object) -> tuple[Talk, object]:
    house = House()
    node = NodeInfo("orders-1", "shop", {"app": "orders"})
    plugin = house.plugin(
        Guest().on("proxy_on_request_headers", Say("x"), result=1),
        node=node,
        root_id="root",
        vm_id="vm",
        direction=2,
        **settings,
    )
    talk = Talk(house, plugin)
    talk.request(
        (b"host-like", b"1"), (b"x-a", b"1"), (b"x-a", b"2"), (b"user-agent", b"probe"), (b"x-request-id", b"id-1")
    )
    return talk, plugin._instance


def read(talk: Talk, instance: object, path: str) -> bytes | int:
    stream = next(context for context in instance.contexts.values() if context.facts is not None)  # type: ignore[attr-defined]
    instance.effective = stream  # type: ignore[attr-defined]
    return properties.read(instance, path.replace(".", "\0").encode())  # type: ignore[arg-type]


def number(value: int) -> bytes:
    return value.to_bytes(8, "little")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("request.path", b"/"),
        ("request.url_path", b"/"),
        ("request.query", b""),
        ("request.host", b"a"),
        ("request.scheme", b"http"),
        ("request.method", b"POST"),
        ("request.headers.x-a", b"1,2"),
        ("request.headers.X-A", b"1,2"),
        ("request.headers.host", b"a"),
        ("request.headers.x-none", 1),
        ("request.referer", 1),
        ("request.useragent", b"probe"),
        ("request.id", b"id-1"),
        ("request.protocol", b"HTTP/1.1"),
        ("request.time", number(1000 * 10**9)),
        ("request.duration", number(0)),
        ("request.size", number(0)),
        ("route.id", b"shop"),
        ("xds.route_name", b"shop"),
        ("cluster_name", 1),
        ("source.address", b"10.0.0.1:4"),
        ("source.port", number(4)),
        ("destination.address", b"10.0.0.2:15006"),
        ("destination.port", number(15006)),
        ("connection.id", number(7)),
        ("connection.mtls", b"\0"),
        ("connection.uri_san_peer_certificate", 1),
        ("upstream.address", 1),
        ("upstream.port", 1),
        ("response.code", 1),
        ("response.headers.x", 1),
        ("response.flags", 1),
        ("response.grpc_status", 1),
        ("response.backend_latency", 1),
        ("upstream.request_attempt_count", 1),
        ("listener_direction", number(1)),
        ("xds.listener_direction", number(1)),
        ("node.id", b"orders-1"),
        ("xds.node.cluster", b"shop"),
        ("node.metadata.app", b"orders"),
        ("node.metadata.none", 1),
        ("plugin_name", b"probe"),
        ("plugin_root_id", b"root"),
        ("plugin_vm_id", b"vm"),
        ("metadata", b""),
        ("", 3),
        ("request", 3),
        ("filter_state", 3),
        ("nothing", 1),
    ],
)
def test_abi_90_91_93_94_values_in_a_request(path: str, value: bytes | int) -> None:
    talk, instance = talking()
    assert read(talk, instance, path) == value


def test_abi_90_values_after_the_answer() -> None:
    talk, instance = talking()
    record = talk.record
    talk.exchange.response_headers = HeaderMap.of([(b":status", b"200"), (b"x-app", b"1"), (b"grpc-status", b"5")])
    talk.exchange.response_trailers = HeaderMap.of([(b"x-t", b"9")])
    record.response_body_bytes, record.details, record.error = 12, "via_upstream", ErrorKind.UPSTREAM_RESET
    record.upstream, record.upstream_address, record.attempts = "app", "[::1]:8080", 2
    record.upstream_start, record.response_start = 1000.0, 1000.5
    talk.timers.time += 0.25
    expected = {
        "response.code": number(200),
        "response.headers.x-app": b"1",
        "response.trailers.x-t": b"9",
        "response.code_details": b"via_upstream",
        "response.size": number(12),
        "response.total_size": number(12 + 10 + 6 + 12),
        "response.flags": number(0x40),
        "response.grpc_status": number(5),
        "response.backend_latency": number(500_000_000),
        "response.headers": pairs.encode(talk.exchange.response_headers.pairs()),
        "upstream.address": b"[::1]:8080",
        "upstream.port": number(8080),
        "upstream.request_attempt_count": number(2),
        "cluster_name": b"app",
        "request.duration": number(250_000_000),
    }
    assert {path: read(talk, instance, path) for path in expected} == expected
    record.end = 1000.1
    assert read(talk, instance, "request.duration") == number(int((1000.1 - 1000.0) * 1e9))


def test_the_root_context_knows_the_plugin_and_the_node_only() -> None:
    _, instance = talking()
    instance.effective = instance.root  # type: ignore[attr-defined]
    found = {
        path: properties.read(instance, path.encode())
        for path in ("plugin_name", "node\0id", "listener_direction", "request\0path", "anything")  # type: ignore[arg-type]
    }
    assert found == {
        "plugin_name": b"probe",
        "node\0id": b"orders-1",
        "listener_direction": number(2),
        "request\0path": 1,
        "anything": 1,
    }


def test_an_outbound_exchange_says_so() -> None:
    house = House()
    plugin = house.plugin(Guest().on("proxy_on_request_headers", result=1))
    talk = Talk(house, plugin, direction="outbound")
    talk.request()
    assert read(talk, plugin._instance, "listener_direction") == number(2)


def test_every_documented_path_is_answered_with_something_but_a_crash() -> None:
    talk, instance = talking()
    for path in properties.NAMES:
        assert isinstance(read(talk, instance, path), bytes | int)
