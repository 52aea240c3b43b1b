"""HTTP/1.0 and HTTP/1.1 (RFC 9112) behind the codec contract."""

from __future__ import annotations

from sidecar.codec.h1.client import H1ClientCodec
from sidecar.codec.h1.server import H1ServerCodec

__all__ = ["H1ClientCodec", "H1ServerCodec"]
