from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("50ms", 0.05), ("30s", 30.0), ("5m", 300.0), ("1h", 3600.0), ("0", 0.0), ("0s", 0.0), ("1.5s", 1.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert units.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "+1s", "1 s", "1S", "1us", "1d", "1m30s", "1e3s", ".5s", "٣s"])
def test_what_is_no_duration(text: str) -> None:
    assert units.duration(text) is None


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("512", 512), ("16MB", 16_000_000), ("16MiB", 1 << 24), ("4kB", 4000), ("4KiB", 4096), ("1GB", 10**9),
     ("1GiB", 1 << 30), ("7B", 7)],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert units.size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "1.5MB", "16 MB", "16mb", "16M", "16Mb", "1_0", "9" * 30])
def test_what_is_no_size(text: str) -> None:
    assert units.size(text) is None


@pytest.mark.parametrize("text", ["", "01", "+1", "1_0", "0x1", "1.0", "1e3", " 1", "٣", "true"])
def test_what_is_no_whole_number(text: str) -> None:
    assert units.integer(text) is None


def test_numbers() -> None:
    assert (units.integer("-12"), units.number("1.5"), units.number("1e-3")) == (-12, 1.5, 0.001)
    assert units.number("1e999") is None and units.number("nan") is None and units.number(".5") is None
    assert (units.boolean("true"), units.boolean("false"), units.boolean("yes")) == (True, False, None)


@given(st.floats(0.001, 86400))
def test_a_shown_duration_reads_back(seconds: float) -> None:
    seconds = round(seconds, 3)
    shown = units.duration(units.show_duration(seconds))
    assert shown is not None and abs(shown - seconds) <= 1e-5 * seconds


@given(st.integers(0, 1 << 50))
def test_a_shown_size_reads_back(size: int) -> None:
    if size < 10**15:
        assert units.size(units.show_size(size)) == size
