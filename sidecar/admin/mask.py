"""Secrets on pages: replaced by their key, by their place, or by what they look like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

MASK: Final = "***"
MAX_DEPTH: Final = 32

_secret_key = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|credential|authorization|cookie|private|api[-_]?key|^key$|signing|headers$|^vm_config$",
    re.IGNORECASE,
).search
_public_key = re.compile(r"(request|response)_headers$|_file$|^headers$", re.IGNORECASE).search
_user_info = re.compile(r"(?<=://)[^/@\s]+@").sub
_pem = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----").search


def masked(value: object) -> Any:
    """A copy as plain data, without secrets."""
    return _masked(msgspec.to_builtins(value, str_keys=True, enc_hook=str), 0)


def _masked(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        return MASK
    if isinstance(value, Mapping):
        return {key: _item(str(key), item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item, depth + 1) for item in value]
    if isinstance(value, str):
        return MASK if _pem(value) else _user_info(MASK + "@", value)
    return value


def _item(key: str, value: Any, depth: int) -> Any:
    if value and _secret_key(key) and not _public_key(key) and not isinstance(value, bool):
        return MASK
    if key == "config" and isinstance(value, str) and value:
        return MASK  # a plugin's configuration that we cannot look into
    return _masked(value, depth)
