from __future__ import annotations

import json

import pytest

from sidecar.admin.pages import ADMIN_PAGES, CHANGES, HEALTH_PAGES, Answer, Door, dashboard, render
from sidecar.admin.request import Refusal, Request
from tests.support.admin import FakeState


def ask(door, path, method="GET", **headers):
    found = door.find(Request(method, path, "", headers, 0))
    return found if isinstance(found, Answer) else found(FakeState())


def test_pages_are_json_that_reads_back():
    answer = ask(Door(ADMIN_PAGES), "/stats")
    assert (answer.content_type, json.loads(answer.body)) == ("application/json", {"name": "stats"})
    assert json.loads(ask(Door(ADMIN_PAGES), "/certs").body) == []


def test_A2_changes_are_405_where_they_are_not_made():
    door = Door(ADMIN_PAGES)
    asked = (("POST", "/reload"), ("GET", "/reload"), ("POST", "/drain"), ("PUT", "/config"), ("POST", "/x"))
    for method, path in asked:
        answer = ask(door, path, method)
        assert (answer.status, answer.allow) == (405, "GET, HEAD"), (method, path)


def test_a_change_is_made_by_post():
    door = Door(ADMIN_PAGES, changes=CHANGES)
    assert (ask(door, "/reload").status, ask(door, "/reload").allow) == (405, "POST")
    assert ask(door, "/reload", "POST").body == b"generation 2\n"
    assert ask(door, "/drain", "POST").status == 202


@pytest.mark.parametrize("path", ["/nope", "/../config", "/%2e%2e/config", "/config/", "//config", "/CONFIG"])
def test_A3_a_path_is_taken_as_it_is_written(path):
    with pytest.raises(Refusal) as refusal:
        ask(Door(ADMIN_PAGES), path)
    assert refusal.value.status == 404


def test_a_guarded_door_asks_for_host():
    with pytest.raises(Refusal):
        ask(Door(HEALTH_PAGES, is_guarded=True), "/healthz/live", host="evil.example")
    assert ask(Door(HEALTH_PAGES), "/healthz/live", host="evil.example").status == 200


def test_answers_keep_browsers_from_doing_harm():
    head = render(Answer(405, "text/plain", b"no\n", "GET, HEAD"), "GET").decode()
    for line in (
        "X-Content-Type-Options: nosniff",
        "X-Frame-Options: DENY",
        "Content-Security-Policy: default-src 'none'",
        "Allow: GET, HEAD",
        "Content-Length: 3",
        "Connection: close",
    ):
        assert line in head
    assert "access-control" not in head.lower()
    assert render(Answer(200, "text/plain", b"body"), "HEAD").endswith(b"\r\n\r\n")


def test_A6_the_dashboard_escapes_every_name():
    state = FakeState()
    state.pages["routes"] = [{"id": "<script>alert(1)</script>", "path": '"/><img src=x onerror=y>'}]
    body = dashboard(state).body.decode()
    assert "<script" not in body and "<img" not in body and "&lt;script&gt;" in body
