"""Header maps as bytes, the way they cross the border.

``u32 count``, then per pair ``u32 name length, u32 value length``, then each name and value followed by a NUL;
all little-endian. An absent map is no bytes at all, an empty one the zero count. The specification that
``_pairs_c.pyx`` follows.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

MAX_BYTES: Final = 1 << 20
MAX_PAIRS: Final = 1024
EMPTY_MAP: Final = b"\0\0\0\0"

Pair = tuple[bytes, bytes]


class MalformedPairs(ValueError):
    """The guest's bytes are no header map; nothing may be changed because of them."""


@lru_cache(maxsize=256)
def _layout(count: int) -> struct.Struct:
    return struct.Struct(f"<{1 + 2 * count}I")


def encode(pairs: Sequence[Sequence[bytes]]) -> bytes:
    """Serialise; of each entry the first item is the name and the second the value."""
    sizes = [len(pairs)]
    chunks = []
    for pair in pairs:
        name = pair[0]
        value = pair[1]
        sizes.append(len(name))
        sizes.append(len(value))
        chunks.append(name)
        chunks.append(value)
    chunks.append(b"")
    return _layout(len(pairs)).pack(*sizes) + b"\0".join(chunks)


def encoded_size(pairs: Sequence[Sequence[bytes]]) -> int:
    """Length of :func:`encode` without building it."""
    return 4 + sum(10 + len(pair[0]) + len(pair[1]) for pair in pairs)


def decode(data: bytes) -> list[Pair]:
    """Read a map strictly; raises :class:`MalformedPairs` when one byte is not as it must be.

    No bytes, or a single NUL as in the specification's text, are an empty map.
    """
    size = len(data)
    if size == 0 or data == b"\0":
        return []
    if size < 4 or size > MAX_BYTES:
        raise MalformedPairs(f"{size} bytes")
    count = int.from_bytes(data[:4], "little")
    if count > MAX_PAIRS:
        raise MalformedPairs(f"{count} pairs")
    position = 4 + 8 * count
    if position > size:
        raise MalformedPairs("the table of lengths is cut off")
    lengths = _layout(count).unpack_from(data)
    pairs = []
    for index in range(1, 2 * count, 2):
        name_end = position + lengths[index]
        value_end = name_end + 1 + lengths[index + 1]
        if value_end >= size or data[name_end] or data[value_end]:
            raise MalformedPairs("a name or value does not end in NUL")
        pairs.append((data[position:name_end], data[name_end + 1 : value_end]))
        position = value_end + 1
    if position != size:
        raise MalformedPairs("bytes left over")
    return pairs
