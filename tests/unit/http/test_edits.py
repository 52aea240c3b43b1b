from __future__ import annotations

import pytest

from sidecar.http.edits import PROTECTED, reason_against, value_problem


@pytest.mark.parametrize("name", [*sorted(PROTECTED), ":path", "Host", "X-Sidecar-Error", "a b", "", "\u00e4"])
def test_framing_routing_and_our_own_names_are_not_for_rules(name: str) -> None:
    assert reason_against(name)


@pytest.mark.parametrize("name", ["x-a", "X-Frame-Options", "authorization", "x-sidecars"])
def test_any_other_header_may_be_edited(name: str) -> None:
    assert reason_against(name) is None


@pytest.mark.parametrize("value", ["a\nb", "a\r", "\0"])
def test_a_value_is_one_line(value: str) -> None:
    assert value_problem(value) and not value_problem("a")
