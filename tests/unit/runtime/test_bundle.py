from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from sidecar.config.model import Plugin
from sidecar.errors import ConfigError
from sidecar.runtime import bundle as module
from sidecar.runtime.bundle import (
    Bundle,
    ModuleBasket,
    config_from,
    config_message,
    module_messages,
    read_bundle,
    read_module,
    watched_paths,
)
from tests.support.runtime import make_bundle, write_config

CODE = b"\0asm\1\0\0\0"


def with_plugin(folder, settings: str = ""):
    (folder / "auth.wasm").write_bytes(CODE)
    return write_config(folder, f"plugins:\n  - {{name: auth, path: auth.wasm{settings}}}\n")


def test_a_bundle_holds_the_bytes_of_its_plugins(tmp_path):
    bundle = read_bundle([str(with_plugin(tmp_path))], {})
    assert bundle.modules == {str(tmp_path / "auth.wasm"): CODE}


def test_a_plugin_that_cannot_be_read_is_named_with_its_line(tmp_path):
    path = with_plugin(tmp_path)
    (tmp_path / "auth.wasm").unlink()
    (tmp_path / "auth.wasm").mkdir()
    with pytest.raises(ConfigError) as refused:
        read_bundle([str(path)], {})
    (problem,) = refused.value.problems
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if "auth.wasm" in text)
    assert str(problem).startswith(f"{path}:{line}: plugins[0].path: ")


def test_one_that_may_be_absent_is_absent(tmp_path):
    path = with_plugin(tmp_path, ", on_failure: {load: open}")
    (tmp_path / "auth.wasm").unlink()
    (tmp_path / "auth.wasm").mkdir()
    assert read_bundle([str(path)], {}).modules == {}


@pytest.mark.parametrize("kind", ["folder", "fifo", "nothing", "device"])
def test_only_a_regular_file_is_a_module(tmp_path, kind):
    path = tmp_path / "thing"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    with pytest.raises(OSError, match="thing"):
        read_module(str(path))


def test_a_module_has_a_size(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_MODULE", 4)
    path = tmp_path / "big.wasm"
    path.write_bytes(b"12345")
    with pytest.raises(OSError, match="5 bytes"):
        read_module(str(path))


def test_a_bundle_travels_as_json_and_comes_back_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 3)
    more = """
plugins:
  - {name: auth, path: auth.wasm, config: {realm: shop}, on_failure: {trap: open}, direction: inbound}
routes:
  - {id: a, path: /a/*, upstream: app, plugins: [{name: auth, config: {realm: a}}], timeout: 3s, methods: [GET]}
tracing: {endpoint: "http://127.0.0.1:4317"}
"""
    (tmp_path / "auth.wasm").write_bytes(CODE)
    bundle = read_bundle([str(write_config(tmp_path, more))], {})
    basket = ModuleBasket()
    for message in module_messages(bundle):
        basket.add(json.loads(json.dumps(message)))
    config = config_from(json.loads(json.dumps(config_message(bundle.config))))
    assert config == replace(bundle.config, source={})
    assert basket.take() == bundle.modules
    assert basket.take() == {}


def test_sameness_is_of_configuration_and_bytes(tmp_path):
    first = make_bundle(tmp_path, port=1024, app=1025)
    assert first.is_same(make_bundle(tmp_path, port=1024, app=1025))
    assert not first.is_same(make_bundle(tmp_path, port=1026, app=1025))
    assert not first.is_same(Bundle(first.config, {"a": b"x"}))


def test_files_and_plugins_are_watched_once_each(tmp_path):
    bundle = make_bundle(tmp_path)
    plugins = (Plugin("a", "/p/a.wasm"), Plugin("b", "/p/a.wasm"))
    bundle = replace(bundle, config=replace(bundle.config, plugins=plugins))
    assert [str(path) for path in watched_paths(bundle, ["x.yaml"])] == ["x.yaml", "/p/a.wasm"]
    assert [str(path) for path in watched_paths(None, ["x.yaml"])] == ["x.yaml"]
