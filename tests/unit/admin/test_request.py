from __future__ import annotations

import pytest

from sidecar.admin.request import Refusal, check_browser, is_loopback_host, parse_request


def head(line="GET / HTTP/1.1", *fields):
    return ("\r\n".join((line, *fields)) + "\r\n\r\n").encode("latin-1")


def status_of(data):
    with pytest.raises(Refusal) as refusal:
        parse_request(data)
    return refusal.value.status


def test_a_request_is_read():
    request = parse_request(head("GET /config?full=1 HTTP/1.1", "Host: localhost", "Content-Length: 5"))
    assert (request.method, request.path, request.query, request.body_size) == ("GET", "/config", "full=1", 5)
    assert request.headers["host"] == "localhost"


@pytest.mark.parametrize(
    "data, status",
    [
        (head("GET /"), 400),
        (head("GET / HTTP/2.0"), 400),
        (head("get / HTTP/1.1"), 400),
        (head("GET  / HTTP/1.1"), 400),
        (head("GET http://evil/ HTTP/1.1"), 400),
        (head("GET /a b HTTP/1.1"), 400),
        (head("GET /\x00 HTTP/1.1"), 400),
        (head("GET / HTTP/1.1", "no colon"), 400),
        (head("GET / HTTP/1.1", "name : value"), 400),
        (head("GET / HTTP/1.1", "a: b", " folded"), 400),
        (head("GET / HTTP/1.1", "a: b\nc: d"), 400),
        (head("GET / HTTP/1.1", "Host: a", "Host: b"), 400),
        (head("GET / HTTP/1.1", "Content-Length: -1"), 400),
        (head("GET / HTTP/1.1", "Content-Length: 1_0"), 400),
        (head("GET / HTTP/1.1", "Content-Length: 10000000"), 413),
        (head("GET / HTTP/1.1", "Content-Length: " + "9" * 100), 413),
        (head("GET / HTTP/1.1", "Transfer-Encoding: chunked"), 501),
        (head(f"GET /{'x' * 3000} HTTP/1.1"), 414),
    ],
)
def test_A3_everything_else_is_refused(data, status):
    assert status_of(data) == status


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:15000", "LOCALHOST", "127.0.0.1:15000", "127.9.9.9", "[::1]:15000"]
)
def test_A1_loopback_hosts(host):
    assert is_loopback_host(host)


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "127.0.0.1.evil.example", "10.0.0.1", "localhost.evil", "[::2]", "::1", "a@localhost", "1"],
)
def test_A1_other_hosts(host):
    assert not is_loopback_host(host)


@pytest.mark.parametrize(
    "fields, is_allowed",
    [
        (("Host: 127.0.0.1:15000",), True),
        (("Host: 127.0.0.1:15000", "Origin: http://127.0.0.1:15000"), True),
        (("Host: 127.0.0.1:15000", "Origin: http://localhost:3000"), False),
        (("Host: 127.0.0.1:15000", "Origin: null"), False),
        (("Host: 127.0.0.1:15000", "Sec-Fetch-Site: cross-site"), False),
        (("Host: 127.0.0.1:15000", "Sec-Fetch-Site: same-origin"), True),
        (("Host: rebound.example",), False),
        ((), False),
    ],
)
def test_A1_browsers_of_other_sites(fields, is_allowed):
    request = parse_request(head("GET / HTTP/1.1", *fields))
    if is_allowed:
        check_browser(request)
        return
    with pytest.raises(Refusal) as refusal:
        check_browser(request)
    assert refusal.value.status == 403
