"""Waiting for what another thread or process does: poll with a deadline that a loaded machine keeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

DEADLINE = 30.0


def eventually(condition: Callable[[], Any], deadline: float = DEADLINE) -> Any:
    """The first true answer of ``condition``; fails after ``deadline`` seconds."""
    end = time.monotonic() + deadline
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"did not come true within {deadline} s")
        time.sleep(0.01)
