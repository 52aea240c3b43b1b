from __future__ import annotations

from typing import Any

from sidecar.wasm.pluginlog import MAX_LINE, PluginLog
from tests.support.exchanges import FakeTimers


def a_log() -> tuple[PluginLog, FakeTimers, list[Any]]:
    lines: list[Any] = []
    timers = FakeTimers()
    return PluginLog("p", 2, lambda *what, **fields: lines.append((*what, fields)), timers), timers, lines


def test_a_line_is_passed_on_unchanged() -> None:
    log, _, lines = a_log()
    log.guest(3, 'odd {"level": "x"}\n\x1b[0m', "ab12")
    log.about("error", "broke", callback="on_log")
    assert lines == [
        ("p", "warn", 'odd {"level": "x"}\n\x1b[0m', {"trace_id": "ab12"}),
        ("p", "error", "broke", {"callback": "on_log"}),
    ]


def test_W16_a_flood_is_cut_counted_and_told() -> None:
    log, timers, lines = a_log()
    for _ in range(5000):
        log.guest(2, "flood", "")
    assert len(lines) == 1000
    assert log.dropped_total == 4000
    timers.time += 0.05
    log.guest(2, "after", "")
    assert lines[1000][2:] == ("4000 log lines dropped", {"error": "log_rate", "dropped": 4000})
    assert lines[1001][2] == "after"
    for _ in range(100):
        log.guest(2, "flood", "")
    assert len(lines) < 1010


def test_W16_a_long_line_is_cut() -> None:
    log, _, lines = a_log()
    log.guest(2, "x" * 100_000, "")
    assert len(lines[0][2]) == MAX_LINE
