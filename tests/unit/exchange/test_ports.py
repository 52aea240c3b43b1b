from __future__ import annotations

from sidecar.exchange.ports import CallResult
from sidecar.http.headers import HeaderMap


def test_a_result_without_a_failure_is_an_answer():
    head = HeaderMap.of([(b":status", b"200")])
    result = CallResult(head, b"body", None)
    assert (result.headers, result.body, result.trailers, result.failure) == (head, b"body", None, "")
    assert CallResult(HeaderMap(), b"", None, "timeout").failure == "timeout"
