"""The one place that starts tasks: named, referenced until they end, failures logged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

log = logging.getLogger("wsproxy.tasks")

_running: set[asyncio.Task[None]] = set()


def spawn(work: Coroutine[None, None, None], name: str) -> None:
    """Starts a task; an exception in it reaches the log and nobody else, ``end_all`` ends it."""
    task = asyncio.create_task(work, name=name)
    _running.add(task)
    task.add_done_callback(_ended)


def _ended(task: asyncio.Task[None]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("task %s failed", task.get_name(), exc_info=error)


async def end_all() -> None:
    """Cancels what still runs and waits for it; the last thing a worker does."""
    tasks = list(_running)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
