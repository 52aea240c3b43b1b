"""Routes, retries and plugins together: what was judged again after a change, what is tried again, what is cut off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Pair
from tests.support import faulty_plugins
from tests.support.raw_app import AppConnection, Seen, echo, raw_app
from tests.support.raw_client import Client, ask, get
from tests.support.sidecar_process import plugin, sidecar, sidecar_config
from tests.support.wait import eventually


def rewriting(name: str, path: str) -> dict[str, Any]:
    return plugin(name, "header-edit", config={"request": {"set": {":path": path}}, "response": {}})


ROUTES = [
    {"id": "tricky", "path": "/tricky", "upstream": "app", "plugins": ["to-dots"]},
    {"id": "moved", "path": "/moved", "upstream": "app", "plugins": ["to-private"]},
    {"id": "lost", "path": "/lost", "upstream": "app", "plugins": ["to-nowhere"]},
    {"id": "private", "path": "/private/*", "upstream": "other", "plugins": []},
    {"id": "again", "path": "/again", "upstream": "app", "plugins": [], "retries": {"attempts": 2, "on": ["503"]}},
    {"id": "no-again", "path": "/no-again", "upstream": "app", "plugins": []},
    {"id": "own-503", "path": "/own-503", "upstream": "app", "plugins": ["own-503"],
     "retries": {"attempts": 2, "on": ["503", "5xx"]}},
    {"id": "edit", "path": "/edit", "upstream": "app", "plugins": ["edit"]},
    {"id": "edit-stream", "path": "/edit-stream", "upstream": "app", "plugins": ["edit-stream"]},
    {"id": "prefix", "path": "/old/*", "upstream": "app", "plugins": [], "rewrite": {"prefix": "/new/"}},
    {"id": "canary", "path": "/split", "plugins": [],
     "split": [{"upstream": "app", "weight": 1}, {"upstream": "other", "weight": 1}]},
]  # fmt: skip


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pair, Any]]:
    """With the app behind ``/private``."""
    folder = tmp_path_factory.mktemp("ruled")
    edit = {"response": {"find": "small", "replace": "large"}}
    with raw_app() as app, raw_app() as other:
        plugins = [
            rewriting("to-dots", "/a/../private/x"),
            rewriting("to-private", "/private/moved"),
            rewriting("to-nowhere", "/nowhere"),
            plugin("own-503", faulty_plugins.replying(folder, "own", 503, [(b"x-own", b"1")], b"busy")),
            plugin("edit", "body-edit", config=edit, max_body=1000),
            plugin("edit-stream", "body-edit", config=edit, max_body=1000, on_overflow="stream"),
        ]
        config = sidecar_config(app.port, upstreams={"other": other.port}, plugins=plugins, routes=ROUTES)
        config["listeners"][0].pop("upstream")
        with sidecar(folder, config) as running:
            yield Pair(app, running), other
            assert "internal error" not in running.log_text


@pytest.fixture
def fresh(ruled: tuple[Pair, Any]) -> Pair:
    pair, other = ruled
    pair.app.reset()
    other.reset()
    return pair


def test_P16_path_that_a_plugin_made_ambiguous_is_refused(fresh: Pair) -> None:
    assert fresh.sidecar.ask("/tricky").refusal == (400, "bad_request")
    assert not fresh.app.requests


def test_P16_path_that_a_plugin_changed_goes_where_it_now_belongs(ruled: tuple[Pair, Any], fresh: Pair) -> None:
    assert fresh.sidecar.ask("/moved").body == b"GET /private/moved id=\n"
    assert not fresh.app.requests
    assert [seen.target for seen in ruled[1].requests] == [b"/private/moved"]
    assert fresh.sidecar.ask("/lost").refusal == (404, "no_route")


def _answering(statuses: list[int]) -> Any:
    def script(connection: AppConnection, seen: Seen) -> None:
        if statuses:
            connection.send(b"HTTP/1.1 %d X\r\nContent-Length: 1\r\n\r\nx" % statuses.pop(0))
        else:
            echo(connection, seen)

    return script


def test_status_that_the_route_names_is_tried_again(fresh: Pair) -> None:
    fresh.app.script = _answering([503, 503])
    assert fresh.sidecar.ask("/again").body == b"GET /again id=\n"
    assert [seen.get(b"x-sidecar-attempt") for seen in fresh.app.requests] == [b"1", b"2", b"3"]
    line = eventually(lambda: [each for each in fresh.sidecar.access_lines() if each.get("path") == "/again"])[0]
    assert line["attempts"] == 3


def test_last_answer_is_the_clients_when_tries_are_used_up(fresh: Pair) -> None:
    fresh.app.script = _answering([503] * 10)
    answer = fresh.sidecar.ask("/again")
    assert (answer.status, answer.body, answer.error) == (503, b"x", "")
    assert len(fresh.app.requests) == 3


def test_without_a_rule_nothing_is_tried_again(fresh: Pair) -> None:
    fresh.app.script = _answering([503])
    assert fresh.sidecar.ask("/no-again").status == 503
    assert len(fresh.app.requests) == 1


def test_R4_second_try_of_another_hop_is_not_multiplied(fresh: Pair) -> None:
    fresh.app.script = _answering([503] * 10)
    assert fresh.sidecar.ask("/again", "x-sidecar-attempt: 2").status == 503
    assert len(fresh.app.requests) == 1


def test_R6_answer_of_a_plugin_is_not_tried_again(fresh: Pair) -> None:
    answer = fresh.sidecar.ask("/own-503")
    assert (answer.status, answer.body, answer.error) == (503, b"busy", "")
    assert not fresh.app.requests


def _body(size: int) -> Any:
    def script(connection: AppConnection, seen: Seen) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, b"small".ljust(size, b".")))

    return script


@pytest.mark.parametrize("size", [999, 1000])
def test_B1_answer_within_the_limit_is_changed_and_its_length_right(fresh: Pair, size: int) -> None:
    fresh.app.script = _body(size)
    with Client(fresh.sidecar.inbound) as client:
        answer = client.send(get("/edit")).read_answer()
        assert (answer.status, answer.end, answer.body) == (200, "whole", b"large".ljust(size, b"."))
        assert client.send(get("/no-again")).read_answer().status == 200


def test_B1_answer_above_the_limit_is_an_error_never_cut_in_silence(fresh: Pair) -> None:
    fresh.app.script = _body(1001)
    answer = fresh.sidecar.ask("/edit")
    assert answer.refusal == (502, "body_too_large")


def test_B1_answer_above_the_limit_may_stream_unchanged(fresh: Pair) -> None:
    fresh.app.script = _body(5000)
    answer = fresh.sidecar.ask("/edit-stream")
    assert (answer.status, answer.end, len(answer.body)) == (200, "whole", 5000)


def test_prefix_is_rewritten_at_the_app(fresh: Pair) -> None:
    fresh.sidecar.ask("/old/a?b")
    assert fresh.app.requests[0].target == b"/new/a?b"


def test_split_reaches_both(ruled: tuple[Pair, Any], fresh: Pair) -> None:
    for _ in range(60):
        assert fresh.sidecar.ask("/split").status == 200
    assert min(len(fresh.app.requests), len(ruled[1].requests)) > 5


def test_plugin_of_one_direction_stays_out_of_the_other(tmp_path: Path) -> None:
    own = [(b"x-own", b"1")]
    with raw_app() as app:
        module = faulty_plugins.replying(tmp_path, "own", 418, own, b"")
        config = sidecar_config(app.port, plugins=[plugin("own", module, direction="outbound")])
        with sidecar(tmp_path / "run", config) as running:
            assert ask(running.inbound, get("/")).status == 200
            assert ask(running.outbound, get("/")).status == 418
