"""The client of the example: some requests, one after the other, until the rate limit has refused one; prints each."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

MOST = 50


def ask(url: str) -> int:
    """Prints what happened, gives the status."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            options = answer.headers["x-content-type-options"]
            print(answer.status, answer.read().decode().strip(), f"[x-content-type-options: {options}]")
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        by = refusal.headers["x-sidecar-error"] or "a plugin"
        print(refusal.code, refusal.read().decode().strip(), f"[{by}, retry-after: {refusal.headers['retry-after']}]")
        return refusal.code


sys.exit(0 if any(ask(f"{sys.argv[1]}/orders/{number}") == 429 for number in range(1, MOST)) else 1)
