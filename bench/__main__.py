"""``python -m bench [--only ROW]``: prints the table, writes bench/results.json."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from bench.peers import MODULE
from bench.processes import BenchError
from bench.rows import ROWS, STARTERS, Cell, chosen, measure_row, measure_starts
from bench.table import results, text_table

EXTRAS = ("start", "wasm")
RESULTS = Path(__file__).parent / "results.json"


def main() -> int:
    names = ", ".join([row.name for row in ROWS] + list(EXTRAS))
    parser = argparse.ArgumentParser(prog="python -m bench", description=f"Rows: {names}")
    parser.add_argument("--only", default="", help="one row, or the beginning of several names")
    parser.add_argument("--seconds", type=int, default=3, help="length of one run")
    parser.add_argument("--rounds", type=int, default=3, help="runs per proxy and number of connections, alternating")
    parser.add_argument("--peers", default=",".join(STARTERS), help="which proxies, separated by commas")
    parser.add_argument("--module", type=Path, default=MODULE, help="the Wasm module that both load")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes")
    options = parser.parse_args()
    rows = chosen(options.only)
    extras = [extra for extra in EXTRAS if extra.startswith(options.only)]
    peers = options.peers.split(",")
    if not rows and not extras:
        parser.error(f"no row is called {options.only}; there are: {names}")
    if set(peers) - set(STARTERS):
        parser.error(f"--peers knows {', '.join(STARTERS)}")
    if (os.cpu_count() or 1) < 2:
        print("bench: one core for the proxy and one for the load are needed; the figures mean little", file=sys.stderr)
    try:
        measured = run(rows, extras, peers, options)
    except BenchError as failed:
        print(f"bench: {failed}", file=sys.stderr)
        return 1
    options.out.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    return 0


def run(rows: list[Any], extras: list[str], peers: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Measures what was asked for, printing as it goes; returns the results."""
    cells: list[Cell] = []
    starts: dict[str, Any] = {}
    wasm: dict[str, Any] = {}
    print("Same backend (nginx, 1 KB), route, module and pinned core for both; access logs off in both.", flush=True)
    for row in rows:
        print(f"... {row.name}", file=sys.stderr, flush=True)
        module = options.module.resolve()
        cells += measure_row(row, peers, seconds=options.seconds, rounds=options.rounds, module=module)
    if cells:
        print(text_table(cells), flush=True)
    if "start" in extras:
        starts = measure_starts(peers, options.module.resolve())
        for peer, seen in starts.items():
            print(f"start {peer}: ready after {seen['ready_ms']:.0f} ms, RSS {seen['rss_mb']} MB (one plugin, at rest)")
    if "wasm" in extras and "sidecar" in peers:
        from bench.micro import measure_calls  # imports the sidecar, which the other rows only start

        wasm = measure_calls(options.module.resolve())
        for what, cost in wasm.items():
            print(f"wasm {what}: {cost}{' µs' if isinstance(cost, float) else ''}")
    settings = {"seconds": options.seconds, "rounds": options.rounds, "module": options.module.name}
    return results(cells, starts, wasm, settings)


if __name__ == "__main__":
    sys.exit(main())
