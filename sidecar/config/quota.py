"""How many CPUs this container may use, by its control group."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

V2: Final = "/sys/fs/cgroup/cpu.max"
V1: Final = ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us")
MOST: Final = 64


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def cpu_quota(read: Callable[[str], str] = _text) -> int:
    """The CPU quota rounded up, at least 1; 1 when there is none. ``read`` gives a file's text, empty when absent."""
    quota, _, period = read(V2).strip().partition(" ")
    if not quota:
        quota, period = (read(path).strip() for path in V1)
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return 1
    return min(max(math.ceil(share), 1), MOST)
