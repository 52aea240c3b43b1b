"""Request targets that are no path."""

from __future__ import annotations

import pytest

from sidecar.codec.h1.names import HOST, HeadError
from sidecar.codec.h1.target import apply_target
from sidecar.http.headers import Field


def head(method: bytes, target: bytes, host: bytes = b"orders") -> list[Field]:
    return [
        (b":method", method, b":method"),
        (b":scheme", b"http", b":scheme"),
        (b":authority", host, b"Host"),
        (b":path", target, b":path"),
    ]


@pytest.mark.parametrize(
    ("target", "authority", "path"),
    [
        (b"http://orders/x?y=1", b"orders", b"/x?y=1"),
        (b"http://ORDERS:80/x", b"ORDERS:80", b"/x"),
        (b"HTTP://orders", b"orders", b"/"),
        (b"http://orders?y", b"orders", b"/?y"),
        (b"http://orders//x", b"orders", b"//x"),
    ],
)
def test_absolute_form_becomes_origin_form(target: bytes, authority: bytes, path: bytes) -> None:
    fields = head(b"GET", target)
    apply_target(fields, HOST)
    assert [field[:2] for field in fields[2:]] == [(b":authority", authority), (b":path", path)]
    assert fields[2][2] == b"Host"


@pytest.mark.parametrize(
    "target",
    [
        b"http://other/x", b"http://orders:81/x", b"http:///x", b"http:/x", b"ftp://orders/x", b"x", b"orders/x",
        b"http://orders/x#y", b"//orders/x"[2:],
    ],
)  # fmt: skip
def test_what_names_another_host_or_nothing_is_refused(target: bytes) -> None:
    with pytest.raises(HeadError) as caught:
        apply_target(head(b"GET", target), HOST)
    assert caught.value.status == 400


def test_connect_has_an_authority_and_no_path() -> None:
    fields = head(b"CONNECT", b"orders:443", b"orders:443")
    apply_target(fields, HOST)
    assert [field[0] for field in fields] == [b":method", b":scheme", b":authority"]


def test_asterisk_is_left_for_the_validator() -> None:
    fields = head(b"OPTIONS", b"*")
    apply_target(fields, HOST)
    assert fields == head(b"OPTIONS", b"*")


def test_absolute_form_without_host_needs_no_agreement() -> None:
    fields = head(b"GET", b"http://other/x", b"")
    apply_target(fields, 0)
    assert fields[2][1] == b"other"


@pytest.mark.parametrize(
    ("target", "path"), [(b"http://orders", b"*"), (b"http://orders/", b"/"), (b"http://orders?a", b"/?a")]
)
def test_options_without_a_path_asks_about_the_server(target: bytes, path: bytes) -> None:
    fields = head(b"OPTIONS", target)
    apply_target(fields, HOST)
    assert fields[3][1] == path
