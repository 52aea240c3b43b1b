"""Parse and write message heads. Chooses between the two twins.

``_head_c`` (Cython) is used when it was built; ``SIDECAR_PURE=1`` in the environment forces ``_head_py``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sidecar.codec.h1.names import HeadError

if TYPE_CHECKING:
    from sidecar.codec.h1._head_py import parse_request, parse_response, parse_trailers, write_fields, write_request

    COMPILED: bool
else:
    COMPILED = False
    if os.environ.get("SIDECAR_PURE") != "1":
        try:
            from sidecar.codec.h1._head_c import (
                parse_request,
                parse_response,
                parse_trailers,
                write_fields,
                write_request,
            )

            COMPILED = True
        except ImportError:
            pass
    if not COMPILED:
        from sidecar.codec.h1._head_py import (
            parse_request,
            parse_response,
            parse_trailers,
            write_fields,
            write_request,
        )

__all__ = [
    "COMPILED",
    "HeadError",
    "parse_request",
    "parse_response",
    "parse_trailers",
    "write_fields",
    "write_request",
]
