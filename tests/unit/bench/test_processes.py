"""bench/processes.py: what /proc says."""

from __future__ import annotations

import os
from pathlib import Path

from bench.processes import parse_stat

STAT = "4711 (a (nasty) name) S 1 4711 4711 0 -1 4194560 900 0 1 0 120 35 7 8 20 0 3 0 5000 104857600 2048 184467"


def test_parent_ticks_and_pages_are_found_behind_any_name() -> None:
    assert parse_stat(STAT) == (1, 155, 2048)


def test_the_line_of_this_process_reads() -> None:
    parent, ticks, pages = parse_stat(Path("/proc/self/stat").read_text(encoding="utf-8"))
    assert parent == os.getppid()
    assert ticks >= 0
    assert pages > 0
