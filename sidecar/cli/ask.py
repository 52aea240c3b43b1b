"""Commands that ask a running sidecar over its admin socket. What it says goes to stdout, complaints to stderr."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from sidecar.admin import client
from sidecar.admin.mask import masked
from sidecar.config.block import plain
from sidecar.config.document import Mapping as Document
from sidecar.config.document import Unreadable, merge, parse, read_file
from sidecar.config.model import Admin
from sidecar.config.variables import replace

DEFAULT_CONFIG: Final = "/etc/sidecar/sidecar.yaml"


def ask_running(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """``config``, ``routes``, ``upstreams``, ``plugins``, ``stats``, ``reload`` or ``drain``."""
    path = socket_path(options.socket, options.config, environ)
    try:
        if options.command == "reload":
            is_taken, text = client.reload(path)
            print(text.rstrip(), file=sys.stdout if is_taken else sys.stderr)
            return 0 if is_taken else 1
        if options.command == "drain":
            has_begun = client.drain(path)
            print("draining" if has_begun else "the sidecar does not drain", file=sys.stderr)
            return 0 if has_begun else 1
        status, text = client.read_page(path, options.command)
    except client.NotRunning as reason:
        print(reason, file=sys.stderr)
        return 1
    if status != 200:
        print(text.rstrip(), file=sys.stderr)
        return 1
    if options.command == "config":
        return _show_config(json.loads(text), options, environ)
    print(text.rstrip())
    return 0


def _show_config(page: dict[str, Any], options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """The document that is served, and on stderr why a newer one is not."""
    refused = page.get("refused")
    if refused:
        print("\n".join([*refused["problems"], f"refused: generation {page['generation']} serves"]), file=sys.stderr)
    if options.diff:
        files = options.config or page.get("files") or [DEFAULT_CONFIG]
        return _show_difference(page["source"], masked(read_document(files, environ)), files)
    print(_yaml(page["effective" if options.effective else "source"]), end="")
    return 0


def _show_difference(running: Any, wanted: Any, files: Sequence[str]) -> int:
    lines = list(
        difflib.unified_diff(
            _yaml(running).splitlines(), _yaml(wanted).splitlines(), "running", " ".join(files), lineterm=""
        )
    )
    print("\n".join(lines) if lines else "no difference")
    return 1 if lines else 0


def _yaml(content: Any) -> str:
    text: str = yaml.safe_dump(content, sort_keys=True, allow_unicode=True, width=120)
    return text


def socket_path(given: str | None, files: Sequence[str] | None, environ: Mapping[str, str]) -> str:
    """Where the sidecar of this configuration listens for us.

    Reads no more than that from the files: it must be possible to ask a running sidecar why it refuses them.
    """
    if given:
        return given
    if files is None and not os.path.exists(DEFAULT_CONFIG):
        return Admin().socket
    admin = read_document(files or [DEFAULT_CONFIG], environ).get("admin")
    socket = admin.get("socket") if isinstance(admin, dict) else None
    return str(socket) if socket else Admin().socket


def read_document(files: Sequence[str], environ: Mapping[str, str]) -> dict[str, Any]:
    """The joined document with its variables replaced, unjudged; empty when nothing can be read."""
    whole: Document | None = None
    for name in files:
        try:
            document, _ = parse(read_file(os.path.abspath(name)), name)
        except Unreadable as refused:
            print(refused.problem, file=sys.stderr)
            continue
        whole = document if whole is None else merge(whole, document)
    if whole is None:
        return {}
    replace(whole, environ)
    content = plain(whole)
    return content if isinstance(content, dict) else {}
