"""The limits that every codec is given."""

from __future__ import annotations

import pytest

from sidecar.codec.base import CodecLimits


def test_limits_are_safe_without_being_named() -> None:
    limits = CodecLimits()
    assert (limits.header_bytes, limits.header_count, limits.request_line) == (65536, 100, 16384)
    assert (limits.chunk_ext, limits.interim, limits.pipeline, limits.watermark) == (4096, 16, 16, 65536)


def test_limit_is_given_by_its_name_only() -> None:
    assert CodecLimits(pipeline=3).pipeline == 3
    with pytest.raises(TypeError):
        CodecLimits(3)  # type: ignore[misc]
