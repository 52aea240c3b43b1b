"""Which modules are compiled from their own source, and whether they are: docs/adr/0003-typed-modules.md.

``SIDECAR_PURE=1`` makes Python run every source, compiled or not.
"""

from __future__ import annotations

import importlib.util
import os.path
import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from types import ModuleType
from typing import Final

_NAMES: Final = """
errors address
http.headers http.events http.semantics http.status http.validate
telemetry.record telemetry.metrics
exchange.filter exchange.ports exchange.chain exchange.flow exchange.exchange exchange.local_reply
codec.base codec.h1.state codec.h1.names codec.h1.reader codec.h1.target codec.h1.writer codec.h1.server codec.h1.client
route.match route.headers_ops route.entry route.compile route.table
upstream.endpoint upstream.balancer upstream.cluster upstream.pool upstream.retry
transport.timers transport.tcp transport.upstream transport.pool
filters.tracing filters.metrics filters.access_log filters.forwarding filters.router filters.wasm
wasm.ports wasm.abi.status wasm.abi.headers wasm.context wasm.instance wasm.plugin
proxy.site proxy.server_stream proxy.manager
"""
TYPED: Final = tuple(f"sidecar.{name}" for name in _NAMES.split())
"""What a request passes through; compiled as one group, so that calls among them are calls in C."""
SOURCES: Final = tuple(name.replace(".", "/") + ".py" for name in TYPED)


class SourceFinder:
    """A finder that takes the source of one of our modules even where a compiled one lies beside it."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in TYPED or path is None:
            return None
        for folder in path:
            source = os.path.join(folder, name.rpartition(".")[2] + ".py")
            if os.path.exists(source):
                return importlib.util.spec_from_file_location(name, source)
        return None


def prefer_sources() -> None:
    """From now on import sources; to be called before any other module of ours is imported."""
    if SourceFinder not in sys.meta_path:
        sys.meta_path.insert(0, SourceFinder)


def is_compiled(name: str) -> bool:
    """Whether the module ``name`` is (or would be) loaded from a compiled file."""
    spec = importlib.util.find_spec(name)
    return spec is not None and (spec.origin or "").endswith(tuple(EXTENSION_SUFFIXES))
