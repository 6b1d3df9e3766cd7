"""What fails in an event loop is one message of one kind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest
import uvloop

from wsproxy.dataplane import tasks
from wsproxy.dataplane.tasks import log_loop_error


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_callback_that_fails_is_one_message(
    new_loop: Callable[[], asyncio.AbstractEventLoop], caplog: pytest.LogCaptureFixture
) -> None:
    """The same text whatever failed, so that a flood of them can be summed; the cause stands behind it."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(log_loop_error)
        loop.call_soon(lambda: 1 // 0)
        loop.call_soon(lambda: [][1])
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    texts = [(record.name, record.levelno, record.msg) for record in caplog.records]
    assert texts == 2 * [("wsproxy.tasks", logging.ERROR, "internal error in the event loop: %s")]
    causes = [record.exc_info and record.exc_info[0] for record in caplog.records]
    assert causes == [ZeroDivisionError, IndexError]


class Lost(asyncio.Future[None]):
    """Who waits for it is never woken."""

    def cancel(self, msg: object = None) -> bool:
        return True


async def test_end_waits_for_what_ends_and_not_for_what_nothing_wakes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "END_S", 0.05)
    lost = Lost()
    ended = []

    async def wait() -> None:
        await lost

    async def clean_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    tasks.spawn(wait(), "lost")
    tasks.spawn(clean_up(), "found")
    await asyncio.sleep(0)
    await tasks.end_all()
    assert ended
    lost.set_result(None)
    await tasks.end_all()
