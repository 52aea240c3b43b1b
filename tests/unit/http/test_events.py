"""Events say what they carry, and never their bytes."""

from __future__ import annotations

from sidecar.http.events import (
    InformationalHeaders,
    RequestData,
    RequestHeaders,
    RequestTrailers,
    Reset,
    ResetReason,
    ResponseData,
    ResponseHeaders,
    ResponseTrailers,
    Violation,
)
from sidecar.http.headers import HeaderMap


def test_an_event_belongs_to_a_stream_and_shows_no_body() -> None:
    headers = HeaderMap.of([(b"a", b"1")])
    events = [
        RequestHeaders(7, headers, True), ResponseHeaders(7, headers), InformationalHeaders(7, headers),
        RequestData(7, b"secret", True), ResponseData(7, b"secret"), RequestTrailers(7, headers),
        ResponseTrailers(7, headers), Reset(7, ResetReason.CANCEL), Violation(7, 400, "bad_request", "why"),
    ]  # fmt: skip
    for event in events:
        assert repr(event).startswith(f"{type(event).__name__}(7, ")
        assert "secret" not in repr(event)


def test_a_head_is_labelled_with_its_version() -> None:
    assert RequestHeaders(1, HeaderMap()).version == "HTTP/1.1"
