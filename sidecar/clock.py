"""Names for the two clocks; nothing below transport reads either, it is handed ``now``."""

from __future__ import annotations

Monotonic = float
"""Seconds of the monotonic clock; only differences mean anything."""

UnixNanos = int
"""Nanoseconds since 1970; for spans, logs and certificates only."""
