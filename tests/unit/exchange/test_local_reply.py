from __future__ import annotations

import pytest

from sidecar.errors import ErrorKind, ProxyError
from sidecar.exchange.filter import LocalReply
from sidecar.exchange.local_reply import STATUS, is_grpc, render, reply_for
from sidecar.http.headers import HeaderMap

PLAIN = HeaderMap()
GRPC = HeaderMap.of([(b"content-type", b"application/grpc+proto")])

CONTRACT = {
    "no_route": 404,
    "denied": 403,
    "plugin_failed": 503,
    "plugin_timeout": 503,
    "body_too_large": 413,
    "headers_too_large": 431,
    "bad_request": 400,
    "overloaded": 503,
    "upstream_connect": 503,
    "upstream_reset": 502,
    "upstream_timeout": 504,
    "upstream_tls": 503,
    "draining": 503,
    "request_timeout": 408,
}
"""Section 6 of the contract."""


def test_every_code_has_the_status_of_the_contract():
    assert {kind.value: status for kind, status in STATUS.items() if kind is not ErrorKind.INTERNAL} == CONTRACT
    assert set(STATUS) == set(ErrorKind)


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_a_refusal_says_its_code_and_nothing_of_its_reason(kind):
    head, body = render(reply_for(ProxyError(kind, "secret 10.0.0.7:8080")), PLAIN)
    assert head.get(b":status") == b"%d" % STATUS[kind]
    assert head.get(b"x-sidecar-error") == kind.value.encode()
    assert head.get(b"content-length") == b"0" and body == b""
    assert b"secret" not in repr(head).encode()


def test_S9_an_overload_says_when_to_come_back():
    head, _ = render(reply_for(ProxyError(ErrorKind.OVERLOADED)), PLAIN)
    assert head.get(b"retry-after") == b"1"


@pytest.mark.parametrize("status", [405, 414, 417, 501, 505])
def test_a_bad_request_may_have_a_status_of_its_own(status):
    head, _ = render(reply_for(ProxyError(ErrorKind.BAD_REQUEST, status=status)), PLAIN)
    assert (head.get(b":status"), head.get(b"x-sidecar-error")) == (b"%d" % status, b"bad_request")


def test_a_plugins_answer_is_its_own():
    reply = LocalReply(
        401,
        [(b"Set-Cookie", b"a"), (b"set-cookie", b"b"), (b"Content-Length", b"99"), (b":status", b"200")],
        b"who are you",
    )
    head, body = render(reply, PLAIN)
    assert head.fields == [
        (b":status", b"401", b":status"),
        (b"set-cookie", b"a", b"Set-Cookie"),
        (b"set-cookie", b"b", b"set-cookie"),
        (b"content-type", b"text/plain", b"content-type"),
        (b"content-length", b"11", b"content-length"),
    ]
    assert body == b"who are you" and b"x-sidecar-error" not in head


def test_a_type_that_the_plugin_named_stays():
    head, _ = render(LocalReply(200, [(b"Content-Type", b"application/json")], b"{}"), PLAIN)
    assert head.get_all(b"content-type") == [b"application/json"]


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_has_no_length(status):
    assert b"content-length" not in render(LocalReply(status), PLAIN)[0]


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"application/grpc;charset=utf-8", True),
        (b"application/grpc-web", False),
        (b"application/grpc-web+proto", False),
        (b"application/json", False),
    ],
)
def test_grpc_is_known_by_its_type(content_type, expected):
    assert is_grpc(HeaderMap.of([(b"content-type", content_type)])) is expected
    assert not is_grpc(PLAIN)


@pytest.mark.parametrize(
    ("kind", "grpc_status"),
    [
        (ErrorKind.NO_ROUTE, b"12"),
        (ErrorKind.DENIED, b"7"),
        (ErrorKind.OVERLOADED, b"14"),
        (ErrorKind.UPSTREAM_CONNECT, b"14"),
        (ErrorKind.UPSTREAM_TIMEOUT, b"4"),
        (ErrorKind.BODY_TOO_LARGE, b"8"),
        (ErrorKind.BAD_REQUEST, b"13"),
    ],
)
def test_grpc_callers_get_trailers_only(kind, grpc_status):
    head, body = render(reply_for(ProxyError(kind)), GRPC)
    assert head.pairs()[:3] == [
        (b":status", b"200"),
        (b"content-type", b"application/grpc"),
        (b"grpc-status", grpc_status),
    ]
    assert head.get(b"x-sidecar-error") == kind.value.encode() and body == b""


def test_a_grpc_message_is_percent_encoded_and_the_plugins_number_counts():
    head, body = render(LocalReply(401, [(b"grpc-status", b"0"), (b"x", b"y")], "nö\r\n".encode(), grpc_status=3), GRPC)
    assert head.get_all(b"grpc-status") == [b"3"]
    assert head.get(b"grpc-message") == b"n%C3%B6%0D%0A" and head.get(b"x") == b"y" and body == b""
