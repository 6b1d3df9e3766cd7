"""``first_of`` where a task group did better."""

from __future__ import annotations

import asyncio

import pytest

from wsproxy.ha.first_of import first_of


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_work_that_was_cancelled_by_itself_is_no_cancellation_of_whoever_waits() -> None:
    """``Parts._failed`` would take it for its own end: no link, no watch, and an agent that goes on."""

    async def waits_for_what_is_cancelled() -> None:
        waiting = asyncio.get_running_loop().create_future()
        waiting.cancel()
        await waiting

    task = asyncio.ensure_future(first_of(forever(), waits_for_what_is_cancelled()))
    await asyncio.wait([task])
    assert not task.cancelled()
    task.exception()


async def test_a_second_cancellation_does_not_interrupt_cleaning_up() -> None:
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
