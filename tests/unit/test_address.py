"""Addresses as text, and what is known of them."""

from __future__ import annotations

import pytest

from sidecar.address import Address, parse_address


@pytest.mark.parametrize("text", ["127.0.0.1:80", "[::1]:15006", "app.shop:8080"])
def test_text_and_back(text: str) -> None:
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("127.0.0.1", "HOST:PORT"),
        (":80", "HOST:PORT"),
        ("::1:80", "brackets"),
        ("a:0", "1 to 65535"),
        ("a:65536", "1 to 65535"),
        ("a:x", "1 to 65535"),
        ("a:٣", "1 to 65535"),
        ("[zz]:80", "zz"),
    ],
)
def test_what_is_no_address_says_why(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_address(text)


def test_Y9_only_a_literal_is_known_to_be_loopback() -> None:
    assert Address("127.8.0.1", 1).is_loopback
    assert Address("::1", 1).is_loopback
    assert not Address("localhost", 1).is_loopback
    assert not Address("10.0.0.1", 1).is_loopback
