"""Every command of bootstrap is known, and none pretends to work."""

from __future__ import annotations

import pytest

from bootstrap.__main__ import main

COMMANDS = [
    ["redirect", "plan", "-c", "sidecar.yaml"],
    ["redirect", "apply", "-c", "sidecar.yaml", "--backend", "nft"],
    ["redirect", "verify"],
    ["redirect", "remove"],
    ["identity", "ca", "--out", "ca"],
    ["identity", "issue", "--ca", "ca", "--id", "spiffe://mesh.local/ns/a/sa/b", "--out", "id"],
    ["inject", "-f", "-"],
    ["uninject"],
    ["webhook", "--listen", "127.0.0.1:0", "--cert", "a", "--key", "b"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_known_command_is_refused_as_not_available_yet(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "not available yet" in printed.err


@pytest.mark.parametrize("command", [[], ["nonsense"], ["redirect"], ["redirect", "flush"]])
def test_wrong_usage_exits_with_two(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 2
    assert "usage" in capsys.readouterr().err
