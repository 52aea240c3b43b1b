"""One row of the table of host functions, and what handlers share.

A handler is ``handler(instance, *arguments)``: integers as the guest gave them, unsigned; the answer is an ABI status.
Rows of the hot path do everything themselves in one flat function; all others are wrapped by :func:`guarded`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

from sidecar.wasm.abi.status import INVALID_MEMORY_ACCESS
from sidecar.wasm.trap import MemoryRangeError

if TYPE_CHECKING:
    from sidecar.wasm.instance import Instance

Handler = Callable[..., Any]
P = ParamSpec("P")
R = TypeVar("R")

CALL_COST: Final = 420
"""What one host call takes from a callback's budget, in bytes: 4 MiB are 10,000 calls."""

TYPES: Final = {"i": "i32", "l": "i64", "f": "f32", "d": "f64"}


class BudgetExceeded(Exception):
    """One callback made more host calls, or moved more bytes, than it may; unwinds the guest."""


@dataclass(frozen=True, slots=True)
class HostFunction:
    """``params`` and ``result`` in letters: ``i`` i32, ``l`` i64, ``f`` f32, ``d`` f64; ``result`` may be empty."""

    name: str
    params: str
    handler: Handler
    doc: str
    """One line for docs/proxy-wasm.md."""
    result: str = "i"
    since: str = "0.1.0"
    """First ABI version that names it; ``WASI`` or ``toolchain`` for what no ABI version names."""
    answers: str = ""
    """Empty when it does what it says; else the status (or errno) that every call gets."""
    variants: tuple[tuple[str, str], ...] = ()
    """Other (params, result) under which toolchains import it."""

    @property
    def signatures(self) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
        """Types it may be imported with, as the module describes them."""
        every = ((self.params, self.result), *self.variants)
        return tuple((tuple(TYPES[p] for p in params), tuple(TYPES[r] for r in result)) for params, result in every)


def guarded(handler: Callable[Concatenate[Instance, P], R]) -> Callable[Concatenate[Instance, P], R | int]:
    """Charge the call, and answer InvalidMemoryAccess where an address of the guest's is none."""

    @functools.wraps(handler)
    def guard(instance: Instance, /, *args: P.args, **kwargs: P.kwargs) -> R | int:
        instance.spend(CALL_COST)
        try:
            return handler(instance, *args, **kwargs)
        except MemoryRangeError:
            return INVALID_MEMORY_ACCESS

    return guard
