from __future__ import annotations

import re
import uuid

import pytest

from sidecar.exchange.filter import CONTINUE
from sidecar.filters.forwarding import MAX_ID, ForwardingFilterFactory, request_id
from sidecar.http.events import RequestHeaders
from sidecar.http.headers import HeaderMap
from tests.support.exchange_views import make_view

PSEUDO = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]
ID = b"0b5c7f2e-0000-4000-8000-000000000001"


def forwarded(*pairs, appends_peer=True, bits=0):
    view = make_view()
    head = RequestHeaders(1, HeaderMap.of([*PSEUDO, *pairs]))
    factory = ForwardingFilterFactory(lambda count: bits, appends_peer)
    assert factory.create(view).on_request_headers(head) == CONTINUE
    return head.headers, view.record


def test_a_plain_request_gets_all_three():
    headers, record = forwarded()
    assert headers.pairs()[4:] == [
        (b"x-forwarded-for", b"10.0.0.1"),
        (b"x-forwarded-proto", b"http"),
        (b"x-request-id", b"00000000-0000-4000-8000-000000000000"),
    ]
    assert record.request_id == "00000000-0000-4000-8000-000000000000"
    assert headers.revision == 0, "what plugins change counts from here"


def test_H4_x_forwarded_for_is_appended_to_in_its_place_as_envoy_does():
    headers, _ = forwarded((b"X-Forwarded-For", b"6.6.6.6, 7.7.7.7"), (b"x-b", b"1"))
    assert headers.fields[4] == (b"x-forwarded-for", b"6.6.6.6, 7.7.7.7,10.0.0.1", b"X-Forwarded-For")


def test_H4_of_several_lines_the_last_is_appended_to():
    headers, _ = forwarded((b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"2.2.2.2"))
    assert headers.get_all(b"x-forwarded-for") == [b"1.1.1.1", b"2.2.2.2,10.0.0.1"]


def test_an_empty_x_forwarded_for_is_filled():
    assert forwarded((b"x-forwarded-for", b""))[0].get_all(b"x-forwarded-for") == [b"10.0.0.1"]


def test_outbound_the_peer_is_our_own_app_and_nobodys_business():
    headers, _ = forwarded((b"x-forwarded-for", b"1.1.1.1"), appends_peer=False)
    assert headers.get(b"x-forwarded-for") == b"1.1.1.1"
    assert b"x-forwarded-for" not in forwarded(appends_peer=False)[0]


def test_what_the_hop_before_said_of_its_scheme_stays():
    assert forwarded((b"x-forwarded-proto", b"https"))[0].get_all(b"x-forwarded-proto") == [b"https"]


def test_a_request_id_is_kept_and_there_is_one():
    headers, record = forwarded((b"X-Request-Id", ID), (b"x-request-id", b"other"), (b"x-request-id", ID))
    assert headers.get_all(b"x-request-id") == [ID] and record.request_id == ID.decode()
    filled, record = forwarded((b"x-request-id", b""))
    assert len(filled.get_all(b"x-request-id")) == 1 and record.request_id


def test_a_huge_request_id_goes_on_and_does_not_fill_our_logs():
    headers, record = forwarded((b"x-request-id", b"\xff" * 5000))
    assert len(headers.get(b"x-request-id")) == 5000 and len(record.request_id) == MAX_ID


def test_ids_are_version_4_uuids():
    for bits in (0, (1 << 128) - 1, 0x0123456789ABCDEF0123456789ABCDEF):
        found = uuid.UUID(request_id(bits).decode())
        assert found.version == 4 and found.variant == uuid.RFC_4122
        assert re.fullmatch(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", request_id(bits))


@pytest.mark.parametrize(
    "name",
    [
        b"X-Forwarded-Client-Cert",
        b"x-sidecar-error",
        b"X-Sidecar-Attempt",
        b"x-sidecar-anything",
        b"x_forwarded_for",
        b"X_Request_Id",
        b"x-request_id",
        b"X_Sidecar_Attempt",
        b"content_length",
        b"Transfer_Encoding",
        b"x-real_ip",
        b"x_forwarded_client_cert",
    ],
)
def test_H4_H5_forged_names_and_their_look_alikes_go(name):
    headers, _ = forwarded((b"x-a", b"1"), (name, b"evil"), (b"x_custom", b"2"), (name, b"evil"))
    assert b"evil" not in [value for _, value in headers.pairs()]
    assert headers.get(b"x-a") == b"1" and headers.get(b"x_custom") == b"2"


def test_names_that_only_look_a_little_alike_stay():
    names = [b"x-real-ip", b"forwarded", b"x-sidecarx", b"my_header", b"x-forwarded-host", b"via"]
    headers, _ = forwarded(*[(name, b"v") for name in names])
    assert [name for name, value in headers.pairs() if value == b"v"] == names


@pytest.mark.parametrize(
    ("attempts", "is_retry"), [((), False), ((b"1",), False), ((b"2",), True), ((b"x",), True), ((b"1", b"3"), True)]
)
def test_R4_a_second_try_of_the_caller_is_known_and_its_count_is_ours(attempts, is_retry):
    headers, record = forwarded(*[(b"x-sidecar-attempt", value) for value in attempts])
    assert record.is_retry is is_retry and b"x-sidecar-attempt" not in headers
