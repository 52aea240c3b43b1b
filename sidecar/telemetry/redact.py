"""What may leave in spans and logs, and in which form: text of bounded length, and no query values."""

from __future__ import annotations

from typing import Final

MAX_TEXT: Final = 4096
"""Bytes of one attribute value."""


def text_of(value: bytes, limit: int = MAX_TEXT) -> str:
    """Bytes of the wire as text: cut to ``limit`` bytes, what is no UTF-8 replaced, NUL included."""
    if len(value) > limit:
        value = value[:limit]
    if value.isascii():
        text = value.decode("ascii")
    else:
        text = value.decode("utf-8", "replace")
    return text if b"\0" not in value else text.replace("\0", "�")


def cut_text(text: str, limit: int = MAX_TEXT) -> str:
    """Text of ours or of a plugin, cut to ``limit`` bytes of UTF-8; lone surrogates and NUL are replaced."""
    if len(text) * 4 > limit or not text.isascii():
        text = text[:limit].encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")
    return text if "\0" not in text else text.replace("\0", "�")


def path_without_query(path: bytes, limit: int = MAX_TEXT) -> str:
    """The path alone: queries carry tokens."""
    mark = path.find(b"?")
    return text_of(path if mark < 0 else path[:mark], limit)
