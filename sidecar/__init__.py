"""A per-pod sidecar proxy."""

from __future__ import annotations

import os

from sidecar.compiled import prefer_sources

__version__ = "0.1.0"

prefer_sources(os.environ)  # noqa: TID251 - before anything else is imported
