"""``python -m sidecar`` and the console script ``sidecar``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from sidecar.cli.parse import dispatch


def main(words: Sequence[str] | None = None) -> int:
    return dispatch(sys.argv[1:] if words is None else words)


if __name__ == "__main__":
    sys.exit(main())
