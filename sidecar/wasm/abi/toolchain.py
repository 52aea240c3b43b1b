"""What compilers add to ``env``: ``abort``, ``seed``, ``trace`` of AssemblyScript; two functions of emscripten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sidecar.wasm.abi.function import HostFunction, guarded
from sidecar.wasm.abi.status import LOG_LEVELS
from sidecar.wasm.trap import MemoryRangeError, Trap, TrapKind

if TYPE_CHECKING:
    from sidecar.wasm.instance import Instance

MAX_TEXT: Final = 1024
_INFO: Final = LOG_LEVELS.index("info")
_ERROR: Final = LOG_LEVELS.index("error")


def _text(instance: Instance, ptr: int) -> str:
    """An AssemblyScript string: UTF-16, its length in bytes right before it; empty for a bad address."""
    try:
        return instance.read(ptr, min(instance.vm.read_u32(ptr - 4), MAX_TEXT)).decode("utf-16-le", "replace")
    except MemoryRangeError:
        return ""


@guarded
def abort(instance: Instance, message: int, file: int, line: int, column: int) -> None:
    """``abort``: says why and ends the guest."""
    why = f"abort: {_text(instance, message)} at {_text(instance, file)}:{line}:{column}"
    instance.say(_ERROR, why)
    raise Trap(TrapKind.EXIT, why)


@guarded
def seed(instance: Instance) -> float:
    """``seed``: for ``Math.random``."""
    return float(int.from_bytes(instance.services.random_bytes(6), "little"))


@guarded
def trace(instance: Instance, message: int, count: int, *values: float) -> None:
    """``trace``: a line with up to five numbers."""
    numbers = " ".join(str(value) for value in values[:count])
    instance.say(_INFO, f"trace: {_text(instance, message)} {numbers}".rstrip())


@guarded
def pthread_equal(instance: Instance, left: int, right: int) -> int:
    """``pthread_equal`` of old emscripten builds."""
    return int(left == right)


@guarded
def notify_memory_growth(instance: Instance, index: int) -> None:
    """``emscripten_notify_memory_growth``: nobody here keeps a view of the memory."""


FUNCTIONS: Final[tuple[HostFunction, ...]] = (
    HostFunction("abort", "iiii", abort, "AssemblyScript: logs the message and ends the instance.", "", "toolchain"),
    HostFunction("seed", "", seed, "AssemblyScript: a random number.", "d", "toolchain"),
    HostFunction("trace", "iiddddd", trace, "AssemblyScript: a log line.", "", "toolchain"),
    HostFunction("pthread_equal", "ii", pthread_equal, "emscripten: compares two numbers.", "i", "toolchain"),
    HostFunction("emscripten_notify_memory_growth", "i", notify_memory_growth, "emscripten: nothing.", "", "toolchain"),
)
