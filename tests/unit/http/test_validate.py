"""The one validator: what is ambiguous is refused before anybody routes or judges it."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.http.headers import HeaderMap
from sidecar.http.validate import (
    canonical_host,
    check_authority,
    check_fields,
    check_path,
    check_request,
    content_length,
)


def request(method: bytes = b"GET", path: bytes | None = b"/", authority: bytes = b"shop") -> HeaderMap:
    pairs = [(b":method", method), (b":scheme", b"http"), (b":authority", authority)]
    return HeaderMap.of(pairs if path is None else [*pairs, (b":path", path)])


@pytest.mark.parametrize(
    "path",
    [b"/", b"/a/b/", b"/a.b/c..d", b"/...", b"/a;v=1", b"/%41", b"/a%20b", b"/%E2%82%AC", b"/?a=/../b//c",
     b"/a?x=%2F%2e", b"/.well-known/x", b"/a:b@c,d+e", b"/%25", b"/%252e%252e/x", b"/a?"],
)  # fmt: skip
def test_odd_but_lawful_paths_pass(path: bytes) -> None:
    assert check_path(path) == ""
    assert check_request(request(path=path)) is None


@pytest.mark.parametrize(
    ("row", "path"),
    [
        ("P1", b"/a/../b"), ("P1", b"/./a"), ("P1", b"/a/.."), ("P1", b"/..;/a"), ("P1", b"/a/..;x=y/b"),
        ("P2", b"/%2e%2e/a"), ("P2", b"/%2E./a"), ("P2", b"/.%2e"), ("P2", b"/..%3b/x"),
        ("P3", b"/a%2fb"), ("P3", b"/a%5Cb"), ("P3", b"/a\\b"),
        ("P4", b"//a"), ("P4", b"/a//b"),
        ("P7", b"/%00"), ("P7", b"/%0d%0a"), ("P7", b"/%zz"), ("P7", b"/%"), ("P7", b"/%c0%af"), ("P7", b"/%ff"),
        ("P8", b"/a#b"), ("P8", b"/a b"), ("P8", b"/\xc3\xa9"),
        ("P10", b"*"), ("P10", b"x"), ("P10", b""),
    ],
)  # fmt: skip
def test_path_tricks_are_refused(row: str, path: bytes) -> None:
    refusal = check_request(request(path=path))
    assert refusal is not None
    assert refusal.status == 400


def test_P10_the_asterisk_is_for_options() -> None:
    assert check_request(request(b"OPTIONS", b"*")) is None


@pytest.mark.parametrize("method", [b"get", b"GET /x", b"", b"G\tT", b"A" * 65])
def test_P13_a_method_is_an_upper_case_token(method: bytes) -> None:
    refusal = check_request(request(method))
    assert refusal is not None
    assert refusal.status == 400


def test_P13_unusual_methods_are_lawful() -> None:
    assert check_request(request(b"PURGE")) is None


def test_F19_connect_is_refused_unless_it_is_wanted() -> None:
    refusal = check_request(request(b"CONNECT", None, b"a:1"))
    assert refusal is not None
    assert refusal.status == 405
    assert check_request(request(b"CONNECT", None, b"a:1"), allows_connect=True) is None
    assert check_request(request(b"CONNECT", None, b"a"), allows_connect=True) is not None


@pytest.mark.parametrize("authority", [b"shop", b"shop:8080", b"Shop.Example.", b"[::1]:80", b"a_b", b"127.0.0.1:"])
def test_hosts_that_pass(authority: bytes) -> None:
    assert check_authority(authority) == ""


@pytest.mark.parametrize("authority", [b"u@h", b"a b", b"a,b", b"a/b", b"h:99999", b"h:x", b"[::1", b"-", b"a:1:2"])
def test_F16_hosts_that_do_not(authority: bytes) -> None:
    assert check_authority(authority) != ""


def test_P12_hosts_compare_in_one_form() -> None:
    same = {canonical_host(host) for host in (b"Shop", b"shop.", b"SHOP:80", b"shop.:80")}
    assert same == {b"shop"}
    assert canonical_host(b"shop:8080") == b"shop:8080"
    assert canonical_host(b"shop:443", b"https") == b"shop"
    assert canonical_host(b"[::1]") == b"[::1]"


@pytest.mark.parametrize(
    ("value", "number"), [(b"0", 0), (b"12", 12), (b"01", None), (b"+1", None), (b"1,1", None), (b"", None)]
)
def test_F2_a_length_is_one_plain_decimal(value: bytes, number: int | None) -> None:
    assert content_length(value) == number


def test_fields_that_may_be_written_anywhere() -> None:
    assert check_fields([(b"x-a", b"\xff ok\t"), (b":status", b"200")]) == ""
    for name, value in ((b"a b", b""), (b"", b""), (b"a", b"x\r\ny"), (b"a", b"\0")):
        assert check_fields([(name, value)]) != ""


PARTS = st.sampled_from([b"/", b".", b"%2e", b"%2F", b"a", b";", b"%25", b"%5c", b"\\", b"?", b"%00", b"~"])


@given(st.lists(PARTS, max_size=8))
def test_P17_what_passes_reads_the_same_after_one_decoding(parts: list[bytes]) -> None:
    target = b"/" + b"".join(parts)
    if check_path(target):
        return
    path = target.partition(b"?")[0]
    decoded = unquote_to_bytes(path)
    assert decoded.count(b"/") == path.count(b"/")
    assert b"\\" not in decoded
    assert not {segment.partition(b";")[0] for segment in decoded.split(b"/")} & {b".", b".."}
    assert b"//" not in decoded
