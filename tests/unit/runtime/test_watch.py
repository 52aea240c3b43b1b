from __future__ import annotations

import asyncio
import os

from sidecar.runtime.watch import Debounce, Watcher, signature
from tests.support.runtime import on_loop, until


def test_a_change_is_seen_whatever_the_way(tmp_path):
    path = tmp_path / "x"
    path.write_text("a")
    seen = [signature([path])]
    path.write_text("ab")
    seen.append(signature([path]))
    other = tmp_path / "y"
    other.write_text("ab")
    os.replace(other, path)
    seen.append(signature([path]))
    path.unlink()
    seen.append(signature([path]))
    path.mkdir()
    seen.append(signature([path]))
    assert len(set(seen)) == len(seen)


def test_Y6_the_swap_of_a_link_in_the_path_is_a_change(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("same")
    (tmp_path / "..data").symlink_to("one")
    path = tmp_path / "..data" / "x"
    before = signature([path])
    (tmp_path / "..new").symlink_to("two")
    os.replace(tmp_path / "..new", tmp_path / "..data")
    assert signature([path]) != before


class TestDebounce:
    A, B, C = ((1,),), ((2,),), ((3,),)

    def made(self) -> Debounce:
        debounce = Debounce()
        debounce.accept(self.A)
        return debounce

    def test_says_nothing_while_nothing_changes(self):
        debounce = self.made()
        assert not debounce.look(self.A, 0.0)
        assert not debounce.is_pending

    def test_waits_until_a_change_has_settled_and_tells_it_once(self):
        debounce = self.made()
        assert not debounce.look(self.B, 1.0)
        assert debounce.is_pending
        assert not debounce.look(self.B, 1.1)
        assert debounce.look(self.B, 1.3)
        assert not debounce.look(self.B, 1.4)

    def test_starts_anew_with_each_further_change(self):
        debounce = self.made()
        debounce.look(self.B, 1.0)
        assert not debounce.look(self.C, 1.15)
        assert not debounce.look(self.C, 1.3)
        assert debounce.look(self.C, 1.4)

    def test_Y6_a_writer_who_never_stops_is_read_all_the_same(self):
        debounce = self.made()
        told = [debounce.look(((number + 10,),), number * 0.1) for number in range(60)]
        assert 1 <= sum(told) <= 3

    def test_a_change_that_is_taken_back_asks_for_nothing(self):
        debounce = self.made()
        debounce.look(self.B, 1.0)
        assert not debounce.look(self.A, 1.1)
        assert not debounce.look(self.A, 9.0)


def test_the_watcher_calls_for_each_change_that_has_settled(tmp_path):
    path = tmp_path / "x"
    path.write_text("a")
    calls: list[str] = []

    async def changed() -> None:
        calls.append(path.read_text())

    async def main() -> None:
        task = asyncio.create_task(Watcher(lambda: [path], changed).run())
        path.write_text("bb")
        await until(lambda: calls == ["bb"])
        path.write_text("ccc")
        await until(lambda: calls == ["bb", "ccc"])
        task.cancel()

    on_loop(main)


def test_another_list_of_files_is_no_change(tmp_path):
    paths = [tmp_path / "x"]
    watcher = Watcher(lambda: list(paths), lambda: asyncio.sleep(0))
    (tmp_path / "y").write_text("new")
    paths.append(tmp_path / "y")
    assert not any(watcher.look(now) for now in (0.0, 1.0, 2.0))
