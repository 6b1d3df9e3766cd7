"""When files have changed, and when they are whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.process import WAIT_S
from wsproxy.reload.sources import look
from wsproxy.reload.watch import Watch

NEVER_S = 10_000.0


async def changed(watch: Watch, every_s: float = NEVER_S) -> None:
    await asyncio.wait_for(watch.changed(lambda: every_s), WAIT_S)


def test_what_stands_there_is_told_by_looking(tmp_path: Path) -> None:
    file = tmp_path / "a"
    seen = [look([file])]
    for text in ("x", "xy"):
        file.write_text(text)
        seen.append(look([file]))
    file.unlink()
    seen.append(look([file]))
    assert seen[0] == seen[3] == (None,)
    assert len({*seen}) == 3


@asynccontextmanager
async def following(watch: Watch) -> AsyncIterator[asyncio.Task[None]]:
    """The kernel tells; ends when the task, which waits for a change, has heard of one."""
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(watch.listen())
        waiting = group.create_task(changed(watch))
        # Until the kernel listens; what comes before is found by the first look.
        await asyncio.sleep(0.5)
        yield waiting
        await waiting
        listening.cancel()


@pytest.mark.parametrize("how", ["written", "replaced", "gone"])
async def test_kernel_tells(tmp_path: Path, how: str) -> None:
    file = tmp_path / "a"
    file.write_text("1")
    watch = Watch((file,), look([file]))
    async with following(watch) as waiting:
        assert not waiting.done()
        if how == "written":
            file.write_text("22")
        elif how == "replaced":
            (tmp_path / "b").write_text("1")
            (tmp_path / "b").rename(file)
        else:
            file.unlink()
    assert watch.seen == look([file])


async def test_changes_of_other_files_are_not_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log itself may stand in the folder."""
    caplog.set_level("DEBUG")
    file = tmp_path / "a"
    file.write_text("1")
    async with following(Watch((file,), look([file]))) as waiting:
        (tmp_path / "log").write_text("a line")
        await asyncio.sleep(0.2)
        assert not waiting.done()
        file.write_text("22")
    assert not [each for each in caplog.records if each.name.startswith("watchfiles")]


async def test_looking_finds_what_nobody_tells(tmp_path: Path) -> None:
    """A network file system."""
    file = tmp_path / "a"
    file.write_text("1")
    seen = look([file])
    file.write_text("22")
    await changed(Watch((file,), seen), 0.05)


async def test_change_before_it_began_is_one(tmp_path: Path) -> None:
    """The configuration in use was read a second ago."""
    file = tmp_path / "a"
    file.write_text("1")
    await changed(Watch((file,), (None,)))


async def test_link_that_leads_elsewhere_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes replaces a mounted ConfigMap: a folder behind a link, as a whole."""
    for at in ("1", "2"):
        (tmp_path / at).mkdir()
        (tmp_path / at / "a").write_text("x" * int(at))
    link = tmp_path / "data"
    link.symlink_to("1")
    (tmp_path / "a").symlink_to("data/a")
    watch = Watch((tmp_path / "a",), look([tmp_path / "a"]))
    async with following(watch):
        (tmp_path / "new").symlink_to("2")
        (tmp_path / "new").rename(link)


async def test_how_often_it_looks_may_change_meanwhile(tmp_path: Path) -> None:
    """From "not at all" to a moment, by a word; while it does not look, a change that the kernel tells of is none."""
    file = tmp_path / "a"
    file.write_text("1")
    watch = Watch((file,), look([file]))
    every_s = 0.0
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(watch.changed(lambda: every_s))
        file.write_text("22")
        watch.wake()
        await asyncio.sleep(0.1)
        assert not waiting.done()
        every_s = NEVER_S
        watch.wake()
        await asyncio.wait_for(waiting, WAIT_S)
    assert watch.seen == look([file])


@pytest.mark.parametrize("turns", range(5))
async def test_ends_though_a_change_is_told_in_that_moment(tmp_path: Path, turns: int) -> None:
    """A loader that is told to end has an upgrade wait for it."""
    file = tmp_path / "a"
    watch = Watch((file,), look([file]))
    waiting = asyncio.get_running_loop().create_task(watch.changed(lambda: NEVER_S))
    await asyncio.sleep(0.01)
    watch.wake()
    for _ in range(turns):
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting}, timeout=WAIT_S)
    assert waiting.cancelled()


async def test_what_changes_before_the_kernel_listens_is_found(tmp_path: Path) -> None:
    """Behind the first look, and before the kernel was told of the folder: nobody would tell of it."""
    file = tmp_path / "a"
    file.write_text("1")
    watch = Watch((file,), look([file]))
    waiting = asyncio.get_running_loop().create_task(changed(watch))
    await asyncio.sleep(0)  # it has looked
    file.write_text("22")
    listening = asyncio.get_running_loop().create_task(watch.listen())
    await waiting
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
