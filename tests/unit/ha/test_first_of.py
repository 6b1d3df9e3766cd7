"""The first of some works that ends takes the others with it."""

from __future__ import annotations

import asyncio

import pytest

from wsproxy.ha.first_of import first_of


class Work:
    """Waits for ever, and notes that it was cancelled once it has cleaned up."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.is_clean = False

    async def run(self) -> None:
        try:
            self.begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.is_clean = True


async def test_error_of_the_first_is_raised_when_the_others_have_ended() -> None:
    work = Work()

    async def fail() -> None:
        await work.begun.wait()
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        await first_of(work.run(), fail())
    assert work.is_clean


async def test_end_without_an_error_is_an_end_too() -> None:
    work = Work()
    await first_of(work.run(), work.begun.wait())
    assert work.is_clean


async def test_who_is_cancelled_cancels_all() -> None:
    works = Work(), Work()
    task = asyncio.ensure_future(first_of(*(each.run() for each in works)))
    for each in works:
        await each.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(each.is_clean for each in works)


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_work_that_was_cancelled_by_itself_is_no_cancellation_of_whoever_waits() -> None:
    """Whoever asks for the result would take it for its own end, and go on without any of the works."""

    async def waits_for_what_is_cancelled() -> None:
        waiting = asyncio.get_running_loop().create_future()
        waiting.cancel()
        await waiting

    task = asyncio.ensure_future(first_of(forever(), waits_for_what_is_cancelled()))
    await asyncio.wait([task])
    assert not task.cancelled()
    task.exception()


async def test_a_second_cancellation_does_not_interrupt_cleaning_up() -> None:
    """It is told again when all have ended."""
    begins, goes_on, is_clean = asyncio.Event(), asyncio.Event(), False

    async def work() -> None:
        nonlocal is_clean
        try:
            await forever()
        finally:
            begins.set()
            await goes_on.wait()
            is_clean = True

    task = asyncio.ensure_future(first_of(forever(), work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await begins.wait()
    task.cancel()
    await asyncio.sleep(0)
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert is_clean
