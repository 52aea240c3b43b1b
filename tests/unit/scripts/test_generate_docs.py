from __future__ import annotations

from pathlib import Path

from scripts import generate_docs, page_proxy_wasm
from sidecar.wasm.abi import table, wasi


def test_every_page_says_what_the_code_does() -> None:
    assert generate_docs.stale(generate_docs.ROOT) == []


def test_a_page_that_is_missing_or_old_is_stale(tmp_path: Path) -> None:
    assert generate_docs.stale(tmp_path) == list(generate_docs.PAGES)
    (tmp_path / "docs").mkdir()
    for name, page in generate_docs.PAGES.items():
        (tmp_path / name).write_text(page(), encoding="utf-8")
    assert generate_docs.stale(tmp_path) == []
    (tmp_path / "docs" / "proxy-wasm.md").write_text("old", encoding="utf-8")
    assert generate_docs.stale(tmp_path) == ["docs/proxy-wasm.md"]


def test_the_page_names_every_host_function_and_what_is_not_there() -> None:
    page = page_proxy_wasm.page()
    rows = [row for _, group in table.GROUPS for row in group] + list(wasi.FUNCTIONS)
    assert len(rows) > 80
    assert [row.name for row in rows if f"| `{row.name}` |" not in page] == []
    assert "| `proxy_grpc_call` | (iiiiiiiiiiii)i | 0.1.0 | Always InternalFailure." in page
