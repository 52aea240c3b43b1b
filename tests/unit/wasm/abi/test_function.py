from __future__ import annotations

from types import SimpleNamespace

import pytest

from sidecar.wasm.abi.function import CALL_COST, BudgetExceeded, HostFunction, guarded
from sidecar.wasm.trap import MemoryRangeError


def test_a_guarded_handler_charges_and_answers_for_bad_addresses() -> None:
    spent: list[int] = []

    def handler(instance: object, number: int) -> int:
        if number:
            raise MemoryRangeError("far out")
        return 0

    call = guarded(handler)  # type: ignore[arg-type]
    instance = SimpleNamespace(spend=spent.append)
    assert (call(instance, 0), call(instance, 1)) == (0, 6)  # type: ignore[arg-type]
    assert spent == [CALL_COST, CALL_COST]


def test_what_a_budget_raises_passes_through() -> None:
    def spend(cost: int) -> None:
        raise BudgetExceeded

    with pytest.raises(BudgetExceeded):
        guarded(lambda instance: 0)(SimpleNamespace(spend=spend))  # type: ignore[arg-type]


def test_signatures_are_the_types_of_the_engine() -> None:
    row = HostFunction("f", "ilfd", print, "Does.", result="", variants=(("", "i"),))
    assert row.signatures == ((("i32", "i64", "f32", "f64"), ()), ((), ("i32",)))
