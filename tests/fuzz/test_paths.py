"""Row P17 for paths: the quick look and the careful one agree, and what passes reads the same to whoever decodes it."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote_to_bytes

from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.http.headers import HeaderMap
from sidecar.http.validate import check_path, check_request

PIECES = [
    b"/", b"/", b"a", b".", b"..", b"%2e", b"%2E", b"%2f", b"%5c", b"\\", b";", b"%3b", b"%3B", b"?", b"#", b"%",
    b"%25", b"%252e",
    b"%00", b"%0a", b"%zz", b"%c0%af", b"%e2%82%ac", b" ", b"\xe9", b"//", b"x.y", b"...", b"=", b"&", b"~", b"*",
    b"@", b":",
]  # fmt: skip
TAILS = st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join)
PATHS = TAILS.map(lambda tail: b"/" + tail) | st.binary(max_size=8)


def fuzz_path_canon(path: bytes) -> None:
    head = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", path)]
    is_refused = check_request(HeaderMap.of(head)) is not None
    assert is_refused == bool(check_path(path)), "the quick look and the careful one differ"
    if is_refused:
        return
    plain = path.partition(b"?")[0]
    once = unquote_to_bytes(plain)
    for seen in (plain, once):
        # Cutting parameters off, before or after decoding, as some servers do, makes no dots either.
        for text in (seen, b"/".join(part.partition(b";")[0] for part in seen.split(b"/"))):
            assert not {b".", b".."} & set(text.split(b"/"))
        assert b"\\" not in seen and b"//" not in seen and b"\x00" not in seen
        assert posixpath.normpath(seen) == (seen.rstrip(b"/") or b"/")
    assert once.count(b"/") == plain.count(b"/")
    once.decode()


@given(PATHS)
@example(b"/..%3bx/a")
@example(b"/%2e%3b")
@example(b"/a/;/b")
@example(b"/;a=1/x")
def test_P17_a_path_that_passes_reads_the_same_to_everybody(path: bytes) -> None:
    fuzz_path_canon(path)
