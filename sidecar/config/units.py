"""Durations, sizes and numbers as they are written. Each returns None for text that is no such thing."""

from __future__ import annotations

import math
import re
from typing import Final

_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE: Final = re.compile(r"([0-9]+)(B|kB|KB|MB|GB|KiB|MiB|GiB)?")
_BYTES: Final = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,39}")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,39})(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?")


def duration(text: str) -> float | None:
    """Seconds of ``50ms``, ``30s``, ``5m`` or ``1h``; a plain ``0`` is none at all."""
    if text == "0":
        return 0.0
    match = _DURATION.fullmatch(text)
    return round(float(match[1]) * _SECONDS[match[2]], 9) if match and len(match[1]) < 16 else None


def size(text: str) -> int | None:
    """Bytes of ``16MB`` (10^6), ``16MiB`` (2^20), ``512kB`` or a plain number."""
    match = _SIZE.fullmatch(text)
    return int(match[1]) * _BYTES[match[2] or "B"] if match and len(match[1]) < 16 else None


def integer(text: str) -> int | None:
    """A plain decimal: no leading zero, sign ``+``, ``_``, exponent or base."""
    return int(text) if _INTEGER.fullmatch(text) else None


def number(text: str) -> float | None:
    """A number as JSON writes it (RFC 8259 section 6): no sign ``+``, no leading zero or point, no ``inf``."""
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def boolean(text: str) -> bool | None:
    """``true`` or ``false`` and nothing else."""
    return {"true": True, "false": False}.get(text)


def show_duration(seconds: float) -> str:
    """As it would be written."""
    if not seconds:
        return "0"
    for unit, worth in (("h", 3600.0), ("m", 60.0), ("s", 1.0)):
        if seconds >= worth and seconds % worth == 0:
            return f"{seconds / worth:g}{unit}"
    return f"{seconds * 1000:g}ms" if seconds < 1 else f"{seconds:g}s"


def show_size(size: int) -> str:
    """As it would be written."""
    for unit in ("GiB", "GB", "MiB", "MB", "KiB", "kB"):
        worth = _BYTES[unit]
        if size >= worth and size % worth == 0:
            return f"{size // worth}{unit}"
    return f"{size}B"
