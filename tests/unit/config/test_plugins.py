from __future__ import annotations

from sidecar.config.block import Block
from sidecar.config.document import parse
from sidecar.config.model import Plugin, Route
from sidecar.config.plugins import (
    LOG_LEVELS,
    METHODS,
    RETRY_WORDS,
    SEARCHED,
    as_bytes,
    read_plugin,
    read_route,
    searched,
)
from sidecar.errors import Problem
from sidecar.telemetry.tracer import METHODS as KNOWN
from sidecar.upstream.retry import CONDITIONS
from sidecar.wasm.settings import LEVELS


def block(text: str) -> tuple[Block, list[Problem]]:
    problems: list[Problem] = []
    return Block(parse(text, "/etc/x/f")[0], "x", problems), problems


def test_the_defaults_of_a_plugin_and_a_route_are_those_of_the_model() -> None:
    read, problems = block("name: a\npath: a.wasm\n")
    plugin = read_plugin(read, lambda path: True)
    assert plugin == Plugin("a", "/etc/x/a.wasm", on_failure=plugin.on_failure)
    assert set(plugin.on_failure.items()) == {(cause, "closed") for cause in ("load", "trap", "timeout", "limit")}
    read, more = block("id: r\nupstream: app\n")
    assert read_route(read) == Route("r", split=(("app", 1),))
    assert problems == more == []


def test_a_module_is_looked_for_in_order() -> None:
    places = ["/etc/x/plugins/a.wasm", "/etc/x/a.wasm", "/etc/sidecar/plugins/a.wasm", "/etc/loom/plugins/a.wasm"]
    for index in range(len(places)):
        read, _ = block("name: a\n")
        assert read_plugin(read, places[index:].__contains__).path == places[index]
    assert searched(places[0]) == ["/etc/x/plugins", "/etc/x", *SEARCHED[2:]]


def test_text_is_handed_over_as_it_is_and_the_rest_as_json() -> None:
    root, _ = parse("a: ' x: [ '\nb: {z: 1, a: [on, 1.5]}\nc: [1]\nd: 014\n", "f")
    found = {key: as_bytes(node) for key, node in root.entries.items()}
    assert found == {"a": b" x: [ ", "b": b'{"z":1,"a":["on",1.5]}', "c": b"[1]", "d": b"014"}
    assert as_bytes(None) == b""


def test_the_words_are_those_that_the_other_floors_know() -> None:
    assert set(LOG_LEVELS) <= set(LEVELS)
    assert set(RETRY_WORDS) == set(CONDITIONS)
    assert {method.encode() for method in METHODS} == set(KNOWN)
