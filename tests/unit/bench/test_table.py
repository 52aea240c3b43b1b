"""bench/table.py: the text and the ratios."""

from __future__ import annotations

from bench.load import Load
from bench.rows import Cell
from bench.table import aligned, ratios, results, text_table


def cell(peer: str, rate: float) -> Cell:
    return Cell("h1-plain", peer, 32, [Load(int(rate), rate, 1400.0, 8000.0, 0)], [40.0], 70_000_000, 0.2)


def test_a_ratio_needs_both() -> None:
    assert ratios([cell("envoy", 1000.0), cell("sidecar", 1500.0)]) == {("h1-plain", 32): 1.5}
    assert ratios([cell("sidecar", 1500.0)]) == {}


def test_the_table_has_a_line_per_proxy_and_the_ratio_beside_ours() -> None:
    lines = text_table([cell("envoy", 1000.0), cell("sidecar", 1500.0)]).splitlines()
    assert lines[1].split() == ["h1-plain", "32", "envoy", "1000", "1.40", "8.00", "40.0", "70.0", "200", "0"]
    assert lines[2].split()[:5] == ["h1-plain", "32", "sidecar", "1500", "1.50"]


def test_columns_line_up() -> None:
    assert aligned([("a", "1", "bb", "1"), ("aaa", "22", "b", "333")]) == "a     1  bb    1\naaa  22  b   333"


def test_results_name_the_machine_and_the_comparison() -> None:
    found = results([cell("envoy", 1000.0), cell("sidecar", 1500.0)], {}, {}, {"seconds": 3})
    assert found["ratios"] == [{"row": "h1-plain", "connections": 32, "sidecar_over_envoy": 1.5}]
    assert {"processor", "cores", "kernel", "python"} <= found["machine"].keys()
