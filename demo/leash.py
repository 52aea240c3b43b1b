"""Becomes another program that is told to end when the one that started it is gone: `python -m demo.leash PROGRAM ...`.

A demo that was killed the hard way must not leave proxies behind. The request to the kernel survives
the exec (prctl(2), PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == 1:  # gone before we asked
        sys.exit(1)
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
