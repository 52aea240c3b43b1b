"""Says which compiled twins load here, and what it means when one does not. ``--require`` makes that an error."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

HERE = Path(__file__).resolve().parent


def twin_modules() -> list[str]:
    """Dotted names of all compiled twins: those of the source tree, or inside the image those it was built from."""
    listed = HERE / "twins.txt"
    if listed.exists():
        sources = [Path("sidecar", line) for line in listed.read_text(encoding="utf-8").splitlines()]
    else:
        root = HERE.parent
        sources = [source.relative_to(root) for source in (root / "sidecar").rglob("_*_c.pyx")]
    return sorted(".".join(source.with_suffix("").parts) for source in sources)


def typed_modules() -> list[str]:
    """Those that are compiled from their own source (docs/adr/0003-typed-modules.md)."""
    return list(importlib.import_module("sidecar.compiled").TYPED)


def typed_error(name: str) -> str:
    """Empty when the module is loaded from a compiled file."""
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        return f"does not load: {error}"
    return "" if str(module.__file__).endswith(tuple(EXTENSION_SUFFIXES)) else NOT_BUILT


NOT_BUILT = "not built"
ADVICE = """
The C compiler (or Python's headers) is missing, so Python runs everything instead.
Everything works; a request takes about three times as long, and plugins longer still.
To change that: install a C compiler and Python's headers (Debian: gcc python3-dev), then `make ext`.
"""


def load_error(name: str) -> str:
    """Empty when the compiled module and the front door that chooses it agree that it is in use."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        return NOT_BUILT if error.name == name else f"built, but does not load: {error}"
    except ImportError as error:
        return f"built, but does not load: {error}"
    door = name.removesuffix("_c").replace("._", ".")
    try:
        compiled = getattr(importlib.import_module(door), "COMPILED", True)
    except ModuleNotFoundError:
        return ""
    return "" if compiled else f"{door} chose its Python twin"


def main() -> int:
    required = "--require" in sys.argv[1:]
    if os.environ.get("SIDECAR_PURE") == "1" and not required:
        print("compiled twins: switched off by SIDECAR_PURE=1")
        return 0
    errors = {name: load_error(name) for name in twin_modules()}
    missing = {name: error for name, error in errors.items() if error}
    for name in errors:
        print(f"compiled twin {name}: {'MISSING (' + missing[name] + ')' if name in missing else 'loaded'}")
    typed = {name: typed_error(name) for name in typed_modules()}
    fallen_back = {name: error for name, error in typed.items() if error}
    print(f"typed modules: {len(typed) - len(fallen_back)} of {len(typed)} compiled")
    if len(fallen_back) < len(typed) or set(fallen_back.values()) != {NOT_BUILT}:
        for name, error in fallen_back.items():
            print(f"typed module {name}: {error}")
    missing |= fallen_back
    if NOT_BUILT in missing.values():
        print(ADVICE)
    return 1 if missing and required else 0


if __name__ == "__main__":
    sys.exit(main())
