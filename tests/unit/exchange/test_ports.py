"""The result of a call is plain: an answer, or the way it failed."""

from __future__ import annotations

from sidecar.exchange.ports import CallResult
from sidecar.http.headers import HeaderMap


def test_an_answer_is_no_failure() -> None:
    headers = HeaderMap.of([(b":status", b"200")])
    answer = CallResult(headers, b"ok", None)
    assert (answer.headers, answer.body, answer.trailers, answer.failure) == (headers, b"ok", None, "")
    assert CallResult(HeaderMap(), b"", None, "timeout").failure == "timeout"
