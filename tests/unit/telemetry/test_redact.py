from __future__ import annotations

from sidecar.telemetry.redact import cut_text, path_without_query, text_of


def test_bytes_that_are_no_text_are_replaced():
    assert text_of(b"a\xffb\0c") == "a�b�c"


def test_text_is_cut_to_its_limit_in_bytes():
    assert len(text_of(b"x" * 1_000_000)) == 4096
    assert len(cut_text("ä" * 1_000_000).encode()) <= 4096
    assert cut_text("short") == "short"
    assert cut_text("lone \udcff surrogate").encode("utf-8")


def test_a_path_loses_its_query():
    assert path_without_query(b"/a?token=x?y") == "/a"
    assert path_without_query(b"/a") == "/a"
    assert path_without_query(b"") == ""
