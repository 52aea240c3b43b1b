"""Results as text and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.rows import Cell, paired_ratio

HEAD = ("row", "conn", "proxy", "req/s", "ratio", "p50 ms", "p99 ms", "CPU µs/req", "RSS MB", "ready ms", "errors")


def ratios(cells: Sequence[Cell]) -> dict[tuple[str, int], float]:
    """{(row, connections): sidecar over Envoy} where both were measured."""
    by_key = {(cell.row, cell.connections, cell.peer): cell for cell in cells}
    found = {}
    for (row, connections, peer), cell in by_key.items():
        reference = by_key.get((row, connections, "envoy"))
        if peer == "sidecar" and reference is not None:
            found[row, connections] = paired_ratio(cell, reference)
    return found


def text_table(cells: Sequence[Cell]) -> str:
    """One line per proxy, row and number of connections; right-aligned figures."""
    compared = ratios(cells)
    lines: list[Sequence[str]] = [HEAD]
    for cell in cells:
        seen = cell.summary()
        ratio = compared.get((cell.row, cell.connections)) if cell.peer == "sidecar" else None
        lines.append(
            (
                cell.row,
                str(cell.connections),
                cell.peer,
                f"{seen['requests_per_second']}",
                "" if ratio is None else f"{ratio:.2f}",
                f"{cell.median(lambda run: run.p50_us) / 1e3:.2f}",
                f"{cell.median(lambda run: run.p99_us) / 1e3:.2f}",
                f"{seen['cpu_us_per_request']}",
                f"{seen['rss_mb']}",
                f"{seen['ready_ms']}",
                f"{seen['errors']}",
            )
        )
    return aligned(lines)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns of equal width: the first three to the left (names), the others to the right (figures)."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = []
    for line in lines:
        cells = [
            text.ljust(width) if column in (0, 2) else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        rows.append("  ".join(cells).rstrip())
    return "\n".join(rows)


def results(
    cells: Sequence[Cell], starts: dict[str, Any], wasm: dict[str, Any], settings: dict[str, Any]
) -> dict[str, Any]:
    """Everything measured, for bench/results.json; absent parts were not asked for."""
    return {
        "machine": machine(),
        "settings": settings,
        "rows": [cell.summary() for cell in cells],
        "ratios": [
            {"row": row, "connections": connections, "sidecar_over_envoy": round(ratio, 3)}
            for (row, connections), ratio in ratios(cells).items()
        ],
        "start": starts,
        "wasm": wasm,
    }


def machine() -> dict[str, Any]:
    """The processor, the kernel and the Python that the figures belong to."""
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
