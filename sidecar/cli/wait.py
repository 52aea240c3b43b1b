"""``sidecar wait``: for the application that must not start before its sidecar."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from sidecar.admin import client

PAUSE: Final = 0.1


def wait(
    path: str,
    seconds: float,
    then: Sequence[str],
    *,
    become: Callable[[str, list[str]], object] = os.execvp,
) -> int:
    """0 when the sidecar at the socket ``path`` is ready within ``seconds``, else 1; with ``then`` it becomes that."""
    end = time.monotonic() + seconds
    reason = ""
    while True:
        try:
            status, _ = client.ask(path, "/healthz/ready", timeout=5.0)
            if status == 200:
                break
            reason = "the sidecar is not ready"
        except client.NotRunning as missing:
            reason = str(missing)
        if time.monotonic() >= end:
            print(f"not ready after {seconds:g} s: {reason}", file=sys.stderr)
            return 1
        time.sleep(PAUSE)
    if not then:
        return 0
    try:
        sys.stdout.flush()
        become(then[0], list(then))
    except OSError as error:
        print(f"cannot run {then[0]}: {error.strerror}", file=sys.stderr)
        return 1
    return 0
