"""docs/config.md says what the readers of the configuration do: every key they know, by the name it has in a file."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from scripts import page_config
from sidecar.config import model
from sidecar.config.load import load


@pytest.mark.parametrize("name", page_config.READERS)
def test_every_key_of_the_page_is_one_that_the_reader_asks_for(name: str) -> None:
    (kind,) = (kind for block, kind, _ in page_config.BLOCKS if block == name)
    shown = {key for key, _, _ in page_config.rows(kind)} | set(page_config.EXTRA.get(name, {}))
    assert shown <= page_config.known_keys(name)


def test_every_block_of_the_model_has_a_table() -> None:
    tables = {name for name, _, _ in page_config.BLOCKS}
    blocks = {field.name for field in dataclasses.fields(model.Config)} - page_config.INTERNAL - {"workers"}
    assert blocks <= tables


def test_every_key_has_a_meaning_or_values() -> None:
    silent = [
        f"{name}.{key}" for name, kind, _ in page_config.BLOCKS for key, _, text in page_config.rows(kind) if not text
    ]
    assert silent == []


def test_defaults_are_written_as_in_a_file() -> None:
    plugin = {key: default for key, default, _ in page_config.rows(model.Plugin)}
    assert plugin["timeout"] == "`50ms`"
    assert plugin["memory_limit"] == "`16MB`"
    assert plugin["max_body"] == "`1MiB`"
    assert plugin["on_overflow"] == "`reject`"
    assert plugin["name"] == "required"


def test_what_is_refused_by_name_is_named() -> None:
    page = page_config.page()
    assert "* blocks `identity`, `authorization`, `redirect`;" in page
    assert "* in `upstreams`: `health_check`, `outlier`;" in page


def test_the_example_of_the_page_loads_without_a_word(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", page_config.page(), re.DOTALL)
    path = tmp_path / "sidecar.yaml"
    path.write_text(example, encoding="utf-8")
    assert load([str(path)], {}, exists=lambda path: True).warnings == ()
