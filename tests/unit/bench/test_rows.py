"""bench/rows.py: choosing rows, and comparing runs."""

from __future__ import annotations

import pytest

from bench.load import Load
from bench.rows import ROWS, Cell, chosen, paired_ratio


def runs(*rates: float) -> list[Load]:
    return [Load(int(rate * 3), rate, 100.0, 900.0, 0) for rate in rates]


@pytest.mark.parametrize(
    ("only", "count"), [("", len(ROWS)), ("h1-wasm1", 1), ("h1-wasm1-otlp", 3), ("h1", len(ROWS)), ("wasm", 0)]
)
def test_a_row_is_chosen_by_its_name_or_its_beginning(only: str, count: int) -> None:
    assert len(chosen(only)) == count


def test_the_ratio_pairs_neighbouring_runs() -> None:
    """The machine slows down between the pairs: the ratio must not notice."""
    ours = Cell("r", "sidecar", 32, runs(2000, 1000, 220))
    theirs = Cell("r", "envoy", 32, runs(1000, 500, 100))
    assert paired_ratio(ours, theirs) == 2.0


def test_a_summary_is_of_medians() -> None:
    cell = Cell("r", "sidecar", 32, runs(10, 30, 20), [5.0, 1.0, 3.0], rss=2_000_000, ready=0.25)
    seen = cell.summary()
    assert (seen["requests_per_second"], seen["cpu_us_per_request"]) == (20, 3.0)
    assert (seen["rss_mb"], seen["ready_ms"], seen["errors"]) == (2.0, 250, 0)
