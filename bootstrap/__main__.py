"""Command line of ``sidecar-bootstrap``. Every subcommand is known; none of them is available yet."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

WRONG_USAGE = 2

REDIRECT_ACTIONS = ("plan", "apply", "verify", "remove")
IDENTITY_ACTIONS = ("ca", "issue")


def parser() -> argparse.ArgumentParser:
    """The commands; options belong to the subcommand that is going to read them and pass through untouched."""
    top = argparse.ArgumentParser(prog="sidecar-bootstrap", description="Prepare a host or a cluster for the sidecar.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    redirect = commands.add_parser("redirect", help="interception rules (not available yet)")
    redirect.add_argument("action", choices=REDIRECT_ACTIONS)
    identity = commands.add_parser("identity", help="throw-away CA and certificates (not available yet)")
    identity.add_argument("action", choices=IDENTITY_ACTIONS)
    commands.add_parser("inject", help="put the sidecar into Kubernetes manifests (not available yet)")
    commands.add_parser("uninject", help="take the sidecar out of manifests (not available yet)")
    commands.add_parser("webhook", help="admission webhook (not available yet)")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 2 for wrong usage, and for a command that is not available yet."""
    arguments, _options = parser().parse_known_args(argv)
    words = [arguments.command, getattr(arguments, "action", "")]
    print(f"sidecar-bootstrap {' '.join(words).strip()}: not available yet", file=sys.stderr)
    return WRONG_USAGE


if __name__ == "__main__":
    sys.exit(main())
