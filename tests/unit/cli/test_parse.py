from __future__ import annotations

import pytest

from sidecar.cli.parse import LATER, PAGES, dispatch, parser


@pytest.mark.parametrize("command", LATER)
def test_what_comes_later_is_refused_by_name(command, capsys):
    assert dispatch([command, "--anything", "x"]) == 2
    assert f"sidecar {command}: not available yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [[], ["nonsense"], ["run", "--nonsense"], ["wait", "--timeout", "soon"], ["stats", "--", "sleep", "1"],
     ["config", "--diff", "--effective"], ["run", "--log-level", "loud"]],
)  # fmt: skip
def test_wrong_usage_is_2_and_says_how_it_is_right(words, capsys):
    assert dispatch(words) == 2
    assert "usage: sidecar" in capsys.readouterr().err


def test_help_is_0(capsys):
    assert dispatch(["--help"]) == 0
    assert "validate" in capsys.readouterr().out


def test_every_page_has_its_command_and_target():
    for name in PAGES:
        options = parser().parse_args([name, "-c", "a.yaml", "-c", "b.yaml", "--socket", "s"])
        assert (options.config, options.socket) == (["a.yaml", "b.yaml"], "s")


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60.0), ("500ms", 0.5), ("2m", 120.0), ("3", 3.0)])
def test_a_timeout_is_a_duration(text, seconds):
    assert parser().parse_args(["wait", "--timeout", text]).timeout == seconds
