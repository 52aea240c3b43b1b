"""Errors carry what the log, the answer and a retry need to know, each its own part."""

from __future__ import annotations

from sidecar.errors import ConfigError, ErrorKind, Problem, ProxyError, Retry, Source


def test_an_error_is_never_repeated_unless_it_says_so() -> None:
    error = ProxyError(ErrorKind.UPSTREAM_RESET, "gone")
    assert (error.retry, error.source, error.status, error.limit) == (Retry.NEVER, Source.INTERNAL, None, None)
    assert str(error) == "upstream_reset: gone"
    assert str(ProxyError(ErrorKind.DENIED)) == "denied"


def test_a_problem_says_where_it_is() -> None:
    assert str(Problem("a.yaml", 3, "plugins[0].timeout", "is wrong")) == "a.yaml:3: plugins[0].timeout: is wrong"
    assert str(Problem("a.yaml", 0, "", "cannot be read")) == "a.yaml: cannot be read"


def test_a_refused_configuration_tells_everything_at_once() -> None:
    error = ConfigError([Problem("a", 1, "x", "one"), Problem("a", 2, "y", "two")])
    assert str(error) == "a:1: x: one\na:2: y: two"
    assert len(error.problems) == 2
