"""What the documents promise a newcomer: links lead somewhere, commands exist, the example is a configuration."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.config.load import load

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = {".venv", ".git", "build", "target", "node_modules", ".pytest_cache", ".hypothesis"}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"`?make ([a-z]+)")
TARGET = re.compile(r"^([a-z]+):", re.MULTILINE)


def documents() -> list[Path]:
    found = sorted(ROOT.rglob("*.md"))
    return [path for path in found if NOT_OURS.isdisjoint(path.relative_to(ROOT).parts)]


def anchors(text: str) -> set[str]:
    """As the usual renderers make them from headings."""
    titles = re.findall(r"^#+ +(.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    broken = []
    for link in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors(target.read_text(encoding="utf-8"))
        ):
            broken.append(link)
    return broken


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def blocks() -> list[str]:
    """README's indented blocks, without the indentation."""
    found = re.findall(r"(?:^(?:    .*)?\n)+", readme(), re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE).strip("\n") for block in found if block.strip()]


def test_there_are_documents() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in documents()}
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/life-of-a-request.md"} <= names


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(path: Path) -> None:
    assert broken_links(path) == []


def test_a_broken_link_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One title\n[a](b.md) [c](#one-title) [d](#another) [e](https://example.org)\n", encoding="utf-8")
    assert broken_links(page) == ["b.md", "#another"]


def test_the_example_is_a_configuration(tmp_path: Path) -> None:
    (example,) = [block for block in blocks() if block.startswith("# sidecar.yaml")]
    text, _, commands = example.partition("\n\n.venv/bin/")
    assert commands or len([block for block in blocks() if block.startswith(".venv/bin/")]) == 1
    (tmp_path / "plugins").mkdir()
    for module in (ROOT / "plugins" / "dist").glob("*.wasm"):
        shutil.copy(module, tmp_path / "plugins")
    (tmp_path / "sidecar.yaml").write_text(text, encoding="utf-8")
    config = load([str(tmp_path / "sidecar.yaml")], {})
    assert config.node.service == "orders"
    assert [plugin.name for plugin in config.plugins] == ["header-edit"]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "plugins/README.md", "docs/performance.md"])
def test_the_chores_exist(name: str) -> None:
    targets = set(TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    text = (ROOT / name).read_text(encoding="utf-8")
    code = [*FENCE.findall(text), *re.findall(r"^    .*$", text, re.MULTILINE), *re.findall(r"`[^`\n]+`", text)]
    chores = set(COMMAND.findall("\n".join(code)))
    assert chores
    assert chores <= targets


def test_the_commands_exist() -> None:
    words = set(re.findall(r"\.venv/bin/sidecar ([a-z]+)", readme())) | set(re.findall(r"`sidecar ([a-z]+)`", readme()))
    assert {"run", "validate"} <= words
    for word in sorted(words):
        command = [sys.executable, "-m", "sidecar", word, "--help"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"sidecar {word}: {done.stderr}"
