from __future__ import annotations

import asyncio
import socket

import pytest

from sidecar.runtime.control import ControlLine, Message, open_line
from tests.support.runtime import on_loop


async def joined() -> tuple[ControlLine, ControlLine]:
    ours, theirs = socket.socketpair()
    return await open_line(ours.detach()), await open_line(theirs.detach())


async def echo(message: Message) -> Message | None:
    return {"said": message.get("word")}


def test_a_question_gets_its_own_answer():
    async def main() -> None:
        ours, theirs = await joined()
        tasks = [asyncio.create_task(theirs.serve(echo)), asyncio.create_task(ours.serve(echo))]
        answers = await asyncio.gather(*(ours.ask("echo", 5, word=number) for number in range(20)))
        assert [answer["said"] for answer in answers] == list(range(20))
        assert (await theirs.ask("echo", 5, word="back"))["said"] == "back"
        ours.close()
        await asyncio.gather(*tasks)
        theirs.close()

    on_loop(main)


def test_a_long_message_goes_through():
    async def main() -> None:
        ours, theirs = await joined()
        tasks = [asyncio.create_task(theirs.serve(echo)), asyncio.create_task(ours.serve(echo))]
        word = "x" * (20 << 20)
        assert (await ours.ask("echo", 20, word=word))["said"] == word
        ours.close()
        theirs.close()
        await asyncio.gather(*tasks)

    on_loop(main)


def test_nobody_waits_for_one_who_is_gone():
    async def main() -> None:
        ours, theirs = await joined()
        reading = asyncio.create_task(ours.serve(echo))
        asking = asyncio.create_task(ours.ask("echo", 20))
        await asyncio.sleep(0)
        theirs.close()
        with pytest.raises(ConnectionError):
            await asking
        await reading
        ours.close()
        with pytest.raises(ConnectionError):
            await ours.ask("echo", 20)

    on_loop(main)


def test_patience_ends():
    async def main() -> None:
        ours, theirs = await joined()
        with pytest.raises(TimeoutError):
            await ours.ask("echo", 0.01)
        ours.close()
        theirs.close()

    on_loop(main)


def test_what_is_told_needs_no_answer():
    async def main() -> None:
        ours, theirs = await joined()
        heard: list[Message] = []

        async def hear(message: Message) -> Message | None:
            heard.append(message)
            return {"ignored": True}

        ours.tell("farewell", data=1)
        ours.close()
        await theirs.serve(hear)
        assert heard == [{"do": "farewell", "data": 1}]
        theirs.close()

    on_loop(main)
