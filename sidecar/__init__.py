"""A per-pod sidecar proxy."""

from __future__ import annotations

import os

from sidecar.compiled import prefer_sources

__version__ = "0.1.0"

if os.environ.get("SIDECAR_PURE") == "1":  # noqa: TID251 - before anything else is imported
    prefer_sources()
