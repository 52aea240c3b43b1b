"""Whatever a file says, it is read or refused in words: no other error, no line that is not there, no other path."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.block import plain
from sidecar.config.document import parse
from sidecar.config.load import load
from sidecar.config.model import Config
from sidecar.errors import ConfigError

WORDS = [
    "listeners", "upstreams", "plugins", "routes", "limits", "node", "workers", "drain", "tracing", "metrics",
    "health", "admin", "access_log", "identity", "name", "direction", "address", "protocol", "upstream", "tls",
    "mode", "host", "endpoints", "port", "weight", "match", "hosts", "path", "phase", "priority", "config",
    "timeout", "on_failure", "id", "methods", "headers", "split", "retries", "on", "attempts", "rewrite",
    "prefix", "request_headers", "set", "add", "remove", "outbound", "inbound", "both", "auto", "app",
    "127.0.0.1:80", "10.0.0.1:80", "/x/*", "GET", "5s", "16MB", "0", "1", "-1", "true", "null", "${X}",
    "${Y:-1}", "$${Z}",
]  # fmt: skip
GOOD = """\
node: {service: shop}
listeners:
  - {name: in, direction: inbound, address: "127.0.0.1:1506", upstream: app}
  - {name: out, direction: outbound, address: ["127.0.0.1:1501"]}
upstreams:
  - name: app
    endpoints: ["127.0.0.1:8080", {host: "::1", port: 80, weight: 2}]
    match: {hosts: ["*.shop"]}
plugins:
  - {name: auth, path: /x/auth.wasm, phase: [on_log], config: {a: [1, {b: c}]}, on_failure: {trap: open}, timeout: 5ms}
routes:
  - id: r
    path: /x/*
    headers: {x-a: "1"}
    split: [{upstream: app, weight: 1}]
    plugins: [{name: auth, config: x}]
    retries: {on: [reset, "503"]}
    rewrite: {prefix: /}
    response_headers: {set: {a: b}, remove: [c]}
limits: {header_bytes: 16KiB, header_timeout: 5s}
"""


def judged(text: str) -> Config | ConfigError:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.yaml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            return load([str(path)], {"X": "1"}, exists=lambda path: True, quota=lambda: 1)
        except ConfigError as refused:
            lines = len(text.splitlines()) or 1
            assert refused.problems
            for problem in refused.problems:
                assert problem.file == str(path)
                assert 0 <= problem.line <= lines
                assert problem.message and "\n" not in str(problem)
            return refused


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    judged(text)


SIGNS = (":", ": ", "- ", "\n", "\n  ", "\n    ", "{", "}", "[", "]", ",", "'", '"', "&a", "*a")


@given(st.lists(st.sampled_from([*WORDS, *SIGNS]), max_size=60))
def test_words_of_the_schema_in_any_order(parts: list[str]) -> None:
    judged("".join(parts))


trees = st.recursive(
    st.sampled_from(WORDS) | st.integers(-1, 70000) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=25,
)


@given(st.dictionaries(st.sampled_from(WORDS), trees, max_size=4))
def test_any_tree_of_words_of_the_schema(tree: dict[str, object]) -> None:
    judged(yaml.safe_dump(tree))


@given(st.data())
def test_a_good_file_with_one_value_replaced_by_another_kind(data: st.DataObject) -> None:
    tree = plain(parse(GOOD, "good")[0])
    assert isinstance(judged(yaml.safe_dump(tree)), Config)
    node, key = data.draw(st.sampled_from(places(tree)))
    node[key] = data.draw(trees)
    judged(yaml.safe_dump(tree))


@given(st.integers(0, len(GOOD)), st.integers(0, 20), st.text("{}[]:,-'\"\n\t #&*!|>%@`$", max_size=3))
def test_a_good_file_with_a_piece_cut_out_and_another_put_in(start: int, size: int, put: str) -> None:
    judged(GOOD[:start] + put + GOOD[start + size :])


def places(node: Any) -> list[tuple[Any, Any]]:
    items = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    return [(node, key) for key, _ in items] + [place for _, value in items for place in places(value)]
