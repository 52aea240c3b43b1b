"""What ends at this hop, what may be a trailer."""

from __future__ import annotations

from sidecar.http.semantics import is_strippable, strip_hop_by_hop, tokens, trailer_fields


def fields(*names: bytes) -> list[tuple[bytes, bytes, bytes]]:
    return [(name, b"1", name) for name in names]


def kept(*names: bytes, options: tuple[bytes, ...] = (), upgrade: bool = False) -> list[bytes]:
    return [field[0] for field in strip_hop_by_hop(fields(*names), list(options), upgrade)]


def test_lists_are_lower_case_without_empty_members() -> None:
    assert tokens([b"Close, ,X-A", b"b"]) == [b"close", b"x-a", b"b"]


def test_fields_of_the_connection_end_here() -> None:
    assert kept(b"a", b"connection", b"keep-alive", b"proxy-connection", b"upgrade", b"te", b"http2-settings") == [b"a"]


def test_an_upgrade_goes_on_where_it_is_meant_for_the_next_hop() -> None:
    assert kept(b"upgrade", upgrade=True) == [b"upgrade"]


def test_trailers_may_still_be_asked_for() -> None:
    assert strip_hop_by_hop([(b"te", b"gzip, Trailers", b"TE")], []) == [(b"te", b"trailers", b"TE")]


def test_F17_a_client_cannot_strip_what_policy_and_framing_live_by() -> None:
    names = (b"host", b"content-length", b"x-forwarded-for", b"x-forwarded-client-cert", b"traceparent", b"cookie")
    assert kept(*names, b"x-mine", options=(*names, b"x-mine")) == list(names)
    assert not any(is_strippable(name) for name in names)


def test_F9_a_trailer_never_frames_or_authorises() -> None:
    names = (b"content-length", b"transfer-encoding", b"host", b"authorization", b"x-sidecar-error", b"ok")
    assert [field[0] for field in trailer_fields(fields(*names))] == [b"ok"]
