"""The commands and their options. What does the work is imported when its command is given: start-up time counts."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final

import sidecar

DEFAULT_CONFIG: Final = "/etc/sidecar/sidecar.yaml"
LOG_LEVELS: Final = ("trace", "debug", "info", "warn", "error", "critical")
LATER: Final = {
    "certs": "shows certificates: there are no identities in this version",
    "tap": "shows requests as they pass",
    "explain": "tells what happened to one request",
    "authz": "asks the authorization policies",
    "check": "examines a running pod or host",
    "plugin": "helps plugin authors: new, inspect, test, bench",
}
"""Commands whose function comes later: known, and refused."""
PAGES: Final = {
    "config": "the configuration that is being served",
    "routes": "its routes",
    "upstreams": "its upstreams and their connections",
    "plugins": "its plugins and how they fare",
    "stats": "numbers about the running proxy",
}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="sidecar",
        description="A proxy beside one service: HTTP, Proxy-Wasm plugins in both directions, traces and metrics.",
        epilog="Exit codes: 0 fine, 1 the thing checked is wrong, 2 wrong usage.",
    )
    top.add_argument("--version", action="version", version=f"sidecar {sidecar.__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    run = commands.add_parser("run", help="run the proxy")
    _add_files(run)
    run.add_argument("--log-level", choices=LOG_LEVELS, default="info")
    run.add_argument("--log-format", choices=("json", "text"), default="json")

    validate = commands.add_parser("validate", help="check a configuration and its plugins, and print the plan")
    _add_files(validate)

    for name, what in PAGES.items():
        page = commands.add_parser(name, help=f"show {what}")
        _add_target(page)
        if name == "config":
            kind = page.add_mutually_exclusive_group()
            kind.add_argument("--effective", action="store_true", help="with every default")
            kind.add_argument("--diff", action="store_true", help="against the files of -c")
    for name, what in (
        ("reload", "take the configuration on disk"),
        ("drain", "stop taking traffic, finish what is open, and end"),
    ):
        _add_target(commands.add_parser(name, help=what))

    wait = commands.add_parser("wait", help="return when the local sidecar is ready, or become CMD then")
    _add_target(wait)
    wait.add_argument("--timeout", type=_seconds, default=60.0, metavar="60s")
    wait.usage = "sidecar wait [-c FILE] [--socket PATH] [--timeout 60s] [-- CMD ...]"

    for name, what in LATER.items():
        commands.add_parser(name, help=f"{what} (not available yet)")
    return top


def dispatch(words: Sequence[str]) -> int:
    """Run one command; the answer is the exit code."""
    words, then = _split(words)
    if words and words[0] in LATER:  # whatever their options are going to be
        print(f"sidecar {words[0]}: not available yet ({LATER[words[0]]})", file=sys.stderr)
        return 2
    try:
        options = parser().parse_args(words)
        if then and options.command != "wait":
            parser().error("only wait takes a command behind --")
    except SystemExit as ended:  # argparse's own way to say --help and wrong usage
        return int(ended.code or 0)
    command = options.command
    try:
        if command == "run":
            from sidecar.runtime.run import RunOptions, run

            return run(RunOptions(_files(options), options.log_level, options.log_format), os.environ)
        if command == "validate":
            from sidecar.cli.validate import validate

            return validate(_files(options), os.environ)
        if command == "wait":
            from sidecar.cli.ask import socket_path
            from sidecar.cli.wait import wait

            return wait(socket_path(options.socket, options.config, os.environ), options.timeout, then)
        from sidecar.cli.ask import ask_running

        return ask_running(options, os.environ)
    except BrokenPipeError:
        # Whoever read our output has enough of it: no traceback, and no second one at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands before and behind the first ``--``."""
    if "--" not in words:
        return list(words), []
    place = list(words).index("--")
    return list(words[:place]), list(words[place + 1 :])


def _add_files(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-c", "--config", action="append", metavar="FILE", help="repeatable; later files override earlier ones"
    )


def _add_target(command: argparse.ArgumentParser) -> None:
    _add_files(command)
    command.add_argument("--socket", metavar="PATH", help="the admin socket, instead of the one that -c names")


def _files(options: argparse.Namespace) -> tuple[str, ...]:
    return tuple(options.config or (DEFAULT_CONFIG,))


def _seconds(text: str) -> float:
    """A duration as in the configuration; a bare number is seconds."""
    from sidecar.config.units import duration, number

    seconds = duration(text)
    if seconds is None:
        seconds = number(text)
    if seconds is None or seconds < 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a duration like 500ms, 60s or 5m")
    return seconds
