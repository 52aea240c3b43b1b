"""Header maps as bytes, the way they cross the border. Chooses between the two twins.

``_pairs_c`` (Cython) is used when it was built; ``SIDECAR_PURE=1`` in the environment forces ``_pairs_py``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sidecar.wasm.abi._pairs_py import EMPTY_MAP, MAX_BYTES, MAX_PAIRS, MalformedPairs, Pair

if TYPE_CHECKING:
    from sidecar.wasm.abi._pairs_py import decode, encode, encoded_size

    COMPILED: bool
else:
    COMPILED = False
    if os.environ.get("SIDECAR_PURE") != "1":  # noqa: TID251 - chosen at import, before any configuration
        try:
            from sidecar.wasm.abi._pairs_c import decode, encode, encoded_size

            COMPILED = True
        except ImportError:
            pass
    if not COMPILED:
        from sidecar.wasm.abi._pairs_py import decode, encode, encoded_size

__all__ = [
    "COMPILED",
    "EMPTY_MAP",
    "MAX_BYTES",
    "MAX_PAIRS",
    "MalformedPairs",
    "Pair",
    "decode",
    "encode",
    "encoded_size",
]
