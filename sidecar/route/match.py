"""The forms in which routing compares hosts and paths.

Both sides of a comparison go through the same function once: what a configuration names when the table is built,
what a request carries when it is matched. The request itself is forwarded as it came.
"""

from __future__ import annotations

from typing import Final

_HEX: Final = {b"%02x" % byte: byte for byte in range(256)}


def without_port(host: bytes) -> bytes:
    """``host`` without ``:port``; an IPv6 literal keeps its brackets."""
    if host[:1] == b"[":
        end = host.find(b"]")
        return host[: end + 1] if end > 0 else host
    name, colon, _ = host.partition(b":")
    return name if colon else host


def decoded_path(target: bytes) -> bytes:
    """The path of a request target as the app will read it: no query, percent-encoding undone exactly once.

    ``/%61dmin`` is ``/admin`` to every app (RFC 3986 section 6.2.2.2), so it must be to routing. What would change
    the shape of the path when decoded (dots, slashes) never gets here: the validator refuses it. A ``%`` that no
    two hex digits follow stays as it is.
    """
    path = target.partition(b"?")[0]
    if b"%" not in path:
        return path
    head, *rest = path.split(b"%")
    parts = [head]
    for piece in rest:
        byte = _HEX.get(piece[:2].lower()) if len(piece) >= 2 else None
        parts.append(b"%" + piece if byte is None else bytes((byte,)) + piece[2:])
    return b"".join(parts)


def without_parameters(path: bytes) -> bytes:
    """``path`` as an app reads it that cuts ``;parameters`` off each segment (RFC 3986 section 3.3)."""
    return b"/".join([segment.partition(b";")[0] for segment in path.split(b"/")])


def raw_length(target: bytes, decoded: int) -> int:
    """How many bytes of ``target`` make the first ``decoded`` bytes of its :func:`decoded_path`."""
    index = 0
    while decoded > 0 and index < len(target):
        is_encoded = target[index] == 0x25 and target[index + 1 : index + 3].lower() in _HEX
        index += 3 if is_encoded else 1
        decoded -= 1
    return index


def host_to_match(authority: bytes) -> bytes:
    """``authority`` as a route's ``host`` is compared: lower case, no trailing dot, no port 80 or 443.

    Looser than :func:`sidecar.http.validate.canonical_host`, which asks whether two spellings of one request agree and
    therefore knows the scheme: behind a proxy that ended TLS, ``shop:443`` is still the shop.
    """
    host = authority.lower()
    name = without_port(host)
    port = host[len(name) + 1 :]
    name = name.removesuffix(b".")
    return name if port in (b"", b"80", b"443") else name + b":" + port
