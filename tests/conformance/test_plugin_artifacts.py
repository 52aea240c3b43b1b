"""plugins/: the committed modules are what the sources say, and the sources hold the documentation's examples."""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from tests.support.needs import needs

PLUGINS = Path(__file__).parents[2] / "plugins"
DIST = PLUGINS / "dist"
NAMES = sorted(path.parent.name for path in PLUGINS.glob("*/Cargo.toml"))
SNIPPETS = sorted((Path(__file__).parent / "page_snippets").glob("*.rs"))
"""The Rust examples of the plugin documentation, word for word, as <plugin>.<what>.rs."""

LARGEST = 300_000
HOST_MODULES = {"env", "wasi_snapshot_preview1"}
WANTED_EXPORTS = {"memory", "_initialize", "proxy_abi_version_0_2_1", "proxy_on_context_create"}


@functools.cache
def manifest() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DIST / "MANIFEST.json").read_text(encoding="utf-8"))
    return content


@functools.cache
def source_hashes() -> dict[str, str]:
    command = [sys.executable, str(PLUGINS / "build"), "--hashes"]
    ran = subprocess.run(command, capture_output=True, check=True, text=True)
    hashes: dict[str, str] = json.loads(ran.stdout)
    return hashes


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def missing_line(snippet: list[str], source: list[str]) -> str:
    """The first line of ``snippet`` that ``source`` lacks in this order; empty when it has all."""
    rest = iter(source)
    return next((wanted for wanted in snippet if wanted not in rest), "")


def test_the_manifest_and_the_directory_name_the_same_modules() -> None:
    assert NAMES
    assert sorted(path.stem for path in DIST.glob("*.wasm")) == NAMES
    assert sorted(set(manifest()) - {"toolchain"}) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_module_is_built_from_the_sources_of_this_tree(name: str) -> None:
    wasm = (DIST / f"{name}.wasm").read_bytes()
    assert manifest()[name]["wasm_sha256"] == hashlib.sha256(wasm).hexdigest()
    assert manifest()[name]["source_sha256"] == source_hashes()[name], "sources changed: run make plugins"


@pytest.mark.parametrize("name", NAMES)
def test_a_module_is_small_and_speaks_the_abi(name: str) -> None:
    path = DIST / f"{name}.wasm"
    assert path.stat().st_size < LARGEST
    module = wasmtime.Module.from_file(wasmtime.Engine(), str(path))
    assert {item.module for item in module.imports} <= HOST_MODULES
    assert {item.name for item in module.exports} >= WANTED_EXPORTS


@pytest.mark.parametrize("name", NAMES)
def test_a_module_names_no_directory_of_the_machine_that_built_it(name: str) -> None:
    wasm = (DIST / f"{name}.wasm").read_bytes()
    for foreign in (b"/root/", b"/home/", b"/tmp/", str(PLUGINS.parent).encode() + b"/"):
        assert foreign not in wasm


@pytest.mark.parametrize("name", NAMES)
def test_a_plugin_says_how_to_use_it(name: str) -> None:
    readme = (PLUGINS / name / "README.md").read_text(encoding="utf-8")
    assert f"path: plugins/dist/{name}.wasm" in readme
    assert f"[{name}]({name}/README.md)" in (PLUGINS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda path: path.stem)
def test_a_documented_example_lives_in_its_plugin_as_it_stands(snippet: Path) -> None:
    plugin = snippet.name.partition(".")[0]
    source = (PLUGINS / plugin / "src" / "lib.rs").read_text(encoding="utf-8")
    # Blocks that a comment line separates are independent examples and may stand in any order.
    blocks = [lines(block) for block in snippet.read_text(encoding="utf-8").split("\n\n")]
    whole = lines(snippet.read_text(encoding="utf-8"))
    if missing_line(whole, lines(source)):
        assert [missing_line(block, lines(source)) for block in blocks] == [""] * len(blocks)


def test_every_plugin_but_the_one_for_the_bench_holds_an_example() -> None:
    assert {path.name.partition(".")[0] for path in SNIPPETS} == set(NAMES) - {"bench-headers"}


def test_missing_line_minds_the_order() -> None:
    assert missing_line(["a", "c"], ["a", "b", "c"]) == ""
    assert missing_line(["c", "a"], ["a", "b", "c"]) == "a"


@needs("rust-wasm")
@pytest.mark.timeout(600)
def test_building_again_gives_the_same_modules(tmp_path: Path) -> None:
    """Byte for byte with the manifest's compiler; another one must at least give the same interface."""
    command = [str(PLUGINS / "build"), "--out", str(tmp_path / "dist"), "--target", str(tmp_path / "target")]
    subprocess.run([sys.executable, *command], check=True, timeout=580)
    again = json.loads((tmp_path / "dist" / "MANIFEST.json").read_text(encoding="utf-8"))
    for name in NAMES:
        if again["toolchain"] == manifest()["toolchain"]:
            assert again[name] == manifest()[name]
        else:
            assert exports(tmp_path / "dist" / f"{name}.wasm") == exports(DIST / f"{name}.wasm")


def exports(path: Path) -> list[str]:
    return sorted(item.name or "" for item in wasmtime.Module.from_file(wasmtime.Engine(), str(path)).exports)
