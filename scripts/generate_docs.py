"""Writes the pages of docs/ that are made from tables in the code; ``--check`` only says which ones are out of date."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from scripts import page_config, page_proxy_wasm  # noqa: E402

PAGES: dict[str, Callable[[], str]] = {
    "docs/config.md": page_config.page,
    "docs/proxy-wasm.md": page_proxy_wasm.page,
}


def stale(root: Path) -> list[str]:
    """Pages that say something else than the code does."""
    return [
        name
        for name, page in PAGES.items()
        if not (root / name).exists() or (root / name).read_text(encoding="utf-8") != page()
    ]


def main(arguments: list[str]) -> int:
    names = stale(ROOT)
    if "--check" in arguments:
        for name in names:
            print(f"{name} is out of date: run scripts/generate_docs.py")
        return 1 if names else 0
    for name in names:
        (ROOT / name).write_text(PAGES[name](), encoding="utf-8")
        print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
