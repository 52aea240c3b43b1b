"""Coroutines as tests: on asyncio's loop and on uvloop's, with a deadline and no task left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

DEADLINE = 30.0

BOTH_LOOPS = pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


def run(new_loop: Callable[[], asyncio.AbstractEventLoop], main: Coroutine[Any, Any, Any]) -> Any:
    """The result of ``main``; fails when it takes too long, or when the loop had an exception to report."""
    reported: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.get_loop().set_exception_handler(lambda loop, context: reported.append(context))

        async def timed() -> Any:
            async with asyncio.timeout(DEADLINE):
                return await main

        result = runner.run(timed())
    assert not reported, reported
    return result


async def until(condition: Callable[[], Any]) -> Any:
    """The first true answer of ``condition``, asked again in each turn of the loop; the deadline is :func:`run`'s."""
    while not (answer := condition()):
        await asyncio.sleep(0.001)
    return answer
