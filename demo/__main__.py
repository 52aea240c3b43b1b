"""`make demo`: runs the shop, shows what happened and stays up until Ctrl-C; ``--once`` checks and exits 0 or 1."""

from __future__ import annotations

import argparse
import http.client
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from demo import report, tour
from demo.collector import Collector, Relay, listens, trace_service
from demo.plan import PORTS, SHEETS, config_text, free_ports, places
from demo.shop import open_shop
from demo.sidecars import DemoError, running, stop

ONCE_SECONDS = 60
ENDINGS = (signal.SIGTERM, signal.SIGHUP)


class _Stopped(BaseException):
    """A signal asked for the end; not an error, and nothing but :func:`main` may catch it."""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 when everything was as it should be."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="check and exit instead of staying up")
    once: bool = parser.parse_args(argv).once
    began = time.monotonic()
    for number in (signal.SIGINT, *ENDINGS):
        signal.signal(number, _stop)
    if once:
        signal.signal(signal.SIGALRM, _too_late)
        signal.alarm(ONCE_SECONDS)
    results: list[tuple[str, bool]] = []
    stopped = False
    try:
        perform(once, results)
    except _Stopped:
        stopped = True
    except DemoError as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    failed = [what for what, is_so in results if not is_so]
    if stopped:
        print("\nStopped: every process is ended, every file of the demo is gone.")
        return 1 if failed or once else 0
    print(f"\n{len(results) - len(failed)} of {len(results)} checks hold ({time.monotonic() - began:.1f} s).")
    for what in failed:
        print(f"FAILED: {what}", file=sys.stderr)
    return 1 if failed else 0


def perform(once: bool, results: list[tuple[str, bool]]) -> None:
    """The demo; appends each check as (what must be so, whether it is). Everything is ended when this returns."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(_folder())
            relay = Relay() if listens() else None
            if relay is not None:
                stack.callback(relay.close)
            collector = Collector(relay)
            receiver = stack.enter_context(trace_service(collector.export))
            shop = places(folder, free_ports(len(SHEETS) * len(PORTS)))
            storefront, orders = shop["storefront"], shop["orders"]
            storefront.config.write_text(config_text(storefront, orders, receiver), encoding="utf-8")
            orders.config.write_text(config_text(orders, storefront, receiver), encoding="utf-8")
            diaries = stack.enter_context(open_shop(storefront.app, orders.app, storefront.outbound))
            _say(report.intro(shop))
            token = secrets.token_hex(16)
            sidecars = stack.enter_context(running(list(shop.values()), {"SHOP_TOKEN": token}))
            _say("\n" + report.started(sidecars))
            finding = tour.purchase(shop, diaries, collector)
            _say(report.purchase(finding))
            _say(f"{report.trace(finding)}\n{_spans_went(relay, receiver)}")
            tour.refusals(finding, shop, diaries)
            _say(report.refusals(finding))
            tour.read_metrics(finding, shop)
            _say(report.plugin_times(finding))
            results += tour.checks(finding)
            if once:
                codes = stop(sidecars)
                results += [(f"the sidecar of {name} drained, exit 0", code == 0) for name, code in codes.items()]
            _say(report.checks(results))
            if not once:
                _say(report.addresses(shop))
                _say("\nCtrl-C ends the demo.")
                while True:
                    signal.pause()
        except (OSError, http.client.HTTPException) as error:
            raise DemoError(f"{type(error).__name__}: {error}") from error
        finally:
            _deaf()


def _spans_went(relay: Relay | None, receiver: int) -> str:
    if relay is None:
        return f"  No collector listens on 127.0.0.1:4317, so the demo's own received them (127.0.0.1:{receiver})."
    failure = relay.failure()
    if failure:
        return f"  {relay.address} was to get them too, but did not take them ({failure})."
    return f"  The collector on {relay.address} has got them too: look the trace up there."


@contextmanager
def _folder() -> Iterator[Path]:
    """A new folder of our own that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="loom-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _deaf() -> None:
    """From here on things are being put away: nothing may interrupt that, and it is bounded."""
    signal.alarm(0)
    for number in (signal.SIGINT, *ENDINGS):
        signal.signal(number, signal.SIG_IGN)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise _Stopped


def _too_late(_number: int, _frame: FrameType | None) -> None:
    raise DemoError(f"not done after {ONCE_SECONDS} s")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
