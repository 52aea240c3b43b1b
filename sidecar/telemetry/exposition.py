"""The text page Prometheus reads (exposition format 0.0.4), made from a snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})
_HELP_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n"})


def render(snapshot: Mapping[str, Any]) -> bytes:
    """The whole page; families without a child still show their type."""
    lines: list[str] = []
    for name, family in snapshot.items():
        lines.append(f"# HELP {name} {family['help'].translate(_HELP_ESCAPES)}")
        lines.append(f"# TYPE {name} {family['type']}")
        for values, value in family["rows"]:
            labels = label_text(family["labels"], values)
            if family["type"] == "histogram":
                lines += histogram_lines(name, labels, family["buckets"], value)
            else:
                lines.append(f"{name}{{{labels}}} {number(value)}" if labels else f"{name} {number(value)}")
    lines.append("")
    return "\n".join(lines).encode("utf-8", "replace")


def label_text(names: Sequence[str], values: Sequence[str]) -> str:
    """``a="x",b="y"``, escaped."""
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in zip(names, values, strict=True))


def histogram_lines(name: str, labels: str, bounds: Sequence[float], value: Sequence[Any]) -> list[str]:
    """Cumulative buckets, sum and count; the count is that of the buckets, so that they always agree."""
    counts, total = value
    prefix = f"{name}_bucket{{{labels}," if labels else f"{name}_bucket{{"
    running = 0
    lines: list[str] = []
    for bound, count in zip([*map(number, bounds), "+Inf"], counts, strict=True):
        running += count
        lines.append(f'{prefix}le="{bound}"}} {running}')
    suffix = f"{{{labels}}}" if labels else ""
    lines.append(f"{name}_sum{suffix} {number(total)}")
    lines.append(f"{name}_count{suffix} {running}")
    return lines


def number(value: float) -> str:
    """The shortest text that reads back as the same number."""
    if isinstance(value, int) or value.is_integer():
        return str(int(value))
    return format(value, "f").rstrip("0") if 1e-6 <= abs(value) < 1e-4 else repr(value)
