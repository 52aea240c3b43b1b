from __future__ import annotations

import pytest

from tests.support.guest import OUT, WORD, Guest, call, pairs
from tests.support.plugins import House, Talk

ADD, REPLACE, REMOVE = (
    "proxy_add_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_remove_header_map_value",
)
GET, PAIRS, SET_PAIRS = (
    "proxy_get_header_map_value",
    "proxy_get_header_map_pairs",
    "proxy_set_header_map_pairs",
)
REQUEST, REQUEST_TRAILERS, RESPONSE, RESPONSE_TRAILERS = range(4)
ON_REQUEST, ON_RESPONSE = "proxy_on_request_headers", "proxy_on_response_headers"


def in_request(*steps: object, sent: tuple[tuple[bytes, bytes], ...] = ()) -> tuple[list[str], Talk]:
    """What the guest said, and the exchange afterwards."""
    house = House()
    talk = Talk(house, house.plugin(Guest().on(ON_REQUEST, *steps)))  # type: ignore[arg-type]
    talk.get(*sent)
    assert talk.bugs == []
    return house.said(), talk


def test_abi_59_60_names_are_read_in_any_case_and_the_first_value_counts() -> None:
    said, _ = in_request(
        call(GET, REQUEST, b"X-A", OUT, show="bytes"),
        call(GET, REQUEST, b"x-empty", OUT, show="bytes"),
        call(GET, REQUEST, b"x-none", OUT, show="bytes"),
        sent=((b"x-a", b"1"), (b"x-a", b"2"), (b"x-empty", b"")),
    )
    assert said == [f"{GET} -> 0 :1", f"{GET} -> 0 :", f"{GET} -> 1 :"]


def test_host_is_a_second_name_of_authority() -> None:
    said, talk = in_request(
        call(GET, REQUEST, b"host", OUT, show="bytes"),
        call(REPLACE, REQUEST, b"Host", b"b"),
        call(REMOVE, REQUEST, b"host"),
    )
    assert said == [f"{GET} -> 0 :a", f"{REPLACE} -> 0", f"{REMOVE} -> 2"]
    assert talk.exchange.request_headers.get(b":authority") == b"b"


def test_abi_59_add_appends_replace_collapses_and_remove_of_nothing_is_ok() -> None:
    said, talk = in_request(
        call(ADD, REQUEST, b"X-A", b"3"),
        call(REPLACE, REQUEST, b"x-b", b"one"),
        call(REPLACE, REQUEST, b"x-new", b"n"),
        call(REMOVE, REQUEST, b"x-c"),
        call(REMOVE, REQUEST, b"x-absent"),
        sent=((b"x-a", b"1"), (b"x-b", b"1"), (b"x-b", b"2"), (b"x-c", b"1")),
    )
    assert [line.rpartition(" ")[2] for line in said] == ["0"] * 5
    headers = talk.exchange.request_headers
    assert headers.pairs()[4:] == [(b"x-a", b"1"), (b"x-b", b"one"), (b"x-a", b"3"), (b"x-new", b"n")]
    assert headers.revision > 0


@pytest.mark.parametrize("add", [ADD, REPLACE])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-split", b"a\r\nx-evil: 1"),
        (b"x-nul", b"a\0b"),
        (b"x-lf", b"\n"),
        (b"", b"v"),
        (b"x y", b"v"),
        (b"x\r\nz", b"v"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"close"),
        (b"upgrade", b"h2c"),
        (b"x-sidecar-error", b"denied"),
        (b":foo", b"1"),
        (b":status", b"200"),
        (b":method", b"GE T"),
        (b":scheme", b"file"),
        (b":path", b""),
        (b"x-long", b"v" * 70_000),
        (b"n" * 2000, b"v"),
    ],
)
def test_W13_what_could_break_the_message_is_refused_at_the_call(add: str, name: bytes, value: bytes) -> None:
    said, talk = in_request(call(add, REQUEST, name, value))
    assert said == [f"{add} -> 2"]
    assert len(talk.exchange.request_headers) == 4
    assert len(talk.house.told()) == 1


def test_W13_pseudo_headers_are_one_each_and_stay() -> None:
    said, talk = in_request(
        call(ADD, REQUEST, b":path", b"/second"),
        call(REMOVE, REQUEST, b":method"),
        call(REPLACE, REQUEST, b":path", b"/moved"),
        call(REPLACE, REQUEST, b":method", b"PATCH"),
    )
    assert [line[-1] for line in said] == ["2", "2", "0", "0"]
    head = talk.upstream
    assert head is not None and head.get_all(b":path") == [b"/moved"] and head.get(b":method") == b"PATCH"


@pytest.mark.parametrize("code", [b"0", b"101", b"199", b"600", b"1000", b"2x0", b""])
def test_W13_statuses_that_are_none_are_refused(code: bytes) -> None:
    house = House()
    talk = Talk(house, house.plugin(Guest().on(ON_RESPONSE, call(REPLACE, RESPONSE, b":status", code))))
    talk.request()
    talk.answer(end=True)
    assert house.said() == [f"{REPLACE} -> 2"]
    assert talk.downstream.status == 200


def test_W13_content_length_can_be_removed_and_setting_it_changes_nothing() -> None:
    house = House()
    steps = (call(REPLACE, RESPONSE, b"content-length", b"3"), call(ADD, RESPONSE, b"content-length", b"4"))
    talk = Talk(house, house.plugin(Guest().on(ON_RESPONSE, *steps)))
    talk.request()
    talk.answer((b"content-length", b"5"))
    assert [line[-1] for line in house.said()] == ["0", "0"]
    assert talk.downstream.head.headers.get_all(b"content-length") == [b"5"]
    talk = Talk(house, house.plugin(Guest().on(ON_RESPONSE, call(REMOVE, RESPONSE, b"content-length")), name="b"))
    talk.request()
    talk.answer((b"content-length", b"5"))
    assert b"content-length" not in talk.downstream.head.headers


def test_a_name_written_before_is_judged_again_with_its_value() -> None:
    said, talk = in_request(
        call(ADD, REQUEST, b"X-Seen", b"1"),
        call(ADD, REQUEST, b"X-Seen", b"2"),
        call(ADD, REQUEST, b"X-Seen", b"a\nb"),
        call(ADD, RESPONSE, b"X-Seen", b"early"),
    )
    assert [line[-1] for line in said] == ["0", "0", "2", "2"]
    assert talk.exchange.request_headers.get_all(b"x-seen") == [b"1", b"2"]


def test_a_map_cannot_grow_without_end() -> None:
    house = House()
    many = call(SET_PAIRS, REQUEST, pairs(*HEAD, *((b"x-%d" % number, b"v") for number in range(999))))
    talk = Talk(house, house.plugin(Guest().on(ON_REQUEST, many, call(ADD, REQUEST, b"x-last", b"v"))))
    talk.get()
    assert [line[-1] for line in house.said()] == ["0", "2"]


HEAD = ((b":method", b"GET"), (b":path", b"/set"), (b":authority", b"b"), (b":scheme", b"http"))


def test_set_pairs_replaces_everything_but_framing() -> None:
    fields = pairs(*HEAD, (b"X-Set", b"1"), (b"x-dup", b"a"), (b"x-dup", b"b"), (b"content-length", b"999"))
    said, talk = in_request(
        call(SET_PAIRS, REQUEST, fields), sent=((b"x-old", b"1"), (b"content-length", b"0"), (b"upgrade", b"x"))
    )
    assert said == [f"{SET_PAIRS} -> 0"]
    assert talk.exchange.request_headers.pairs() == [
        *HEAD,
        (b"x-set", b"1"),
        (b"x-dup", b"a"),
        (b"x-dup", b"b"),
        (b"content-length", b"0"),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        b"\1\0\0\0\1\0\0\0\1\0\0\0a\0bX",
        b"\1\0\0\0\xff\xff\xff\x7f\1\0\0\0a\0b\0",
        b"\2\0\0\0\1\0\0\0\1\0\0\0a\0b\0",
        pairs((b":method", b"GET")),
        pairs(*HEAD, (b":path", b"/twice")),
        pairs(*HEAD, (b"x-a", b"\r\n")),
    ],
)
def test_W8_a_malformed_or_impossible_map_changes_nothing(data: bytes) -> None:
    said, talk = in_request(call(SET_PAIRS, REQUEST, data), sent=((b"x-a", b"1"),))
    assert said == [f"{SET_PAIRS} -> 2"]
    assert talk.upstream is not None and talk.upstream.get(b":path") == b"/" and talk.upstream.get(b"x-a") == b"1"


def test_abi_41_maps_come_back_whole() -> None:
    said, _ = in_request(
        call(PAIRS, REQUEST, OUT, show="map"),
        call("proxy_get_header_map_size", REQUEST, WORD, show="word"),
        call(PAIRS, RESPONSE, OUT, show="map"),
        call(PAIRS, 8, OUT),
        sent=((b"x-a", b"1"), (b"x-a", b""), (b"x-b", b"\xff")),
    )
    assert said[0].endswith(" x-a=1 x-a= x-b=�")
    size = 4 + sum(
        10 + len(n) + len(v)
        for n, v in (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":authority", b"a"),
            (b":path", b"/"),
            (b"x-a", b"1"),
            (b"x-a", b""),
            (b"x-b", b"\xff"),
        )
    )
    assert said[1:] == [f"proxy_get_header_map_size -> 0 {size}", f"{PAIRS} -> 0", f"{PAIRS} -> 2"]


def test_abi_65_66_67_maps_stay_readable_and_are_writable_in_their_time_only() -> None:
    house = House()
    guest = (
        Guest()
        .on(
            ON_REQUEST,
            call(ADD, RESPONSE, b"x", b"1", label="early"),
            call(GET, RESPONSE, b":status", OUT, label="none yet"),
        )
        .on(
            ON_RESPONSE, call(ADD, REQUEST, b"x", b"1", label="late"), call(GET, REQUEST, b":path", OUT, show="bytes")
        )
        .on(
            "proxy_on_log",
            call(GET, RESPONSE, b":status", OUT, show="bytes"),
            call(ADD, RESPONSE, b"x", b"1", label="log"),
        )
    )
    talk = Talk(house, house.plugin(guest))
    talk.request()
    talk.answer(end=True)
    assert house.said() == [
        "early -> 2",
        "none yet -> 1",
        "late -> 2",
        f"{GET} -> 0 :/",
        f"{GET} -> 0 :200",
        "log -> 2",
    ]


def test_abi_39_addresses_outside_memory_are_status_6() -> None:
    far = 0x7FFFFFF0
    said, talk = in_request(
        call(GET, REQUEST, far, 4, OUT, label="key"),
        call(GET, REQUEST, b":path", far, far, label="slots"),
        call(GET, REQUEST, -1, 0x10, OUT, label="wraps"),
        call(ADD, REQUEST, b"x", far, 10, label="value"),
        call(REPLACE, REQUEST, far, 1, b"v", label="replace"),
        call(REMOVE, REQUEST, far, 1, label="remove"),
        call("proxy_get_header_map_size", REQUEST, far, label="size"),
    )
    assert [line[-1] for line in said] == ["6"] * 7
    assert len(talk.exchange.request_headers) == 4


def test_abi_68_trailers_can_be_made_where_a_body_ends() -> None:
    house = House()
    steps = (
        call(ADD, REQUEST_TRAILERS, b"x-sum", b"1"),
        call(ADD, REQUEST_TRAILERS, b"content-length", b"1", label="no"),
    )
    guest = (
        Guest()
        .on("proxy_on_request_body", *steps)
        .on("proxy_on_response_trailers", call(REPLACE, RESPONSE_TRAILERS, b"x-t", b"2"))
    )
    talk = Talk(house, house.plugin(guest))
    talk.request(end=False)
    talk.data(b"abc", True)
    assert house.said() == [f"{ADD} -> 0", "no -> 2"]
    assert talk.exchange.request_trailers is not None
    assert talk.terminal.events[-1].headers.pairs() == [(b"x-sum", b"1")]
