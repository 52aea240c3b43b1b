# long-module: reads and writes of one map share their checks, and the hot ones are written out flat
"""Header maps: what a guest reads, and what it may write.

Whatever a guest writes may go to the wire, so each name and value is judged here: no control bytes, no framing or
connection fields, no names that only the mesh may set, one of each pseudo-header. A refused write changes nothing,
answers BadArgument, and is logged.

``content-length`` is the proxy's (the flow puts it right after any change of the body). Removing it has effect, since
every Envoy plugin that edits bodies does so; setting it is answered Ok and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sidecar.http.headers import HeaderMap
from sidecar.http.semantics import HOP_BY_HOP, trailer_fields
from sidecar.wasm.abi import pairs, status
from sidecar.wasm.abi.function import CALL_COST, BudgetExceeded, HostFunction, guarded
from sidecar.wasm.trap import MemoryRangeError

if TYPE_CHECKING:
    from sidecar.wasm.instance import Instance

MAX_FIELDS: Final = 1000
"""Fields a guest may make a map grow to."""
MAX_NAME: Final = 1024
MAX_VALUE: Final = 65536
MAX_KNOWN_NAMES: Final = 512

CONTROL: Final = bytes([*range(9), *range(10, 32), 127])
"""Bytes that no field value may hold (RFC 9110 section 5.5)."""
REQUEST_PSEUDO: Final = frozenset({b":method", b":path", b":authority", b":scheme"})
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Z]{1,64}")
_STATUS: Final = re.compile(rb"[2-5][0-9][0-9]")
_LAST_MAP: Final = status.CALL_TRAILERS


def get_value(instance: Instance, map_id: int, key: int, key_size: int, value_slot: int, size_slot: int) -> int:
    """``proxy_get_header_map_value``."""
    instance.fuel -= CALL_COST + key_size
    if instance.fuel < 0:
        raise BudgetExceeded
    vm = instance.vm
    try:
        name = vm.read(key, key_size).lower()
    except MemoryRangeError:
        return status.INVALID_MEMORY_ACCESS
    context = instance.effective
    facts = context.facts
    headers: HeaderMap | None
    if facts is not None and map_id == status.REQUEST_HEADERS:
        headers = facts.request_headers
    elif facts is not None and map_id == status.RESPONSE_HEADERS:
        headers = facts.response_headers
    elif map_id <= _LAST_MAP:
        headers = readable_map(instance, map_id)
    else:
        return status.BAD_ARGUMENT
    if headers is not None:
        for field in headers.fields:
            if field[0] == name:
                value = field[1]
                instance.fuel -= len(value)
                answer = vm.return_bytes(value, value_slot, size_slot, instance.allocate)
                instance.effective = context
                return answer
        if name == b"host" and map_id == status.REQUEST_HEADERS:
            return instance.return_bytes(headers.get(b":authority") or b"", value_slot, size_slot)
    if instance.abi == "0.1.0":
        return instance.return_bytes(b"", value_slot, size_slot)
    return status.NOT_FOUND


def add_value(instance: Instance, map_id: int, key: int, key_size: int, value: int, value_size: int) -> int:
    """``proxy_add_header_map_value``."""
    instance.fuel -= CALL_COST + key_size + value_size
    if instance.fuel < 0:
        raise BudgetExceeded
    vm = instance.vm
    try:
        raw = vm.read(key, key_size)
        text = vm.read(value, value_size)
    except MemoryRangeError:
        return status.INVALID_MEMORY_ACCESS
    name = instance.names.get(raw)
    context = instance.effective
    if name is not None and context is instance.current:
        # The usual case: a plain name that was seen before, written to the head whose callback runs.
        phase = context.phase  # type: ignore[attr-defined]
        facts = context.facts
        if map_id == status.RESPONSE_HEADERS and phase == status.ON_RESPONSE_HEADERS:
            headers = facts.response_headers  # type: ignore[union-attr]
        elif map_id == status.REQUEST_HEADERS and phase == status.ON_REQUEST_HEADERS:
            headers = facts.request_headers  # type: ignore[union-attr]
        else:
            return _write(instance, _add, map_id, raw, text)
        fields = headers.fields  # type: ignore[union-attr]
        if len(text.translate(None, CONTROL)) == value_size <= MAX_VALUE and len(fields) < MAX_FIELDS:
            headers.revision += 1  # type: ignore[union-attr]
            fields.append((name, text, name))
            return status.OK
    return _write(instance, _add, map_id, raw, text)


@guarded
def replace_value(instance: Instance, map_id: int, key: int, key_size: int, value: int, value_size: int) -> int:
    """``proxy_replace_header_map_value``."""
    return _write(instance, _replace, map_id, instance.read(key, key_size), instance.read(value, value_size))


@guarded
def remove_value(instance: Instance, map_id: int, key: int, key_size: int) -> int:
    """``proxy_remove_header_map_value``; Ok also when there is none of that name."""
    name = _alias(map_id, instance.read(key, key_size).lower())
    headers = writable_map(instance, map_id)
    if headers is None:
        return instance.refuse(f"header map {map_id} cannot be changed now")
    if name[:1] == b":" or name.startswith(b"x-sidecar-"):
        return instance.refuse(f"{name!r} cannot be removed")
    headers.remove(name)
    return status.OK


@guarded
def get_pairs(instance: Instance, map_id: int, data_slot: int, size_slot: int) -> int:
    """``proxy_get_header_map_pairs``; an absent map is no bytes at all."""
    if map_id > _LAST_MAP:
        return status.BAD_ARGUMENT
    headers = readable_map(instance, map_id)
    return instance.return_bytes(b"" if headers is None else pairs.encode(headers.fields), data_slot, size_slot)


@guarded
def get_size(instance: Instance, map_id: int, size_slot: int) -> int:
    """``proxy_get_header_map_size``: bytes of the serialised map."""
    if map_id > _LAST_MAP:
        return status.BAD_ARGUMENT
    headers = readable_map(instance, map_id)
    instance.vm.write_u32(size_slot, 0 if headers is None else pairs.encoded_size(headers.fields))
    return status.OK


@guarded
def set_pairs(instance: Instance, map_id: int, data: int, size: int) -> int:
    """``proxy_set_header_map_pairs``: all or nothing. Framing fields stay as they are where the guest kept them."""
    try:
        wanted = pairs.decode(instance.read(data, size))
    except pairs.MalformedPairs as why:
        return instance.refuse(f"malformed header map: {why}")
    headers = writable_map(instance, map_id)
    if headers is None:
        return instance.refuse(f"header map {map_id} cannot be changed now")
    fresh: list[tuple[bytes, bytes]] = []
    named = set()
    for raw, value in wanted:
        name = _alias(map_id, raw.lower())
        if is_ours(name):
            if name not in named:
                fresh += [(name, present) for present in headers.get_all(name)]
        else:
            reason = _judge(map_id, name, value, name[:1] == b":" and name in named)
            if reason:
                return instance.refuse(reason)
            fresh.append((name, value))
        named.add(name)
    lost = [field[0] for field in headers.fields if field[0][:1] == b":" and field[0] not in named]
    if lost:
        return instance.refuse(f"{lost[0]!r} cannot be removed")
    headers.replace_all(fresh)
    return status.OK


def readable_map(instance: Instance, map_id: int) -> HeaderMap | None:
    """Any map, in any phase; None while there is none."""
    if map_id <= status.RESPONSE_TRAILERS:
        stream = instance.effective.stream
        return stream.header_map(map_id) if stream is not None else None
    answer = instance.answer
    if answer is not None and map_id >= status.CALL_HEADERS:
        return answer.headers if map_id == status.CALL_HEADERS else answer.trailers
    return None


def writable_map(instance: Instance, map_id: int) -> HeaderMap | None:
    """The map when it can be changed now."""
    stream = instance.effective.stream
    return stream.writable_map(map_id) if stream is not None and map_id <= status.RESPONSE_TRAILERS else None


def is_ours(name: bytes) -> bool:
    """True for fields that say how a message is framed or whom the mesh trusts: never a guest's to set."""
    return name == b"content-length" or name in HOP_BY_HOP or name.startswith(b"x-sidecar-")


def judge_pairs(found: list[tuple[bytes, bytes]]) -> str:
    """Empty when plain fields may be written (names in any case), else the reason. Fields of ours pass."""
    for raw, value in found:
        name = raw.lower()
        if name[:1] != b":" and not is_ours(name):
            reason = _judge(status.RESPONSE_HEADERS, name, value, False)
            if reason:
                return reason
    return ""


def _write(
    instance: Instance, act: Callable[[HeaderMap, bytes, bytes], None], map_id: int, raw: bytes, value: bytes
) -> int:
    """Add or replace, with every check."""
    name = _alias(map_id, raw.lower())
    headers = writable_map(instance, map_id)
    if headers is None:
        return instance.refuse(f"header map {map_id} cannot be changed now")
    if name == b"content-length" and map_id in (status.REQUEST_HEADERS, status.RESPONSE_HEADERS):
        instance.note("content-length is the proxy's: what the plugin set has no effect")
        return status.OK
    if is_ours(name):
        return instance.refuse(f"{name!r} is the proxy's own")
    reason = _judge(map_id, name, value, act is _add and name[:1] == b":" and name in headers)
    if not reason and len(headers.fields) >= MAX_FIELDS and name not in headers:
        reason = f"more than {MAX_FIELDS} fields"
    if not reason and name == b":status" and headers.get(name) == b"101":
        reason = "a switch of protocols cannot be taken back"
    if reason:
        return instance.refuse(reason)
    if name[:1] != b":" and map_id in (status.REQUEST_HEADERS, status.RESPONSE_HEADERS) and raw.lower() == name:
        if len(instance.names) < MAX_KNOWN_NAMES:
            instance.names[raw] = name
    act(headers, name, value)
    return status.OK


def _add(headers: HeaderMap, name: bytes, value: bytes) -> None:
    headers.add(name, value)


def _replace(headers: HeaderMap, name: bytes, value: bytes) -> None:
    headers.set(name, value)


def _alias(map_id: int, name: bytes) -> bytes:
    """``host`` is ``:authority``, as in Envoy."""
    return b":authority" if name == b"host" and map_id == status.REQUEST_HEADERS else name


def _judge(map_id: int, name: bytes, value: bytes, is_second: bool) -> str:
    """Why this field may not be in that map; empty when it may. ``name`` is lower-case and none of ours."""
    shown = name[:40]
    if len(name) > MAX_NAME or len(value) > MAX_VALUE:
        return f"{shown!r} is too long"
    if len(value.translate(None, CONTROL)) != len(value):
        return f"control byte in the value of {shown!r}"
    if name[:1] == b":":
        return f"second {shown!r}" if is_second else _judge_pseudo(map_id, name, value)
    if not _TOKEN.fullmatch(name):
        return f"{shown!r} is not a field name"
    if map_id in (status.REQUEST_TRAILERS, status.RESPONSE_TRAILERS) and not trailer_fields([(name, value, name)]):
        return f"{shown!r} cannot be a trailer"
    return ""


def _judge_pseudo(map_id: int, name: bytes, value: bytes) -> str:
    if map_id == status.RESPONSE_HEADERS and name == b":status":
        return "" if _STATUS.fullmatch(value) else f"status {value[:20]!r} is not 200 to 599"
    if map_id != status.REQUEST_HEADERS or name not in REQUEST_PSEUDO:
        return f"{name[:40]!r} has no place here"
    if name == b":method":
        return "" if _METHOD.fullmatch(value) else f"{value[:20]!r} is not a method"
    if name == b":scheme":
        return "" if value in (b"http", b"https") else f"{value[:20]!r} is not a scheme"
    return "" if value else f"{name!r} cannot be empty"


FUNCTIONS: Final[tuple[HostFunction, ...]] = (
    HostFunction("proxy_get_header_map_size", "ii", get_size, "Size of the serialised map in bytes."),
    HostFunction("proxy_get_header_map_pairs", "iii", get_pairs, "The whole map; an absent one is empty."),
    HostFunction("proxy_set_header_map_pairs", "iii", set_pairs,
                 "Replaces all fields, or none when one is refused; framing fields keep their values."),
    HostFunction("proxy_get_header_map_value", "iiiii", get_value,
                 "First value of a name, in any case; `host` is `:authority`. A map that is not there is NotFound."),
    HostFunction("proxy_add_header_map_value", "iiiii", add_value, "Appends a field and never merges."),
    HostFunction("proxy_replace_header_map_value", "iiiii", replace_value, "One field in place of all of that name."),
    HostFunction("proxy_remove_header_map_value", "iii", remove_value, "Removes all fields of that name."),
)  # fmt: skip
