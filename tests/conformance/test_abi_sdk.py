"""Plugins made with the published Rust SDK, through a whole exchange: what the plugin page says comes true here."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.http.events import ResetReason
from sidecar.wasm.settings import PluginLoadError
from tests.support.plugins import DIST, House, Talk


def started(house: House, name: str, config: Any = None, **settings: Any) -> Any:
    code = json.dumps(config).encode() if config is not None else b""
    return house.plugin(DIST / f"{name}.wasm", name=name, config=code, **settings)


def test_abi_27_headers_of_the_page_both_ways() -> None:
    house = House()
    talk = Talk(house, started(house, "header-edit")).get((b"X-Custom", b"client's"), (b"X-Unwanted", b"1"))
    talk.answer(end=True)
    assert talk.upstream is not None
    assert talk.upstream.get_all(b"x-custom") == [b"value"] and b"x-unwanted" not in talk.upstream
    answer = talk.downstream.head.headers
    assert (answer.get(b"x-content-type-options"), answer.get(b"x-frame-options")) == (b"nosniff", b"DENY")


def test_abi_102_the_call_of_the_page_asks_and_resumes() -> None:
    for status, admitted in ((b"200", True), (b"401", False), (b"500", False)):
        house = House("auth-service")
        talk = Talk(house, started(house, "auth")).get((b"authorization", b"who"))
        assert talk.terminal.events == []
        made = house.calls.made[0]
        assert (made.upstream, made.body, made.timeout) == ("auth-service", b"token", 5.0)
        assert made.headers.get(b":path") == b"/validate" and made.headers.get(b"authorization") == b"who"
        made.answer((b":status", status), body=b"said the service")
        assert (talk.upstream is not None) == admitted
        if not admitted:
            assert talk.downstream.status == (401 if status == b"401" else 403)
            assert talk.downstream.body == b"said the service"


def test_abi_103_a_call_that_cannot_be_made_is_an_error_to_the_sdk_and_no_crash() -> None:
    house = House()
    plugin = started(house, "auth")
    assert Talk(house, plugin).get().downstream.status == 403
    assert plugin.describe()["state"] == "running" and not house.metrics.counts


def test_the_authorization_check_of_the_page() -> None:
    house = House()
    plugin = started(house, "auth", {"tokens": ["right"]})
    refused = Talk(house, plugin).get((b"authorization", b"wrong"))
    assert (refused.downstream.status, refused.downstream.body) == (401, b"Unauthorized")
    assert Talk(house, plugin).get((b"Authorization", b"right")).upstream is not None


def test_abi_48_the_body_validation_of_the_page() -> None:
    house = House()
    plugin = started(house, "json-guard")
    for body, admitted in ((b'{"a": [1, 2]}', True), (b'{"a": ', False), (b"", True)):
        talk = Talk(house, plugin)
        talk.request((b"content-length", b"%d" % len(body)), end=not body)
        for index in range(len(body)):
            talk.data(body[index : index + 1], index == len(body) - 1)
        talk.turn()
        assert talk.terminal.body == (body if admitted else b"")
        if not admitted:
            assert (talk.downstream.status, talk.downstream.body) == (400, b"Invalid JSON")


def test_abi_69_71_the_body_transformation_of_the_page() -> None:
    house = House()
    talk = Talk(house, started(house, "body-edit", {"response": {"find": "http:", "replace": "https:"}})).get()
    talk.answer((b"content-length", b"18"))
    talk.answer_data(b"see http://a ")
    talk.answer_data(b"now.", True)
    assert talk.downstream.body == b"see https://a now."


def test_abi_90_93_94_the_properties_and_the_log_of_the_page() -> None:
    house = House()
    talk = Talk(house, started(house, "access-log")).get((b"x-request-id", b"0123"))
    house.timers.time += 0.25
    talk.answer(status=b"204", end=True)
    assert house.said("access-log") == [
        "Request completed: status=204, duration=250000000ms",
        "Request origin: client=10.0.0.1:4, route=shop, id=0123",
    ]


def test_abi_72_the_log_of_a_request_whose_client_left_before_any_answer() -> None:
    house = House()
    plugin = started(house, "access-log")
    talk = Talk(house, plugin).get()
    talk.exchange.on_downstream_reset(ResetReason.CANCEL)
    assert house.said("access-log")[0].startswith("Request completed: status=, duration=")
    assert plugin.describe()["state"] == "running"


def test_abi_95_the_configuration_and_shared_data_of_the_page() -> None:
    house = House()
    one = started(house, "rate-limit", {"requests_per_second": 1, "burst": 3})
    other = started(house, "rate-limit", {"requests_per_second": 1, "burst": 3})
    statuses = []
    for number in range(5):
        talk = Talk(house, (one, other)[number % 2]).get()
        statuses.append(0 if talk.upstream is not None else talk.downstream.status)
    assert statuses == [0, 0, 0, 429, 429]
    house.timers.time += 1.1
    assert Talk(house, one).get().upstream is not None


def test_abi_17_a_configuration_that_the_plugin_refuses_refuses_the_start() -> None:
    house = House()
    for name, config in (("rate-limit", {"requests_per_second": -1}), ("header-edit", {"unknown": 1})):
        with pytest.raises(PluginLoadError) as caught:
            started(house, name, config)
        assert caught.value.error == "configure"


def test_abi_58_a_chain_of_five_sees_each_others_work() -> None:
    house = House("auth-service")
    chain = [
        started(house, "auth", {"tokens": ["t"]}),
        started(house, "rate-limit"),
        started(house, "header-edit"),
        started(house, "bench-headers"),
        started(house, "access-log"),
    ]
    talk = Talk(house, *chain).get((b"authorization", b"t"))
    talk.answer(end=True)
    answer = talk.downstream.head.headers
    assert talk.upstream is not None and b"x-bench-seen" in talk.upstream and b"x-custom" in talk.upstream
    assert [name for name, _ in answer.pairs()] == [
        b":status", b"x-bench-plugin", b"x-bench-version", b"x-content-type-options", b"x-frame-options",
    ]  # fmt: skip
    assert len(house.said("access-log")) == 2 and talk.bugs == []
