"""The YAML of the plugin documentation loads as it stands; the texts are copied whole, comments included."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.config.load import load
from sidecar.config.model import Config, PluginUse

FIRST = """\
plugins:
  - name: rate-limit
    path: /etc/loom/plugins/rate-limit.wasm
    phase: on_request_headers
    priority: 100
    config:
      requests_per_second: 100
      burst: 200
    memory_limit: 16MB
    timeout: 50ms
"""
PRIORITY = """\
plugins:
  - name: auth
    priority: 100  # Runs first

  - name: rate-limit
    priority: 90   # Runs second

  - name: logging
    priority: 10   # Runs last
"""
ROUTES = """\
plugins:
  - name: auth
    path: /plugins/auth.wasm

  - name: rate-limit
    path: /plugins/rate-limit.wasm

routes:
  - id: public
    path: /public/*
    upstream: backend
    plugins:
      - rate-limit  # Only rate limiting

  - id: private
    path: /private/*
    upstream: backend
    plugins:
      - auth        # Both auth and rate limiting
      - rate-limit
"""
DEBUG = """\
plugins:
  - name: my-plugin
    path: /plugins/my-plugin.wasm
    log_level: debug
"""
SERVED = """\
listeners:
  - {name: inbound, direction: inbound, address: "127.0.0.1:15006", upstream: backend}
upstreams:
  - {name: backend, endpoints: ["127.0.0.1:8080"]}
"""


def config(folder: Path, text: str, *more: str) -> Config:
    files = []
    for number, content in enumerate((text, *more)):
        path = folder / f"{number}.yaml"
        path.write_text(content, encoding="utf-8")
        files.append(str(path))
    return load(files, {}, exists=lambda path: True)


@pytest.mark.parametrize("text", [FIRST, PRIORITY, ROUTES, DEBUG])
def test_every_example_loads_as_it_stands_and_beside_what_serves_it(tmp_path: Path, text: str) -> None:
    assert config(tmp_path, text).plugins == config(tmp_path, text, SERVED).plugins


def test_the_first_example_says_what_it_says(tmp_path: Path) -> None:
    (plugin,) = config(tmp_path, FIRST).plugins
    assert (plugin.name, plugin.path) == ("rate-limit", "/etc/loom/plugins/rate-limit.wasm")
    assert plugin.phases == ("on_request_headers",)
    assert plugin.config == b'{"requests_per_second":100,"burst":200}'
    assert (plugin.priority, plugin.memory_limit, plugin.timeout) == (100, 16_000_000, 0.05)


def test_the_defaults_are_those_of_the_page(tmp_path: Path) -> None:
    (plugin,) = config(tmp_path, DEBUG).plugins
    assert plugin.phases is None
    assert (plugin.memory_limit, plugin.timeout, plugin.log_level) == (16_000_000, 0.05, "debug")


def test_without_a_path_the_module_is_looked_for_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "auth.wasm").touch()
    (tmp_path / "rate-limit.wasm").touch()
    file = tmp_path / "sidecar.yaml"
    file.write_text(PRIORITY, encoding="utf-8")
    loaded = load([str(file)], {})
    assert [plugin.path for plugin in loaded.plugins[:2]] == [
        str(tmp_path / "plugins" / "auth.wasm"),
        str(tmp_path / "rate-limit.wasm"),
    ]
    (missing,) = [warning for warning in loaded.warnings if "logging.wasm" in warning]
    for folder in (tmp_path / "plugins", tmp_path, "/etc/sidecar/plugins", "/etc/loom/plugins"):
        assert str(folder) in missing
    assert missing.startswith(f"{file}:8: plugins[2].path: ")


def test_a_route_selects_its_plugins(tmp_path: Path) -> None:
    public, private = config(tmp_path, ROUTES).routes
    assert public.plugins == (PluginUse("rate-limit"),)
    assert private.plugins == (PluginUse("auth"), PluginUse("rate-limit"))
    assert private.path == "/private/*" and private.split == (("backend", 1),) and private.direction == "both"
