from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.route.match import decoded_path, host_to_match, raw_length, without_port


@pytest.mark.parametrize(
    ("authority", "name", "host"),
    [
        (b"a", b"a", b"a"),
        (b"A.Shop.", b"A.Shop.", b"a.shop"),
        (b"a:80", b"a", b"a"),
        (b"a.:443", b"a.", b"a"),
        (b"a:8080", b"a", b"a:8080"),
        (b"a:", b"a", b"a"),
        (b"[::1]", b"[::1]", b"[::1]"),
        (b"[::1]:80", b"[::1]", b"[::1]"),
        (b"[::1]:8080", b"[::1]", b"[::1]:8080"),
        (b"", b"", b""),
    ],
)
def test_P12_hosts_compare_without_case_dot_and_default_port(authority, name, host):
    assert without_port(authority) == name
    assert host_to_match(authority) == host


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/%61dmin?x=%62", b"/admin"),
        (b"/a%2525", b"/a%25"),
        (b"/%", b"/%"),
        (b"/%4", b"/%4"),
        (b"/%zz%41", b"/%zzA"),
        (b"*", b"*"),
        (b"?", b""),
    ],
)
def test_escapes_are_undone_exactly_once(target, path):
    assert decoded_path(target) == path


@given(st.lists(st.sampled_from([b"a", b"/", b"%41", b"%2", b"%", b"%7e", b"%25"]), max_size=12).map(b"".join))
def test_raw_length_finds_the_same_place_in_the_undecoded_path(raw):
    decoded = decoded_path(raw)
    for size in range(len(decoded) + 1):
        cut = raw_length(raw, size)
        if decoded_path(raw[:cut]) + decoded_path(raw[cut:]) == decoded:
            assert decoded_path(raw[:cut]) == decoded[:size]
