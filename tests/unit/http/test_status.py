"""Status lines for every code, the standard phrase where there is one."""

from __future__ import annotations

from sidecar.http.status import BODILESS, REASON, STATUS_LINE


def test_every_code_has_its_line() -> None:
    assert STATUS_LINE[b"200"] == b"HTTP/1.1 200 OK\r\n"
    assert STATUS_LINE[b"599"] == b"HTTP/1.1 599 \r\n"
    assert len(STATUS_LINE) == 500
    assert set(REASON) <= set(range(100, 600))


def test_answers_that_never_have_a_body() -> None:
    assert {b"100", b"199", b"204", b"304"} <= BODILESS
    assert b"200" not in BODILESS
