from __future__ import annotations

import pytest

from tests.support.guest import OUT, SIZE, WORD, AtEnd, Guest, Return, call
from tests.support.plugins import House, Talk

GET, SET = "proxy_get_buffer_bytes", "proxy_set_buffer_bytes"
REQUEST_BODY, RESPONSE_BODY, CALL_BODY, VM, PLUGIN = 0, 1, 4, 6, 7
ALL = 0xFFFFFFFF
HOLD = AtEnd(otherwise=(Return(1),))


def body(*steps: object, chunks: tuple[bytes, ...] = (b"0123456789",), **settings: object) -> tuple[list[str], Talk]:
    house = House()
    talk = Talk(house, house.plugin(Guest().on("proxy_on_request_body", *steps), **settings))  # type: ignore[arg-type]
    talk.request((b"content-length", b"%d" % sum(map(len, chunks))), end=False)
    for chunk in chunks[:-1]:
        talk.data(chunk)
    talk.data(chunks[-1], True)
    assert talk.bugs == []
    return house.said(), talk


@pytest.mark.parametrize(
    ("start", "size", "data", "result"),
    [
        (0, 0, b"PRE", b"PRE0123456789"),
        (10, 0, b"APP", b"0123456789APP"),
        (0x7FFFFFFF, 5, b"APP", b"0123456789APP"),
        (0, 10, b"REP", b"REP"),
        (0, ALL, b"REP", b"REP"),
        (0, 3, b"PART", b"PART3456789"),
        (0, 5, b"", b"56789"),
        (0, ALL, b"", b""),
        (3, 4, b"--", b"012--789"),
        (8, 100, b"..", b"01234567.."),
    ],
)
def test_abi_69_70_set_splices_and_the_length_follows(start: int, size: int, data: bytes, result: bytes) -> None:
    said, talk = body(
        HOLD, call(SET, REQUEST_BODY, start, size, data), call(GET, REQUEST_BODY, 0, 100, OUT, show="bytes")
    )
    assert said == [f"{SET} -> 0", f"{GET} -> 0 :{result.decode()}"]
    assert talk.terminal.body == result
    assert talk.upstream is not None and talk.upstream.get(b"content-length") == b"%d" % len(result)


def test_abi_48_49_a_paused_body_is_given_as_a_whole_and_flows_at_once() -> None:
    said, talk = body(call(GET, REQUEST_BODY, 0, SIZE, OUT, show="bytes"), HOLD, chunks=(b"one", b"two2", b"three"))
    assert said == [f"{GET} -> 0 :one", f"{GET} -> 0 :onetwo2", f"{GET} -> 0 :onetwo2three"]
    assert talk.terminal.body == b"onetwo2three"


def test_ranges_are_cut_to_what_there_is() -> None:
    said, _ = body(
        call(GET, REQUEST_BODY, 2, 3, OUT, show="bytes"),
        call(GET, REQUEST_BODY, 8, ALL, OUT, show="bytes"),
        call(GET, REQUEST_BODY, 10, 1, OUT, show="size"),
        call("proxy_get_buffer_status", REQUEST_BODY, WORD, 12, show="word"),
        call("proxy_get_buffer_status", 9, WORD, 12),
    )
    assert said == [
        f"{GET} -> 0 :234",
        f"{GET} -> 0 :89",
        f"{GET} -> 0 0",
        "proxy_get_buffer_status -> 0 10",
        "proxy_get_buffer_status -> 2",
    ]


def test_abi_21_22_configurations_are_readable_at_any_time() -> None:
    house = House()
    guest = (
        Guest()
        .on("proxy_on_vm_start", call(GET, VM, 0, SIZE, OUT, show="bytes"))
        .on("proxy_on_configure", call(GET, PLUGIN, 0, SIZE, OUT, show="bytes"))
        .on(
            "proxy_on_request_headers",
            call(GET, PLUGIN, 0, ALL, OUT, show="bytes"),
            call(GET, VM, 0, 2, OUT, show="bytes"),
        )
    )
    Talk(house, house.plugin(guest, config=b"plugin's", vm_config=b"vm's")).get()
    assert house.said() == [f"{GET} -> 0 :vm's", f"{GET} -> 0 :plugin's", f"{GET} -> 0 :plugin's", f"{GET} -> 0 :vm"]
    house = House()
    house.plugin(Guest().on("proxy_on_configure", call(GET, PLUGIN, 0, ALL, OUT, show="size")))
    assert house.said() == [f"{GET} -> 0 0"]


def test_buffers_that_are_not_there() -> None:
    house = House()
    guest = Guest().on(
        "proxy_on_request_headers",
        call(GET, REQUEST_BODY, 0, 10, OUT, show="size"),
        call(GET, RESPONSE_BODY, 0, 10, OUT, show="size"),
        call(GET, CALL_BODY, 0, 10, OUT),
        call(GET, 9, 0, 10, OUT),
        call(SET, REQUEST_BODY, 0, ALL, b"early"),
        call(SET, PLUGIN, 0, ALL, b"mine"),
        call(GET, PLUGIN, 0, 10, 0x7FFFFFF0, 0x7FFFFFF0),
    )
    Talk(house, house.plugin(guest, config=b"x")).get()
    assert [line.partition(" -> ")[2] for line in house.said()] == ["0 0", "0 0", "1", "2", "2", "2", "6"]


def test_W15_a_body_does_not_grow_beyond_max_body() -> None:
    grow = call(SET, REQUEST_BODY, ALL, 0, b"x" * 60)
    said, talk = body(HOLD, grow, grow, max_body=100)
    assert said == [f"{SET} -> 0", f"{SET} -> 2"]
    assert len(talk.terminal.body) == 70
    assert talk.house.metrics.counts["error", "probe", "overflow"] == 1


def test_abi_57_a_held_body_over_the_limit_is_refused() -> None:
    _, talk = body(HOLD, chunks=(b"x" * 60, b"x" * 60, b""), max_body=100)
    assert talk.downstream.status == 413
    assert talk.terminal.body == b""


def test_a_body_over_the_limit_may_flow_on_unseen() -> None:
    said, talk = body(
        call(GET, REQUEST_BODY, 0, 0, OUT), HOLD, chunks=(b"x" * 60,) * 3, max_body=100, overflow_streams=True
    )
    assert len(said) == 1  # what would be too much is not shown any more
    assert talk.terminal.body == b"x" * 180
