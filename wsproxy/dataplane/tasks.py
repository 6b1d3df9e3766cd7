"""What runs in an event loop and may fail: tasks, named and referenced until they end, and callbacks; and how a process ends with its loop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

log = logging.getLogger("wsproxy.tasks")

# What is cancelled ends at once, but for a task whose wake-up was lost for want of memory.
END_S = 5.0
# How often a process beside the workers shows that it lives.
TURN_S = 1.0

_T = TypeVar("_T")

_running: set[asyncio.Task[object]] = set()


def spawn(work: Coroutine[Any, Any, object], name: str) -> None:
    """Starts a task; an exception in it reaches the log and nobody else, ``end_all`` ends it."""
    task: asyncio.Task[object] = asyncio.create_task(work, name=name)
    _running.add(task)
    task.add_done_callback(_ended)


def _ended(task: asyncio.Task[object]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("task %s failed", task.get_name(), exc_info=error)


def log_loop_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The exception handler of every event loop: one message of one kind, whatever failed (``loop.call_exception_handler``)."""
    log.error(
        "internal error in the event loop: %s",
        context.get("message", ""),
        exc_info=context.get("exception"),
    )


def run(
    main: Coroutine[Any, Any, _T],
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> _T:
    """As ``asyncio.run``, for what a process does until its end; see ``hear_no_more``."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        try:
            return runner.run(main)
        finally:
            hear_no_more()


def hear_no_more() -> None:
    """
    SIGTERM says nothing new to a process that ends, and there is no undoing that; call it before the loop is closed.

    A loop closes the socket that Python writes signals to before it forgets that it does: one that comes in between (a second one
    from the supervisor, or the kernel's word that this has ended) is an error on standard error. Behind that, it would kill.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    signal.set_wakeup_fd(-1)


def keep_turning(on_turn: Callable[[], None]) -> None:
    """Calls it now, and once a second as long as the loop makes turns."""
    on_turn()
    asyncio.get_running_loop().call_later(TURN_S, keep_turning, on_turn)


async def end_all() -> None:
    """Cancels what still runs and waits for it, but not for what nothing wakes any more; the last thing a worker does."""
    tasks = list(_running)
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=END_S)
