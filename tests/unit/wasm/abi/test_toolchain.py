from __future__ import annotations

from typing import Any

import pytest

from sidecar.wasm.abi.toolchain import FUNCTIONS
from sidecar.wasm.trap import Trap
from tests.support.guest import Guest
from tests.support.plugins import House

ROWS = {row.name: row for row in FUNCTIONS}


def written(guest: Any, at: int, text: str) -> int:
    data = text.encode("utf-16-le")
    guest.vm.write_u32(at - 4, len(data))
    guest.vm.write(at, data)
    return at


def test_abi_25_what_assemblyscript_and_emscripten_import() -> None:
    house = House()
    guest: Any = house.plugin(Guest())._instance
    with pytest.raises(Trap, match=r"abort: out of luck at index\.ts:7:3"):
        ROWS["abort"].handler(guest, written(guest, 100, "out of luck"), written(guest, 200, "index.ts"), 7, 3)
    assert house.said() == ["abort: out of luck at index.ts:7:3"]
    ROWS["trace"].handler(guest, written(guest, 100, "seen"), 2, 1.0, 2.5, 0.0, 0.0, 0.0)
    assert house.said()[-1] == "trace: seen 1.0 2.5"
    assert ROWS["seed"].handler(guest) == float(0x060504030201)
    assert (ROWS["pthread_equal"].handler(guest, 4, 4), ROWS["pthread_equal"].handler(guest, 4, 5)) == (1, 0)
    assert ROWS["emscripten_notify_memory_growth"].handler(guest, 0) is None


def test_a_text_at_a_bad_address_is_empty() -> None:
    house = House()
    guest: Any = house.plugin(Guest())._instance
    with pytest.raises(Trap, match="abort:  at :1:2"):
        ROWS["abort"].handler(guest, 0, 0x7FFFFFF0, 1, 2)
